/* A start, in phases; within one the parts run side by side, and the last to end begins the next:
 *   1. PREPARE (a husk: namespaces, ids); egress is told who it is; for a bare workspace the fork of a throw-away root; the sources of further mounts become snapshots
 *   2. the mounts, with the husk's uid_base
 *   3. START: the husk gets them and becomes the sandbox
 *   4. HELLO .. WELCOME (all layers proved) .. SYNCED
 * The first problem is kept; when the phase is over, what was begun is taken back (box_unwind).
 *
 * Invariants: 1. `pending` counts the answers under way, and each holds a reference to the box. 2. slot is set from PREPARE's answer until START is sent or it is given back.
 * 3. mount_fds are ours until START was sent (the launcher has its own then), but [dir] becomes box->dir_fd. */
#include "sandbox/core/box_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/http/metrics.h"

struct start {
    unsigned pending, slot;
    bool slot_held, failed;
    bool telling, synced;                 /* egress was not told yet; all else is done */
    struct fault fault;
    unsigned mount_count;                 /* [0] is the root */
    char objects[1 + LAUNCH_MOUNTS_MAX][LAUNCH_NAME * 2];
    char paths[1 + LAUNCH_MOUNTS_MAX][LAUNCH_PATH];
    int fds[1 + LAUNCH_MOUNTS_MAX];
};
/* An answer on its way: of which mount. */
struct part { struct box *b; unsigned i; };

static void phase_over(struct box *b);

static struct part *part_new(struct box *b, unsigned i)
{
    struct part *p = g_new(struct part, 1);
    *p = (struct part){ box_ref(b), i };
    b->p->start->pending++;
    return p;
}

