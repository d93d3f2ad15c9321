/* Commit, freeze, replace: how a workspace's changes become durable and its states immutable.
 *
 * All three hold commit_lock from start to end, so w->view, w->live and w->pending are stable for them.
 *
 * Commit: under ws.lock the dirty keys are moved into the `pending` batch; that set is a consistent state, because every operation changes the
 * map in one hold of the lock and data is written before the key that points to it. Then the segment is synced, then the batch
 * is written and synced. If that fails the batch is kept and goes first the next time: order is never changed.
 *
 * Freeze: commit; then, with the gate closed (no data write under way), what is left is collected, and the live layer becomes the layer of a new view.
 * Durability follows outside the gate: new changes go to the new layer, which cannot be committed before (commit_lock). The caller's
 * records are written after the layer's in the same write-ahead log: they are never there without it.
 *
 * The redo log (redo.h), if there is one: what a commit takes is marked, and goes when that is durable.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/fold.h"
#include "fs/fuse_mount.h"
#include "fs/meta.h"
#include "fs/redo.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

static int collect_entry(void *arg, const struct map_entry *e)
{
    struct workspace *w = arg;

    layer_batch_put(w->pending, w->live->id, e->key, e->key_len, e->val, e->val_len, e->tombstone);
    return batch_err(w->pending);
}

/* ws.lock is held. All that is dirty goes into pending: with a freeze's base and record, else with the workspace's own. On -ENOMEM nothing is taken. */
static int collect(struct workspace *w, const struct base_rec *base, const struct ws_rec *rec)
{
    struct batch_mark mark = batch_mark(w->pending);
    int r;

    if (base)
        base_put(w->pending, base);
    if (rec || w->rec_dirty || map_has_dirty(w->live->map))
        ws_rec_put(w->pending, rec ? rec : &w->rec);
    if (w->feed)
        feed_commit_put(w->feed, w->pending);
    r = batch_err(w->pending);
    if (r == 0)
        r = map_each_dirty(w->live->map, collect_entry, w);
    if (r < 0) {
        batch_rewind(w->pending, mark);
        if (w->feed)
            feed_commit_undo(w->feed);
        return r;
    }
    w->rec_dirty = false;
    w->times_only = true;
    w->dirty_since_ns = 0;
    if (w->redo)
        redo_mark(w->redo);
    return 0;
}

/* ws.lock is held: what collect() took is durable. */
static void log_clear(struct workspace *w)
{
    if (!w->redo)
        return;
    redo_clear(w->redo);
    pthread_cond_broadcast(&w->frozen);
}

static void log_trim(struct workspace *w)
{
    if (w->redo)
        redo_trim(w->redo);
}

static int sync_data(struct workspace *w, struct segment *seg)
{
    uint64_t start = clock_mono_ns();
    int r = segment_sync(seg);

    w->synced_ns += clock_mono_ns() - start;
    if (r < 0) {
        log_error("workspace=%s step=sync_data err=%s what=\"the workspace is read-only from now on\"", w->rec.id, errno_name(r));
        pthread_mutex_lock(&w->lock);
        w->broken = w->broken ? w->broken : -EIO;
        if (w->redo)
            redo_break(w->redo);
        pthread_cond_broadcast(&w->frozen);
        pthread_mutex_unlock(&w->lock);
        return -EIO;
    }
    return 0;
}

/* Writes what is pending; it is kept on failure. */
static int write_pending(struct workspace *w, bool sync)
{
    if (w->feed && batch_count(w->pending))
        feed_sync(w->feed);
    int r = batch_count(w->pending) ? meta_write(w->store->meta, w->pending, sync) : 0;

    if (r < 0) {
        log_error("workspace=%s step=commit err=%s", w->rec.id, errno_name(r));
        return r;
    }
    batch_clear(w->pending);
    if (w->fold_due) {
        w->fold_due = false;
        folder_queue(w->store, w->view);
    }
    return 0;
}

