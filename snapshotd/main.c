/* snapshotd: owns one store. Start: the parent waits on a pipe until the daemon serves (or says why not), so whoever started it needs no
 * guess. End (SIGTERM, SIGINT, verb shutdown, idle): peers finish their calls, mounts are flushed and taken away, the store is committed
 * and closed. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <jansson.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/daemon.h"
#include "base/log.h"
#include "fs/store.h"
#include "fs/workspace.h"
#include "snapshotd/call.h"
#include "snapshotd/daemon.h"
#include "snapshotd/front.h"
#include "snapshotd/holder_child.h"
#include "snapshotd/privilege.h"

enum { PEERS_FINISH_S = 30, PEERS_AGAIN_S = 5, MOUNTS_FINISH_S = 20, LOCK_WAIT_S = 5, LOG_BYTES_MAX = 4 << 20 };

struct options { const char *store; bool foreground, create, init, no_holder; int held; unsigned idle_exit_s; };

static const char usage[] =
    "usage: snapshotd --store DIR [--foreground] [--idle-exit SECONDS] [--create] [--no-holder]\n"
    "       snapshotd --store DIR --init\n"
    "Serves the coppice store DIR on DIR/" SNAP_SOCKET ". It is started by `coppice` when needed.\n"
    "  --foreground         stay; log to standard error\n"
    "  --idle-exit SECONDS  end when nothing is mounted and nobody connected for so long (0: never)\n"
    "  --create             make the store if there is none\n"
    "  --no-holder          mounts end with this process, whatever ends it\n"
    "  --init               make the store and exit\n";

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {
        { "store", required_argument, NULL, 's' }, { "foreground", no_argument, NULL, 'f' }, { "idle-exit", required_argument, NULL, 'i' },
        { "create", no_argument, NULL, 'c' }, { "init", no_argument, NULL, 'n' }, { "help", no_argument, NULL, 'h' },
        { "no-holder", no_argument, NULL, 'o' }, { "held", required_argument, NULL, 'd' },
        { "version", no_argument, NULL, 'v' }, { 0 },
    };
    char *end;
    int k;

    *o = (struct options){ .store = getenv("COPPICE_STORE"), .held = -1 };
    while ((k = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (k == 's') {
            o->store = optarg;
        } else if (k == 'f') {
            o->foreground = true;
        } else if (k == 'c') {
            o->create = true;
        } else if (k == 'n') {
            o->init = true;
        } else if (k == 'o') {
            o->no_holder = true;
        } else if (k == 'd') {
            o->held = atoi(optarg);
        } else if (k == 'h') {
            fputs(usage, stdout);
            exit(0);
        } else if (k == 'v') {
            puts("snapshotd " COPPICE_VERSION);
            exit(0);
        } else if (k == 'i') {
            errno = 0;
            unsigned long v = strtoul(optarg, &end, 10);
            if (errno || *end || !*optarg || *optarg == '-' || v > 1000000)
                return -EINVAL;
            o->idle_exit_s = (unsigned)v;
        } else {
            return -EINVAL;
        }
    }
    return optind == argc && o->store && o->store[0] ? 0 : -EINVAL;
}

/* --- readiness --- */

/* To systemd, if it waits for us. */
static void notify_systemd(const char *text)
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
    if (fd >= 0 &&
        sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&sa, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        log_warn("systemd notify err=%s", errno_name(errno));
}

/* A daemon that was started by a command in some short-lived mount namespace would keep that, and all that is mounted in it, for as long as
 * it lives. So it goes to the namespace of pid 1, if that is another one and shows the same store. Whatever fails leaves it where it is. */
static void join_first_namespace(const char *store)
{
    char path[PATH_MAX];
    struct stat ours, first;
    struct stat here, there;

    snprintf(path, sizeof(path), "/proc/1/root%s", store);
    if (stat("/proc/self/ns/mnt", &ours) || stat("/proc/1/ns/mnt", &first) || ours.st_ino == first.st_ino)
        return;
    if (stat(store, &here) || stat(path, &there) || here.st_dev != there.st_dev || here.st_ino != there.st_ino)
        return;
    _cleanup_close_ int fd = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && setns(fd, CLONE_NEWNS))
        log_warn("mount namespace of pid 1 err=%s", errno_name(errno));
}

/* Says why it cannot start: to the waiting parent, or to the log. */
static int cannot(int ready, const char *fmt, const char *store, const char *why)
{
    if (ready >= 0)
        dprintf(ready, fmt, store, why);
    else
        log_error("store=%s not started: %s", store, why);
    return 1;
}

/* --- the store --- */

