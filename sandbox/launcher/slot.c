/* Slots: making husks, handing them out, starting. How they end: slot_end.c; what is asked of living ones: slot_ask.c. */
#include "sandbox/launcher/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/confine/confine.h"
#include "sandbox/launcher/husk.h"
#include "sandbox/launcher/launch.h"

enum { REFILL_US = 3000, MAKING_FAILED_MAX = 10 };

static void slot_clear(struct launch *l, struct slot *s, unsigned index)
{
    *s = (struct slot){ .l = l, .index = index, .pidfd = -1, .maker_pidfd = -1, .sock = -1, .agent_fd = -1, .root_fd = -1 };
    for (unsigned i = 0; i < EGRESS_DOORS; i++)
        s->doors[i] = -1;
    s->on_sock.fd = s->on_exit.fd = s->on_maker.fd = -1;
}

static struct slot *slot_free(struct launch *l)
{
    for (unsigned i = 0; i < LAUNCH_BOXES_MAX; i++) {
        if (l->slots[i].state != SLOT_FREE)
            continue;
        if (i >= l->slots_used)
            l->slots_used = i + 1;
        return &l->slots[i];
    }
    return NULL;
}

static unsigned count(const struct launch *l, enum slot_state state)
{
    unsigned n = 0;

    for (unsigned i = 0; i < l->slots_used; i++)
        n += l->slots[i].state == state;
    return n;
}

unsigned slots_running(const struct launch *l)
{
    return count(l, SLOT_RUNNING);
}

unsigned slots_busy(const struct launch *l)
{
    return l->slots_used - count(l, SLOT_FREE);
}

struct slot *slot_find(struct launch *l, const char *box)
{
    for (unsigned i = 0; i < l->slots_used; i++)
        if (l->slots[i].state >= SLOT_STARTING && !strcmp(l->slots[i].box, box))
            return &l->slots[i];
    return NULL;
}

/* --- words of the child --- */

static void word(struct slot *s, const struct husk_msg *m);

/* A word; with READY come the doors. Its size, 0 at the end, -1 and errno. */
static ssize_t hear(struct slot *s, struct husk_msg *m)
{
    union { char space[CMSG_SPACE(sizeof(int) * EGRESS_DOORS)]; struct cmsghdr align; } c;
    struct iovec v = { .iov_base = m, .iov_len = sizeof(*m) };
    struct msghdr mh = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c) };

    ssize_t n = recvmsg(s->sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *cm = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;
    if (cm && cm->cmsg_type == SCM_RIGHTS && cm->cmsg_len == CMSG_LEN(sizeof(s->doors)) && s->doors[0] < 0)
        memcpy(s->doors, CMSG_DATA(cm), sizeof(s->doors));
    else if (n == sizeof(*m) && m->word == HUSK_READY)
        *m = (struct husk_msg){ .word = HUSK_FAILED, .err = -EMFILE, .text = "hand over the listeners of egress" };
    if (n == sizeof(*m))
        m->text[sizeof(m->text) - 1] = 0;
    return n;
}

/* What the child has said and was not read yet: it may say why it ended. */
void slot_drain(struct slot *s)
{
    struct husk_msg m;

    while (s->sock >= 0 && hear(s, &m) == sizeof(m)) {
        if (s->state != SLOT_ENDING || m.word == HUSK_BORN)
            word(s, &m);
        if (s->state == SLOT_FREE)
            return;
    }
}

static void on_exit_of_pid1(void *arg, uint32_t events)
{
    struct slot *s = arg;

    (void)events;
    if (s->state == SLOT_MAKING || s->state == SLOT_STARTING)
        slot_drain(s);
    if (s->state == SLOT_FREE)
        return;
    s->lost |= s->state == SLOT_RUNNING;
    slot_end(s, s->state == SLOT_ENDING ? s->err : -ESRCH, "its first process ended");
}

static void born(struct slot *s, pid_t pid)
{
    s->pid = pid;
    s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);      /* our child, and nobody else waits for it: the number is still his */
    int r = s->pidfd < 0 ? -errno : loop_watch(&s->l->loop, &s->on_exit, s->pidfd, EPOLLIN, on_exit_of_pid1, s);
    if (r)
        slot_end(s, r, "open the descriptor of the husk's process");
}

