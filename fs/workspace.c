/* Open workspaces: their life, their locks, and transactions on inodes.
 *
 * Life: opened on the first reference (view, live layer and its space are loaded), committed and freed with the last. While anyone holds
 * a reference the workspace is in store->workspaces, so that there is one of each; a load that lost a race is thrown away.
 */
#include "fs/workspace.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/fold.h"
#include "fs/meta.h"
#include "fs/redo.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

void workspace_free(struct workspace *w)
{
    feed_unref(w->feed);
    redo_free(w->redo);
    layer_unref(w->live);
    view_unref(w->view);
    segment_unref(w->seg);
    space_free(w->space);
    nlook_free(w->nlook);
    nlook_free(w->orphans);
    batch_free(w->pending);
    pthread_rwlock_destroy(&w->gate);
    pthread_mutex_destroy(&w->lock);
    pthread_mutex_destroy(&w->commit_lock);
    pthread_cond_destroy(&w->frozen);
    free(w);
}

int workspace_make(struct store *s, struct view *v, bool readonly, struct workspace **ret)
{
    struct workspace *w = mem_zalloc(sizeof *w);
    pthread_rwlockattr_t attr;

    if (!w) {
        view_unref(v);
        return -ENOMEM;
    }
    w->refs = 1;
    w->store = s;
    w->view = v;
    w->readonly = readonly;
    w->times_only = true;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&w->gate, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&w->lock, NULL);
    pthread_mutex_init(&w->commit_lock, NULL);
    pthread_cond_init(&w->frozen, NULL);
    w->nlook = nlook_new();
    w->orphans = nlook_new();
    if (!readonly) {
        w->space = space_new();
        w->pending = batch_new();
    }
    if (!w->nlook || !w->orphans || (!readonly && (!w->space || !w->pending))) {
        workspace_free(w);
        return -ENOMEM;
    }
    *ret = w;
    return 0;
}

int workspace_open_view(struct store *s, struct view *v, struct workspace **ret)
{
    struct workspace *w;
    int r = workspace_make(s, view_ref(v), true, &w);

    if (r < 0)
        return r;
    pthread_rwlock_rdlock(&s->view_lock);
    w->rec.next_ino = v->rec.next_ino;
    w->rec.inodes = v->rec.inodes;
    w->rec.units = v->rec.units;
    pthread_rwlock_unlock(&s->view_lock);
    *ret = w;
    return 0;
}

static struct workspace *find_locked(struct store *s, const char *id)
{
    for (struct workspace *w = s->workspaces; w; w = w->next)
        if (!strcmp(w->rec.id, id))
            return workspace_ref(w);
    return NULL;
}

