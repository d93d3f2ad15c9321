/* Passes over the store's records. Each reads all workspaces with a policy and all snapshots once (small facts of them), then makes what is due, then
 * removes what is kept by nothing. A snapshot that a workspace stands on is never removed: the next one is compared with it. What is removed are records:
 * states that forks and other snapshots have in common stay, and space is given back by gc. */
#include "snapshotd/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "fs/workspace.h"
#include "snapshotd/keep.h"

DEFINE_CLEANUP(struct workspace *, workspace_unref)
DEFINE_CLEANUP(struct view *, view_unref)

struct ws_fact { char id[ID_MAX], stands_on[ID_MAX]; bool has_policy; struct keep keep; int64_t last, looked; };
struct snap_fact { char id[ID_MAX], ws[ID_MAX]; uint64_t seq; int64_t created, expires; bool candidate, pinned, dated; };

struct facts {
    struct ws_fact *ws;
    struct snap_fact *snaps;
    size_t ws_count, ws_cap, snap_count, snap_cap;
};

static const char *label(const struct labels *l, const char *key)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (!strcmp(l->l[i].key, key))
            return l->l[i].val;
    return NULL;
}

/* --- reading --- */

static int note_ws(void *arg, const struct ws_rec *r)
{
    struct facts *f = arg;
    const char *policy = label(&r->labels, LABEL_AUTO), *why;

    if (f->ws_count == f->ws_cap) {
        size_t cap = f->ws_cap ? 2 * f->ws_cap : 64;
        struct ws_fact *v = mem_realloc(f->ws, cap * sizeof *v);
        if (!v)
            return -ENOMEM;
        f->ws = v;
        f->ws_cap = cap;
    }
    struct ws_fact *w = &f->ws[f->ws_count++];
    *w = (struct ws_fact){ .last = INT64_MIN };
    memcpy(w->id, r->id, sizeof w->id);
    memcpy(w->stands_on, r->parent_snap, sizeof w->stands_on);
    w->has_policy = policy && keep_parse(policy, &w->keep, &why) == 0;
    if (policy && !w->has_policy)
        log_warn("workspace=%s step=policy what=\"%s\"", r->id, why);
    return 0;
}

static int note_snap(void *arg, const struct snap_rec *r)
{
    struct facts *f = arg;
    const char *pin = label(&r->labels, LABEL_PIN), *expires = label(&r->labels, LABEL_EXPIRES);
    struct snap_fact s = { .seq = r->seq, .created = r->created };

    s.candidate = r->cause == SNAP_AUTO && !r->name[0];
    s.pinned = label(&r->labels, LABEL_KEEP) || (pin && !strcmp(pin, "true"));
    s.dated = expires && keep_expiry(expires, r->created, &s.expires);
    if (expires && !s.dated)
        log_warn("snapshot=%s step=expiry what=\"label expires is no date and no duration\"", r->id);
    if (!s.candidate && !s.dated)
        return 0;
    if (f->snap_count == f->snap_cap) {
        size_t cap = f->snap_cap ? 2 * f->snap_cap : 256;
        struct snap_fact *v = mem_realloc(f->snaps, cap * sizeof *v);
        if (!v)
            return -ENOMEM;
        f->snaps = v;
        f->snap_cap = cap;
    }
    memcpy(s.id, r->id, sizeof s.id);
    memcpy(s.ws, r->ws_id, sizeof s.ws);
    f->snaps[f->snap_count++] = s;
    return 0;
}

/* By workspace, newest first. */
static int snap_cmp(const void *x, const void *y)
{
    const struct snap_fact *a = x, *b = y;
    int c = strcmp(a->ws, b->ws);

    return c ? c : (a->seq < b->seq) - (a->seq > b->seq);
}

static int ws_cmp(const void *x, const void *y)
{
    return strcmp(((const struct ws_fact *)x)->id, ((const struct ws_fact *)y)->id);
}

static int id_cmp(const void *x, const void *y)
{
    return strcmp(x, y);
}

static void facts_fini(struct facts *f)
{
    free(f->ws);
    free(f->snaps);
    *f = (struct facts){ 0 };
}

static int facts_read(struct history *h, struct facts *f)
{
    *f = (struct facts){ 0 };
    int r = ws_rec_each(h->store->meta, note_ws, f);

    if (!r)
        r = snap_rec_each(h->store->meta, note_snap, f);
    if (r) {
        facts_fini(f);
        return r;
    }
    if (f->ws_count)
        qsort(f->ws, f->ws_count, sizeof *f->ws, ws_cmp);
    if (f->snap_count)
        qsort(f->snaps, f->snap_count, sizeof *f->snaps, snap_cmp);
    for (size_t i = 0; i < f->snap_count; i++) {
        struct ws_fact key, *w;
        memcpy(key.id, f->snaps[i].ws, sizeof key.id);
        w = f->ws_count ? bsearch(&key, f->ws, f->ws_count, sizeof key, ws_cmp) : NULL;
        if (w && f->snaps[i].candidate && f->snaps[i].created > w->last)
            w->last = f->snaps[i].created;
    }
    return 0;
}

