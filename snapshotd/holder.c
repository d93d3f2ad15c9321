/* coppice-holder: keeps what must outlive snapshotd, and snapshotd running.
 *
 * It does nothing else, so that there is little that can go wrong in it: it has the devices of the mounts, their redo logs (memfds) and the
 * listening socket, and hands them to each daemon it starts. The end of a daemon is the end of its channel: a thread of it may wait in the
 * kernel for the very mounts that the next daemon is to serve, and waitpid() would wait for that thread.
 *
 * starting -> serving: {"ready"}
 * any -> starting: the channel ended. At once, but after several that did not live for YOUNG_NS it takes longer each time; after YOUNG_MAX of
 *   them the mounts are given up (their programs see ENOTCONN) but not what was done in them; after as many more that too; then the store.
 * any -> exec of itself: {"again"}, then the channel ended: another version may be on the disk.
 * any -> end: {"bye"}, then the channel ended. SIGTERM and SIGINT ask the daemon for that. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "snapshotd/holder_child.h"
#include "snapshotd/holder_table.h"
#include "snapshotd/privilege.h"
#include "snapshotd/snap_proto.h"

enum { YOUNG_MAX = 10, STUCK_MS = 5000, PAUSE_MAX_MS = 2000, FORKS_MAX = 60, FORK_AGAIN_MS = 500 };
#define YOUNG_NS 3000000000ull

struct holder {
    const char *self, *store;
    bool foreground;
    char **argv, **daemon;                /* ours; the daemon's */
    struct held_table table;
    struct child child, before;
    int signal_fd, ready_fd;              /* ready_fd: of our starter, until the first daemon has it */
    bool served;                          /* a daemon was ready once */
    bool again, bye, ending;
    unsigned young;                       /* daemons in a row that did not live long */
    enum { GAVE_UP_NOTHING, GAVE_UP_MOUNTS, GAVE_UP_LOGS } gave_up;
    uint64_t stuck_ns;                    /* when to stop waiting for the end of one whose first thread ended (0: not) */
    char why[96];
};

/* The daemon writes there too, and puts it aside when it is large: so ours is opened anew with each. */
static void use_log(struct holder *h)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/" SNAP_LOG, h->store);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600), null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (h->foreground || fd < 0 || null_fd < 0)
        return;
    dup2(null_fd, 0);
    dup2(null_fd, 1);
    dup2(fd, 2);
}

static _Noreturn void end(struct holder *h, int status)
{
    char path[PATH_MAX];

    if (status && h->served) {
        snprintf(path, sizeof(path), "%s/" SNAP_SOCKET, h->store);
        unlink(path);
    }
    exit(status);
}

/* --- starting --- */

static int tell_start(struct holder *h)
{
    json_t *start = json_pack("{s:{s:i,s:i,s:I,s:b,s:s}}", "start", "restarts", (int)h->table.restarts, "holder", (int)getpid(), "lost_ns", (json_int_t)h->table.lost_ns,
                              "stay", h->table.stay, "why", h->why);
    int r = hold_send(h->child.sock, start, &h->table.listen_fd, h->table.listen_fd >= 0);

    if (!r)
        r = held_tell(&h->table, h->child.sock);
    if (!r)
        r = hold_send(h->child.sock, json_pack("{s:b}", "go", 1), NULL, 0);
    if (!r && h->ending)
        r = hold_send(h->child.sock, json_pack("{s:b}", "end", 1), NULL, 0);
    return r;
}

static void start(struct holder *h)
{
    h->again = h->bye = false;
    h->stuck_ns = 0;
    int r = child_start((const char *const *)h->daemon, h->ready_fd, &h->child);
    h->ready_fd = -1;
    /* What killed the daemon may be what leaves no process or memory for the next. Its first start has somebody who waits for it. */
    for (unsigned tries = 1; r && h->served && tries < FORKS_MAX; tries++) {
        log_warn("holder: no new process err=%s", errno_name(r));
        poll(NULL, 0, FORK_AGAIN_MS);
        r = child_start((const char *const *)h->daemon, -1, &h->child);
    }
    if (r) {
        log_error("holder: no new process err=%s", errno_name(r));
        end(h, 1);
    }
    r = tell_start(h);
    if (r)                                /* the end of the channel follows */
        log_warn("holder: daemon pid=%d not told err=%s", (int)h->child.pid, errno_name(r));
}

