#include "sandbox/launcher/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/launcher/doors.h"
#include "sandbox/launcher/husk.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

enum { AGENT_BYTES_MAX = 64 << 20, SANDBOXD_ENDS_MS = 20000, BOXES_END_MS = 2 * LAUNCH_KILL_MS };
#define IDS_DIR "/run/coppice"

void launch_notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    size_t n = path ? strlen(path) : 0;

    if (!n || n >= sizeof(sa.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(sa.sun_path, path, n);
    if (path[0] == '@')
        sa.sun_path[0] = 0;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        log_warn("step=notify err=%s", errno_name(errno));
}

static int why(char *out, unsigned long size, int err, const char *what, const char *which)
{
    snprintf(out, size, "%s %s: %s", what, which, strerror(-err));
    return err;
}

/* --- what is made at the start --- */

/* The agent's program is executed from a copy that nobody can write: no sandbox can reach the file through its pid 1. */
static int seal_agent(const char *path)
{
    char chunk[65536];
    off_t off = 0;
    ssize_t n;

    _cleanup_close_ int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return -errno;
    _cleanup_close_ int fd = memfd_create("agent", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("agent", MFD_CLOEXEC | MFD_ALLOW_SEALING);      /* before Linux 6.3 all are executable */
    if (fd < 0)
        return -errno;
    while ((n = io_pread_full(from, chunk, sizeof(chunk), off)) > 0) {
        int r = off + n > AGENT_BYTES_MAX ? -EFBIG : io_pwrite_full(fd, chunk, (size_t)n, off);
        if (r)
            return r;
        off += n;
    }
    if (n < 0)
        return (int)n;
    if (!off || fchmod(fd, 0555) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
        return off ? -errno : -ENOEXEC;
    return TAKE_FD(fd);
}

/* Names of groups must differ between stores, and say nothing about them. */
static void name_of_store(const char *path, char *out, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (; *path; path++)
        h = (h ^ (uint8_t)*path) * 0x100000001b3u;
    snprintf(out, size, "%012llx", (unsigned long long)(h & 0xffffffffffffu));
}

static int write_text(int dir_fd, const char *name, const char *text)
{
    _cleanup_close_ int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? -errno : io_write_full(fd, text, strlen(text));
}

/* Removes what a dead launcher of this store left, then finds and makes our own place. */
static int groups_init(struct launch *l)
{
    struct cgroup_place place = { .root = "", .name = l->name };
    char list[CG_CONTROLLERS * 520] = "";

    _cleanup_close_ int fd = openat(l->dir_fd, "groups", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && io_pread_full(fd, list, sizeof(list) - 1, 0) > 0)
        cgroups_clean(list, l->name);
    int r = cgroups_open(&l->cgroups, &place);
    cgroups_list(&l->cgroups, list, sizeof(list));
    if (!r)
        r = write_text(l->dir_fd, "groups", list);
    if (l->cgroups.missing[0])
        log_error("step=cgroup missing=\"%s\": sandboxes will not start", l->cgroups.missing);
    return r;
}

static int state_init(struct launch *l)
{
    if (mkdirat(l->dir_fd, "state", 0700) && errno != EEXIST)
        return -errno;
    l->state_fd = openat(l->dir_fd, "state", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (l->state_fd < 0 || fchown(l->state_fd, LAUNCH_SANDBOXD_UID, LAUNCH_SANDBOXD_UID) || fchmod(l->state_fd, 0700))
        return -errno;
    return 0;
}

static int doors_init(struct launch *l, char *ret_why, unsigned long size)
{
    char text[32];

    int r = doors_unix(l);
    if (r)
        return why(ret_why, size, r, "cannot listen in the store", l->options.store);
    if (l->options.listen && (r = doors_tcp(l, ret_why, size)))
        return r;
    if (l->tcp_fd >= 0)
        write_text(l->dir_fd, "listen", l->listen_text);
    snprintf(text, sizeof(text), "%d\n", (int)getpid());
    r = write_text(l->dir_fd, "pid", text);
    return r ? why(ret_why, size, r, "cannot write into", l->options.store) : 0;
}

int launch_init(struct launch *l, char *ret_why, unsigned long size)
{
    static const char *const no_options[] = { NULL };
    struct rlimit rl;
    int r;

    l->agent_fd = l->fusectl_fd = l->state_fd = l->unix_fd = l->tcp_fd = -1;
    l->egress = (struct egress){ .sock = -1, .on_sock.fd = -1, .dir_fd = -1, .key_fd = -1, .ca_fd = -1, .bundle_fd = -1 };
    packets_init(&l->egress.out);
    child_init(&l->sandboxd, l, &sandboxd_kind);
    child_init(&l->egress.child, l, &egress_kind);
    control_init(&l->control);
    store_links_init(l);
    name_of_store(l->options.store, l->name, sizeof(l->name));
    if (!getrlimit(RLIMIT_NOFILE, &rl)) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
    write_text(AT_FDCWD, "/proc/self/oom_score_adj", "-500");      /* a wish: not every root may */
    if ((r = loop_init(&l->loop)))
        return why(ret_why, size, r, "cannot make", "the event loop");
    if ((r = ids_init(&l->ids, IDS_DIR)))
        return why(ret_why, size, r, "cannot make", IDS_DIR);
    size_t n = (size_t)snprintf(l->outside, sizeof(l->outside), CONFINE_OUTSIDE "=");
    if ((r = confine_outside_text(l->outside + n, sizeof(l->outside) - n)))
        return why(ret_why, size, r, "cannot read", "the launcher's own namespaces");
    if ((l->agent_fd = seal_agent(l->options.agent)) < 0)
        return why(ret_why, size, l->agent_fd, "cannot copy the agent's program", l->options.agent);
    l->sandboxd.program_fd = open(l->options.sandboxd, O_PATH | O_CLOEXEC);
    if (l->sandboxd.program_fd < 0)
        return why(ret_why, size, -errno, "cannot open", l->options.sandboxd);
    if ((r = state_init(l)))
        return why(ret_why, size, r, "cannot make the directory sandbox/state of the store", l->options.store);
    if ((r = groups_init(l)))
        return why(ret_why, size, r, "cannot make control groups for the store", l->options.store);
    l->fusectl_fd = husk_fs("fusectl", 0, no_options);
    l->layers = layers_of_host(&l->cgroups, l->missing, sizeof(l->missing));
    if ((r = doors_init(l, ret_why, size)) || (r = egress_init(l, ret_why, size)))
        return r;
    r = slots_init(l);
    return r ? why(ret_why, size, r, "cannot make", "the table of sandboxes") : 0;
}

void launch_fini(struct launch *l)
{
    int *fds[] = { &l->agent_fd, &l->fusectl_fd, &l->state_fd, &l->sandboxd.program_fd };

    egress_fini(l);
    doors_close(l);
    unlinkat(l->dir_fd, "pid", 0);
    cgroups_close(&l->cgroups);
    unlinkat(l->dir_fd, "groups", 0);
    for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (*fds[i] >= 0)
            close(*fds[i]);
    slots_fini(l);
    ids_fini(&l->ids);
    loop_fini(&l->loop);
}

/* --- life --- */

static void end_now(void *arg)
{
    struct launch *l = arg;

    log_error("step=end boxes=%u could not be ended in time", slots_busy(l));
    l->loop.stop = true;
}

static void end_boxes(void *arg)
{
    struct launch *l = arg;

    if (child_lives(&l->sandboxd)) {
        log_warn("step=end sandboxd did not end in time");
        child_kill(&l->sandboxd);
    }
    slots_end_all(l);
    loop_arm(&l->loop, &l->end_timer, (uint64_t)BOXES_END_MS * 1000, end_now, l);
    launch_idle(l);
}

void launch_end(struct launch *l)
{
    if (l->ending)
        return;
    log_info("ending boxes=%u", slots_running(l));
    launch_notify("STOPPING=1");
    l->ending = true;
    doors_close(l);
    loop_disarm(&l->refill_timer);
    loop_disarm(&l->idle_timer);
    if (child_lives(&l->sandboxd)) {
        child_end(&l->sandboxd);
        loop_arm(&l->loop, &l->end_timer, (uint64_t)SANDBOXD_ENDS_MS * 1000, end_boxes, l);
    } else {
        end_boxes(l);
    }
}

static void idle_exit(void *arg)
{
    struct launch *l = arg;

    if (!slots_running(l))
        launch_end(l);
}

void launch_idle(struct launch *l)
{
    if (l->ending) {
        if (child_lives(&l->sandboxd) || !l->slots || slots_busy(l))
            return;
        child_kill(&l->egress.child);     /* last: it keeps nothing that it has not written */
        l->loop.stop |= !child_lives(&l->egress.child);
    } else if (l->options.idle_exit_s && !slots_running(l)) {
        loop_arm(&l->loop, &l->idle_timer, (uint64_t)l->options.idle_exit_s * 1000000, idle_exit, l);
    }
}

static void on_signal(void *arg, uint32_t events)
{
    struct launch *l = arg;
    struct signalfd_siginfo si;

    (void)events;
    if (read(l->on_signal.fd, &si, sizeof(si)) == sizeof(si))
        launch_end(l);
}

int launch_run(struct launch *l, int signal_fd)
{
    int r = loop_watch(&l->loop, &l->on_signal, signal_fd, EPOLLIN, on_signal, l);

    if (r)
        return r;
    egress_run(l);                        /* first: husks wait for its certificate */
    child_start(&l->sandboxd);
    launch_idle(l);
    r = loop_run(&l->loop);
    store_links_end(l);
    control_close(l);
    log_info("ended");
    return r;
}