/* commit_lock is held. */
static int commit_locked(struct workspace *w)
{
    struct segment *seg = NULL;
    int r = 0;

    pthread_mutex_lock(&w->lock);
    w->commit_started++;
    if (w->broken) {
        r = w->broken;
        pthread_mutex_unlock(&w->lock);
        return r;
    }
    r = collect(w, NULL, NULL);
    if (r < 0) {
        pthread_mutex_unlock(&w->lock);
        return r;
    }
    space_commit_begin(w->space);
    if (w->seg && w->seg_dirty)
        seg = segment_ref(w->seg);
    w->seg_dirty = false;
    pthread_mutex_unlock(&w->lock);

    if (seg)
        r = sync_data(w, seg);
    segment_unref(seg);
    if (r == 0)
        r = write_pending(w, true);

    pthread_mutex_lock(&w->lock);
    space_commit_done(w->space, r == 0);
    w->reuse_epoch++;
    w->commit_failed = r < 0;
    if (r == 0)
        log_clear(w);
    else
        pthread_cond_broadcast(&w->frozen);   /* who waits for room in the log waits in vain */
    if (r < 0 && !w->dirty_since_ns)
        w->dirty_since_ns = clock_mono_ns();
    pthread_mutex_unlock(&w->lock);
    log_trim(w);
    return r;
}

int workspace_commit(struct workspace *w)
{
    if (w->readonly)
        return 0;
    pthread_mutex_lock(&w->lock);
    uint64_t before = w->commit_started;
    pthread_mutex_unlock(&w->lock);

    pthread_mutex_lock(&w->commit_lock);
    if (w->commit_finished <= before) {   /* else one that began after this call has been done by another */
        w->commit_result = commit_locked(w);
        w->commit_finished = w->commit_started;
    }
    int r = w->commit_result;
    pthread_mutex_unlock(&w->commit_lock);
    return r;
}

int ws_fsync(struct workspace *w, uint64_t ino, bool datasync)
{
    struct segment *seg = NULL;

    (void)ino;   /* one commit covers all files */
    if (w->readonly)
        return 0;
    pthread_mutex_lock(&w->lock);
    bool data_only = datasync && w->times_only && !w->rec_dirty && !w->broken;
    if (data_only && w->seg)
        seg = segment_ref(w->seg);
    pthread_mutex_unlock(&w->lock);
    if (!data_only)
        return workspace_commit(w);
    /* A commit that has taken the keys of this data may still be under way: it must be through first. */
    pthread_mutex_lock(&w->commit_lock);
    int r = batch_count(w->pending) ? -EAGAIN : 0;
    pthread_mutex_unlock(&w->commit_lock);
    if (r == 0 && seg)
        r = sync_data(w, seg);
    segment_unref(seg);
    return r == -EAGAIN ? workspace_commit(w) : r;
}

/* ws.lock is held. */
static void mark(struct workspace *w, struct freeze_extra *extra, const struct view *v)
{
    if (!extra || !extra->mark || !w->feed)
        return;
    extra->mark(extra, w, v);
    feed_publish(w->feed);
    feed_show(w->feed);
}

/* The state is the view itself: nothing was changed since. A view that knows less numbers to be used (after a restore) is not: forks of it would
 * give them out again. */
static bool is_clean(struct workspace *w, struct freeze_extra *extra)
{
    pthread_mutex_lock(&w->lock);
    bool clean = map_count(w->live->map) == 0 && batch_count(w->pending) == 0 && !w->broken && w->rec.next_ino <= w->view->rec.next_ino;
    if (clean)
        mark(w, extra, w->view);
    pthread_mutex_unlock(&w->lock);
    return clean;
}

/* Fills and writes the caller's records for a state that is on disk (or before it in the log). */
static int write_extra(struct workspace *w, struct freeze_extra *extra, struct view *v)
{
    struct batch *b = extra ? batch_new() : NULL;
    struct ws_rec before, on_disk;
    int r;

    if (!extra)
        return 0;
    if (!b)
        return -ENOMEM;
    pthread_mutex_lock(&w->lock);
    before = w->rec;
    r = extra->fn(extra, b, v, &w->rec);
    on_disk = w->rec;
    pthread_rwlock_rdlock(&w->store->view_lock);
    on_disk.inodes = v->rec.inodes;       /* what changed since the freeze is not on disk, so it must not be counted there */
    on_disk.units = v->rec.units;
    pthread_rwlock_unlock(&w->store->view_lock);
    ws_rec_put(b, &on_disk);
    pthread_mutex_unlock(&w->lock);
    if (r == 0)
        r = meta_write(w->store->meta, b, true);
    atomic_fetch_add(&w->store->states_made, 1);
    if (r < 0) {
        pthread_mutex_lock(&w->lock);
        memcpy(w->rec.parent_snap, before.parent_snap, sizeof before.parent_snap);
        w->rec_dirty = true;              /* so that the next commit syncs the log: what the freeze put there was to be synced with this batch */
        mark(w, extra, NULL);
        pthread_mutex_unlock(&w->lock);
    }
    batch_free(b);
    return r;
}