static void fail(struct box *b, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fail(struct box *b, const char *code, const char *fmt, ...)
{
    struct start *s = b->p->start;
    va_list ap;

    if (s->failed)
        return;
    s->failed = true;
    s->fault.code = code;
    va_start(ap, fmt);
    vsnprintf(s->fault.text, sizeof(s->fault.text), fmt, ap);
    va_end(ap);
}

static void part_done(struct part *p)
{
    struct box *b = p->b;

    g_free(p);
    if (--b->p->start->pending == 0)
        phase_over(b);
    box_unref(b);
}

/* --- phase 1 --- */

static void prepared(void *arg, const struct launch_packet *q, int *fds, unsigned fd_count)
{
    struct part *p = arg;
    struct start *s = p->b->p->start;

    if (q->op == LAUNCH_OK) {
        s->slot = q->slot;
        s->slot_held = true;
        p->b->p->uid_base = (uint32_t)q->value[0];
        p->b->p->times.prepared_ns = clock_mono_ns();
    } else if (q->err == -EAGAIN || q->err == -ENOSPC || q->err == -EBUSY || q->err == -EMFILE) {
        fail(p->b, "capacity_exceeded", "no room for another running sandbox: %s; stop some, or wait until they sleep", q->text);
    } else {
        fail(p->b, "start_failed", "cannot prepare the sandbox '%s': %s", p->b->name, q->text);
    }
    part_done(p);
}

static void root_forked(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct part *p = arg;
    const char *id = json_string_value(json_object_get(result, "id"));

    if (!result)
        fail(p->b, fault->code, "cannot make a root for the bare workspace '%s': %.300s", p->b->name, fault->text);
    else if (id)
        g_strlcpy(p->b->p->start->objects[0], id, sizeof(p->b->p->start->objects[0]));
    part_done(p);
}

/* One left by a start that a kill of ours cut off is removed first; it is never mounted then. */
static void root_removed(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct part *p = arg;
    char name[LAUNCH_NAME * 2];

    g_snprintf(name, sizeof(name), ROOT_PREFIX "%s", p->b->id);
    stock_call(p->b->sd->stock, json_pack("{s:s,s:s,s:s,s:s}", "verb", "create", "name", name, "from", "host", "kind", "root"), NULL, 0, root_forked, p);
}

static void source_fixed(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct part *p = arg;
    struct start *s = p->b->p->start;
    const char *id = json_string_value(json_object_get(result, "id"));

    if (!result)
        fail(p->b, fault->code, "cannot mount '%s' in the sandbox '%s': %.300s", s->objects[p->i], p->b->name, fault->text);
    else if (id)
        g_strlcpy(s->objects[p->i], id, sizeof(s->objects[p->i]));
    part_done(p);
}

/* A workspace is shown as it is at this moment: a workspace has one mount only, and that is its own sandbox's. */
static void source_shown(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct part *p = arg;
    const char *what = json_string_value(json_object_get(result, "object")), *id = json_string_value(json_object_get(result, "id"));
    struct box *other = id ? boxes_find(p->b->p->bs, id) : NULL;

    if (result && what && id && !strcmp(what, "workspace"))
        stock_call(p->b->sd->stock, json_pack("{s:s,s:s,s:s,s:s,s:b}", "verb", "snapshot", "object", id, "cause", "auto", "message", "mounted in another sandbox", "if_changed", 1),
                   other ? &other->dir_fd : NULL, other && other->dir_fd >= 0, source_fixed, p);
    else
        source_fixed(p, result, fd, fault);
}

/* Beside all phases, for egress writes it down: only what is run in the box must not be before it. */
struct telling { struct box *b; unsigned run; };

static void egress_told(void *arg)
{
    struct telling *t = arg;
    struct box *b = t->b;
    struct start *s = t->run == b->p->egress_run ? b->p->start : NULL;

    g_free(t);
    if (s)
        s->telling = false;
    if (s && s->synced)
        box_start_synced(b);
    box_unref(b);
}

static void egress_tell(struct box *b)
{
    struct telling *t = g_new(struct telling, 1);

    *t = (struct telling){ box_ref(b), b->p->egress_run };
    b->p->start->telling = true;
    box_egress_tell(b, egress_told, t);
}

static void phase_prepare(struct box *b)
{
    struct start *s = b->p->start;
    struct launch_packet q = { .op = LAUNCH_PREPARE };
    json_t *m;
    size_t i;

    if (b->p->config_err) {
        fail(b, "start_failed", "the sandbox '%s' does not start: its configuration, sandbox/box/%s.json in the store, was written by a newer coppice or is damaged (%s)", b->name, b->id, g_strerror(-b->p->config_err));
        phase_over(b);
        return;
    }
    s->pending++;                         /* until all are sent */
    launcher_ask(b->sd->launcher, &q, NULL, 0, prepared, part_new(b, 0));
    egress_tell(b);
    s->mount_count = 1;
    g_strlcpy(s->objects[0], b->id, sizeof(s->objects[0]));
    if (b->bare) {
        char name[LAUNCH_NAME * 2];
        g_snprintf(name, sizeof(name), ROOT_PREFIX "%s", b->id);
        stock_call(b->sd->stock, json_pack("{s:s,s:[s]}", "verb", "rm", "objects", name), NULL, 0, root_removed, part_new(b, 0));
        g_strlcpy(s->objects[1], b->id, sizeof(s->objects[1]));
        strcpy(s->paths[1], "/workspace");
        s->mount_count = 2;
    }
    json_array_foreach(b->config.mounts, i, m) {
        unsigned at = s->mount_count;
        if (at > LAUNCH_MOUNTS_MAX) {
            fail(b, "invalid_request", "a sandbox has at most %d further mounts", LAUNCH_MOUNTS_MAX - b->bare);
            break;
        }
        s->mount_count++;
        g_strlcpy(s->objects[at], json_string_value(json_object_get(m, "source")), sizeof(s->objects[at]));
        g_strlcpy(s->paths[at], json_string_value(json_object_get(m, "path")), sizeof(s->paths[at]));
        stock_call(b->sd->stock, json_pack("{s:s,s:s,s:b}", "verb", "show", "object", s->objects[at], "sizes", 0), NULL, 0, source_shown, part_new(b, at));
    }
    if (--s->pending == 0)
        phase_over(b);
}

/* --- phase 2 --- */

static void mounted(void *arg, json_t *result, int fd, const struct fault *fault)
{
    struct part *p = arg;
    struct start *s = p->b->p->start;

    if (!result && !strcmp(fault->code, "busy"))
        fail(p->b, "busy", "the workspace '%s' cannot start as a sandbox: %.300s", p->b->name, fault->text);
    else if (!result)
        fail(p->b, fault->code, "the sandbox '%s' did not start: %.400s", p->b->name, fault->text);
    else
        s->fds[p->i] = TAKE_FD(fd);
    part_done(p);
}

static void phase_mount(struct box *b)
{
    struct start *s = b->p->start;

    s->pending++;
    for (unsigned i = 0; i < s->mount_count; i++) {
        bool ro = i > b->bare;
        stock_mount(b->sd->stock, s->objects[i], json_pack("{s:b,s:I}", "ro", ro, "uid_base", (json_int_t)b->p->uid_base), mounted, part_new(b, i));
    }
    if (--s->pending == 0)
        phase_over(b);
}

/* --- phase 3 --- */

static void started(void *arg, const struct launch_packet *q, int *fds, unsigned fd_count)
{
    struct part *p = arg;
    struct box *b = p->b;

    if (q->op == LAUNCH_OK && fd_count) {
        b->p->alive = true;
        b->p->pid = (int32_t)q->value[0];
        box_egress_network(b, q, 2);
        b->link = agent_link_new(TAKE_FD(fds[0]), box_frame, b);
        b->p->times.started_ns = clock_mono_ns();
    } else {
        fail(b, "start_failed", "the sandbox '%s' did not start: %s", b->name, q->op == LAUNCH_OK ? "the launcher gave no socket" : q->text);
    }
    for (unsigned i = 0; i < fd_count; i++)
        close_p(&fds[i]);
    part_done(p);
}

static void host_name(const struct box *b, char out[LAUNCH_NAME])
{
    size_t n = 0;

    for (const char *c = b->name; *c && n < LAUNCH_NAME - 1; c++)
        out[n++] = *c == '_' ? '-' : *c;
    out[n] = 0;
}

void box_find_owner(struct box *b)
{
    struct stat st;
    unsigned uid, gid;

    b->p->user[0] = 0;
    if (!b->bare || fstat(b->dir_fd, &st))
        return;
    uid = st.st_uid - b->p->uid_base;
    gid = st.st_gid - b->p->uid_base;
    if (uid == 0)
        strcpy(b->p->user, "root");
    else if (uid < 65533 && uid != 1000)
        g_snprintf(b->p->user, sizeof(b->p->user), "%u:%u", uid, gid < 65533 ? gid : uid);
}

static void phase_start(struct box *b)
{
    struct start *s = b->p->start;
    struct launch_packet q = { .op = LAUNCH_START, .slot = s->slot, .flags = b->bare || b->p->host ? LAUNCH_HOST_USR : 0, .limits = b->config.limits };

    g_strlcpy(q.box, b->id, sizeof(q.box));
    host_name(b, q.host_name);
    q.mount_count = s->mount_count - 1;
    for (unsigned i = 1; i < s->mount_count; i++) {
        g_strlcpy(q.mounts[i - 1].path, s->paths[i], sizeof(q.mounts[0].path));
        q.mounts[i - 1].read_only = i > b->bare;
    }
    s->slot_held = false;
    b->dir_fd = TAKE_FD(s->fds[b->bare]);
    s->fds[b->bare] = b->dir_fd;
    box_find_owner(b);
    launcher_ask(b->sd->launcher, &q, s->fds, s->mount_count, started, part_new(b, 0));
    s->fds[b->bare] = -1;
    for (unsigned i = 0; i < s->mount_count; i++) {
        close_p(&s->fds[i]);
        s->fds[i] = -1;
    }
}

/* --- the end, either way --- */

static void queue_next(struct boxes *bs)
{
    struct box *b;

    bs->starting--;
    b = g_queue_pop_head(&bs->start_queue);
    if (!b)
        return;
    bs->starting++;
    b->p->times.queued_ns = clock_mono_ns();
    phase_prepare(b);
    box_unref(b);
}

static void start_free(struct box *b)
{
    struct start *s = b->p->start;

    if (!s)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(s->fds); i++)
        close_p(&s->fds[i]);
    g_free(s);
    b->p->start = NULL;
    queue_next(b->p->bs);
}

