/* The process that makes processes for handlers. It is forked off before egress has read anything, so it holds no secret and no descriptor but its line to egress; seccomp leaves it memory,
 * its line, and fork. For each byte that it is sent: a descriptor, whose other end is a child with a Lua state that nobody used before (a copy of the one made here, by copy-on-write). */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/egress/handler_wire.h"

static const int calls[] = {
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(sendmsg), SCMP_SYS(socketpair), SCMP_SYS(clone), SCMP_SYS(close), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap),
    SCMP_SYS(mprotect), SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(setitimer), SCMP_SYS(futex), SCMP_SYS(gettid),
    SCMP_SYS(getpid), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(getrandom), SCMP_SYS(sched_yield), SCMP_SYS(sigaltstack),
};

static int confine(void)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int e = f ? 0 : -ENOMEM;

    for (unsigned i = 0; !e && i < sizeof calls / sizeof *calls; i++)
        e = seccomp_rule_add(f, SCMP_ACT_ALLOW, calls[i], 0);
    if (!e)
        e = seccomp_load(f);
    seccomp_release(f);
    return e;
}

/* One asks: a byte. */
static bool asked(int fd)
{
    char byte;
    ssize_t n;

    do
        n = read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

static void answer(int fd, int job)
{
    union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } control = { 0 };
    struct iovec v = { (void *)"j", 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = job < 0 ? 0 : sizeof control };
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    if (c) {
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof job);
        memcpy(CMSG_DATA(c), &job, sizeof job);
    }
    sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* A child with one end of a line; the other goes to who asked. None: the answer has no descriptor. */
static void serve(int fd, void *lua)
{
    int s[2] = { -1, -1 };
    pid_t child = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) ? -1 : fork();

    if (!child) {
        close(fd);
        close(s[0]);
        handler_child(lua, s[1]);
    }
    answer(fd, child < 0 ? -1 : s[0]);
    close(s[0]);
    close(s[1]);
}

_Noreturn void handler_host(int fd)
{
    void *lua = handler_lua_new();
    int e;

    prctl(PR_SET_NAME, "egress-handlers");
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    signal(SIGCHLD, SIG_IGN);                       /* children are not waited for */
    signal(SIGPROF, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    e = lua ? confine() : -ENOMEM;
    if (e) {
        log_error("handlers=off step=confine err=%s", errno_name(e));
        _exit(1);
    }
    while (asked(fd))
        serve(fd, lua);
    _exit(0);
}
