/* The process that makes processes for handlers. It is forked off before egress has read anything, so it holds no secret and no descriptor but its line to egress; seccomp leaves it memory,
 * its line, and fork. For each packet with a descriptor: a child with a Lua state that nobody used before (a copy of the one made here, by copy-on-write). */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/egress/handler_wire.h"

static const int calls[] = {
    SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(recvmsg), SCMP_SYS(clone), SCMP_SYS(close), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap),
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

static int receive(int fd)
{
    union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } control;
    char byte;
    struct iovec v = { &byte, 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t n;
    int got = -1;

    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return -EPIPE;
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c && c->cmsg_type == SCM_RIGHTS)
        memcpy(&got, CMSG_DATA(c), sizeof got);
    return got < 0 ? -EBADMSG : got;
}

_Noreturn void handler_host(int fd)
{
    void *lua = handler_lua_new();
    int e, job;

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
    while ((job = receive(fd)) != -EPIPE) {
        if (job < 0)
            continue;
        pid_t child = fork();
        if (!child) {
            close(fd);
            handler_child(lua, job);
        }
        close(job);                                 /* fork failed: who asked sees the end */
    }
    _exit(0);
}