struct fresh {                            /* what takes the place of a live layer */
    struct layer *live;
    struct space *space;
    uint64_t live_id, base_id;
};

static int fresh_numbers(struct store *s, struct fresh *f)
{
    int r = counter_next(s->counter, &f->base_id);

    return r < 0 ? r : counter_next(s->counter, &f->live_id);
}

/* The numbers are there. */
static int fresh_make(struct store *s, struct fresh *f)
{
    f->live = layer_new(s, f->live_id);
    f->space = space_new();
    return f->live && f->space ? 0 : -ENOMEM;
}

static void fresh_fini(struct fresh *f)
{
    layer_unref(f->live);
    space_free(f->space);
}

/* Under gate and ws.lock: f's layer and space come in, what was there goes out through f. */
static struct segment *swap_live(struct workspace *w, struct fresh *f)
{
    struct segment *seg = w->seg;
    struct layer *live = w->live;
    struct space *space = w->space;

    w->live = f->live;
    w->space = f->space;
    w->seg = NULL;
    w->seg_dirty = false;
    w->rec.live = f->live_id;
    memset(w->resv, 0, sizeof w->resv);
    f->live = live;
    f->space = space;
    pthread_cond_broadcast(&w->frozen);
    return seg;
}

/* commit_lock is held and everything up to a moment ago is committed. */
static int freeze_to(struct workspace *w, struct freeze_extra *extra, struct fresh f, struct view **ret, uint64_t *ret_held_ns)
{
    struct store *s = w->store;
    struct base_rec rec = { 0 };
    struct view *view = NULL, *old = NULL;
    int r = fresh_make(s, &f);

    if (r == 0) {
        rec = (struct base_rec){ .id = f.base_id, .parent = w->view->rec.id, .layer = w->live->id };
        r = view_add(s, &rec, w->view, w->live, &view);
    }
    if (r < 0) {
        fresh_fini(&f);
        return r;
    }

    /* With the mount held, what programs did in order is in this state as far as some moment and not beyond. */
    struct mount *m = extra ? mount_of(w) : NULL;
    uint64_t start = clock_mono_ns();
    if (m)
        mount_hold(m);
    pthread_rwlock_wrlock(&w->gate);
    pthread_mutex_lock(&w->lock);
    pthread_rwlock_wrlock(&s->view_lock);
    view->rec.next_ino = w->rec.next_ino;
    view->rec.inodes = w->rec.inodes;
    view->rec.units = w->rec.units;
    view->fluid = false;
    pthread_rwlock_unlock(&s->view_lock);
    struct ws_rec next = w->rec;
    next.base = f.base_id;
    next.live = f.live_id;
    struct segment *seg = NULL;
    mark(w, extra, view);
    r = collect(w, &view->rec, &next);
    if (r < 0)
        mark(w, extra, NULL);
    if (r == 0) {
        w->rec.base = f.base_id;
        old = w->view;
        w->view = view_ref(view);
        seg = swap_live(w, &f);
        w->fold_due = true;
        if (w->redo) {                    /* what comes now goes to the new layer, while the disk knows of none */
            redo_freeze(w->redo, f.live->id, f.base_id, f.live_id);
            redo_mark(w->redo);
        }
    }
    pthread_mutex_unlock(&w->lock);
    pthread_rwlock_unlock(&w->gate);
    if (m)
        mount_release(m);
    *ret_held_ns = clock_mono_ns() - start;
    mount_put(m);

    fresh_fini(&f);
    view_unref(old);
    if (seg)
        r = sync_data(w, seg);
    segment_unref(seg);
    if (r == 0)
        r = write_pending(w, !extra);
    if (r == 0) {
        pthread_mutex_lock(&w->lock);
        log_clear(w);
        pthread_mutex_unlock(&w->lock);
        log_trim(w);
        r = write_extra(w, extra, view);
    }
    if (r < 0) {
        view_unref(view);
        return r;
    }
    *ret = view;
    return 0;
}