/* --- making --- */

int history_unchanged(struct store *s, struct workspace *w, struct snap_rec *ret)
{
    _cleanup_(view_unref_p) struct view *v = NULL;
    struct object o;

    int r = object_find(s, w->rec.id, &o);
    if (!r)
        r = object_view(s, &o, &v);
    if (!r)
        r = object_find(s, o.ws.id, &o);
    if (r || !o.ws.parent_snap[0])
        return r;
    r = snap_rec_get(s->meta, o.ws.parent_snap, ret);
    return r == -ENOENT ? 0 : r ? r : ret->base == v->rec.id;
}

/* 1 made, 0 unchanged. */
static int make_one(struct history *h, const struct ws_rec *rec)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    struct snapshot_args a = { .cause = SNAP_AUTO };
    struct snap_rec snap;
    void *flush = NULL;

    int r = workspace_open(h->store, rec->id, &w);
    if (r)
        return r;
    int unflushed = h->ops && h->ops->flush ? h->ops->flush(h->arg, rec, &flush) : 0;
    if (unflushed)                        /* a mount that is out of reach: the state as far as the kernel has told it, which is seconds old */
        a.message = "without what programs had not written back yet";
    r = history_unchanged(h->store, w, &snap);
    if (r == 0)
        r = verb_snapshot(h->store, w, &a, &snap, NULL) ?: 1;
    else if (r > 0)
        r = 0;
    if (!unflushed && h->ops && h->ops->flushed)
        h->ops->flushed(h->arg, flush);
    return r;
}

/* The facts are in the order of ids, and so is the table that is made of them. */
static int64_t looked_at(const struct history *h, const char *id)
{
    const struct looked *x = h->looked_count ? bsearch(id, h->looked, h->looked_count, sizeof *h->looked, id_cmp) : NULL;

    return x ? x->at : INT64_MIN;
}

static void note_looked(struct history *h, const struct facts *f)
{
    struct looked *v = mem_alloc((f->ws_count + 1) * sizeof *v);
    size_t n = 0;

    for (size_t i = 0; v && i < f->ws_count; i++) {
        if (!f->ws[i].has_policy)
            continue;
        memcpy(v[n].ws, f->ws[i].id, ID_MAX);
        v[n++].at = f->ws[i].looked;
    }
    if (!v)                               /* what is due is looked at once too often */
        return;
    free(h->looked);
    h->looked = v;
    h->looked_count = n;
}

/* When it is due. A time in the future is of a clock that was set back since: it does not count. */
static int64_t due_at(const struct ws_fact *w, int64_t looked, int64_t now)
{
    int64_t last = w->last > looked ? w->last : looked;

    return last == INT64_MIN || last > now ? now : last + w->keep.every_s;
}

static void make_due(struct history *h, struct facts *f, int64_t now, struct history_report *rep, int64_t *next)
{
    for (size_t i = 0; i < f->ws_count; i++) {
        struct ws_fact *w = &f->ws[i];
        struct ws_rec rec;
        if (!w->has_policy)
            continue;
        w->looked = looked_at(h, w->id);
        int64_t due = due_at(w, w->looked, now);
        if (due <= now && ws_rec_get(h->store->meta, w->id, &rec) == 0) {
            int r = make_one(h, &rec);
            rep->made += r == 1;
            rep->unchanged += r == 0;
            rep->failed += r < 0;
            if (r < 0)
                log_error("workspace=%s step=auto_snapshot err=%s", w->id, errno_name(r));
            w->looked = now;
            due = now + w->keep.every_s;
        }
        *next = due < *next ? due : *next;
    }
    note_looked(h, f);
}

/* --- removing --- */

/* The ids that workspaces stand on, sorted. */
static char (*standing_of(const struct facts *f))[ID_MAX]
{
    char (*v)[ID_MAX] = mem_zalloc((f->ws_count + 1) * ID_MAX);

    for (size_t i = 0; v && i < f->ws_count; i++)
        memcpy(v[i], f->ws[i].stands_on, ID_MAX);
    if (v && f->ws_count)
        qsort(v, f->ws_count, ID_MAX, id_cmp);
    return v;
}