static void abandoned(void *arg, const struct launch_packet *q, int *fds, unsigned fd_count)
{
}

static void start_undo(struct box *b)
{
    struct start *s = b->p->start;
    struct fault f = s->fault;

    if (s->slot_held) {
        struct launch_packet q = { .op = LAUNCH_ABANDON, .slot = s->slot };
        launcher_ask(b->sd->launcher, &q, NULL, 0, abandoned, NULL);
    }
    g_strlcpy(b->p->error, f.text, sizeof(b->p->error));
    metrics_add(METRIC_START_FAILURES, 1);
    log_warn("box=%s step=start code=%s", b->id, f.code);
    start_free(b);
    box_unwind(b, &(struct unwind_how){ .fault = &f });
}

static void phase_over(struct box *b)
{
    struct start *s = b->p->start;

    if (s->failed) {
        start_undo(b);
    } else if (b->p->alive) {
        if (box_hello(b))
            box_start_failed(b, "start_failed", "the agent of the sandbox '%s' ended before it was ready; the launcher's log says more", b->name);
    } else if (s->fds[0] >= 0) {
        b->p->times.mounted_ns = clock_mono_ns();
        phase_start(b);
    } else {
        phase_mount(b);
    }
}

void box_start_failed(struct box *b, const char *code, const char *fmt, ...)
{
    struct fault f = { .code = code };
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f.text, sizeof(f.text), fmt, ap);
    va_end(ap);
    if (b->p->hello_timer)
        g_source_remove(b->p->hello_timer);
    b->p->hello_timer = 0;
    box_ref(b);
    if (!b->p->start) {                   /* adopted, or thawed after that */
        g_strlcpy(b->p->error, f.text, sizeof(b->p->error));
        box_unwind(b, &(struct unwind_how){ .fault = &f });
    } else {
        fail(b, code, "%s", f.text);
        if (!b->p->start->pending)        /* else when the phase is over */
            start_undo(b);
    }
    box_unref(b);
}