static uint64_t boottime_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The agent's program runs: the husk's end of the pair is closed. */
static void started(struct slot *s)
{
    struct launch_packet p = { .slot = s->index, .value = { (uint64_t)s->pid, ids_base(s->block) } };

    loop_unwatch(&s->l->loop, &s->on_sock);
    close(s->sock);
    s->sock = -1;
    s->state = SLOT_RUNNING;
    s->started_ns = boottime_ns();
    memcpy(p.box, s->box, sizeof(p.box));
    slot_network(s, &p, 2);
    control_send(s->l, &s->ask, LAUNCH_OK, &p, &s->agent_fd, 1);
    s->ask.tag = 0;
    log_info("box=%s slot=%u pid=%d uid_base=%u started us=%llu", s->box, s->index, (int)s->pid, ids_base(s->block),
             (unsigned long long)(clock_mono_ns() - s->asked_ns) / 1000);
}

static void word(struct slot *s, const struct husk_msg *m)
{
    switch (m->word) {
    case HUSK_BORN:
        log_debug("slot=%u pid=%d cgroup_us=%u enter_us=%u clone_us=%u", s->index, m->pid, m->us[0], m->us[1], m->us[2]);
        born(s, m->pid);
        break;
    case HUSK_READY:
        log_debug("slot=%u ready wait_us=%u net_us=%u mounts_us=%u all_us=%llu", s->index, m->us[0], m->us[1], m->us[2],
                  (unsigned long long)(clock_mono_ns() - s->asked_ns) / 1000);
        if (s->state == SLOT_MAKING)
            slot_ready(s);
        break;
    case HUSK_ROOTED:
        log_debug("slot=%u rooted us=%u", s->index, m->us[0]);
        s->rooted = true;
        break;
    case HUSK_FAILED:
        slot_end(s, m->err ? m->err : -EIO, m->text);
        break;
    }
}

static void on_sock(void *arg, uint32_t events)
{
    struct slot *s = arg;
    struct husk_msg m;

    (void)events;
    ssize_t n = hear(s, &m);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == sizeof(m)) {
        word(s, &m);
    } else if (s->state == SLOT_STARTING && s->rooted) {
        started(s);
    } else {
        slot_end(s, -EIO, "the husk ended before it was ready");
    }
}

static void on_maker_exit(void *arg, uint32_t events)
{
    struct slot *s = arg;
    siginfo_t si;

    (void)events;
    waitid(P_PIDFD, (id_t)s->maker_pidfd, &si, WEXITED | WNOHANG);
    loop_unwatch(&s->l->loop, &s->on_maker);
    close(s->maker_pidfd);
    s->maker_pidfd = -1;
    if (s->state == SLOT_ENDING)
        slot_end(s, s->err, s->why);
}

/* --- making --- */

static pid_t fork_maker(int *ret_pidfd)
{
    struct clone_args args = { .flags = CLONE_PIDFD, .pidfd = (uintptr_t)ret_pidfd, .exit_signal = SIGCHLD };

    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    return pid < 0 ? -errno : pid;
}

int slot_make(struct launch *l, struct slot **ret)
{
    struct slot *s = slot_free(l);
    int pair[2], r;

    if (!s)
        return -EUSERS;
    slot_clear(l, s, (unsigned)(s - l->slots));
    if ((r = ids_lease(&l->ids, &s->block)))
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        r = -errno;
        ids_release(&l->ids, s->block);
        return r;
    }
    struct husk_plan plan = { .cgroups = &l->cgroups, .slot = s->index, .uid_base = ids_base(s->block), .sock = pair[1], .agent_fd = l->agent_fd,
                              .bundle_fd = l->egress.bundle_fd, .outside = l->outside };
    pid_t pid = fork_maker(&s->maker_pidfd);
    if (!pid)
        husk_maker(&plan);
    close(pair[1]);
    s->sock = pair[0];
    s->bundle_number = l->egress.bundle_number;
    s->asked_ns = clock_mono_ns();
    s->state = SLOT_MAKING;
    r = pid < 0 ? pid : loop_watch(&l->loop, &s->on_maker, s->maker_pidfd, EPOLLIN, on_maker_exit, s);
    if (!r)
        r = loop_watch(&l->loop, &s->on_sock, s->sock, EPOLLIN, on_sock, s);
    if (r)
        slot_end(s, r, "start a maker");
    else if (ret)
        *ret = s;
    return r;
}

