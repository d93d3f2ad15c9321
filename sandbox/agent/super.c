/* The supervisor's life:
 *
 *   MAKING    reads the spec, finds the user, makes descriptors, forks the command
 *   STARTING  until the command's process has closed the status pipe by execve (STARTED goes out with the descriptors) or has written why not (FAILED)
 *   RUNNING   until wait4() has returned the command (EXITED)
 *   LINGERING while descendants are left; when wait4() says that there are none, it ends
 *
 * Invariants: no wait status but the command's own makes an EXITED; there is at most one STARTED or FAILED and at most one EXITED, in this order; it ends only when it has no
 * children (ECHILD), and then nothing of the execution is left, because each descendant whose parent dies becomes a child of this process.
 */
#include "sandbox/agent/super.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "sandbox/agent/tree.h"
#include "sandbox/agent/user.h"

enum { REAP_MAX = 256, SEARCHES = 3, MANY = 64 /* see kill_tree() */, DYING_MS = 10, SEARCH_AGAIN_MS = 50 };
struct super {
    int sock, proc_fd, signal_fd, status_fd;
    pid_t pid;                               /* the command; 0: it has been waited for */
    pid_t group;                             /* its process group (and session) */
    bool told, failed;                       /* STARTED or FAILED is out; it was FAILED */
    uint64_t start_ns, timeout_ns;           /* 0: none, or over */
    uint64_t kill_ns;                        /* SIGKILL for all at that time; 0: not asked for */
    bool timed_out, more;                    /* more: there may be others to wait for at once */
    struct super_stdio io;
};

int super_send(int sock, const void *p, size_t n, const int *fds, unsigned count)
{
    struct iovec iov = { (void *)p, n };
    union { struct cmsghdr h; char b[CMSG_SPACE(SUPER_FDS * sizeof(int))]; } c = { 0 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (count) {
        msg.msg_control = &c;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        c.h.cmsg_level = SOL_SOCKET;
        c.h.cmsg_type = SCM_RIGHTS;
        c.h.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&c.h), fds, count * sizeof(int));
    }
    ssize_t r;
    do
        r = sendmsg(sock, &msg, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

ssize_t super_recv(int sock, void *p, size_t n, int *ret_fds, unsigned *ret_count)
{
    struct iovec iov = { p, n };
    union { struct cmsghdr h; char b[CMSG_SPACE(SUPER_FDS * sizeof(int))]; } c;
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c };
    ssize_t r;

    do
        r = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (r < 0 && errno == EINTR);
    *ret_count = 0;
    if (r < 0)
        return -errno;
    struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
        *ret_count = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(ret_fds, CMSG_DATA(h), *ret_count * sizeof(int));
    }
    return r;
}

/* The socket is the agent's and blocks; an agent that is gone takes all with it. */
static void report(struct super *s, struct super_report *r, const int *fds, unsigned count)
{
    if (super_send(s->sock, r, sizeof *r, fds, count) < 0)
        _exit(1);
}

static void report_failed(struct super *s, int err, const char *step)
{
    struct super_report r = { .op = SUPER_FAILED, .err = err };

    snprintf(r.step, sizeof r.step, "%s", step);
    report(s, &r, NULL, 0);
    s->told = s->failed = true;
}

static void report_started(struct super *s)
{
    struct super_report r = { .op = SUPER_STARTED, .pid = (uint32_t)s->group };

    report(s, &r, s->io.agent, s->io.agent_count);
    super_stdio_close(&s->io, true);
    s->told = true;
}

static uint64_t us_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static void report_exited(struct super *s, int status, const struct rusage *u)
{
    struct super_report r = { .op = SUPER_EXITED, .pid = (uint32_t)s->group };

    if (WIFSIGNALED(status))
        r.info.signal = WTERMSIG(status);
    else
        r.info.code = WEXITSTATUS(status);
    r.info.core = WIFSIGNALED(status) && WCOREDUMP(status);
    r.info.timed_out = s->timed_out;
    r.info.user_us = us_of(u->ru_utime);
    r.info.sys_us = us_of(u->ru_stime);
    r.info.wall_us = (clock_mono_ns() - s->start_ns) / 1000;
    r.info.peak_kb = (uint64_t)u->ru_maxrss;
    report(s, &r, NULL, 0);
}