static void remove_one(struct history *h, const struct snap_fact *s, const char *why, struct history_report *rep)
{
    struct object o = { 0 };
    int r = snap_rec_get(h->store->meta, s->id, &o.snap);

    /* Since the facts were read it may have got a name or a pin: then it is left. */
    const char *pin = r ? NULL : label(&o.snap.labels, LABEL_PIN);
    if (r == -ENOENT || (!r && (label(&o.snap.labels, LABEL_KEEP) || (pin && !strcmp(pin, "true")) || (!s->dated && o.snap.name[0]))))
        return;
    if (!r)
        r = verb_remove(h->store, &o, false);
    if (r && r != -ENOENT) {
        log_error("snapshot=%s step=%s err=%s", s->id, why, errno_name(r));
        rep->failed++;
        return;
    }
    log_info("snapshot=%s removed why=%s", s->id, why);
    rep->removed++;
    h->removed = true;
}

/* Snapshots [from, to) are of one workspace. */
static int remove_of(struct history *h, const struct facts *f, size_t from, size_t to, char (*standing)[ID_MAX], int64_t now, struct history_report *rep, int64_t *next)
{
    _cleanup_free_ int64_t *created = mem_alloc((to - from) * sizeof *created);
    _cleanup_free_ const char **kept = mem_zalloc((to - from) * sizeof *kept);
    struct ws_fact key, *w;
    size_t n = 0;

    if (!created || !kept)
        return -ENOMEM;
    memcpy(key.id, f->snaps[from].ws, sizeof key.id);
    w = f->ws_count ? bsearch(&key, f->ws, f->ws_count, sizeof key, ws_cmp) : NULL;
    for (size_t i = from; i < to; i++)
        if (f->snaps[i].candidate)
            created[n++] = f->snaps[i].created;
    if (w && w->has_policy)
        keep_choose(&w->keep, created, n, kept);
    n = 0;
    for (size_t i = from; i < to; i++) {
        const struct snap_fact *s = &f->snaps[i];
        bool outdated = s->candidate && w && w->has_policy && !kept[n], expired = s->dated && s->expires <= now;
        n += s->candidate;
        if (s->dated && !expired && s->expires < *next)
            *next = s->expires;
        if (s->pinned || (!outdated && !expired) || bsearch(s->id, standing, f->ws_count, ID_MAX, id_cmp))
            continue;
        remove_one(h, s, expired ? "expired" : "retention", rep);
    }
    return 0;
}

static int remove_due(struct history *h, const struct facts *f, int64_t now, struct history_report *rep, int64_t *next)
{
    _cleanup_free_ char (*standing)[ID_MAX] = standing_of(f);
    int r = standing ? 0 : -ENOMEM;

    for (size_t i = 0, end; r == 0 && i < f->snap_count; i = end) {
        for (end = i; end < f->snap_count && !strcmp(f->snaps[end].ws, f->snaps[i].ws);)
            end++;
        r = remove_of(h, f, i, end, standing, now, rep, next);
    }
    return r;
}

void history_pass(struct history *h, int64_t now, struct history_report *ret, int64_t *ret_next)
{
    struct history_report rep = { 0 };
    struct facts f;
    int64_t next = INT64_MAX;
    int r = facts_read(h, &f);

    if (r == 0) {
        make_due(h, &f, now, &rep, &next);
        facts_fini(&f);
        r = facts_read(h, &f);            /* with what was made, and what workspaces stand on now */
    }
    if (r == 0)
        r = remove_due(h, &f, now, &rep, &next);
    if (r < 0) {
        log_error("step=history err=%s", errno_name(r));
        rep.failed++;
        next = next < now + 60 ? next : now + 60;
    }
    facts_fini(&f);
    *ret = rep;
    *ret_next = next;
}

void history_fini(struct history *h)
{
    free(h->looked);
    h->looked = NULL;
    h->looked_count = 0;
}

/* --- undo --- */

struct last_change { const char *ws_id; uint64_t seq; struct snap_rec snap; };

static int note_change(void *arg, const struct snap_rec *r)
{
    struct last_change *x = arg;
    bool changed = r->cause == SNAP_RESTORE || (r->cause == SNAP_MERGE && r->merged_count);

    if (changed && !strcmp(r->ws_id, x->ws_id) && r->seq >= x->seq) {
        x->seq = r->seq;
        x->snap = *r;
    }
    return 0;
}

int history_before(struct store *s, const char *ws_id, struct snap_rec *ret)
{
    struct last_change x = { .ws_id = ws_id };
    int r = snap_rec_each(s->meta, note_change, &x);

    if (r || !x.snap.id[0])
        return r ? r : -ENOENT;
    if (x.snap.cause == SNAP_RESTORE) {   /* the record is of the state before */
        *ret = x.snap;
        return 0;
    }
    return x.snap.parent[0] ? snap_rec_get(s->meta, x.snap.parent, ret) : -ENOENT;      /* the record is of the state after */
}
