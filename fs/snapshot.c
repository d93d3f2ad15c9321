/* Snapshots and forks. Both are records that go into the batch of the freeze which makes their state immutable: so either the state and all
 * that refers to it is there, or nothing. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/feed.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"
#include "fs/workspace.h"

int labels_check(const struct labels *l)
{
    if (!l)
        return 0;
    if (l->count > LABEL_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < l->count; i++) {
        if (!l->l[i].key[0])
            return -EINVAL;
        for (uint32_t j = 0; j < i; j++) {
            if (!strcmp(l->l[i].key, l->l[j].key))
                return -EINVAL;
        }
    }
    return 0;
}

static int64_t now_sec(void)
{
    struct timespec ts;

    clock_real(&ts);
    return ts.tv_sec;
}

/* All of a snapshot's record but what the moment of the freeze decides. */
static int snap_prepare(struct store *s, enum snap_cause cause, struct snap_rec *snap)
{
    int r;

    *snap = (struct snap_rec){ .cause = cause, .created = now_sec() };
    r = fresh_snap_id(s, snap->id);
    return r < 0 ? r : counter_next(s->counter, &snap->seq);
}

/* In a freeze: the snapshot is of v, and the workspace stands on it from now on. */
static void snap_fill(struct snap_rec *snap, const struct view *v, struct ws_rec *rec)
{
    memcpy(snap->ws_id, rec->id, sizeof snap->ws_id);
    memcpy(snap->ws_name, rec->name, sizeof snap->ws_name);
    memcpy(snap->parent, rec->parent_snap, sizeof snap->parent);
    snap->kind = rec->kind;
    snap->base = v->rec.id;
    memcpy(rec->parent_snap, snap->id, sizeof rec->parent_snap);
}

struct snap_extra { struct freeze_extra extra; struct snap_rec *snap; };

static int snap_write(struct freeze_extra *self, struct batch *b, const struct view *v, struct ws_rec *rec)
{
    struct snap_rec *snap = ((struct snap_extra *)self)->snap;

    snap_fill(snap, v, rec);
    snap_rec_put(b, snap);
    if (snap->name[0])
        snap_name_put(b, snap->ws_id, snap->name, snap->id);
    return 0;
}

static void snap_take_args(struct snap_rec *snap, const struct snapshot_args *a)
{
    if (a->name)
        strcpy(snap->name, a->name);
    if (a->message)
        strcpy(snap->message, a->message);
    if (a->labels)
        snap->labels = *a->labels;
    for (unsigned i = 0; i < a->merged_count; i++)
        memcpy(snap->merged[snap->merged_count++], a->merged[i], ID_MAX);
}

static void snap_mark(struct freeze_extra *self, struct workspace *w, const struct view *v)
{
    const struct snap_rec *snap = ((struct snap_extra *)self)->snap;

    feed_mark(w, !v ? FEED_FAILED : snap->cause == SNAP_MERGE ? FEED_MERGE : FEED_SNAPSHOT, snap->id, snap->name, 0);
}

static int snapshot_held(struct store *s, struct workspace *w, const struct snapshot_args *a, struct snap_rec *ret, struct snapshot_timing *t)
{
    struct snap_rec snap;
    struct snap_extra x = { .extra = { snap_write, snap_mark }, .snap = &snap };
    struct view *v;
    int r = snap_prepare(s, a->cause, &snap);

    if (r < 0)
        return r;
    snap_take_args(&snap, a);
    uint64_t synced = w->synced_ns;
    r = workspace_freeze(w, &x.extra, &v, &t->held_ns);
    t->sync_ns = w->synced_ns - synced;
    if (r < 0)
        return r;
    view_unref(v);
    *ret = snap;
    return 0;
}

int verb_snapshot(struct store *s, struct workspace *w, const struct snapshot_args *a, struct snap_rec *ret, struct snapshot_timing *timing)
{
    uint64_t start = clock_mono_ns();
    struct snapshot_timing own = { 0 }, *t = timing ? timing : &own;
    bool named = a->name && a->name[0];
    char ws_id[ID_MAX];
    struct name_hold h;
    int r = labels_check(a->labels);

    if (r < 0 || a->merged_count > MERGED_MAX || (named && !object_name_valid(a->name)) || (a->message && strlen(a->message) > MESSAGE_MAX))
        return -EINVAL;
    if (w->readonly)
        return -EROFS;
    memcpy(ws_id, w->rec.id, sizeof ws_id);      /* never changes */
    if (named)
        r = name_hold(s, ws_id, a->name, &h);
    if (r < 0)
        return r;
    r = snapshot_held(s, w, a, ret, t);
    if (named)
        name_release(s, &h);
    if (r == 0)
        t->total_ns = clock_mono_ns() - start;
    return r;
}