void box_start_synced(struct box *b)
{
    struct box_private *p = b->p;
    bool fresh = p->start != NULL;

    if (p->hello_timer)
        g_source_remove(p->hello_timer);
    p->hello_timer = 0;
    if (fresh && p->start->telling) {
        p->start->synced = true;
        return;
    }
    p->synced = true;
    p->times.ready_ns = clock_mono_ns();
    b->idle_since_ns = p->times.ready_ns;
    if (fresh) {
        b->started_ns = p->times.ready_ns;
        metrics_add(METRIC_STARTS, 1);
        log_info("box=%s started pid=%d us=%llu", b->id, p->pid, (unsigned long long)(p->times.ready_ns - p->times.need_ns) / 1000);
    }
    start_free(b);
    if (p->bs->hooks.running)
        p->bs->hooks.running(b);
    box_changed(b, BOX_RUNNING, NULL);
}

void box_start_begin(struct box *b)
{
    struct box_private *p = b->p;

    box_set_state(b, BOX_STARTING);
    p->error[0] = 0;
    p->gone = p->synced = p->quiet = false;
    p->layers = 0;
    p->cpu_seen_us = p->cpu_seen_ns = 0;
    memset(p->values, 0, sizeof(p->values));
    if (p->asleep_since)
        p->slept_s += (uint64_t)MAX(0, g_get_real_time() / 1000000 - p->asleep_since);
    p->asleep_since = 0;
    if (!p->times.need_ns)
        p->times.need_ns = clock_mono_ns();
    p->start = g_new0(struct start, 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(p->start->fds); i++)
        p->start->fds[i] = -1;
    if (p->bs->starting >= STARTS_AT_ONCE) {
        g_queue_push_tail(&p->bs->start_queue, box_ref(b));
        return;
    }
    p->bs->starting++;
    p->times.queued_ns = clock_mono_ns();
    phase_prepare(b);
}