static const char *store_why(int err)
{
    switch (-err) {
    case ENOENT: return "there is no store; `coppice init` makes one";
    case EPROTONOSUPPORT: return "its format is newer than this coppice, or unknown; use the version that wrote it";
    case EBUSY: return "it is in use by another daemon; `coppice down` ends that one, or it is one that hangs";
    case EUCLEAN: return "its records are damaged; restore it from a copy, or look into the log for what cannot be read";
    case ENOTEMPTY: return "the directory holds other files; name an empty or new one";
    case EEXIST: return "it is a store already";
    case EACCES: case EPERM: return "no permission; run as root";
    case ENOSPC: return "the disk is full; free some space there";
    case EROFS: return "the file system is read-only";
    default: return strerror(-err);
    }
}

static void nothing(int sig)
{
    (void)sig;
}

/* A daemon that is ending has no socket any more but still the lock: waits until it lets go, at most timeout_s. One that serves is not
 * waited for. */
static void wait_lock(const char *store, bool held, unsigned timeout_s)
{
    struct sigaction sa = { .sa_handler = nothing };      /* no SA_RESTART: the alarm ends the wait */
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    char path[PATH_MAX];
    int sock;

    /* With a holder the socket is always there, and the one before us has ended. */
    if (!held && !snap_socket(store, -1, &sock)) {
        close(sock);
        return;
    }
    snprintf(path, sizeof(path), "%s/lock", store);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    sigaction(SIGALRM, &sa, NULL);
    alarm(timeout_s);
    int r = fcntl(fd, F_OFD_SETLKW, &fl);
    (void)r;
    alarm(0);
}

static int open_store(struct daemon *d, const struct options *o)
{
    struct store_options how = store_defaults;

    how.late = true;                      /* take_over() comes first */
    int r = store_open(o->store, &how, &d->store);

    if (r == -EBUSY) {
        wait_lock(o->store, d->holding.listen_fd >= 0, LOCK_WAIT_S);
        r = store_open(o->store, &how, &d->store);
    }
    if (r == -ENOENT && o->create) {
        r = store_init(o->store);
        if (!r)
            r = store_open(o->store, &how, &d->store);
    }
    return r;
}

/* A log that has grown large is put aside, in place of the one put aside before. */
static int redirect_log(const char *store)
{
    char path[PATH_MAX], old[PATH_MAX + 8];
    struct stat st;

    snprintf(path, sizeof(path), "%s/" SNAP_LOG, store);
    snprintf(old, sizeof(old), "%s.old", path);
    if (!lstat(path, &st) && st.st_size > LOG_BYTES_MAX)
        rename(path, old);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    _cleanup_close_ int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(fd, 2) < 0)
        return -errno;
    return 0;
}

static int daemon_init(struct daemon *d, const char *store)
{
    pthread_condattr_t attr;

    *d = (struct daemon){ .store_dir = store, .started_ns = clock_mono_ns(), .last_active_ns = clock_mono_ns(), .down_sock = -1 };
    holding_none(&d->holding);
    mounts_init(&d->mounts, &d->holding);
    template_init(&d->template);
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->peers_changed, &attr);
    pthread_condattr_destroy(&attr);
    d->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return d->wake_fd < 0 ? -errno : 0;
}

/* Everything is put away in order; what will not end in time is left behind, for the store is made to be left at any moment. */
static void finish(struct daemon *d)
{
    history_stop(&d->history);
    bool clean = peers_finish(d, PEERS_FINISH_S);

    if (!clean)
        log_warn("some calls did not end in time");
    if (!mounts_close(&d->mounts, MOUNTS_FINISH_S * 1000)) {
        log_warn("some mounts did not end in time");
        clean = false;
    }
    if (clean) {
        template_fini(&d->template);
        store_close(d->store);
    }
    if (d->down_sock >= 0) {
        json_t *ok = json_pack("{s:{s:b}}", "ok", "clean", clean);
        snap_send(d->down_sock, ok, NULL, 0);
        json_decref(ok);
    }
    log_info("ended clean=%d", clean);
    holding_bye(&d->holding);
    if (!clean)
        _exit(0);         /* threads still use what returning from main would take away */
}

/* Everything that was done is on the disk; the next one goes on with it. */
static _Noreturn void finish_again(struct daemon *d)
{
    history_stop(&d->history);
    if (!peers_finish(d, PEERS_AGAIN_S))
        log_warn("some calls were cut off: another daemon takes over");
    mounts_rest(&d->mounts);
    log_info("ended for another daemon to take over");
    holding_again(&d->holding, d->again_program);
    _exit(0);
}

