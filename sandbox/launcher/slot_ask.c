/* What is asked of living boxes: freeze, thaw, kill, limits, usage, the list. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "sandbox/launcher/launch.h"

enum { FREEZE_US = 200, FREEZE_MAX_US = 20000, FREEZE_MS = 5000 };

/* The running box that the packet names, or NULL and the asker was told. */
static struct slot *running(struct launch *l, const struct launch_packet *p, struct ask ask)
{
    struct slot *s = slot_find(l, p->box);

    if (s && s->state == SLOT_RUNNING)
        return s;
    control_failed(l, ask, -ESRCH, "box %s %s", p->box, s ? "is starting or ending" : "does not run");
    return NULL;
}

/* --- freezing: the kernel needs a moment for those in the middle of something --- */

static void freeze_end(struct slot *s, int err)
{
    struct ask ask = s->freeze_ask;

    s->freeze_ask.tag = 0;
    if (!err)
        control_ok(s->l, ask);
    else
        control_failed(s->l, ask, err, "the processes of box %s could not be stopped", s->box);
}

static void freeze_look(void *arg)
{
    struct slot *s = arg;
    int r = cgroup_frozen(&s->l->cgroups, s->index);
    uint64_t ms = (clock_mono_ns() - s->asked_ns) / 1000000, us = (uint64_t)FREEZE_US << (s->tries < 7 ? s->tries : 7);

    s->tries++;
    if (r == s->want_frozen) {
        s->frozen = s->want_frozen;
        freeze_end(s, 0);
    } else if (r < 0 || ms >= FREEZE_MS) {
        cgroup_freeze(&s->l->cgroups, s->index, false);
        s->frozen = false;
        freeze_end(s, r < 0 ? r : -ETIMEDOUT);
    } else {
        loop_arm(&s->l->loop, &s->timer, us > FREEZE_MAX_US ? FREEZE_MAX_US : us, freeze_look, s);
    }
}

void slot_freeze(struct launch *l, const struct launch_packet *p, struct ask ask, bool freeze)
{
    struct slot *s = running(l, p, ask);

    if (!s)
        return;
    if (s->freeze_ask.tag) {
        control_failed(l, ask, -EBUSY, "box %s is being frozen or thawed", s->box);
        return;
    }
    int r = cgroup_freeze(&l->cgroups, s->index, freeze);
    if (r) {
        control_failed(l, ask, r, "cgroup freezer: %s", strerror(-r));
        return;
    }
    s->freeze_ask = ask;
    s->want_frozen = freeze;
    s->asked_ns = clock_mono_ns();
    s->tries = 0;
    freeze_look(s);
}

/* --- */

void slot_kill(struct launch *l, const struct launch_packet *p, struct ask ask)
{
    struct slot *s = slot_find(l, p->box);

    if (!s) {
        control_failed(l, ask, -ESRCH, "box %s does not run", p->box);
        return;
    }
    if (s->ask.tag && s->ask.life == ask.life && s->state != SLOT_STARTING) {
        control_failed(l, ask, -EBUSY, "box %s is being killed", p->box);
        return;
    }
    /* A start can wait without end, for a file system that does not answer. */
    control_failed(l, s->ask, -ECANCELED, "box %s was killed while it was started", p->box);
    s->ask = ask;
    if (s->state == SLOT_ENDING) {
        s->err = 0;
        s->asked_ns = clock_mono_ns();
        return;
    }
    slot_end(s, 0, "killed");
}

void slot_limits(struct launch *l, const struct launch_packet *p, struct ask ask)
{
    struct slot *s = running(l, p, ask);
    const char *step;

    if (!s)
        return;
    int r = cgroup_limit(&l->cgroups, s->index, &p->limits, &step);
    if (r)
        control_failed(l, ask, r, "%s: %s", step, r == -EBUSY ? "more is in use than the new limit allows" : strerror(-r));
    else
        control_ok(l, ask);
}

void slot_usage(struct launch *l, const struct launch_packet *p, struct ask ask)
{
    struct slot *s = running(l, p, ask);
    struct launch_packet out = { 0 };

    if (!s)
        return;
    int r = cgroup_usage(&l->cgroups, s->index, out.value);
    memcpy(out.box, s->box, sizeof(out.box));
    if (r)
        control_failed(l, ask, r, "cgroup: usage cannot be read: %s", strerror(-r));
    else
        control_send(l, &ask, LAUNCH_OK, &out, NULL, 0);
}

void slot_list(struct launch *l, struct ask ask)
{
    for (unsigned i = 0; i < l->slots_used; i++) {
        struct slot *s = &l->slots[i];
        if (s->state != SLOT_RUNNING)
            continue;
        struct launch_packet p = { .slot = i, .value = { (uint64_t)s->pid, ids_base(s->block), s->started_ns, s->frozen } };
        int fds[2] = { s->agent_fd, s->root_fd };
        memcpy(p.box, s->box, sizeof(p.box));
        slot_network(s, &p, 4);
        control_send(l, &ask, LAUNCH_BOX, &p, fds, 2);
    }
    control_ok(l, ask);
}
