/* launcher: makes sandboxes for sandboxd, which it starts (docs/runner.md). Start: the parent waits on a pipe until sandboxd answers, or prints why not.
 * End (SIGTERM, SIGINT, idle): nobody comes in any more, sandboxd ends what it does, all boxes are killed, everything made is removed. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/daemon.h"
#include "base/log.h"
#include "sandbox/launcher/doors.h"
#include "sandbox/launcher/launch.h"

enum { LOG_BYTES_MAX = 4 << 20, LOCK_WAIT_S = 40, HIGH_FD = 10 };

static const char usage[] =
    "usage: launcher --store DIR --snapshotd PATH --sandboxd PATH --agent PATH [--tar PATH]\n"
    "                [--egress PATH] [--secret-key FILE|memory] [--upstream-roots FILE] [--resolver FILE] [--domain NAME]\n"
    "                [--listen ADDRESS:PORT] [--listen-any] [--idle-exit SECONDS] [--foreground] [--debug]\n"
    "Runs sandboxes of the coppice store DIR and serves them on DIR/sandbox/api.sock. It is started by `coppice` when needed.\n"
    "  --listen ADDRESS:PORT  also on TCP, with the token in DIR/sandbox/token; a loopback address\n"
    "  --listen-any           allow an address that other machines can reach (there is no encryption)\n"
    "  --idle-exit SECONDS    end when no sandbox ran for so long (0: never)\n"
    "  --tar PATH             coppice-tar, for sandboxd\n"
    "  --egress PATH          the egress proxy; without it sandboxes have no network\n"
    "  --secret-key FILE      32 bytes that the secrets are kept under (default: /etc/coppice/keys/ID, made at the first use); memory: lost at the end\n"
    "  --domain NAME          previews are also beneath this name: [http://|https://]NAME[:PORT]\n"
    "  --upstream-roots FILE  certificates (PEM) that servers are verified with (default: the host's)\n"
    "  --resolver FILE        names are resolved by the servers of this resolv.conf (default: /etc/resolv.conf)\n"
    "  --foreground           stay; log to standard error\n"
    "  --debug                log the time of each step\n";

static int parse_seconds(const char *text, unsigned *ret)
{
    char *end;

    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (errno || *end || text[0] < '0' || text[0] > '9' || v > 1000000)
        return -EINVAL;
    *ret = (unsigned)v;
    return 0;
}

static int parse(int argc, char **argv, struct launch_options *o)
{
    static const struct option longs[] = {
        { "store", required_argument, NULL, 's' }, { "snapshotd", required_argument, NULL, 'S' }, { "sandboxd", required_argument, NULL, 'B' },
        { "agent", required_argument, NULL, 'A' }, { "tar", required_argument, NULL, 'T' }, { "egress", required_argument, NULL, 'E' },
        { "secret-key", required_argument, NULL, 'K' }, { "upstream-roots", required_argument, NULL, 'U' }, { "resolver", required_argument, NULL, 'R' },
        { "domain", required_argument, NULL, 'D' },
        { "listen", required_argument, NULL, 'l' }, { "listen-any", no_argument, NULL, 'y' },
        { "idle-exit", required_argument, NULL, 'i' }, { "foreground", no_argument, NULL, 'f' }, { "debug", no_argument, NULL, 'd' },
        { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'v' }, { 0 },
    };
    int k;

    while ((k = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (k) {
        case 's': o->store = optarg; break;
        case 'S': o->snapshotd = optarg; break;
        case 'B': o->sandboxd = optarg; break;
        case 'A': o->agent = optarg; break;
        case 'T': o->tar = optarg; break;
        case 'E': o->egress = optarg; break;
        case 'K': o->secret_key = optarg; break;
        case 'U': o->upstream_roots = optarg; break;
        case 'R': o->resolver = optarg; break;
        case 'D': o->domain = optarg; break;
        case 'l': o->listen = optarg; break;
        case 'y': o->listen_any = true; break;
        case 'f': o->foreground = true; break;
        case 'd': log_threshold = LOG_DEBUG_; break;
        case 'h': fputs(usage, stdout); exit(0);
        case 'v': puts("launcher " COPPICE_VERSION); exit(0);
        case 'i':
            if (!parse_seconds(optarg, &o->idle_exit_s))
                break;
            return -EINVAL;
        default: return -EINVAL;
        }
    }
    return optind == argc && o->store && o->snapshotd && o->sandboxd && o->agent ? 0 : -EINVAL;
}

/* Real paths, for we go to /. */
static int resolve(struct launch_options *o)
{
    const char **paths[] = { &o->store, &o->snapshotd, &o->sandboxd, &o->agent, &o->tar, &o->upstream_roots, &o->resolver };

    /* egress may be missing, its key not there yet. */
    if ((o->egress && o->egress[0] != '/') || (o->secret_key && o->secret_key[0] != '/' && strcmp(o->secret_key, "memory"))) {
        fprintf(stderr, "--egress and --secret-key want absolute paths\n");
        return -EINVAL;
    }
    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (!*paths[i])
            continue;
        const char *real = realpath(*paths[i], NULL);
        if (!real) {
            int r = -errno;
            fprintf(stderr, "cannot open %s: %s\n", *paths[i], strerror(-r));
            return r;
        }
        *paths[i] = real;                 /* kept as long as the process lives */
    }
    return 0;
}