/* The mounts of the one before us, and the socket on which clients may wait since. */
static int take_over(struct daemon *d, int *ret_listen_fd)
{
    struct adopted a = { 0 };
    int r = mounts_adopt(&d->mounts, d->store, &a);

    if (!r)
        r = store_begin(d->store);
    if (r)
        return r;
    *ret_listen_fd = d->holding.listen_fd;
    if (*ret_listen_fd < 0 && !(r = snap_socket(d->store_dir, 64, ret_listen_fd)))
        holding_listen(&d->holding, *ret_listen_fd);
    if (r)
        return r;
    holding_ready(&d->holding);
    if (d->holding.restarts)
        log_info("store=%s taken over from the daemon before (%s): mounts=%u failed=%u pause=%.1f ms (store open after %.1f, mounts %.1f)", d->store_dir,
                 d->holding.why, a.count, a.failed, (double)d->holding.pause_ns / 1e6, (double)(d->opened_ns - d->holding.lost_ns) / 1e6,
                 (double)(a.open_ns + a.start_ns) / 1e6);
    return 0;
}

static int serve(struct options *o, int ready)
{
    struct daemon d;
    int signal_fd = -1, listen_fd = -1;

    int r = daemon_init(&d, o->store);
    if (!r)
        r = daemon_signals(&signal_fd);
    if (r)
        return cannot(ready, "cannot serve the store %s: %s", o->store, strerror(-r));
    privilege_limits();
    if ((r = privilege_shed()))
        return cannot(ready, "cannot serve the store %s: giving up capabilities failed: %s", o->store, strerror(-r));
    if (o->held >= 0 && (r = holding_join(&d.holding, o->held)))
        return cannot(ready, "cannot serve the store %s: the holder does not answer: %s", o->store, strerror(-r));
    d.stay = d.holding.stay;
    if ((r = open_store(&d, o)))
        return cannot(ready, "cannot open the store %s: %s", o->store, store_why(r));
    d.opened_ns = clock_mono_ns();
    if (!o->foreground && (r = redirect_log(o->store)))
        return cannot(ready, "cannot open the log of the store %s: %s", o->store, strerror(-r));
    imports_clean(d.store);
    if ((r = take_over(&d, &listen_fd)))
        _exit(cannot(ready, "cannot serve the store %s: %s", o->store, store_why(r)));    /* mounts may be served already: nothing is closed under them */
    log_info("store=%s pid=%d serving", o->store, (int)getpid());
    if (ready >= 0) {
        dprintf(ready, "+");
        close(ready);
    }
    notify_systemd("READY=1");
    if ((r = history_start(&d.history, d.store, &history_mounts, &d)))
        log_error("step=history_start err=%s what=\"no automatic snapshots\"", errno_name(r));
    listener_run(&d, listen_fd, signal_fd, o->idle_exit_s);
    if (d.again)
        finish_again(&d);
    notify_systemd("STOPPING=1");
    /* New clients find no socket, and start a daemon of their own, which waits for the store's lock to be free. */
    unlinkat(d.store->dirfd, SNAP_SOCKET, 0);
    close(listen_fd);
    holding_listen(&d.holding, -1);
    finish(&d);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o;
    int ready = -1;

    if (parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    /* Our files and directories are for us alone, whatever the starter's mask was. */
    umask(0077);
    json_object_seed(0);
    if (o.init || o.create) {
        int r = o.init ? store_init(o.store) : mkdir(o.store, 0700) && errno != EEXIST ? -errno : 0;
        if (r)
            fprintf(stderr, "cannot make the store %s: %s\n", o.store, store_why(r));
        if (r || o.init)
            return r ? 1 : 0;
    }
    _cleanup_free_ char *store = realpath(o.store, NULL);
    if (!store) {
        fprintf(stderr, "cannot open the store %s: %s\n", o.store, store_why(-errno));
        return 1;
    }
    o.store = store;
    prctl(PR_SET_NAME, "snapshotd");
    if (o.held >= 0) {
        fcntl(o.held, F_SETFD, FD_CLOEXEC);
        ready = fcntl(CHILD_READY, F_SETFD, FD_CLOEXEC) ? -1 : CHILD_READY;
        return serve(&o, ready);
    }
    if (!o.foreground) {
        /* What the starter had open (pipes that somebody waits on) is not ours to keep. */
        close_range(3, ~0u, 0);
        join_first_namespace(store);
        int r = chdir("/") ? -errno : daemon_detach("snapshotd ended before it was ready; its log may say why", &ready);
        if (r) {
            fprintf(stderr, "cannot start: %s\n", strerror(-r));
            return 1;
        }
    }
    if (!o.no_holder)
        front_exec(argc, argv, store, o.foreground, ready);
    return serve(&o, ready);
}
