/* The state machine of a box. See box.h for the states.
 *
 * Who wants something of a box puts a wish at the end of its queue. step() looks at the first wish: if it is so already it is told, else the transition towards it begins, and
 * box_changed() comes when that has ended, well or badly. Idleness (life.c) puts a wish too, one that nobody waits for.
 *
 * Invariants:
 *  1. at most one transition is under way (`changing`); it alone changes `state`, and only in box_set_state().
 *  2. a wish is told exactly once: so, or why not. Wishes are told in their order.
 *  3. a wish for RUNNING that is told "so" has counted a hold before it is told; no transition away from RUNNING begins between the two.
 *  4. link and alive only in states other than ASLEEP; in ASLEEP there is no mount, no process and no descriptor of it.
 *  5. box_changed(b, s, fault) with a fault ends all wishes at the head of the queue that want the same: they waited for this attempt, and the next asks anew. */
#include "sandbox/core/box_private.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/wire.h"
#include "sandbox/confine/confine.h"
#include "sandbox/http/metrics.h"

const char *box_state_name(enum box_state s)
{
    static const char *const names[] = { "asleep", "starting", "running", "freezing", "frozen", "thawing", "stopping", "deleting" };
    return names[s];
}

const char *box_last_error(const struct box *b)
{
    return b->p->error;
}

const char *box_default_user(const struct box *b)
{
    return b->p->user[0] ? b->p->user : "user";
}

void box_make_name(char out[LAUNCH_NAME])
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t r[26];

    if (getrandom(r, sizeof(r), 0) != sizeof(r))
        g_error("getrandom gives nothing");        /* the kernel's generator was ready long before */
    for (unsigned i = 0; i < sizeof(r); i++)
        out[i] = alphabet[r[i] & 31];
    out[sizeof(r)] = 0;
}

void box_set_state(struct box *b, enum box_state s)
{
    struct box_private *p = b->p;
    uint64_t now = clock_mono_ns(), spent = now - p->state_since_ns;

    if (b->state == BOX_FROZEN)
        p->frozen_ns += spent;
    else if (b->state != BOX_ASLEEP && b->state != BOX_DELETING)
        p->ran_ns += spent;
    p->state_since_ns = now;
    b->state = s;
}

/* --- wishes --- */

static struct wish *wish_pop(struct box *b)
{
    struct wish *w = b->p->first;

    if (!(b->p->first = w->next))
        b->p->last = &b->p->first;
    b->p->wish_count--;
    return w;
}

static void wish_tell(struct box *b, struct wish *w, const struct fault *f)
{
    if (!f && w->want == WANT_RUNNING) {
        b->holds++;
        life_disarm(b);
    }
    if (w->fn)
        w->fn(w->arg, f ? NULL : b, f);
    g_free(w);
}

/* What the first wish wants is so, or can never be. */
static bool wish_settled(struct box *b, const struct wish *w, struct fault *f, bool *ret_failed)
{
    *ret_failed = true;
    if (b->p->deleted && w->want != WANT_DELETED) {
        fault_set(f, "not_found", "the sandbox '%s' was deleted", b->name);
        return true;
    }
    if (w->want == WANT_FROZEN && b->state == BOX_ASLEEP) {
        fault_set(f, "not_running", "the sandbox '%s' is asleep: there is nothing to freeze", b->name);
        return true;
    }
    *ret_failed = false;
    switch (w->want) {
    case WANT_RUNNING: return b->state == BOX_RUNNING;
    case WANT_FROZEN: return b->state == BOX_FROZEN;
    case WANT_ASLEEP: return b->state == BOX_ASLEEP;
    case WANT_DELETED: return b->p->deleted;
    }
    return false;
}

static void freeze_begin(struct box *b), thaw_begin(struct box *b);

