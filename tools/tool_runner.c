/* The runner is started by whoever needs it first; others wait for his lock and then find it. */
#include "tools/tool_runner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "snapshotd/snap_start.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
enum { STOP_WAIT_MS = 60000, TOKEN_BYTES = 32 };

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

static int find_programs(char **launcher, char **snapshotd, char **sandboxd, char **agent, char **tar)
{
    static const struct { const char *in_build, *name; } names[] = {
        { "sandbox/launcher/launcher", "launcher" }, { "snapshotd/snapshotd", "snapshotd" }, { "sandbox/sandboxd", "sandboxd" },
        { "sandbox/agent/agent", "agent" }, { "tools/coppice-tar", "coppice-tar" },
    };
    char **at[] = { launcher, snapshotd, sandboxd, agent, tar };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!(*at[i] = tool_program(names[i].in_build, names[i].name)))
            return tool_fail("cannot find the program %s beside this command or in $PATH", names[i].name);
    return 0;
}

static int launch(struct tool *t, const char *listen, unsigned idle_exit_s)
{
    _cleanup_free_ char *launcher = NULL, *snapshotd = NULL, *sandboxd = NULL, *agent = NULL, *tar = NULL;
    char idle[24], text[2048];

    int r = find_programs(&launcher, &snapshotd, &sandboxd, &agent, &tar);
    if (r)
        return r;
    snprintf(idle, sizeof(idle), "%u", idle_exit_s);
    const char *argv[] = { launcher, "--store", t->store, "--snapshotd", snapshotd, "--sandboxd", sandboxd, "--agent", agent, "--tar", tar,
                           "--idle-exit", idle, listen ? "--listen" : NULL, listen, NULL };
    r = start_daemon(argv, text, sizeof(text));
    if (!r)
        return 0;
    return tool_fail("cannot start the runner of sandboxes: %s", r != -ECONNREFUSED ? strerror(-r) : text[0] ? text : "it ended without a word; look into its log");
}

/* The store is there, with the runner's directory in it. */
static int make_dir(struct tool *t)
{
    _cleanup_free_ char *p = NULL;
    int r = tool_open(t, NEED_CREATE);

    if (r)
        return r;
    if (asprintf(&p, "%s/" RUNNER_DIR, t->store) < 0)
        return tool_fail("out of memory");
    if (mkdir(p, 0755) && errno != EEXIST)
        return tool_fail("cannot make %s: %s", p, strerror(errno));
    return 0;
}

int runner_start(struct tool *t, const char *listen, unsigned idle_exit_s)
{
    _cleanup_close_ int found = -1;

    if (geteuid())
        return tool_fail("sandboxes are run by root: namespaces with ids of their own need it; run as root");
    int r = make_dir(t);
    if (r)
        return r;
    _cleanup_close_ int dir = open_dir(t);
    _cleanup_close_ int lock = dir < 0 ? -1 : openat(dir, "start.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0)
        return tool_fail("cannot use %s/" RUNNER_DIR ": %s", t->store, strerror(errno));
    while (flock(lock, LOCK_EX))
        if (errno != EINTR)
            return tool_fail("cannot lock %s/" RUNNER_DIR ": %s", t->store, strerror(errno));
    return runner_find(t, &found, NULL) ? launch(t, listen, idle_exit_s) : 0;
}

int runner_need(struct tool *t, int *ret_dir)
{
    int r = runner_find(t, ret_dir, NULL);

    if (!r)
        return 0;
    if (r == -EACCES)
        return tool_fail("no permission to use the runner of the store %s; run as root", t->store);
    if (r == -ECONNREFUSED)
        close(*ret_dir);
    *ret_dir = -1;
    r = runner_start(t, NULL, IDLE_EXIT_S);
    if (r)
        return r;
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

static bool token_ok(const char *s, ssize_t n)
{
    if (n != 65 || s[64] != '\n')
        return false;
    for (int i = 0; i < 64; i++)
        if (!strchr("0123456789abcdef", s[i]) || !s[i])
            return false;
    return true;
}

int runner_token(struct tool *t, char ret[65])
{
    uint8_t raw[TOKEN_BYTES];
    char text[80] = "";
    int r = make_dir(t);

    if (r)
        return r;
    _cleanup_close_ int dir = open_dir(t);
    _cleanup_close_ int fd = dir < 0 ? -1 : openat(dir, RUNNER_TOKEN, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : io_pread_full(fd, text, sizeof(text), 0);
    if (!token_ok(text, n)) {
        if (getrandom(raw, sizeof(raw), 0) != sizeof(raw))
            return tool_fail("cannot make a token: %s", strerror(errno));
        for (int i = 0; i < TOKEN_BYTES; i++)
            snprintf(text + 2 * i, 3, "%02x", raw[i]);
        text[64] = '\n';
        _cleanup_close_ int out = openat(dir, RUNNER_TOKEN ".new", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (out < 0 || io_write_full(out, text, 65) || fsync(out) || renameat(dir, RUNNER_TOKEN ".new", dir, RUNNER_TOKEN))
            return tool_fail("cannot write %s/" RUNNER_DIR "/" RUNNER_TOKEN ": %s", t->store, strerror(errno));
    }
    memcpy(ret, text, 64);
    ret[64] = 0;
    return 0;
}