/* --- a snapshot of a state that was --- */

struct stand { const char *from; const struct snap_rec *on; };

static int stand_on(void *arg, struct ws_rec *rec)
{
    const struct stand *x = arg;

    if (!strcmp(rec->parent_snap, x->from))
        memcpy(rec->parent_snap, x->on->id, sizeof rec->parent_snap);
    return 0;
}

int snapshot_view(struct store *s, const char *ws_id, struct view *v, const char *parent, const struct snapshot_args *a, struct snap_rec *ret)
{
    struct snap_rec snap;
    struct stand x = { parent, &snap };
    struct ws_rec rec;
    struct batch *b;
    int r = ws_rec_get(s->meta, ws_id, &rec);

    if (r == 0)
        r = snap_prepare(s, a->cause, &snap);
    if (r < 0)
        return r;
    snap_take_args(&snap, a);
    snap_fill(&snap, v, &rec);
    memcpy(snap.parent, parent, strlen(parent) + 1);
    b = batch_new();
    if (!b)
        return -ENOMEM;
    snap_rec_put(b, &snap);
    r = ws_update(s, ws_id, stand_on, &x, b);
    batch_free(b);
    if (r == 0)
        *ret = snap;
    return r;
}

/* --- forks --- */

struct fork_plan {
    struct freeze_extra extra;
    struct store *store;
    const struct create_args *attrs;
    struct ws_rec *out;                   /* n records: id, name, live, seq, created are set; the rest is filled from the state */
    unsigned n;
    struct snap_rec snap;                 /* the snapshot that will be made, if the state is not that of `same` */
    struct snap_rec same;                 /* the last snapshot of the source, "" none */
};

/* The numbers of the state itself: the source's own may have gone on since the freeze. */
static void take_state(struct store *s, const struct view *v, struct ws_rec *rec)
{
    pthread_rwlock_rdlock(&s->view_lock);
    rec->base = v->rec.id;
    if (rec->next_ino < v->rec.next_ino)
        rec->next_ino = v->rec.next_ino;
    rec->inodes = v->rec.inodes;
    rec->units = v->rec.units;
    pthread_rwlock_unlock(&s->view_lock);
}

/* from: kind, quotas and state. */
static void fork_fill(struct fork_plan *p, struct batch *b, const struct ws_rec *from, const char *snap_id)
{
    for (unsigned i = 0; i < p->n; i++) {
        struct ws_rec *rec = &p->out[i];

        rec->kind = p->attrs && p->attrs->kind ? p->attrs->kind : from->kind ? from->kind : WS_BARE;
        rec->base = from->base;
        rec->next_ino = from->next_ino;
        rec->inodes = from->inodes;
        rec->units = from->units;
        rec->quota_bytes = p->attrs ? p->attrs->quota_bytes : from->quota_bytes;
        rec->quota_inodes = p->attrs ? p->attrs->quota_inodes : from->quota_inodes;
        memcpy(rec->parent_snap, snap_id, strlen(snap_id) + 1);
        ws_rec_put(b, rec);
        ws_name_put(b, rec->name, rec->id);
    }
}

static int fork_write(struct freeze_extra *self, struct batch *b, const struct view *v, struct ws_rec *rec)
{
    struct fork_plan *p = (struct fork_plan *)self;

    /* A source that has not changed since its last snapshot needs no other. */
    if (!p->same.id[0] || strcmp(rec->parent_snap, p->same.id) != 0 || p->same.base != v->rec.id) {
        snap_fill(&p->snap, v, rec);
        snap_rec_put(b, &p->snap);
    }
    struct ws_rec from = *rec;
    take_state(p->store, v, &from);
    fork_fill(p, b, &from, rec->parent_snap);
    return 0;
}

static void fork_mark(struct freeze_extra *self, struct workspace *w, const struct view *v)
{
    const struct fork_plan *p = (const struct fork_plan *)self;
    bool same = v && p->same.id[0] && !strcmp(w->rec.parent_snap, p->same.id) && p->same.base == v->rec.id;

    feed_mark(w, v ? FEED_FORK : FEED_FAILED, same ? p->same.id : p->snap.id, p->out[0].name, p->n);
}

static int fork_from_ws(struct fork_plan *p, const char *id, struct snapshot_timing *t)
{
    struct store *s = p->store;
    struct workspace *w;
    char last[ID_MAX];
    struct view *v;
    int r = workspace_open(s, id, &w);

    if (r < 0)
        return r;
    pthread_mutex_lock(&w->lock);
    memcpy(last, w->rec.parent_snap, sizeof last);
    pthread_mutex_unlock(&w->lock);
    uint64_t synced = w->synced_ns;
    if (last[0])
        r = snap_rec_get(s->meta, last, &p->same);
    if (r == -ENOENT)
        r = 0;
    if (r == 0)
        r = snap_prepare(s, SNAP_FORK, &p->snap);
    if (r == 0)
        r = workspace_freeze(w, &p->extra, &v, &t->held_ns);
    t->sync_ns = w->synced_ns - synced;
    if (r == 0)
        view_unref(v);
    workspace_unref(w);
    return r;
}