static void transition_begin(struct box *b, const struct wish *w)
{
    b->p->changing = true;
    life_disarm(b);
    if (w->want == WANT_RUNNING)
        b->state == BOX_ASLEEP ? box_start_begin(b) : thaw_begin(b);
    else if (w->want == WANT_FROZEN)
        freeze_begin(b);
    else if (b->state == BOX_ASLEEP)
        box_erase(b, w->snapshot);
    else
        box_unwind(b, &(struct unwind_how){ .gently = w->want == WANT_ASLEEP, .snapshot = w->want == WANT_ASLEEP && w->snapshot });
}

static void step(struct box *b)
{
    struct box_private *p = b->p;
    struct fault f;
    bool failed;

    if (p->stepping)
        return;
    p->stepping = true;
    box_ref(b);
    while (p->first && !p->changing) {
        if (wish_settled(b, p->first, &f, &failed))
            wish_tell(b, wish_pop(b), failed ? &f : NULL);
        else
            transition_begin(b, p->first);
    }
    p->stepping = false;
    if (!p->changing)
        life_arm(b);
    box_unref(b);
}

void box_changed(struct box *b, enum box_state s, const struct fault *fault)
{
    struct box_private *p = b->p;

    box_ref(b);
    box_set_state(b, s);
    if (fault) {
        enum want want = p->first ? p->first->want : WANT_RUNNING;
        /* Told while `changing` still holds, so that what they ask for in turn waits. */
        struct wish *told = NULL, **at = &told;
        while (p->first && p->first->want == want) {
            *at = wish_pop(b);
            at = &(*at)->next;
            *at = NULL;
        }
        while (told) {
            struct wish *w = told;
            told = w->next;
            wish_tell(b, w, fault);
        }
    }
    p->changing = false;
    if (p->gone && (s == BOX_RUNNING || s == BOX_FROZEN)) {
        p->changing = true;
        box_unwind(b, &(struct unwind_how){ .fault = NULL });
    }
    step(b);
    box_unref(b);
}

void box_wish(struct box *b, enum want want, bool snapshot, box_fn *fn, void *arg)
{
    struct box_private *p = b->p;
    struct fault f;

    p->touched_ns = clock_mono_ns();
    if (p->wish_count >= BOX_WISHES_MAX) {
        fault_set(&f, "too_many", "%d requests wait for the sandbox '%s'; try again", BOX_WISHES_MAX, b->name);
        fn(arg, NULL, &f);
        return;
    }
    struct wish *w = g_new(struct wish, 1);
    *w = (struct wish){ NULL, want, snapshot, fn, arg };
    *p->last = w;
    p->last = &w->next;
    p->wish_count++;
    step(b);
}

void box_need(struct box *b, box_fn *fn, void *arg)
{
    if (b->state == BOX_ASLEEP && !b->p->changing)
        b->p->times = (struct timeline){ .need_ns = clock_mono_ns() };
    box_wish(b, WANT_RUNNING, false, fn, arg);
}

void box_freeze(struct box *b, box_fn *fn, void *arg)
{
    box_wish(b, WANT_FROZEN, false, fn, arg);
}

void box_sleep(struct box *b, bool snapshot, box_fn *fn, void *arg)
{
    box_wish(b, WANT_ASLEEP, snapshot, fn, arg);
}

void box_delete(struct box *b, bool with_snapshots, box_fn *fn, void *arg)
{
    box_wish(b, WANT_DELETED, with_snapshots, fn, arg);
}

void box_hold(struct box *b)
{
    b->holds++;
    life_disarm(b);
}

void box_release(struct box *b)
{
    g_return_if_fail(b->holds > 0);
    if (--b->holds)
        return;
    b->idle_since_ns = clock_mono_ns();
    b->p->quiet = false;
    if (!b->p->changing)
        life_arm(b);
}

/* --- freezing --- */

