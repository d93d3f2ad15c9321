#include "sandbox/launcher/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/launcher/cage.h"
#include "sandbox/launcher/launch.h"

enum { BACK_OFF_MS = 50, SETTLED_MS = 10000, PROGRAM_AT = 19 };

void child_init(struct child *c, struct launch *l, const struct child_kind *kind)
{
    *c = (struct child){ .kind = kind, .l = l, .pidfd = -1, .program_fd = -1, .on_exit.fd = -1 };
}

int child_place_fds(const int *fds, unsigned n, int first, int *program_fd)
{
    int high[8];

    for (unsigned i = 0; i < n; i++)
        if ((high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, PROGRAM_AT + 1)) < 0)
            return -errno;
    int program = fcntl(*program_fd, F_DUPFD_CLOEXEC, PROGRAM_AT + 1);
    for (unsigned i = 0; i < n; i++)
        if (dup2(high[i], first + (int)i) < 0)
            return -errno;
    int low = fcntl(program, F_DUPFD_CLOEXEC, first + (int)n);      /* not yet free: it goes above */
    if (low < 0)
        return -errno;
    *program_fd = dup3(low, PROGRAM_AT, O_CLOEXEC);
    return *program_fd < 0 || close_range((unsigned)first + n, PROGRAM_AT - 1, 0) || close_range(PROGRAM_AT + 1, ~0u, 0) ? -errno : 0;
}

_Noreturn void child_enter(const struct child *c, const int *fds, unsigned n, int first, struct cage *cage)
{
    const char *step = "place descriptors";
    sigset_t none;

    cage->program_fd = c->program_fd;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int r = child_place_fds(fds, n, first, &cage->program_fd);
    if (!r)
        r = cage_enter(cage, &step);
    log_error("step=%s cannot be started what=\"%s\" err=%s", c->kind->name, step, errno_name(r));
    _exit(126);
}

static void again(void *arg)
{
    struct child *c = arg;

    if (!c->l->ending)
        child_start(c);
}

static void later(struct child *c)
{
    uint64_t lived_ms = (clock_mono_ns() - c->started_ns) / 1000000;

    c->back_off_ms = lived_ms >= SETTLED_MS || !c->back_off_ms ? BACK_OFF_MS : c->back_off_ms * 2 > c->kind->back_off_max_ms ? c->kind->back_off_max_ms : c->back_off_ms * 2;
    loop_arm(&c->l->loop, &c->again, c->back_off_ms * 1000, again, c);
}

static void on_child_exit(void *arg, uint32_t events)
{
    struct child *c = arg;
    struct launch *l = c->l;
    siginfo_t si = { 0 };

    (void)events;
    if (waitid(P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG) || !si.si_pid)
        return;
    loop_unwatch(&l->loop, &c->on_exit);
    close(c->pidfd);
    c->pidfd = -1;
    c->early++;
    if (!l->ending) {
        log_error("step=%s ended %s=%d boxes=%u: it is started again", c->kind->name, si.si_code == CLD_EXITED ? "status" : "signal", si.si_status, slots_running(l));
        later(c);
    }
    c->kind->ended(l);
}

int child_start(struct child *c)
{
    struct clone_args args = { .flags = CLONE_PIDFD | c->kind->namespaces, .pidfd = (uintptr_t)&c->pidfd, .exit_signal = SIGCHLD };
    int pair[2];

    c->started_ns = clock_mono_ns();
    int r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
    if (!r) {
        long pid = syscall(SYS_clone3, &args, sizeof(args));
        if (!pid)
            c->kind->run(c->l, pair[1]);
        r = pid < 0 ? -errno : 0;
        close(pair[1]);
        if (r)
            close(pair[0]);
    }
    if (r) {
        log_error("step=%s cannot be started err=%s", c->kind->name, errno_name(r));
        c->pidfd = -1;
        later(c);
        return r;
    }
    r = loop_watch(&c->l->loop, &c->on_exit, c->pidfd, EPOLLIN, on_child_exit, c);
    int met = c->kind->met(c->l, pair[0]);
    if (met)
        child_kill(c);
    return r ? r : met;
}

static void send_signal(struct child *c, int sig)
{
    if (c->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, c->pidfd, sig, NULL, 0);
}

void child_kill(struct child *c)
{
    send_signal(c, SIGKILL);
}

void child_end(struct child *c)
{
    loop_disarm(&c->again);
    send_signal(c, SIGTERM);
}

bool child_lives(const struct child *c)
{
    return c->pidfd >= 0;
}
