/* The runner is started by whoever needs it first; others wait for his lock and then find it. */
#include "tools/tool_runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotd/snap_start.h"
#include "tools/runner_config.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
enum { STOP_WAIT_MS = 60000 };

static int open_dir(const struct tool *t)
{
    _cleanup_free_ char *p = NULL;

    if (asprintf(&p, "%s/" RUNNER_DIR, t->store) < 0)
        return -ENOMEM;
    int fd = open(p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* A connection, or -errno. */
static int dial(int dir)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/" RUNNER_SOCKET, dir);
    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
        return errno == ENOENT ? -ECONNREFUSED : -errno;
    return TAKE_FD(fd);
}

int runner_find(const struct tool *t, int *ret_dir, pid_t *ret_pid)
{
    _cleanup_close_ int dir = open_dir(t);

    if (dir < 0)
        return dir;
    _cleanup_close_ int fd = dial(dir);
    if (fd < 0 && fd != -ECONNREFUSED)
        return fd;
    *ret_dir = TAKE_FD(dir);
    if (fd < 0)
        return fd;
    struct ucred who = { 0 };
    socklen_t n = sizeof(who);
    if (ret_pid)
        *ret_pid = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) ? 0 : who.pid;
    return 0;
}

static int why_not(char *why, size_t size, int err, const char *what, const char *because)
{
    snprintf(why, size, "%s: %s", what, because);
    return err;
}

/* Paths of the programs, owned. egress is NULL where it was not built: then sandboxes have no network, and say so. */
struct programs { char *launcher, *snapshotd, *sandboxd, *agent, *tar, *egress; };

static void programs_fini(struct programs *p)
{
    free(p->launcher);
    free(p->snapshotd);
    free(p->sandboxd);
    free(p->agent);
    free(p->tar);
    free(p->egress);
}

static int programs_find(struct programs *p, char *why, size_t size)
{
    const struct { const char *in_build, *name; char **at; } names[] = {
        { "sandbox/launcher/launcher", "launcher", &p->launcher }, { "snapshotd/snapshotd", "snapshotd", &p->snapshotd },
        { "sandbox/sandboxd", "sandboxd", &p->sandboxd }, { "sandbox/agent/agent", "agent", &p->agent }, { "tools/coppice-tar", "coppice-tar", &p->tar },
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!(*names[i].at = tool_program(names[i].in_build, names[i].name)))
            return why_not(why, size, -ENOENT, names[i].name, "this program is neither beside the command nor in $PATH");
    p->egress = tool_program("sandbox/egress/egress", "egress");
    return 0;
}

static int launch(struct tool *t, const struct runner_start *how, const struct runner_config *c, char *why, size_t size)
{
    _cleanup_(programs_fini) struct programs p = { 0 };
    char idle[24];
    int r = programs_find(&p, why, size);

    if (r)
        return r;
    snprintf(idle, sizeof(idle), "%u", how->idle_exit_s);
    const char *argv[24] = { p.launcher, "--store", t->store, "--snapshotd", p.snapshotd, "--sandboxd", p.sandboxd, "--agent", p.agent, "--tar", p.tar, "--idle-exit", idle };
    const char *const more[][2] = { { "--egress", p.egress }, { "--secret-key", c->secret_key }, { "--upstream-roots", c->upstream_roots }, { "--resolver", c->resolver }, { "--domain", c->domain },
                                    { "--listen", how->listen } };
    unsigned n = 13;
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        if (more[i][1] && more[i][1][0]) {
            argv[n++] = more[i][0];
            argv[n++] = more[i][1];
        }
    if (how->listen_any)
        argv[n++] = "--listen-any";
    r = start_daemon(argv, why, size);
    if (r && r != -ECONNREFUSED)
        return why_not(why, size, r, p.launcher, strerror(-r));
    if (r && !why[0])
        snprintf(why, size, "it ended without a word; look into %s/" RUNNER_DIR "/launcher.log", t->store);
    return r;
}

/* sandboxd looks at it closely; here people are told of what cannot be. */
static bool domain_plausible(const char *d)
{
    return strchr(d, '.') && strlen(d) < 200 && strspn(d, "abcdefghijklmnopqrstuvwxyz0123456789.-:/") == strlen(d) && d[0] != '.' && !strstr(d, "..");
}

/* What is kept, and over it what is said now. */
static int settings(int dir, const struct runner_start *how, struct runner_config *c, char *why, size_t size)
{
    const struct { const char *said; char *at; } said[] = { { how->secret_key, c->secret_key }, { how->upstream_roots, c->upstream_roots }, { how->resolver, c->resolver } };
    int r = runner_config_load(dir, c, why, size);

    for (size_t i = 0; !r && i < sizeof(said) / sizeof(said[0]); i++)
        if (said[i].said && (r = runner_config_set(said[i].at, said[i].said)))
            why_not(why, size, r, said[i].said, strerror(-r));
    if (!r && how->domain && strcmp(how->domain, "default") && !domain_plausible(how->domain))
        r = why_not(why, size, -EINVAL, how->domain, "--domain wants NAME, https://NAME or http://NAME:PORT, a name in lower case with a dot");
    if (!r && how->domain)
        snprintf(c->domain, sizeof(c->domain), "%s", strcmp(how->domain, "default") ? how->domain : "");
    return r;
}

