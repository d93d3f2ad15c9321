/* Idleness, and ends that were set. A box without holds (executions, terminals, requests) is looked at now and then: what its processes used of the CPU since the last look counts as activity if it is more than
 * 2 % of one. After freeze_s without activity it is frozen, after sleep_s it sleeps; after timeout_s of running, and at until_s,
 * it sleeps whatever it does.
 *
 * One timer for each box that runs, set to the next moment at which something may be due; a box in which nothing but the agent is left is not asked for its usage again. A daemon whose boxes
 * all sleep has no timers. */
#include "sandbox/core/box_private.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"

enum { LOOK_MS = 5000, LOOK_MIN_MS = 200 };
#define ACTIVE_SHARE 0.02

void life_disarm(struct box *b)
{
    if (b->p->timer)
        g_source_remove(b->p->timer);
    b->p->timer = 0;
}

static double seconds_since(uint64_t ns)
{
    return (double)(clock_mono_ns() - ns) / 1e9;
}

static double left(double limit_s, uint64_t since_ns)
{
    double l = limit_s > 0 ? limit_s - seconds_since(since_ns) : 1e9;
    return l > 0 ? l : 0;
}

/* Until the end that was set for this run, in s; one that had passed before the run began does not count. */
static double left_until(const struct box *b)
{
    double now = (double)g_get_real_time() / 1e6, until = b->config.until_s;

    if (until <= 0 || !b->started_ns || until < now - seconds_since(b->started_ns))
        return 1e9;
    return MAX(0, until - now);
}

/* A run whose end was set goes on until then, idle or not (frozen, if it is). */
static double sleep_s(const struct box *b) { return left_until(b) < 1e9 ? 0 : b->config.sleep_s; }

static bool idle_counts(const struct box *b)
{
    return !b->holds && (b->state == BOX_RUNNING || b->state == BOX_FROZEN);
}

static void timed_out(void *arg, struct box *b, const struct fault *fault)
{
}

static void usage_answer(void *arg, const struct launch_packet *q, int *fds, unsigned fd_count)
{
    struct box *b = arg;
    struct box_private *p = b->p;
    uint64_t now = clock_mono_ns();

    p->usage_asked = false;
    if (q->op == LAUNCH_OK && p->alive) {
        usage_take(b, q);
        if (p->cpu_seen_ns && (double)(q->value[USAGE_CPU_US] - p->cpu_seen_us) * 1e3 > ACTIVE_SHARE * (double)(now - p->cpu_seen_ns))
            b->idle_since_ns = now;
        p->cpu_seen_us = q->value[USAGE_CPU_US];
        p->cpu_seen_ns = now;
        p->quiet = q->value[USAGE_PIDS] <= 1;
    }
    if (!p->changing)
        life_arm(b);
    box_unref(b);
}

static void look(struct box *b)
{
    struct launch_packet q = { .op = LAUNCH_USAGE };

    if (b->p->usage_asked)
        return;
    b->p->usage_asked = true;
    g_strlcpy(q.box, b->id, sizeof(q.box));
    launcher_ask(b->sd->launcher, &q, NULL, 0, usage_answer, box_ref(b));
}

static gboolean due(gpointer arg)
{
    struct box *b = arg;
    const struct box_config *c = &b->config;

    b->p->timer = 0;
    box_ref(b);
    if (c->timeout_s > 0 && b->started_ns && !left(c->timeout_s, b->started_ns)) {
        g_snprintf(b->p->error, sizeof(b->p->error), "the sandbox '%s' ran for its limit of %g s (limits.timeout_s) and was put to sleep", b->name, c->timeout_s);
        log_info("box=%s timeout", b->id);
        box_sleep(b, true, timed_out, NULL);
    } else if (!left_until(b)) {
        log_info("box=%s until", b->id);
        box_sleep(b, true, timed_out, NULL);
    } else if (!idle_counts(b)) {
        life_arm(b);
    } else if (sleep_s(b) > 0 && !left(sleep_s(b), b->idle_since_ns) && (b->state == BOX_FROZEN || b->p->quiet)) {
        box_wish(b, WANT_ASLEEP, true, NULL, NULL);
    } else if (b->state == BOX_RUNNING && !b->p->quiet) {
        bool fresh = b->p->cpu_seen_ns && seconds_since(b->p->cpu_seen_ns) < LOOK_MIN_MS / 1e3;
        if (!fresh)
            look(b);                      /* and then again: a decision is made upon what is true now */
        else if (sleep_s(b) > 0 && !left(sleep_s(b), b->idle_since_ns))
            box_wish(b, WANT_ASLEEP, true, NULL, NULL);
        else if (c->freeze_s > 0 && !left(c->freeze_s, b->idle_since_ns))
            box_wish(b, WANT_FROZEN, false, NULL, NULL);
        else
            life_arm(b);
    } else if (b->state == BOX_RUNNING && c->freeze_s > 0 && !left(c->freeze_s, b->idle_since_ns)) {
        box_wish(b, WANT_FROZEN, false, NULL, NULL);
    } else {
        life_arm(b);
    }
    box_unref(b);
    return G_SOURCE_REMOVE;
}

/* When something may be due, in ms. */
static double wait_ms(const struct box *b)
{
    const struct box_config *c = &b->config;
    double s = 1e9, idle = 1e9;

    if (c->timeout_s > 0 && b->started_ns)
        s = left(c->timeout_s, b->started_ns);
    s = MIN(s, left_until(b));
    if (idle_counts(b)) {
        idle = left(sleep_s(b), b->idle_since_ns);
        if (b->state == BOX_RUNNING)
            idle = MIN(idle, left(c->freeze_s, b->idle_since_ns));
        if (b->state == BOX_RUNNING && !b->p->quiet && idle < 1e8) {
            double look_s = CLAMP(MIN(c->freeze_s > 0 ? c->freeze_s : 1e9, sleep_s(b) > 0 ? sleep_s(b) : 1e9) / 4, LOOK_MIN_MS / 1e3, LOOK_MS / 1e3);
            double since = b->p->cpu_seen_ns ? seconds_since(b->p->cpu_seen_ns) : 0;
            idle = MIN(idle, MAX(0, look_s - since));
        }
    }
    return MIN(s, idle) * 1e3;
}

void life_arm(struct box *b)
{
    double ms;

    life_disarm(b);
    if (b->p->changing || b->p->usage_asked || (b->state != BOX_RUNNING && b->state != BOX_FROZEN))
        return;
    ms = wait_ms(b);
    if (ms < 1e11)
        b->p->timer = g_timeout_add((guint)MIN(ms + 1, 86400e3), due, b);
}