static void freeze_answer(void *arg, const struct launch_packet *q, int *fds, unsigned fd_count)
{
    struct box *b = arg;
    struct fault f;

    if (q->op == LAUNCH_OK) {
        box_changed(b, BOX_FROZEN, NULL);
    } else {
        log_warn("box=%s step=freeze err=%s launcher=%s", b->id, errno_name(q->err), q->text);
        b->idle_since_ns = clock_mono_ns();        /* not again at once */
        fault_set(&f, "internal", "cannot freeze the sandbox '%s': %s", b->name, q->text);
        box_changed(b, BOX_RUNNING, &f);
    }
    box_unref(b);
}

static void freeze_begin(struct box *b)
{
    struct launch_packet q = { .op = LAUNCH_FREEZE };

    box_set_state(b, BOX_FREEZING);
    g_strlcpy(q.box, b->id, sizeof(q.box));
    launcher_ask(b->sd->launcher, &q, NULL, 0, freeze_answer, box_ref(b));
}

static void thaw_answer(void *arg, const struct launch_packet *q, int *fds, unsigned fd_count)
{
    struct box *b = arg;
    struct fault f;

    if (q->op != LAUNCH_OK) {
        log_warn("box=%s step=thaw err=%s launcher=%s", b->id, errno_name(q->err), q->text);
        fault_set(&f, "internal", "cannot wake the frozen sandbox '%s': %s", b->name, q->text);
        box_changed(b, BOX_FROZEN, &f);
    } else if (b->p->gone || b->p->synced) {
        metrics_add(METRIC_WAKES, 1);
        box_changed(b, BOX_RUNNING, NULL);
    } else if (box_hello(b)) {            /* adopted while frozen: only now can its agent be asked */
        box_start_failed(b, "agent_lost", "the agent of the sandbox '%s' cannot be reached", b->name);
    }
    box_unref(b);
}

static void thaw_begin(struct box *b)
{
    struct launch_packet q = { .op = LAUNCH_THAW };

    box_set_state(b, BOX_THAWING);
    g_strlcpy(q.box, b->id, sizeof(q.box));
    launcher_ask(b->sd->launcher, &q, NULL, 0, thaw_answer, box_ref(b));
}

/* --- what comes from below --- */

/* It ended by itself: the agent died, or the kernel ended it for memory. */
static void box_ended(struct box *b, const struct launch_packet *p)
{
    bool stopping = b->state == BOX_STOPPING || b->state == BOX_DELETING;

    if (p->value[1])
        g_snprintf(b->p->error, sizeof(b->p->error), "the sandbox '%s' ran out of memory and its processes were ended (limits.memory_mb raises the limit)", b->name);
    else if (!stopping)
        g_snprintf(b->p->error, sizeof(b->p->error), "the agent of the sandbox '%s' ended (wait status 0x%llx)", b->name, (unsigned long long)p->value[0]);
    usage_run_ended(b, p->value[2], p->value[1]);
    b->p->alive = false;
    if (stopping) {
        box_unwind_gone(b);
    } else if (b->p->start) {
        box_start_failed(b, "start_failed", "%s", b->p->error);
    } else if (b->p->changing) {
        b->p->gone = true;
        if (b->p->hello_timer)            /* adopted, waits for its agent */
            box_start_failed(b, "agent_lost", "%s", b->p->error);
    } else {
        log_warn("box=%s ended status=0x%llx oom=%llu", b->id, (unsigned long long)p->value[0], (unsigned long long)p->value[1]);
        b->p->changing = true;
        life_disarm(b);
        box_unwind(b, &(struct unwind_how){ .fault = NULL });
    }
}

void boxes_launcher_event(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count)
{
    struct sandboxd *sd = arg;
    struct box *b;

    if (!p) {
        g_main_loop_quit(sd->loop);
        return;
    }
    b = p->op == LAUNCH_GONE && sd->boxes ? boxes_find(sd->boxes, p->box) : NULL;
    for (unsigned i = 0; i < fd_count; i++)
        close(fds[i]);
    if (b && b->p->alive) {
        box_ref(b);
        box_ended(b, p);
        box_unref(b);
    }
}

