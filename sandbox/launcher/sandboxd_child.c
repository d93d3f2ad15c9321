#include "sandbox/launcher/sandboxd_child.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/launcher/launch.h"

enum { BACK_OFF_MS = 50, BACK_OFF_MAX_MS = 1000, SETTLED_MS = 10000, EARLY_MAX = 3 };

/* Puts fds[i] at the number first + i, without close-on-exec; the program's descriptor above them. */
static int place_fds(int *fds, unsigned n, int first, int *program_fd)
{
    int high[8];

    for (unsigned i = 0; i < n; i++)
        if ((high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 20)) < 0)
            return -errno;
    int program = fcntl(*program_fd, F_DUPFD_CLOEXEC, 20);
    for (unsigned i = 0; i < n; i++)
        if (dup2(high[i], first + (int)i) < 0)
            return -errno;
    int low = fcntl(program, F_DUPFD_CLOEXEC, first + (int)n);      /* not yet free: it goes above */
    if (low < 0)
        return -errno;
    *program_fd = dup3(low, 19, O_CLOEXEC);
    return *program_fd < 0 || close_range((unsigned)first + n, 18, 0) || close_range(20, ~0u, 0) ? -errno : 0;
}

static _Noreturn void run_child(struct launch *l, int control_end)
{
    char hash[96], listen[96], name[64], tar[PATH_MAX + 16], program[PATH_MAX], dir[PATH_MAX], tar_dir[PATH_MAX];
    char *argv[] = { program, NULL };
    char *env[] = { name, (char *)(uintptr_t)"PATH=/usr/bin:/bin", (char *)(uintptr_t)"LANG=C.UTF-8", NULL, NULL, NULL, NULL };
    unsigned n = 3;
    int fds[] = { control_end, l->unix_fd, l->state_fd, l->tcp_fd };
    int program_fd = l->child.program_fd;
    const char *step = "place descriptors";
    sigset_t none;

    snprintf(program, sizeof(program), "%s", l->options.sandboxd);
    snprintf(dir, sizeof(dir), "%s", l->options.sandboxd);
    snprintf(name, sizeof(name), "COPPICE_STORE_NAME=%s", l->name);
    snprintf(tar, sizeof(tar), "COPPICE_TAR=%s", l->options.tar ? l->options.tar : "");
    snprintf(tar_dir, sizeof(tar_dir), "%s", l->options.tar ? l->options.tar : "");
    snprintf(hash, sizeof(hash), "COPPICE_TOKEN_SHA256=%s", l->token_hash);
    snprintf(listen, sizeof(listen), "COPPICE_LISTEN=%s", l->listen_text);
    if (l->options.tar)
        env[n++] = tar;
    if (l->tcp_fd >= 0) {
        env[n++] = hash;
        env[n++] = listen;
    }
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int r = place_fds(fds, l->tcp_fd >= 0 ? 4 : 3, LAUNCH_FD_CONTROL, &program_fd);
    struct cage cage = { .program = program, .dirs = { dirname(dir), l->options.tar ? dirname(tar_dir) : NULL }, .program_fd = program_fd, .uid = LAUNCH_SANDBOXD_UID, .argv = argv, .env = env };
    if (!r)
        r = cage_enter(&cage, &step);
    log_error("step=sandboxd cannot be started what=\"%s\" err=%s", step, errno_name(r));
    _exit(126);
}

static void again(void *arg)
{
    struct launch *l = arg;

    if (!l->ending)
        sandboxd_start(l);
}

static void later(struct launch *l)
{
    struct sandboxd_child *c = &l->child;
    uint64_t lived_ms = (clock_mono_ns() - c->started_ns) / 1000000;

    c->back_off_ms = lived_ms >= SETTLED_MS || !c->back_off_ms ? BACK_OFF_MS : c->back_off_ms * 2 > BACK_OFF_MAX_MS ? BACK_OFF_MAX_MS : c->back_off_ms * 2;
    loop_arm(&l->loop, &c->again, c->back_off_ms * 1000, again, l);
    if (l->ready_fd >= 0 && ++c->early >= EARLY_MAX) {
        dprintf(l->ready_fd, "cannot serve the store %s: sandboxd ends as soon as it is started; %s/sandbox/launcher.log says why", l->options.store, l->options.store);
        close(l->ready_fd);
        l->ready_fd = -1;
        launch_end(l);
    }
}

static void on_sandboxd_exit(void *arg, uint32_t events)
{
    struct launch *l = arg;
    siginfo_t si = { 0 };

    (void)events;
    if (waitid(P_PIDFD, (id_t)l->child.pidfd, &si, WEXITED | WNOHANG) || !si.si_pid)
        return;
    loop_unwatch(&l->loop, &l->child.on_exit);
    close(l->child.pidfd);
    l->child.pidfd = -1;
    control_close(l);
    slots_orphan(l);
    if (l->ending) {
        slots_end_all(l);
        launch_idle(l);
        return;
    }
    log_error("step=sandboxd ended %s=%d boxes=%u: it is started again", si.si_code == CLD_EXITED ? "status" : "signal", si.si_status, slots_running(l));
    later(l);
}

int sandboxd_start(struct launch *l)
{
    struct clone_args args = { .flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS,
                               .pidfd = (uintptr_t)&l->child.pidfd, .exit_signal = SIGCHLD };
    int pair[2];

    l->child.started_ns = clock_mono_ns();
    int r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
    if (!r) {
        long pid = syscall(SYS_clone3, &args, sizeof(args));
        if (!pid)
            run_child(l, pair[1]);
        r = pid < 0 ? -errno : 0;
        close(pair[1]);
        if (r)
            close(pair[0]);
    }
    if (r) {
        log_error("step=sandboxd cannot be started err=%s", errno_name(r));
        l->child.pidfd = -1;
        later(l);
        return r;
    }
    r = control_open(l, pair[0]);
    if (!r)
        r = loop_watch(&l->loop, &l->child.on_exit, l->child.pidfd, EPOLLIN, on_sandboxd_exit, l);
    return r;
}

static void send_signal(struct launch *l, int sig)
{
    if (l->child.pidfd >= 0)
        syscall(SYS_pidfd_send_signal, l->child.pidfd, sig, NULL, 0);
}

void sandboxd_kill(struct launch *l)
{
    send_signal(l, SIGKILL);
}

void sandboxd_end(struct launch *l)
{
    loop_disarm(&l->child.again);
    send_signal(l, SIGTERM);
}

bool sandboxd_lives(const struct launch *l)
{
    return l->child.pidfd >= 0;
}

void sandboxd_answers(struct launch *l)
{
    l->child.early = 0;
    if (l->ready_fd < 0)
        return;
    ssize_t n = write(l->ready_fd, "+", 1);
    (void)n;
    close(l->ready_fd);
    l->ready_fd = -1;
    launch_notify("READY=1");
}