static void answer_prepare(struct slot *s, struct ask ask)
{
    struct launch_packet p = { .slot = s->index, .value = { ids_base(s->block) } };

    s->state = SLOT_LEASED;
    control_send(s->l, &ask, LAUNCH_OK, &p, NULL, 0);
}

static struct ask shift_prepare(struct launch *l)
{
    struct ask a = l->prepares[0];

    memmove(l->prepares, l->prepares + 1, --l->prepare_count * sizeof(a));
    return a;
}

void slot_ready(struct slot *s)
{
    struct launch *l = s->l;

    l->making_failed = 0;
    s->state = SLOT_READY;
    if (s->bundle_number != l->egress.bundle_number)
        slot_end(s, 0, "its certificates are old");
    else if (l->prepare_count)
        answer_prepare(s, shift_prepare(l));
    else if (count(l, SLOT_READY) > LAUNCH_HUSKS)
        slot_end(s, 0, "one too many");       /* others were given back meanwhile */
    slots_refill(l);
}

static void refill_now(void *arg)
{
    slots_refill(arg);
}

/* Those that are waited for are made at once, the spare ones when nothing was asked for a moment. */
void slots_refill(struct launch *l)
{
    unsigned making = count(l, SLOT_MAKING), ready = count(l, SLOT_READY);

    if (l->ending || !egress_known(l))        /* without certificates they would be of no use */
        return;
    while (making < MAKERS_MAX && making < l->prepare_count) {
        int r = slot_make(l, NULL);
        if (r) {
            if (!making && l->prepare_count)      /* else those in the making come to ask again */
                control_failed(l, shift_prepare(l), r, "make a husk: %s", r == -EUSERS ? "all places for sandboxes are taken" : errno_name(r));
            return;
        }
        making++;
    }
    if (making || l->prepare_count || ready >= LAUNCH_HUSKS || l->making_failed >= MAKING_FAILED_MAX)
        return;
    if (l->refill_timer.due_ns)
        return;
    if (l->refill_timer.fn == refill_now && clock_mono_ns() - l->prepares_last_ns >= REFILL_US * 1000ull)
        slot_make(l, NULL);
    else
        loop_arm(&l->loop, &l->refill_timer, REFILL_US, refill_now, l);
}

void slot_prepare(struct launch *l, struct ask ask)
{
    l->prepares_last_ns = clock_mono_ns();
    for (unsigned i = 0; i < l->slots_used; i++)
        if (l->slots[i].state == SLOT_READY) {
            answer_prepare(&l->slots[i], ask);
            slots_refill(l);
            return;
        }
    if (l->prepare_count == LAUNCH_BOXES_MAX) {
        control_failed(l, ask, -EUSERS, "make a husk: all places for sandboxes are taken");
        return;
    }
    l->prepares[l->prepare_count++] = ask;
    slots_refill(l);
}

/* --- starting --- */