int workspace_open(struct store *s, const char *id, struct workspace **ret)
{
    struct workspace *w, *mine = NULL;
    bool opened = false;
    int r = 0;

    pthread_mutex_lock(&s->lock);
    while (r == 0 && !(w = find_locked(s, id))) {
        uint64_t closes = s->closes;
        pthread_mutex_unlock(&s->lock);
        r = workspace_load(s, id, NULL, &mine);
        pthread_mutex_lock(&s->lock);
        if (r == 0 && closes != s->closes) {   /* perhaps this one was opened, changed and closed meanwhile: what was loaded may be old */
            pthread_mutex_unlock(&s->lock);
            workspace_free(TAKE_PTR(mine));
            pthread_mutex_lock(&s->lock);
        } else if (r == 0 && !(w = find_locked(s, id))) {
            w = TAKE_PTR(mine);
            w->next = s->workspaces;
            s->workspaces = w;
            opened = true;
            pthread_mutex_lock(&w->lock);     /* nobody changes anything before its journal is there; only now, as a load may have been in vain */
            break;
        } else if (r == 0) {
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (mine)
        workspace_free(mine);
    if (opened) {
        r = feed_open(s, w->rec.id, NULL, &w->feed);
        if (r < 0)
            w->broken = -EIO;             /* changes that nobody is told of would be worse */
        pthread_mutex_unlock(&w->lock);
        if (r < 0)
            workspace_unref(w);
    }
    if (r == 0)
        *ret = w;
    return r;
}

int workspace_add(struct workspace *w)
{
    struct store *s = w->store;
    int r = 0;

    pthread_mutex_lock(&s->lock);
    for (struct workspace *x = s->workspaces; x && r == 0; x = x->next)
        r = strcmp(x->rec.id, w->rec.id) ? 0 : -EBUSY;
    if (r == 0) {
        w->next = s->workspaces;
        s->workspaces = w;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

struct workspace *workspace_ref(struct workspace *w)
{
    w->refs++;
    return w;
}

static bool workspace_is_dirty(struct workspace *w)
{
    pthread_mutex_lock(&w->lock);
    bool dirty = map_has_dirty(w->live->map) || w->rec_dirty || batch_count(w->pending) || w->seg_dirty;
    pthread_mutex_unlock(&w->lock);
    return dirty;
}

void workspace_unref(struct workspace *w)
{
    struct store *s;

    if (!w)
        return;
    s = w->store;
    if (w->readonly) {
        if (--w->refs == 0)
            workspace_free(w);
        return;
    }
    for (bool tried = false;; tried = true) {
        pthread_mutex_lock(&s->lock);
        if (w->refs > 1) {
            w->refs--;
            pthread_mutex_unlock(&s->lock);
            return;
        }
        if (tried || !workspace_is_dirty(w))
            break;
        pthread_mutex_unlock(&s->lock);
        int r = workspace_commit(w);
        if (r == -ENOENT)                 /* removed: nobody wants them */
            continue;
        s->lost = s->lost || r < 0;
        if (r < 0)
            log_error("workspace=%s step=close err=%s what=\"changes since the last commit are lost\"", w->rec.id, errno_name(r));
    }
    if (w->feed && !w->broken && !workspace_is_dirty(w))
        feed_close(w->feed);              /* before another can open it */
    else if (w->feed)
        feed_end(w->feed);
    for (struct workspace **p = &s->workspaces; *p; p = &(*p)->next) {
        if (*p == w) {
            *p = w->next;
            break;
        }
    }
    s->closes++;
    pthread_mutex_unlock(&s->lock);
    workspace_free(w);
}

void ws_lock(struct workspace *w)
{
    pthread_mutex_lock(&w->lock);
    pthread_rwlock_rdlock(&w->store->view_lock);
}

void ws_unlock(struct workspace *w)
{
    if (w->feed && feed_publish(w->feed) && w->redo)
        redo_put_feed(w);
    if (w->redo) {
        redo_publish(w->redo);
        if (redo_is_due(w->redo))
            folder_hurry(w->store);
    }
    if (w->feed)
        feed_show(w->feed);               /* after the operation is in the redo log */
    pthread_rwlock_unlock(&w->store->view_lock);
    pthread_mutex_unlock(&w->lock);
}

bool ws_is_crowded(struct workspace *w)
{
    bool r;

    pthread_mutex_lock(&w->lock);
    r = map_bytes(w->live->map) > LAYER_HARD_BYTES / 4 * 3;
    pthread_mutex_unlock(&w->lock);
    return r;
}

/* A freeze, or for the log a commit, makes room. */
static bool is_full(const struct workspace *w)
{
    return map_bytes(w->live->map) > LAYER_HARD_BYTES || (w->redo && !w->commit_failed && redo_is_full(w->redo));
}

int ws_lock_change(struct workspace *w, bool wait_room)
{
    if (w->readonly)
        return -EROFS;
    pthread_mutex_lock(&w->lock);
    while (wait_room && !w->broken && is_full(w) && w->store->folder)
        pthread_cond_wait(&w->frozen, &w->lock);
    if (w->broken) {
        pthread_mutex_unlock(&w->lock);
        return -EROFS;
    }
    pthread_rwlock_rdlock(&w->store->view_lock);
    return 0;
}

int ws_each(struct workspace *w, const struct key *from, const struct key *to, view_each_fn *fn, void *arg)
{
    return view_each(w->view, w->live, from->b, from->len, to ? to->b : NULL, to ? to->len : 0, fn, arg);
}

int ws_get_inode(struct workspace *w, uint64_t ino, struct inode *ret)
{
    struct key k = key_simple(ino, KEY_INODE);
    struct view_val val;
    int r = ws_get(w, &k, &val);

    if (r == 0)
        return -ENOENT;
    if (r < 0)
        return r;
    r = inode_decode(val.v.p, val.v.n, ret);
    view_val_done(&val);
    return r;
}

int ws_reserve(struct workspace *w, unsigned keys, size_t bytes)
{
    return map_reserve(w->live->map, keys, bytes + (size_t)keys * INODE_BYTES);
}

void ws_put(struct workspace *w, const struct key *k, const void *val, size_t n)
{
    static const uint8_t empty;

    if (map_put(w->live->map, k->b, k->len, val ? val : &empty, n) < 0) {
        w->broken = -EIO;   /* a reservation was too small: stop before anything half done becomes durable */
        log_error("workspace=%s step=put err=ENOMEM", w->rec.id);
        if (w->redo)
            redo_lose(w->redo);
    } else if (w->redo) {
        redo_put(w->redo, w->live->id, k->b, k->len, val, n, false);
    }
}

void ws_del(struct workspace *w, const struct key *k)
{
    if (map_put(w->live->map, k->b, k->len, NULL, 0) < 0) {
        w->broken = -EIO;
        log_error("workspace=%s step=delete err=ENOMEM", w->rec.id);
        if (w->redo)
            redo_lose(w->redo);
    } else if (w->redo) {
        redo_put(w->redo, w->live->id, k->b, k->len, NULL, 0, true);
    }
}

void ws_changed(struct workspace *w, bool times_only)
{
    if (!times_only)
        w->times_only = false;
    if (!w->dirty_since_ns)
        w->dirty_since_ns = clock_mono_ns();
}

/* Behind a mount the kernel gives the times of writes, by its coarse clock: with an exact one here a file would be written before it was made, and
 * make would build by the wrong order. */
struct itime itime_now(void)
{
    struct timespec ts;

    clock_file(&ts);
    return (struct itime){ ts.tv_sec, (uint32_t)ts.tv_nsec };
}

/* The kernel's clock for files is now and then ahead of the coarse clock that programs can read, by a tick at most: not behind what it has shown. */
static struct itime file_now(struct workspace *w)
{
    enum { TICK_NS = 20000000 };
    struct itime now = itime_now();
    int64_t ns = now.sec * 1000000000 + now.ns, seen = atomic_load_explicit(&w->kernel_ns, memory_order_relaxed);

    if (seen > ns && seen - ns < TICK_NS)
        now = (struct itime){ seen / 1000000000, (uint32_t)(seen % 1000000000) };
    return now;
}

static int txn_start(struct txn *t, struct workspace *w, size_t bytes, bool wait_room)
{
    int r = ws_lock_change(w, wait_room);

    if (r < 0)
        return r;
    r = ws_reserve(w, 2 * TXN_INODES, bytes);
    if (r < 0) {
        ws_unlock(w);
        return r;
    }
    t->w = w;
    t->count = 0;
    t->times_only = false;
    t->now = file_now(w);
    return 0;
}

int txn_begin(struct txn *t, struct workspace *w, size_t bytes)
{
    return txn_start(t, w, bytes, true);
}

int txn_begin_gated(struct txn *t, struct workspace *w, size_t bytes)
{
    return txn_start(t, w, bytes, false);
}

int txn_inode(struct txn *t, uint64_t ino, struct inode **ret)
{
    for (unsigned i = 0; i < t->count; i++) {
        if (t->e[i].ino == ino) {
            *ret = &t->e[i].in;
            return 0;
        }
    }
    struct txn_inode *e = &t->e[t->count];
    int r = ws_get_inode(t->w, ino, &e->old);
    if (r < 0)
        return r;
    e->ino = ino;
    e->fresh = false;
    e->in = e->old;
    t->count++;
    *ret = &e->in;
    return 0;
}

static bool ino_is_used(struct workspace *w, uint64_t ino)
{
    struct inode in;

    return ino < 2 || ws_get_inode(w, ino, &in) != -ENOENT;
}

int txn_new_inode(struct txn *t, uint64_t want_ino, uint32_t mode, uint64_t *ret_ino, struct inode **ret)
{
    struct workspace *w = t->w;
    uint64_t ino = want_ino;
    struct timespec birth;

    if (ws_inodes_full(w))
        return -EDQUOT;
    if (want_ino) {
        while (ino_is_used(w, ino))
            ino = ino + 1 >= 1ull << 63 ? INO_IMPORT : ino + 1;
    } else {
        if (w->rec.next_ino >= INO_IMPORT)
            return -ENOSPC;
        ino = w->rec.next_ino++;
    }
    struct txn_inode *e = &t->e[t->count++];
    *e = (struct txn_inode){ .ino = ino, .fresh = true };
    e->in.mode = mode;
    e->in.atime = e->in.mtime = e->in.ctime = t->now;
    clock_real(&birth);                   /* exact: diff tells by it whether two states mean the same file by a number */
    e->in.btime = (struct itime){ birth.tv_sec, (uint32_t)birth.tv_nsec };
    *ret_ino = ino;
    *ret = &e->in;
    return 0;
}

uint64_t ws_charged(const struct workspace *w)
{
    return w->rec.units + w->orphan_units;
}

bool ws_inodes_full(const struct workspace *w)
{
    return w->rec.quota_inodes && w->rec.inodes + w->orphan_inodes >= w->rec.quota_inodes;
}

static uint64_t charge_before(const struct txn_inode *e)
{
    return e->fresh ? 0 : inode_charge(&e->old);
}

bool txn_over_quota(const struct txn *t, uint64_t more)
{
    const struct workspace *w = t->w;
    int64_t by = (int64_t)more;

    if (!w->rec.quota_bytes)
        return false;
    for (unsigned i = 0; i < t->count; i++)
        by += (int64_t)(inode_charge(&t->e[i].in) - charge_before(&t->e[i]));
    return by > 0 && ws_charged(w) + (uint64_t)by > w->rec.quota_bytes / UNIT;
}

static uint64_t less(uint64_t n, uint64_t by)
{
    return by < n ? n - by : 0;
}

/* One inode with names, or one without that the kernel refers to. */
static void account(struct workspace *w, const struct txn_inode *e)
{
    if (e->old.nlink) {
        w->rec.inodes = less(w->rec.inodes, 1);
        w->rec.units = less(w->rec.units, inode_charge(&e->old));
    }
    if (e->in.nlink) {
        w->rec.inodes++;
        w->rec.units += inode_charge(&e->in);
    }
    if (e->in.nlink == 0 && (e->old.nlink || e->fresh))
        orphan_add(w, e->ino, &e->in);
    else if (e->in.nlink && !e->old.nlink && !e->fresh)
        orphan_gone(w, e->ino, &e->old);
    else if (!e->in.nlink)
        w->orphan_units = less(w->orphan_units, inode_charge(&e->old)) + inode_charge(&e->in);
}

void txn_commit(struct txn *t)
{
    struct workspace *w = t->w;
    uint64_t made = 0;

    for (unsigned i = 0; i < t->count; i++) {
        struct txn_inode *e = &t->e[i];
        struct key k = key_simple(e->ino, KEY_INODE);
        uint8_t bytes[INODE_BYTES], before[INODE_BYTES];

        inode_encode(&e->in, bytes);
        inode_encode(&e->old, before);
        if (!e->fresh && !memcmp(bytes, before, INODE_BYTES))
            continue;
        ws_put(w, &k, bytes, INODE_BYTES);
        made = e->fresh ? e->ino : made;
        if (e->old.nlink != e->in.nlink || charge_before(e) != inode_charge(&e->in))
            w->rec_dirty = true;
        account(w, e);
    }
    ws_changed(w, t->times_only);
    if (w->redo)
        redo_note(w->redo, made);
    ws_unlock(w);
}

void txn_abort(struct txn *t)
{
    if (t->w->feed)
        feed_drop(t->w->feed);
    ws_unlock(t->w);
}