static int freeze_locked(struct workspace *w, struct freeze_extra *extra, struct view **ret, uint64_t *ret_held_ns)
{
    struct fresh f = { 0 };
    int r = fresh_numbers(w->store, &f);

    return r < 0 ? r : freeze_to(w, extra, f, ret, ret_held_ns);
}

int workspace_refreeze(struct workspace *w, uint64_t base_id, uint64_t live_id)
{
    struct view *v;
    uint64_t held;
    int r = freeze_to(w, NULL, (struct fresh){ .base_id = base_id, .live_id = live_id }, &v, &held);

    if (r == 0)
        view_unref(v);
    return r;
}

int workspace_freeze(struct workspace *w, struct freeze_extra *extra, struct view **ret, uint64_t *ret_held_ns)
{
    uint64_t held = 0;
    struct view *v = NULL;
    int r = 0;

    if (w->readonly) {
        *ret = view_ref(w->view);
        return extra ? -EROFS : 0;
    }
    if (!is_clean(w, NULL))
        r = workspace_commit(w);
    pthread_mutex_lock(&w->commit_lock);
    while (r == 0) {
        v = view_ref(w->view);
        if (is_clean(w, extra)) {
            r = write_extra(w, extra, v);
            break;
        }
        if (view_depth(v) < FROZEN_MAX) {
            view_unref(v);
            v = NULL;
            r = freeze_locked(w, extra, &v, &held);
            break;
        }
        pthread_mutex_unlock(&w->commit_lock);
        r = folder_wait(w->store, v);
        view_unref(v);
        v = NULL;
        pthread_mutex_lock(&w->commit_lock);
    }
    pthread_mutex_unlock(&w->commit_lock);
    if (r < 0) {
        view_unref(v);
        return r;
    }
    *ret = v;
    if (ret_held_ns)
        *ret_held_ns = held;
    return 0;
}

/* ws.lock is held. */
static int replace_logged(struct workspace *w)
{
    int r = write_pending(w, true);

    redo_mark(w->redo);
    if (r == 0)
        redo_clear(w->redo);
    else
        redo_lose(w->redo);
    return r;
}

static int replace_locked(struct workspace *w, struct view *v, const char *snap_id)
{
    struct store *s = w->store;
    struct fresh f = { 0 };
    struct view *old = NULL;
    struct segment *seg = NULL;
    int r = fresh_numbers(s, &f);

    if (r < 0)
        return r;
    r = fresh_make(s, &f);
    if (r == 0) {
        pthread_rwlock_wrlock(&w->gate);
        pthread_mutex_lock(&w->lock);
        pthread_rwlock_rdlock(&s->view_lock);
        struct base_rec to = v->rec;
        pthread_rwlock_unlock(&s->view_lock);
        layer_batch_delete_all(w->pending, w->live->id);
        w->rec.base = to.id;
        if (to.next_ino > w->rec.next_ino)
            w->rec.next_ino = to.next_ino;
        w->rec.inodes = to.inodes;
        w->rec.units = to.units;
        memset(w->rec.parent_snap, 0, sizeof w->rec.parent_snap);
        memcpy(w->rec.parent_snap, snap_id, strlen(snap_id));
        old = w->view;
        w->view = view_ref(v);
        seg = swap_live(w, &f);
        nlook_free(w->orphans);
        w->orphans = nlook_new();
        w->orphan_inodes = w->orphan_units = 0;
        w->broken = w->orphans ? w->broken : -EIO;
        w->rec_dirty = false;
        w->dirty_since_ns = 0;
        ws_rec_put(w->pending, &w->rec);
        if (w->feed) {
            feed_replaced(w, "");
            feed_publish(w->feed);
            feed_show(w->feed);
            feed_commit_put(w->feed, w->pending);
        }
        if (w->redo)                      /* no op brings this about: until it is durable nothing can be logged */
            r = replace_logged(w);
        pthread_mutex_unlock(&w->lock);
        pthread_rwlock_unlock(&w->gate);
        if (r == 0)
            r = write_pending(w, true);
        f.live->folded = r == 0;          /* nobody's state any more: retired with its last reader */
    }
    fresh_fini(&f);
    segment_unref(seg);
    view_unref(old);
    return r;
}

int workspace_replace(struct workspace *w, struct view *v, const char *snap_id)
{
    if (w->readonly)
        return -EROFS;
    pthread_mutex_lock(&w->commit_lock);
    int r = replace_locked(w, v, snap_id);
    pthread_mutex_unlock(&w->commit_lock);
    return r;
}