static int configured(struct tool *t, int dir, const struct runner_start *how, char *why, size_t size)
{
    struct runner_config c;
    int r = settings(dir, how, &c, why, size);

    if (!r)
        r = launch(t, how, &c, why, size);
    if (!r && (how->secret_key || how->upstream_roots || how->resolver || how->domain) && (r = runner_config_save(dir, &c)))
        why_not(why, size, r, "it runs, but its options could not be kept for later starts", strerror(-r));
    return r;
}

int runner_start(struct tool *t, const struct runner_start *how, char *ret_why, size_t why_size)
{
    _cleanup_free_ char *p = NULL;
    _cleanup_close_ int found = -1;

    if (geteuid())
        return why_not(ret_why, why_size, -EPERM, "sandboxes are run by root", "namespaces with ids of their own need it; run as root");
    if (asprintf(&p, "%s/" RUNNER_DIR, t->store) < 0)
        return why_not(ret_why, why_size, -ENOMEM, t->store, "out of memory");
    if (mkdir(p, 0755) && errno != EEXIST)
        return why_not(ret_why, why_size, -errno, p, strerror(errno));
    _cleanup_close_ int dir = open_dir(t);
    _cleanup_close_ int lock = dir < 0 ? -1 : openat(dir, "start.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0)
        return why_not(ret_why, why_size, -errno, p, strerror(errno));
    while (flock(lock, LOCK_EX))
        if (errno != EINTR)
            return why_not(ret_why, why_size, -errno, p, strerror(errno));
    return runner_find(t, &found, NULL) ? configured(t, dir, how, ret_why, why_size) : 0;
}

int runner_need(struct tool *t, int *ret_dir)
{
    char why[2048];
    int r = runner_find(t, ret_dir, NULL);

    if (!r)
        return 0;
    if (r == -EACCES)
        return tool_fail("no permission to use the runner of the store %s; run as root", t->store);
    if (r == -ECONNREFUSED)
        close(*ret_dir);
    *ret_dir = -1;
    r = tool_open(t, NEED_CREATE);
    if (r)
        return r;
    if (runner_start(t, &(struct runner_start){ .idle_exit_s = IDLE_EXIT_S }, why, sizeof(why)))
        return tool_fail("cannot start the runner of sandboxes: %s", why);
    r = runner_find(t, ret_dir, NULL);
    if (r == -ECONNREFUSED)
        close(*ret_dir);
    return r ? tool_fail("the runner of the store %s started, and ended at once (%s)", t->store, strerror(-r)) : 0;
}

/* A handle on who listens, which stays his when the pid is used again. */
static int peer_handle(int fd)
{
    struct ucred who = { 0 };
    socklen_t n = sizeof(who);
    int pidfd = -1;
    socklen_t m = sizeof(pidfd);

    if (!getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &m))
        return pidfd;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) || who.pid <= 0)
        return -1;
    return (int)syscall(SYS_pidfd_open, who.pid, 0);
}

int runner_stop(struct tool *t, bool *ret_ran)
{
    _cleanup_close_ int dir = open_dir(t);
    _cleanup_close_ int fd = dir < 0 ? -1 : dial(dir);

    *ret_ran = fd >= 0;
    if (fd < 0)
        return fd == -EACCES || dir == -EACCES ? tool_fail("no permission to end the runner of the store %s; run as root", t->store) : 0;
    _cleanup_close_ int who = peer_handle(fd);
    close(TAKE_FD(fd));
    if (who < 0 || (syscall(SYS_pidfd_send_signal, who, SIGTERM, NULL, 0) && errno != ESRCH))
        return tool_fail("cannot end the runner of the store %s: %s", t->store, strerror(errno));
    struct pollfd p = { .fd = who, .events = POLLIN };
    int n;
    while ((n = poll(&p, 1, STOP_WAIT_MS)) < 0 && errno == EINTR)
        ;
    return n > 0 ? 0 : tool_fail("the runner of the store %s has not ended within %d s; its log may say why", t->store, STOP_WAIT_MS / 1000);
}

/* One line of a file in the runner's directory. */
static int read_line(int dir, const char *name, char *out, size_t size)
{
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -errno : io_pread_full(fd, out, size - 1, 0);

    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
    return n < 0 ? (int)n : 0;
}

int runner_tcp(const struct tool *t, char *ret_listen, size_t listen_size, char *ret_token, size_t token_size)
{
    _cleanup_close_ int dir = open_dir(t);
    int r = dir < 0 ? dir : read_line(dir, "listen", ret_listen, listen_size);

    ret_token[0] = 0;
    if (r == -ENOENT) {
        ret_listen[0] = 0;
        return 0;
    }
    return r ? r : read_line(dir, "token", ret_token, token_size);
}