static int send_start(struct slot *s, const struct launch_packet *p, int agent_end, const int *fds)
{
    union { char space[CMSG_SPACE(sizeof(int) * HUSK_FDS_MAX)]; struct cmsghdr align; } c = { 0 };
    struct iovec v = { .iov_base = (void *)(uintptr_t)p, .iov_len = sizeof(*p) };
    unsigned n = 2 + p->mount_count;
    int all[HUSK_FDS_MAX] = { agent_end };

    memcpy(all + 1, fds, (n - 1) * sizeof(int));
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = CMSG_SPACE(sizeof(int) * n) };
    struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
    *cm = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int) * n), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
    memcpy(CMSG_DATA(cm), all, sizeof(int) * n);
    return sendmsg(s->sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* What the launcher itself needs to know of the root and the mounts; that they are snapshotd's is for the husk to see, for asking can wait for snapshotd.
 * Connections have the numbers of devices without a driver (major 0): another device's minor could name somebody else's connection. */
static int keep_mounts(struct slot *s, const int *fds, unsigned count)
{
    struct statx sx;

    for (unsigned i = 0; i < count; i++) {
        if (statx(fds[i], "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &sx))
            return -errno;
        if (!S_ISDIR(sx.stx_mode) || sx.stx_dev_major)
            return S_ISDIR(sx.stx_mode) ? -EINVAL : -ENOTDIR;
        s->fuse[s->fuse_count++] = sx.stx_dev_minor;
    }
    s->root_fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
    return s->root_fd < 0 ? -errno : 0;
}

static void begin(struct slot *s, const struct launch_packet *p, const int *fds)
{
    const char *step = "keep the mounts";
    int pair[2];

    int r = keep_mounts(s, fds, 1 + p->mount_count);
    if (!r)
        r = cgroup_limit(&s->l->cgroups, s->index, &p->limits, &step);
    if (!r && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
        step = "make the agent's socket";
        r = -errno;
    } else if (!r) {
        s->agent_fd = pair[0];
        fcntl(pair[0], F_SETFL, O_NONBLOCK);
        step = "hand over to the husk";
        r = send_start(s, p, pair[1], fds);
        close(pair[1]);
        if (!r)
            egress_add(s);                /* beside its start: nothing runs in it before we have said that it did */
    }
    if (r)
        slot_end(s, r, step);
}

void slot_start(struct launch *l, const struct launch_packet *p, struct ask ask, const int *fds)
{
    struct slot *s = &l->slots[p->slot];

    if (s->state != SLOT_LEASED) {
        control_failed(l, ask, -EBADSLT, "slot %u is not one that was prepared for this", p->slot);
        return;
    }
    if (slot_find(l, p->box)) {
        control_failed(l, ask, -EEXIST, "box %s runs already", p->box);
        return;
    }
    if (!(l->layers & LAYER_CGROUP)) {
        control_failed(l, ask, -ENODEV, "cgroup: limits cannot be set on this host: %s", l->cgroups.missing);
        return;
    }
    memcpy(s->box, p->box, sizeof(s->box));
    s->state = SLOT_STARTING;
    s->ask = ask;
    s->asked_ns = clock_mono_ns();
    begin(s, p, fds);
}

void slot_abandon(struct launch *l, const struct launch_packet *p, struct ask ask)
{
    struct slot *s = &l->slots[p->slot];

    if (s->state != SLOT_LEASED) {
        control_failed(l, ask, -EBADSLT, "slot %u is not one that was prepared", p->slot);
        return;
    }
    /* Nothing of a workload has touched it: it waits for the next one. */
    s->state = SLOT_READY;
    if (l->prepare_count)
        answer_prepare(s, shift_prepare(l));
    else if (count(l, SLOT_READY) > LAUNCH_HUSKS)
        slot_end(s, 0, "abandoned");
    control_ok(l, ask);
}

/* --- the table --- */

int slots_init(struct launch *l)
{
    l->slots = mem_zalloc(LAUNCH_BOXES_MAX * sizeof(*l->slots));
    if (!l->slots)
        return -ENOMEM;
    for (unsigned i = 0; i < LAUNCH_BOXES_MAX; i++)
        slot_clear(l, &l->slots[i], i);
    slots_refill(l);
    return 0;
}

void slots_fini(struct launch *l)
{
    free(l->slots);
    l->slots = NULL;
}

void slots_renew(struct launch *l)
{
    for (unsigned i = 0; i < l->slots_used; i++)
        if (l->slots[i].state == SLOT_READY && l->slots[i].bundle_number != l->egress.bundle_number)
            slot_end(&l->slots[i], 0, "its certificates are old");
}

void slots_orphan(struct launch *l)
{
    l->prepare_count = 0;
    for (unsigned i = 0; i < l->slots_used; i++) {
        struct slot *s = &l->slots[i];
        s->ask.tag = s->freeze_ask.tag = 0;
        if (s->state != SLOT_LEASED)
            continue;
        s->state = SLOT_READY;
        if (count(l, SLOT_READY) > LAUNCH_HUSKS)
            slot_end(s, 0, "abandoned");
    }
}

void slots_end_all(struct launch *l)
{
    for (unsigned i = 0; i < l->slots_used; i++)
        if (l->slots[i].state != SLOT_FREE && l->slots[i].state != SLOT_ENDING)
            slot_end(&l->slots[i], 0, "the launcher ends");
}