static int cannot(int ready, const char *text)
{
    log_error("not started: %s", text);
    if (ready >= 0)
        dprintf(ready, "%s", text);
    return 1;
}

/* STORE/sandbox, for root alone. */
static int open_dir(const char *store)
{
    _cleanup_close_ int at = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (at < 0 || (mkdirat(at, "sandbox", 0700) && errno != EEXIST))
        return -errno;
    int fd = openat(at, "sandbox", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && (fchown(fd, 0, 0) || fchmod(fd, 0700))) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd < 0 ? -errno : fd;
}

/* One launcher for a store. 0: we have it (for as long as the process lives); 1: another one serves; -errno. One that is just ending is waited for. */
static int take_lock(int dir_fd)
{
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    uint64_t end = clock_mono_ns() + LOCK_WAIT_S * 1000000000ull;
    int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -errno;
    while (fcntl(fd, F_OFD_SETLK, &fl)) {
        if (errno != EAGAIN && errno != EACCES)
            return -errno;
        if (!doors_knock(dir_fd))
            return 1;
        if (clock_mono_ns() > end)
            return -EBUSY;
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    return 0;
}

static int redirect_log(int dir_fd)
{
    struct stat st;

    if (!fstatat(dir_fd, "launcher.log", &st, AT_SYMLINK_NOFOLLOW) && st.st_size > LOG_BYTES_MAX)
        renameat(dir_fd, "launcher.log", dir_fd, "launcher.log.old");
    _cleanup_close_ int fd = openat(dir_fd, "launcher.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    _cleanup_close_ int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(fd, 2) < 0)
        return -errno;
    return 0;
}

static int serve(struct launch *l, int ready)
{
    char text[1024];
    int signal_fd = -1;

    int r = daemon_signals(&signal_fd);
    if (!r) {
        l->dir_fd = open_dir(l->options.store);
        r = l->dir_fd < 0 ? l->dir_fd : take_lock(l->dir_fd);
    }
    if (r == 1) {
        if (ready >= 0)
            dprintf(ready, "+");
        else
            fprintf(stderr, "a launcher for the store %s runs already\n", l->options.store);
        return ready >= 0 ? 0 : 1;
    }
    if (!r && !l->options.foreground)
        r = redirect_log(l->dir_fd);
    if (r) {
        snprintf(text, sizeof(text), "cannot serve the store %s: %s", l->options.store,
                 r == -EBUSY ? "another launcher is there and does not answer; `coppice down` ends it" : r == -EPERM || r == -EACCES ? "no permission; run as root" : strerror(-r));
        return cannot(ready, text);
    }
    r = launch_init(l, text, sizeof(text));
    if (r) {
        launch_fini(l);
        return cannot(ready, text);
    }
    l->ready_fd = ready;
    log_info("store=%s pid=%d cgroup=%d layers=%llx%s%s", l->options.store, (int)getpid(), l->cgroups.version, (unsigned long long)l->layers,
             l->tcp_fd >= 0 ? " listen=" : "", l->tcp_fd >= 0 ? l->listen_text : "");
    r = launch_run(l, signal_fd);
    launch_fini(l);
    return r ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct launch l = { .ready_fd = -1, .dir_fd = -1 };
    int ready = -1;

    if (parse(argc, argv, &l.options)) {
        fputs(usage, stderr);
        return 2;
    }
    umask(0077);
    if (resolve(&l.options))
        return 1;
    prctl(PR_SET_NAME, "launcher");
    prctl(PR_SET_DUMPABLE, 0);
    if (!l.options.foreground) {
        close_range(3, ~0u, 0);
        int r = chdir("/") ? -errno : daemon_detach("the launcher ended before it was ready; sandbox/launcher.log in the store may say why", &ready);
        if (r) {
            fprintf(stderr, "cannot start: %s\n", strerror(-r));
            return 1;
        }
    }
    return serve(&l, ready);
}