/* Programs of another version may be on the disk now. Comes back only if they cannot be run. */
static void exec_self(struct holder *h)
{
    char table[16];
    int fd, r = held_save(&h->table, &fd);

    if (r) {
        log_error("holder: cannot go on as another program err=%s", errno_name(r));
        return;
    }
    snprintf(table, sizeof(table), "%d", fd);
    setenv("COPPICE_HOLDER_TABLE", table, 1);
    execv(h->self, h->argv);
    log_error("holder: cannot run %s err=%s", h->self, errno_name(errno));
    unsetenv("COPPICE_HOLDER_TABLE");
    held_table_init(&h->table);
    lseek(fd, 0, SEEK_SET);
    if (held_load(fd, &h->table))
        end(h, 1);
    close(fd);
}

/* Too many ended too soon: perhaps it is something in what is mounted. Then there is still what the logs know; if it is that, what the disk knows. */
static void give_up(struct holder *h)
{
    if (h->gave_up == GAVE_UP_LOGS || !h->table.count) {
        log_error("holder: snapshotd ends again and again (%s): given up", h->why);
        end(h, 1);
    }
    log_error("holder: snapshotd ends again and again (%s): %u %s given up", h->why, h->table.count,
              h->gave_up == GAVE_UP_MOUNTS ? "logs of changes not committed" : "mounts");
    if (h->gave_up == GAVE_UP_MOUNTS)
        held_drop_all(&h->table);
    else
        held_drop_devices(&h->table);
    h->gave_up++;
    h->young = 0;
}

static void pause_if_young(struct holder *h)
{
    unsigned ms = h->young < 3 ? 0 : 10u << (h->young - 3 > 8 ? 8 : h->young - 3);

    poll(NULL, 0, (int)(ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS));
}

/* --- the daemon's end --- */

static void reap(struct holder *h)
{
    char why[sizeof(h->why)];
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        child_why(status, why, sizeof(why));
        log_info("holder: daemon pid=%d %s", (int)pid, why);
        if (WIFEXITED(status) && !WEXITSTATUS(status))
            continue;
        memcpy(h->why, why, sizeof(why));
        /* A signal of its own making, soon after its start: the next may fare no better. One that was not ready yet is counted elsewhere. */
        const struct child *c = pid == h->before.pid ? &h->before : &h->child;
        if (c->ready && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL && h->table.lost_ns - c->started_ns < YOUNG_NS)
            h->young++;
    }
}

static void on_channel_end(struct holder *h)
{
    struct child *c = &h->child;

    h->table.lost_ns = clock_mono_ns();
    close(c->sock);
    close_p(&c->leader_fd);
    if (!h->bye && !h->again)
        kill(c->pid, SIGKILL);            /* it has ended, unless it closed its channel by mistake: there must be one only */
    if (h->bye || !h->served) {
        int status = 1;
        held_abort(&h->table);            /* there is nothing; but if there were, a thread of it could wait for that, and we for the thread */
        while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
            ;
        end(h, h->bye ? 0 : 1);
    }
    if (!c->ready)
        h->young++;
    else if (h->table.lost_ns - c->started_ns > YOUNG_NS)
        h->young = 0;
    snprintf(h->why, sizeof(h->why), "%s", h->again ? "asked for" : "ended");
    h->before = *c;
    reap(h);
    held_cut(&h->table);
    h->table.restarts++;
    if (h->again)
        exec_self(h);
    if (h->young >= YOUNG_MAX)
        give_up(h);
    pause_if_young(h);
    start(h);
}

/* --- messages --- */

/* From the next start on. */
static void use_programs(struct holder *h, const char *daemon)
{
    static char ours[PATH_MAX], theirs[PATH_MAX];
    const char *slash = daemon ? strrchr(daemon, '/') : NULL;

    if (!slash || snprintf(theirs, sizeof(theirs), "%s", daemon) >= (int)sizeof(theirs) ||
        snprintf(ours, sizeof(ours), "%.*s/coppice-holder", (int)(slash - daemon), daemon) >= (int)sizeof(ours))
        return;
    h->daemon[0] = theirs;
    h->argv[0] = ours;
    h->self = ours;
}

static int on_message(struct holder *h, json_t *msg, int *fds, unsigned n)
{
    json_t *meta = json_object_get(msg, "meta"), *v;

    if (json_is_integer(v = json_object_get(msg, "hold")) && json_is_object(meta))
        return held_put(&h->table, json_integer_value(v), meta, fds, n);
    if (json_is_integer(v = json_object_get(msg, "drop"))) {
        held_drop(&h->table, json_integer_value(v));
    } else if ((v = json_object_get(msg, "listen")) && n == json_is_true(v)) {
        close_p(&h->table.listen_fd);
        h->table.listen_fd = n ? fds[0] : -1;
        return 0;
    } else if (json_object_get(msg, "ready")) {
        h->child.ready = h->served = true;
        use_log(h);
    } else if (json_object_get(msg, "again")) {
        h->again = true;
        use_programs(h, json_string_value(json_object_get(msg, "program")));
    } else if (json_object_get(msg, "stay")) {
        h->table.stay = true;
    } else if (json_object_get(msg, "bye")) {
        h->bye = true;
    } else {
        log_warn("holder: a message of another version");
    }
    while (n)
        close(fds[--n]);
    return 0;
}

