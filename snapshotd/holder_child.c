#include "snapshotd/holder_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL               /* Linux 6.9 */
#endif

static _Noreturn void run(const char *const *argv, int sock, int ready_fd)
{
    sigset_t none;
    int high[2] = { fcntl(sock, F_DUPFD, CHILD_READY + 1), ready_fd < 0 ? -1 : fcntl(ready_fd, F_DUPFD, CHILD_READY + 1) };

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (dup2(high[0], CHILD_SOCK) < 0 || (ready_fd >= 0 && dup2(high[1], CHILD_READY) < 0))
        _exit(127);
    close_range(ready_fd < 0 ? CHILD_READY : CHILD_READY + 1, ~0u, 0);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    log_error("cannot run %s: %s", argv[0], strerror(errno));
    if (ready_fd >= 0)
        dprintf(CHILD_READY, "cannot run %s: %s", argv[0], strerror(errno));
    _exit(127);
}

int child_start(const char *const *argv, int ready_fd, struct child *ret)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return -errno;
    pid_t pid = fork();
    int err = errno;
    if (!pid)
        run(argv, pair[1], ready_fd);
    close(pair[1]);
    if (ready_fd >= 0)
        close(ready_fd);
    if (pid < 0) {
        close(pair[0]);
        return -err;
    }
    *ret = (struct child){ .pid = pid, .sock = pair[0], .started_ns = clock_mono_ns() };
    ret->leader_fd = (int)syscall(SYS_pidfd_open, pid, PIDFD_THREAD);
    return 0;
}

void child_why(int status, char *out, unsigned long size)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, size, "ended with status %d", WEXITSTATUS(status));
}