static gboolean hello_late(gpointer arg)
{
    struct box *b = arg;

    b->p->hello_timer = 0;
    box_start_failed(b, "start_failed", "the agent of the sandbox '%s' did not answer within %d s", b->name, HELLO_MS / 1000);
    return G_SOURCE_REMOVE;
}

int box_hello(struct box *b)
{
    int r = agent_link_send(b->link, FRAME_HELLO, 0, 0, FRAME_VERSION, NULL, 0, -1);

    if (!r && !b->p->hello_timer)
        b->p->hello_timer = g_timeout_add(HELLO_MS, hello_late, b);
    return r;
}

static void missing_layers(uint64_t layers, char *out, size_t n)
{
    out[0] = 0;
    for (unsigned i = 0; i < 64; i++) {
        unsigned bit = i < 31 ? 1u << i : 0;
        if (!bit || !(LAYERS_NEEDED & bit) || (layers & bit))
            continue;
        const char *name = confine_layer_name(bit);
        g_strlcat(out, out[0] ? ", " : "", n);
        g_strlcat(out, name ? name : "unnamed", n);
    }
}

static void welcome(struct box *b, struct frame *f)
{
    struct reader r = reader_of(f->body, f->n);
    uint64_t start = get_u64(&r), layers = get_u64(&r);
    char missing[256];

    if (!b->p->hello_timer)               /* not asked for */
        return;
    if (r.bad || f->arg != FRAME_VERSION) {
        box_start_failed(b, "start_failed", "the agent of the sandbox '%s' speaks another version of the protocol (%llu, not %d); reinstall coppice, and stop that sandbox",
                         b->name, (unsigned long long)f->arg, FRAME_VERSION);
        return;
    }
    layers = (layers & ~(uint64_t)LAYER_CGROUP) | (b->p->bs->host_layers & LAYER_CGROUP);
    if ((layers & LAYERS_NEEDED) != LAYERS_NEEDED) {
        missing_layers(layers, missing, sizeof(missing));
        box_start_failed(b, "start_failed", "the sandbox '%s' did not start, because these layers of its isolation could not be proved: %s; `coppice doctor` says what the host lacks",
                         b->name, missing);
        return;
    }
    b->p->layers = layers;
    b->p->times.welcome_ns = clock_mono_ns();
    (void)start;
    if (b->p->bs->hooks.started)
        b->p->bs->hooks.started(b);
}

static void fatal(struct box *b, struct frame *f)
{
    struct reader r = reader_of(f->body, f->n);
    int32_t err = (int32_t)get_u32(&r);
    char step_name[128], quoted[512];

    get_str(&r, step_name, sizeof(step_name));
    if (r.bad)
        strcpy(step_name, "?");
    log_quote(quoted, sizeof(quoted), step_name, strlen(step_name));
    if (b->p->hello_timer)
        box_start_failed(b, "start_failed", "the sandbox '%s' did not start: its agent cannot confine it, step %s: %s", b->name, quoted, g_strerror(-err));
}

void box_frame(void *arg, struct frame *f)
{
    struct box *b = arg;

    if (!f) {
        if (b->p->hello_timer)
            box_start_failed(b, "start_failed", "the agent of the sandbox '%s' ended before it was ready; the launcher's log says more", b->name);
        else if (b->state == BOX_STOPPING || b->state == BOX_DELETING)
            box_unwind_link_ended(b);
        else if (!b->p->changing) {
            b->p->changing = true;
            life_disarm(b);
            box_unwind(b, &(struct unwind_how){ .fault = NULL });
        } else {
            b->p->gone = true;
        }
        return;
    }
    switch (f->type) {
    case FRAME_WELCOME: welcome(b, f); break;
    case FRAME_FATAL: fatal(b, f); break;
    case FRAME_SYNCED:
        if (b->p->hello_timer && b->p->layers)
            box_start_synced(b);
        break;
    default:
        if (b->p->bs->hooks.frame && b->p->layers)
            b->p->bs->hooks.frame(b, f);
    }
}