static void on_channel(struct holder *h)
{
    json_t *msg = NULL;
    int fds[HOLD_FDS_MAX];
    unsigned n = 0;
    int r = hold_recv(h->child.sock, &msg, fds, &n);

    if (r == -ENODATA) {
        on_channel_end(h);
        return;
    }
    if (!r)
        r = on_message(h, msg, fds, n);
    if (r)
        log_error("holder: message err=%s", errno_name(r));
    json_decref(msg);
}

static void on_signal(struct holder *h)
{
    struct signalfd_siginfo si;

    if (read(h->signal_fd, &si, sizeof(si)) != sizeof(si))
        return;
    if (si.ssi_signo == SIGCHLD) {
        reap(h);
        return;
    }
    log_info("holder: signal=%u ending", si.ssi_signo);
    h->ending = true;
    hold_send(h->child.sock, json_pack("{s:b}", "end", 1), NULL, 0);
}

/* The first thread of the daemon has ended, yet its channel has not: some thread of it still waits in the kernel. */
static int stuck_wait_ms(struct holder *h)
{
    uint64_t now = clock_mono_ns();

    if (!h->stuck_ns)
        return -1;
    return now >= h->stuck_ns ? 0 : (int)((h->stuck_ns - now) / 1000000) + 1;
}

static _Noreturn void run(struct holder *h)
{
    start(h);
    for (;;) {
        struct pollfd p[3] = { { .fd = h->signal_fd, .events = POLLIN }, { .fd = h->child.sock, .events = POLLIN },
                               { .fd = h->stuck_ns ? -1 : h->child.leader_fd, .events = POLLIN } };
        int n = poll(p, 3, stuck_wait_ms(h));

        if (n < 0 && errno != EINTR) {
            log_error("holder: poll err=%s", errno_name(errno));
            end(h, 1);
        }
        if (n > 0 && p[1].revents)
            on_channel(h);
        else if (n > 0 && p[2].revents)
            h->stuck_ns = clock_mono_ns() + STUCK_MS * 1000000ull;
        else if (n > 0 && p[0].revents)
            on_signal(h);
        else if (!n && h->stuck_ns) {
            log_error("holder: the ended daemon pid=%d does not let go: the mounts are given up", (int)h->child.pid);
            held_abort(&h->table);        /* it has the devices too */
            held_drop_devices(&h->table);
            h->stuck_ns = clock_mono_ns() + STUCK_MS * 1000000ull;
        }
    }
}

static int parse(int argc, char **argv, struct holder *h)
{
    static const struct option longs[] = { { "store", required_argument, NULL, 's' }, { "foreground", no_argument, NULL, 'f' }, { "ready", required_argument, NULL, 'r' }, { 0 } };
    int k;

    *h = (struct holder){ .self = argv[0], .argv = argv, .ready_fd = -1, .why = "started" };
    while ((k = getopt_long(argc, argv, "+", longs, NULL)) != -1) {
        if (k == 's')
            h->store = optarg;
        else if (k == 'f')
            h->foreground = true;
        else if (k == 'r')
            h->ready_fd = atoi(optarg);
        else
            return -EINVAL;
    }
    h->daemon = argv + optind;
    return h->store && argv[0][0] == '/' && h->daemon[0] ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
    const char *table = getenv("COPPICE_HOLDER_TABLE");
    struct holder h;
    sigset_t set;

    if (parse(argc, argv, &h)) {
        fputs("coppice-holder is run by snapshotd\n", stderr);
        return 2;
    }
    umask(0077);
    privilege_limits();
    int r = privilege_shed();
    if (r)
        log_warn("holder: giving up capabilities failed err=%s", errno_name(r));
    held_table_init(&h.table);
    if (table) {
        h.ready_fd = -1;
        h.served = true;
        r = held_load(atoi(table), &h.table);
        close(atoi(table));
        unsetenv("COPPICE_HOLDER_TABLE");
        if (r) {
            log_error("holder: what the one before had is lost err=%s", errno_name(r));
            end(&h, 1);
        }
        snprintf(h.why, sizeof(h.why), "asked for");
    } else if (h.ready_fd >= 0) {
        fcntl(h.ready_fd, F_SETFD, FD_CLOEXEC);
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    h.signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    run(&h);
}