/* The command's process has closed the pipe (execve), or it failed. */
static void status_readable(struct super *s)
{
    struct child_failure f;
    ssize_t n = read(s->status_fd, &f, sizeof f);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    close(s->status_fd);
    s->status_fd = -1;
    if (n == (ssize_t)sizeof f) {
        f.step[SUPER_STEP - 1] = '\0';
        report_failed(s, f.err, f.step);
    } else {
        report_started(s);
    }
}

/* What has ended, a bounded number: a fork bomb must not keep this process from its orders. false: there are no children any more. */
static bool reap(struct super *s)
{
    s->more = false;
    for (unsigned i = 0; i < REAP_MAX; i++) {
        int status;
        struct rusage u;
        pid_t pid = wait4(-1, &status, WNOHANG, &u);
        if (pid < 0)
            return errno != ECHILD;
        if (pid == 0)
            return true;
        if (pid != s->pid)
            continue;
        if (s->status_fd >= 0)               /* killed before execve: its end of the pipe is closed, or it has said why */
            status_readable(s);
        s->pid = 0;
        s->timeout_ns = 0;
        if (!s->failed)
            report_exited(s, status, &u);
    }
    s->more = true;
    return true;
}

static void drain_signal_fd(struct super *s)
{
    struct signalfd_siginfo si;

    while (read(s->signal_fd, &si, sizeof si) > 0)
        ;
}

/* Kills until wait4() says that nothing is left: by searches, and while everything is stopped if the third one still meets new ones, or if there are so many that this process
 * would get too little of the processors among them to search on. Then what is left is only dying, but it is looked at now and then. */
static int kill_tree(struct super *s)
{
    uint64_t now = clock_mono_ns(), end = now + SUPER_KILL_MS * 1000000ull, next = now;

    for (int searches = 0;; now = clock_mono_ns()) {
        drain_signal_fd(s);
        if (now >= next) {
            struct tree_found f = tree_kill(s->proc_fd, searches++ == 0, MANY, NULL);
            bool halt = f.fresh && (searches >= SEARCHES || f.fresh >= MANY);
            if (!f.fresh || (halt && halt_and_kill(s->proc_fd, NULL)))
                next = clock_mono_ns() + SEARCH_AGAIN_MS * 1000000ull;
        }
        if (!reap(s))
            return 0;
        if (now >= end)
            return -ETIMEDOUT;
        struct pollfd p = { s->signal_fd, POLLIN, 0 };
        if (!s->more)
            poll(&p, 1, DYING_MS);
    }
}

static int send_signal(struct super *s, int sig, unsigned flags)
{
    if (sig < 0 || sig >= NSIG)
        return -EINVAL;
    if (flags & SIGNAL_TREE)
        return sig == SIGKILL ? kill_tree(s) : tree_signal(s->proc_fd, sig) ? 0 : -ESRCH;
    if (flags & SIGNAL_GROUP && !s->pid)     /* the number may be somebody else's by now: only ours with that group */
        return tree_signal_group(s->proc_fd, s->group, sig) ? 0 : -ESRCH;
    if (!s->pid)
        return -ESRCH;
    return kill(flags & SIGNAL_GROUP ? -s->pid : s->pid, sig) < 0 ? -errno : 0;
}

static void order_readable(struct super *s)
{
    struct super_order o;
    ssize_t n = recv(s->sock, &o, sizeof o, MSG_DONTWAIT);

    if (n == 0)
        _exit(1);                            /* the agent has gone, and the sandbox with it */
    if (n != (ssize_t)sizeof o)
        return;
    struct super_report r = { .op = SUPER_RESULT };
    r.err = send_signal(s, o.signal, o.flags);
    report(s, &r, NULL, 0);
}

static int wait_ms(const struct super *s, uint64_t now)
{
    uint64_t at = s->kill_ns ? s->kill_ns : s->timeout_ns;

    return s->more ? 0 : !at ? -1 : at <= now ? 0 : (int)((at - now) / 1000000 > 1000000 ? 1000000 : (at - now + 999999) / 1000000);
}