/* from: kind and quotas. */
static int fork_from_view(struct fork_plan *p, struct view *v, struct ws_rec *from, const char *snap_id)
{
    struct batch *b = batch_new();
    int r;

    if (!b)
        return -ENOMEM;
    take_state(p->store, v, from);
    fork_fill(p, b, from, snap_id);
    r = meta_write(p->store->meta, b, true);
    batch_free(b);
    return r;
}

static int fork_from_snap(struct fork_plan *p, const struct snap_rec *snap)
{
    struct store *s = p->store;
    struct ws_rec from = { .kind = snap->kind }, of;
    struct view *v;
    int r = snap_view(s, snap, &v);

    if (r < 0)
        return r;
    if (ws_rec_get(s->meta, snap->ws_id, &of) == 0) {      /* the quota is the workspace's, whichever of its states is forked */
        from.quota_bytes = of.quota_bytes;
        from.quota_inodes = of.quota_inodes;
    }
    r = fork_from_view(p, v, &from, snap->id);
    view_unref(v);
    return r;
}

static int fork_prepare(struct fork_plan *p, const char *const *names)
{
    int64_t now = now_sec();
    int r = 0;

    for (unsigned i = 0; r == 0 && i < p->n; i++) {
        struct ws_rec *rec = &p->out[i];

        *rec = (struct ws_rec){ .created = now };
        strcpy(rec->name, names[i]);
        if (p->attrs && p->attrs->labels)
            rec->labels = *p->attrs->labels;
        r = fresh_ws_id(p->store, rec->id);
        if (r == 0)
            r = counter_next(p->store->counter, &rec->live);
        if (r == 0)
            r = counter_next(p->store->counter, &rec->seq);
    }
    return r;
}

int fork_view(struct store *s, struct view *v, const struct ws_rec *of, const char *name, const struct labels *labels, struct ws_rec *ret)
{
    struct create_args attrs = { .kind = of->kind, .labels = labels };
    struct fork_plan p = { .store = s, .attrs = &attrs, .n = 1, .out = ret };
    struct ws_rec from = { .kind = of->kind };
    struct name_hold h;
    int r = labels_check(labels);

    if (r < 0 || !object_name_valid(name))
        return -EINVAL;
    r = name_hold(s, "", name, &h);
    if (r < 0)
        return r;
    r = fork_prepare(&p, &name);
    if (r == 0)
        r = fork_from_view(&p, v, &from, "");
    name_release(s, &h);
    return r;
}

int fork_many(struct store *s, const struct object *src, const char *const *names, unsigned n, const struct create_args *attrs, struct ws_rec *ret,
              unsigned *ret_bad, struct snapshot_timing *timing)
{
    uint64_t start = clock_mono_ns();
    struct snapshot_timing own = { 0 }, *t = timing ? timing : &own;
    struct fork_plan p = { .extra = { fork_write, fork_mark }, .store = s, .attrs = attrs, .n = n };
    _cleanup_free_ struct name_hold *holds = mem_zalloc(n * sizeof *holds);
    _cleanup_free_ struct ws_rec *out = mem_alloc(n * sizeof *out);
    unsigned held_names = 0;
    int r = holds && out ? labels_check(attrs ? attrs->labels : NULL) : -ENOMEM;

    for (unsigned i = 0; r == 0 && i < n; i++) {
        r = object_name_valid(names[i]) ? name_hold(s, "", names[i], &holds[i]) : -EINVAL;
        if (r == 0)
            held_names++;
        else if (ret_bad)
            *ret_bad = i;
    }
    p.out = out;
    if (r == 0)
        r = fork_prepare(&p, names);
    if (r == 0)
        r = src->snap.id[0] ? fork_from_snap(&p, &src->snap) : fork_from_ws(&p, src->ws.id, t);
    for (unsigned i = 0; i < held_names; i++)
        name_release(s, &holds[i]);
    if (r < 0)
        return r;
    memcpy(ret, out, n * sizeof *out);
    t->total_ns = clock_mono_ns() - start;
    return 0;
}

int verb_fork(struct store *s, const struct object *src, const char *const *names, unsigned n, struct ws_rec *ret, unsigned *ret_bad, struct snapshot_timing *timing)
{
    return fork_many(s, src, names, n, NULL, ret, ret_bad, timing);
}
