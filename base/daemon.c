#include "base/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

int daemon_detach(const char *if_silent, int *ret_ready)
{
    char text[2048];
    size_t n = 0;
    ssize_t r;
    int p[2];

    if (pipe2(p, O_CLOEXEC))
        return -errno;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (!pid) {
        close(p[0]);
        setsid();
        *ret_ready = p[1];
        return 0;
    }
    close(p[1]);
    while (n < sizeof(text) - 1 && ((r = read(p[0], text + n, sizeof(text) - 1 - n)) > 0 || (r < 0 && errno == EINTR)))
        n += r > 0 ? (size_t)r : 0;
    text[n] = 0;
    if (text[0] == '+')
        _exit(0);
    fprintf(stderr, "%s\n", n ? text : if_silent);
    fflush(stderr);
    _exit(1);
}

int daemon_signals(int *ret_fd)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL))
        return -errno;
    *ret_fd = signalfd(-1, &set, SFD_CLOEXEC);
    return *ret_fd < 0 ? -errno : 0;
}