static void on_time(struct super *s, uint64_t now)
{
    if (s->kill_ns && now >= s->kill_ns) {
        s->kill_ns = kill_tree(s) ? now + SUPER_TERM_MS * 1000000ull : 0;      /* again, if something could not die yet */
    } else if (s->timeout_ns && now >= s->timeout_ns) {
        s->timed_out = true;
        s->timeout_ns = 0;
        s->kill_ns = now + SUPER_TERM_MS * 1000000ull;
        tree_signal(s->proc_fd, SIGTERM);
    }
}

static void loop(struct super *s)
{
    while (reap(s)) {
        struct pollfd p[3] = { { s->signal_fd, POLLIN, 0 }, { s->sock, POLLIN, 0 }, { s->status_fd, POLLIN, 0 } };
        if (poll(p, 3, wait_ms(s, clock_mono_ns())) > 0) {
            if (p[2].revents)
                status_readable(s);
            if (p[0].revents)
                drain_signal_fd(s);
            if (p[1].revents)
                order_readable(s);
        }
        on_time(s, clock_mono_ns());
    }
}

/* What it needs from now on: to signal what it has started. */
static int drop_caps(void)
{
    struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
    struct __user_cap_data_struct d[2] = { { 1u << CAP_KILL, 1u << CAP_KILL, 0 } };

    return syscall(SYS_capset, &h, d) < 0 ? -errno : 0;
}

static int spec_read(const uint8_t *p, size_t n, int fd, struct exec_spec *ret)
{
    struct stat st;

    if (fd < 0)
        return exec_spec_get(p, n, ret);
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > EXEC_SPEC_MAX)
        return -EBADMSG;
    /* Read, not mapped: its other owner might cut it. */
    static uint8_t bytes[EXEC_SPEC_MAX];
    ssize_t got = pread(fd, bytes, sizeof bytes, 0);
    return got < 0 ? -errno : exec_spec_get(bytes, (size_t)got, ret);
}

static int start(struct super *s, const struct exec_spec *spec, uint8_t flags, int program_fd, const char **ret_step)
{
    struct user u;
    int status[2], r;

    *ret_step = "user";
    if ((r = user_find(spec->user, &u)))
        return r;
    *ret_step = flags & EXEC_TTY ? "terminal" : "descriptors";
    if ((r = super_stdio_make(flags, u.uid, u.gid, spec->cols, spec->rows, &s->io)))
        return r;
    if (pipe2(status, O_CLOEXEC) < 0)
        return -errno;
    *ret_step = "fork";
    s->start_ns = clock_mono_ns();
    s->pid = fork();
    if (s->pid < 0)
        return -errno;
    if (s->pid == 0)
        child_main(spec, &u, flags & EXEC_TTY, &s->io, status[1], program_fd);
    s->group = s->pid;
    close(status[1]);
    s->status_fd = status[0];
    super_stdio_close(&s->io, false);
    if (spec->timeout_ms)
        s->timeout_ns = s->start_ns + spec->timeout_ms * 1000000ull;
    return 0;
}

_Noreturn void super_main(int sock, int proc_fd, uint8_t flags, const uint8_t *p, size_t n, int spec_fd, int program_fd)
{
    struct super s = { .sock = sock, .proc_fd = proc_fd, .signal_fd = -1, .status_fd = -1 };
    struct exec_spec spec;
    const char *step = "spec";
    sigset_t all;
    int r;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigemptyset(&all);
    sigaddset(&all, SIGCHLD);
    s.signal_fd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    r = s.signal_fd < 0 ? -errno : spec_read(p, n, spec_fd, &spec);
    if (!r) {
        r = start(&s, &spec, flags, program_fd, &step);
        if (program_fd >= 0)
            close(program_fd);
        if (!r && (r = drop_caps()))
            kill(s.pid, SIGKILL);
        exec_spec_fini(&spec);
    }
    if (r && !s.told) {
        report_failed(&s, r, step);
        if (s.status_fd >= 0)
            close(s.status_fd), s.status_fd = -1;
    }
    loop(&s);
    _exit(0);
}
