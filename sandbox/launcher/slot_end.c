/* The end of a slot, in steps that may each have to be waited for:
 *  1. pid 1 gets SIGKILL; the kernel then kills all in its pid namespace, and nothing can be forked there any more. Frozen ones are thawed (v1) or
 *     killed by their group (v2). After half of the time its FUSE connections are aborted, for a process can hang in a request that nobody answers.
 *  2. When pid 1 can be waited for, all others are gone. It is waited for.
 *  3. The groups are removed (tried again while the kernel still counts the dead), egress lets go, the ids are given back, those who wait are told.
 * A kill that takes longer than LAUNCH_KILL_MS is answered with -ETIMEDOUT, and goes on. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/launcher/launch.h"

enum { TRY_US = 200, TRY_MAX_US = 100000, SLOW_TRY_US = 1000000 };

static void look(void *arg);

/* Of a mount that is gone already the connection is too. */
static void fuse_abort(struct slot *s)
{
    char path[40];

    for (; s->l->fusectl_fd >= 0 && s->fuse_count; s->fuse_count--) {
        snprintf(path, sizeof(path), "%u/abort", s->fuse[s->fuse_count - 1]);
        _cleanup_close_ int fd = openat(s->l->fusectl_fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0 || write(fd, "1", 1) < 0)
            log_warn("box=%s step=fuse_abort connection=%u err=%s", s->box, s->fuse[s->fuse_count - 1], errno_name(errno));
        else
            log_warn("box=%s step=fuse_abort connection=%u its processes hang in the file system: it was cut", s->box, s->fuse[s->fuse_count - 1]);
    }
}

/* 0: it is gone and waited for (or never was). */
static int reap(struct slot *s)
{
    siginfo_t si = { 0 };

    if (s->pidfd < 0)
        return 0;
    if (waitid(P_PIDFD, (id_t)s->pidfd, &si, WEXITED | WNOHANG) && errno != ECHILD)
        return -errno;
    if (errno != ECHILD && !si.si_pid)
        return -EAGAIN;
    s->status = si.si_code == CLD_EXITED ? si.si_status << 8 : si.si_status;
    loop_unwatch(&s->l->loop, &s->on_exit);
    close(s->pidfd);
    s->pidfd = -1;
    return 0;
}

static void tell_gone(struct slot *s)
{
    struct launch_packet p = { .slot = s->index, .err = s->err == -ESRCH ? 0 : s->err, .value = { (uint64_t)s->status, s->oom_kills, s->cpu_us } };

    memcpy(p.box, s->box, sizeof(p.box));
    snprintf(p.text, sizeof(p.text), "%s", s->why);
    control_send(s->l, NULL, LAUNCH_GONE, &p, NULL, 0);
    log_warn("box=%s slot=%u ended by itself status=%d oom_kills=%llu", s->box, s->index, s->status, (unsigned long long)s->oom_kills);
}

/* What it has used, once, while the groups are there. */
static void account(struct slot *s)
{
    uint64_t value[LAUNCH_VALUES];

    if (!s->box[0] || s->accounted)
        return;
    cgroup_usage(&s->l->cgroups, s->index, value);
    s->oom_kills = value[USAGE_OOM_KILLS];
    s->cpu_us = value[USAGE_CPU_US];
    s->accounted = true;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Nothing is left: the place is free. */
static void gone(struct slot *s)
{
    struct launch *l = s->l;
    struct ask ask = s->ask;
    struct launch_packet p = { .slot = s->index, .value = { (uint64_t)s->status, s->oom_kills, s->cpu_us } };
    bool was_making = !s->box[0] && s->err;
    int err = s->err;
    char why[sizeof(s->why)];

    memcpy(why, s->why, sizeof(why));
    memcpy(p.box, s->box, sizeof(p.box));
    loop_disarm(&s->timer);
    loop_unwatch(&l->loop, &s->on_sock);
    close_fd(&s->sock);
    close_fd(&s->agent_fd);
    close_fd(&s->root_fd);
    egress_remove(s);
    slot_doors_close(s);
    ids_release(&l->ids, s->block);
    if (s->box[0])
        log_info("box=%s slot=%u gone", s->box, s->index);
    s->state = SLOT_FREE;
    s->box[0] = 0;
    if (ask.tag && err)
        control_failed(l, ask, err, "%s", why);
    else
        control_send(l, &ask, LAUNCH_OK, &p, NULL, 0);
    if (was_making) {
        log_error("slot=%u step=\"%s\" err=%s no husk", s->index, why, errno_name(err));
        l->making_failed++;
        if (l->prepare_count) {
            struct ask first = l->prepares[0];
            memmove(l->prepares, l->prepares + 1, --l->prepare_count * sizeof(first));
            control_failed(l, first, err, "%s", why);
        }
    }
    slots_refill(l);
    launch_idle(l);
}

/* How far is it? Called again until it is through. */
static void look(void *arg)
{
    struct slot *s = arg;
    struct cgroups *cs = &s->l->cgroups;
    uint64_t ms = (clock_mono_ns() - s->asked_ns) / 1000000, wait_us = TRY_US << (s->tries < 9 ? s->tries : 9);

    s->tries++;
    /* A maker is not killed: its word may be the only one of a husk that it has just made. */
    if (s->maker_pidfd < 0 && !s->pid) {
        slot_drain(s);
        if (s->pidfd >= 0)
            syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
    }
    if (reap(s) || s->maker_pidfd >= 0) {
        cgroup_kill(cs, s->index);
        if (ms >= LAUNCH_KILL_MS / 2)
            fuse_abort(s);
    } else {
        account(s);
        if (s->lost)
            tell_gone(s);
        s->lost = false;
        if (cgroup_remove(cs, s->index) == 0) {
            gone(s);
            return;
        }
        cgroup_kill(cs, s->index);        /* who entered and is not below pid 1: there is none, but that is cheap */
    }
    if (ms >= LAUNCH_KILL_MS && s->ask.tag) {
        int left = cgroup_count(cs, s->index);
        log_error("box=%s slot=%u step=kill not gone after %u ms left=%d", s->box, s->index, (unsigned)LAUNCH_KILL_MS, left);
        control_failed(s->l, s->ask, -ETIMEDOUT, "%d processes of it are left after %d s; the kill goes on", left, LAUNCH_KILL_MS / 1000);
        s->ask.tag = 0;
    }
    wait_us = ms >= LAUNCH_KILL_MS ? SLOW_TRY_US : wait_us > TRY_MAX_US ? TRY_MAX_US : wait_us;
    loop_arm(&s->l->loop, &s->timer, wait_us, look, s);
}

void slot_end(struct slot *s, int err, const char *why)
{
    if (s->state == SLOT_ENDING) {
        look(s);
        return;
    }
    s->err = err;
    snprintf(s->why, sizeof(s->why), "%s%s%s", why, err && err != -ESRCH ? ": " : "", err && err != -ESRCH ? strerror(-err) : "");
    s->state = SLOT_ENDING;
    s->asked_ns = clock_mono_ns();
    s->tries = 0;
    loop_unwatch(&s->l->loop, &s->on_sock);
    if (s->freeze_ask.tag)
        control_failed(s->l, s->freeze_ask, -ESRCH, "box %s ended", s->box);
    s->freeze_ask.tag = 0;
    if (s->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
    if (s->pidfd >= 0)
        cgroup_kill(&s->l->cgroups, s->index);
    look(s);
}
