/* The verb remove: of workspaces with their snapshots, and of snapshots.
 *
 * Which snapshots are a workspace's is written in them only, so that takes a look at all of them. Who removes many workspaces looks once (remove_begin):
 * what was found then holds for a workspace as long as no snapshot was made in the store since; s->states_made tells, which is counted with the commit_lock
 * of the workspace that a snapshot is of, and that lock is held when it is compared. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "fs/feed.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/verbs_internal.h"
#include "fs/workspace.h"

DEFINE_CLEANUP(struct batch *, batch_free)
DEFINE_CLEANUP(struct workspace *, workspace_unref)

/* --- all snapshots by their workspaces --- */

struct owned { char ws_id[ID_MAX], id[ID_MAX], name[OBJECT_NAME_MAX + 1]; };
struct removal { uint64_t states_made; struct owned *v; size_t count, cap; };

static int note_owned(void *arg, const struct snap_rec *r)
{
    struct removal *x = arg;

    if (x->count == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        struct owned *v = mem_realloc(x->v, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        x->v = v;
        x->cap = cap;
    }
    struct owned *o = &x->v[x->count++];
    strcpy(o->ws_id, r->ws_id);
    strcpy(o->id, r->id);
    strcpy(o->name, r->name);
    return 0;
}

static int by_ws(const void *a, const void *b)
{
    return strcmp(((const struct owned *)a)->ws_id, ((const struct owned *)b)->ws_id);
}

struct removal *remove_begin(struct store *s)
{
    struct removal *x = mem_zalloc(sizeof *x);

    if (!x)
        return NULL;
    x->states_made = atomic_load(&s->states_made);
    if (snap_rec_each(s->meta, note_owned, x) < 0) {
        remove_end(x);
        return NULL;
    }
    if (x->count)
        qsort(x->v, x->count, sizeof *x->v, by_ws);
    return x;
}

void remove_end(struct removal *x)
{
    if (!x)
        return;
    free(x->v);
    free(x);
}

/* The first of the workspace's in x->v, or its end. */
static size_t first_of(const struct removal *x, const char *ws_id)
{
    size_t from = 0, to = x->count;

    while (from < to) {
        size_t mid = from + (to - from) / 2;

        if (strcmp(x->v[mid].ws_id, ws_id) < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* --- a workspace --- */

struct snaps_of { const char *ws_id; bool named; struct batch *b; };

static int remove_snap_of(struct snaps_of *x, const char *id, const char *name)
{
    if (name[0] && !x->named)
        return -ENOTEMPTY;
    snap_rec_delete(x->b, id);
    if (name[0])
        snap_name_delete(x->b, x->ws_id, name);
    return 0;
}

static int remove_if_of(void *arg, const struct snap_rec *r)
{
    struct snaps_of *x = arg;

    return strcmp(r->ws_id, x->ws_id) ? 0 : remove_snap_of(x, r->id, r->name);
}

static int remove_snaps_of(struct store *s, const struct removal *all, struct snaps_of *x)
{
    int r = 0;

    if (!all || all->states_made != atomic_load(&s->states_made))
        return snap_rec_each_naming(s->meta, x->ws_id, remove_if_of, x);
    for (size_t i = first_of(all, x->ws_id); r == 0 && i < all->count && !strcmp(all->v[i].ws_id, x->ws_id); i++)
        r = remove_snap_of(x, all->v[i].id, all->v[i].name);
    return r;
}

/* With commit_lock, or with nobody having the workspace open. */
static int remove_records(struct store *s, const char *id, bool with_snapshots, const struct removal *all)
{
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    struct snaps_of x = { .ws_id = id, .named = with_snapshots, .b = b };
    struct ws_rec rec;
    int r = b ? ws_rec_get(s->meta, id, &rec) : -ENOMEM;

    if (r == 0)
        r = remove_snaps_of(s, all, &x);
    if (r < 0)
        return r;
    ws_rec_delete(b, id);
    ws_name_delete(b, rec.name);
    feed_rec_delete(b, id);
    layer_batch_delete_all(b, rec.live);
    r = meta_write(s->meta, b, true);
    if (r == 0)
        feed_remove_files(s, id);
    return r;
}

/* Whoever still holds the workspace finds it broken: no commit of theirs brings its record back. */
static int remove_open(struct workspace *w, bool with_snapshots, const struct removal *all)
{
    int broken, r;

    pthread_mutex_lock(&w->commit_lock);
    pthread_mutex_lock(&w->lock);
    if (w->mount) {
        pthread_mutex_unlock(&w->lock);
        pthread_mutex_unlock(&w->commit_lock);
        return -EBUSY;
    }
    broken = w->broken;
    w->broken = -ENOENT;
    pthread_mutex_unlock(&w->lock);
    r = remove_records(w->store, w->rec.id, with_snapshots, all);
    pthread_mutex_lock(&w->lock);
    if (r < 0) {
        w->broken = broken;
    } else {
        batch_clear(w->pending);
        if (w->feed)
            feed_end(w->feed);
        pthread_cond_broadcast(&w->frozen);
    }
    pthread_mutex_unlock(&w->lock);
    pthread_mutex_unlock(&w->commit_lock);
    return r;
}

static int remove_ws(struct store *s, const char *id, bool with_snapshots, const struct removal *all)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    int r = workspace_open(s, id, &w);

    if (r == -EUCLEAN || r == -EIO)       /* its content is damaged: it can be removed all the same */
        return remove_records(s, id, with_snapshots, all);
    if (r < 0)
        return r;
    pthread_mutex_lock(&w->lock);
    bool mounted = w->mount;
    pthread_mutex_unlock(&w->lock);
    if (mounted)
        return -EBUSY;
    r = workspace_commit(w);
    if (r < 0)
        log_warn("workspace=%s step=remove_commit err=%s", id, errno_name(r));
    return remove_open(w, with_snapshots, all);
}

/* --- a snapshot --- */

/* What came after a removed snapshot follows what came before it. */
struct reparent { const char *from; char to[ID_MAX]; struct batch *b; };

static int reparent_snap(void *arg, const struct snap_rec *r)
{
    struct reparent *x = arg;

    if (!strcmp(r->parent, x->from)) {
        struct snap_rec rec = *r;
        memcpy(rec.parent, x->to, sizeof rec.parent);
        snap_rec_put(x->b, &rec);
    }
    return 0;
}

static int remove_snap_locked(struct store *s, const char *id, struct reparent *x)
{
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    struct snap_rec rec;
    int r = b ? snap_rec_get(s->meta, id, &rec) : -ENOMEM;

    if (r < 0)
        return r;
    x->b = b;
    memcpy(x->to, rec.parent, sizeof x->to);
    r = snap_rec_each_naming(s->meta, x->from, reparent_snap, x);
    if (r < 0)
        return r;
    snap_rec_delete(b, id);
    if (rec.name[0])
        snap_name_delete(b, rec.ws_id, rec.name);
    return meta_write(s->meta, b, true);
}

struct standing { const char *snap; char (*ids)[ID_MAX]; size_t count, cap; };

static int note_standing(void *arg, const struct ws_rec *r)
{
    struct standing *x = arg;

    if (strcmp(r->parent_snap, x->snap) != 0)
        return 0;
    if (x->count == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 16;
        char (*ids)[ID_MAX] = mem_realloc(x->ids, cap * sizeof *ids);

        if (!ids)
            return -ENOMEM;
        x->ids = ids;
        x->cap = cap;
    }
    memcpy(x->ids[x->count++], r->id, ID_MAX);
    return 0;
}

static int restand(void *arg, struct ws_rec *rec)
{
    const struct reparent *x = arg;

    if (!strcmp(rec->parent_snap, x->from))
        memcpy(rec->parent_snap, x->to, sizeof rec->parent_snap);
    return 0;
}

/* The snapshot is gone when its record is; that workspaces which stood on it now name its parent is for the log only. */
static int remove_snap(struct store *s, const char *id)
{
    struct standing st = { .snap = id };
    struct reparent x = { .from = id };
    int r = ws_rec_each_naming(s->meta, id, note_standing, &st);

    if (r == 0) {
        pthread_mutex_lock(&s->lock);
        r = remove_snap_locked(s, id, &x);
        pthread_mutex_unlock(&s->lock);
    }
    for (size_t i = 0; r == 0 && i < st.count; i++) {
        struct batch *b = batch_new();
        int e = b ? ws_update(s, st.ids[i], restand, &x, b) : -ENOMEM;

        if (e < 0)
            log_warn("workspace=%s step=reparent err=%s", st.ids[i], errno_name(e));
        batch_free(b);
    }
    free(st.ids);
    return r;
}

int verb_remove_of(struct store *s, const struct removal *all, const struct object *o, bool with_snapshots)
{
    return o->snap.id[0] ? remove_snap(s, o->snap.id) : remove_ws(s, o->ws.id, with_snapshots, all);
}

int verb_remove(struct store *s, const struct object *o, bool with_snapshots)
{
    return verb_remove_of(s, NULL, o, with_snapshots);
}
