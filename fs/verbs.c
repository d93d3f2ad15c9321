/* Verbs that change records: create, rename, label (verb_remove.c: remove).
 *
 * A workspace's record is also written by its commits, from memory. So whoever changes it here holds the workspace's commit_lock with nothing
 * pending, and changes both the record on disk (as the last commit left it: its counters belong to the keys on disk) and the one in memory.
 * Snapshot records are changed under store->lock. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/feed.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"
#include "fs/workspace.h"

DEFINE_CLEANUP(struct batch *, batch_free)
DEFINE_CLEANUP(struct workspace *, workspace_unref)

/* --- create --- */

/* An empty workspace is an empty base and, in its live layer, the root directory: no node has to be built. */
static int create_empty(struct store *s, const struct create_args *a, struct ws_rec *rec)
{
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    struct base_rec base = { .next_ino = INO_ROOT + 1 };
    struct key k = key_simple(INO_ROOT, KEY_INODE);
    uint8_t bytes[INODE_BYTES];
    struct timespec now;
    int r = b ? fresh_ws_id(s, rec->id) : -ENOMEM;

    if (r == 0)
        r = counter_next(s->counter, &base.id);
    if (r == 0)
        r = counter_next(s->counter, &rec->live);
    if (r == 0)
        r = counter_next(s->counter, &rec->seq);
    if (r < 0)
        return r;
    clock_real(&now);
    struct itime t = { now.tv_sec, (uint32_t)now.tv_nsec };
    struct inode root = { .mode = S_IFDIR | 0755, .nlink = 2, .atime = t, .mtime = t, .ctime = t, .btime = t, .parent = INO_ROOT };
    inode_encode(&root, bytes);
    rec->kind = a->kind ? a->kind : WS_BARE;
    rec->base = base.id;
    rec->next_ino = base.next_ino;
    rec->inodes = 1;
    rec->quota_bytes = a->quota_bytes;
    rec->quota_inodes = a->quota_inodes;
    rec->created = now.tv_sec;
    if (a->labels)
        rec->labels = *a->labels;
    base_put(b, &base);
    layer_batch_put(b, rec->live, k.b, k.len, bytes, sizeof bytes, false);
    ws_rec_put(b, rec);
    ws_name_put(b, rec->name, rec->id);
    return meta_write(s->meta, b, true);
}

int verb_create(struct store *s, const struct create_args *a, struct ws_rec *ret)
{
    struct ws_rec rec = { 0 };
    struct name_hold h;
    struct object from;
    int r = labels_check(a->labels);

    if (r < 0 || !object_name_valid(a->name))
        return -EINVAL;
    if (a->from) {
        r = object_find(s, a->from, &from);
        return r < 0 ? r : fork_many(s, &from, &a->name, 1, a, ret, NULL, NULL);
    }
    r = name_hold(s, "", a->name, &h);
    if (r < 0)
        return r;
    strcpy(rec.name, a->name);
    r = create_empty(s, a, &rec);
    name_release(s, &h);
    if (r == 0)
        *ret = rec;
    return r;
}

/* --- changing a workspace's record --- */

/* commit_lock is held. */
static int update_locked(struct workspace *w, int (*change)(void *arg, struct ws_rec *rec), void *arg, struct batch *b)
{
    struct ws_rec on_disk, before;
    int r = batch_count(w->pending) ? -EIO : ws_rec_get(w->store->meta, w->rec.id, &on_disk);

    if (r < 0)
        return r;
    r = change(arg, &on_disk);
    if (r < 0)
        return r;
    ws_rec_put(b, &on_disk);
    pthread_mutex_lock(&w->lock);
    before = w->rec;
    change(arg, &w->rec);
    pthread_mutex_unlock(&w->lock);
    r = meta_write(w->store->meta, b, true);
    atomic_fetch_add(&w->store->states_made, 1);       /* b may hold a snapshot */
    if (r < 0) {
        pthread_mutex_lock(&w->lock);
        memcpy(w->rec.name, before.name, sizeof before.name);
        memcpy(w->rec.parent_snap, before.parent_snap, sizeof before.parent_snap);
        w->rec.labels = before.labels;
        pthread_mutex_unlock(&w->lock);
    }
    return r;
}

int ws_update(struct store *s, const char *id, int (*change)(void *arg, struct ws_rec *rec), void *arg, struct batch *b)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    int r = workspace_open(s, id, &w);

    if (r < 0)
        return r;
    pthread_mutex_lock(&w->commit_lock);
    bool pending = batch_count(w->pending) != 0;
    pthread_mutex_unlock(&w->commit_lock);
    if (pending)                      /* of a commit that failed: once more */
        r = workspace_commit(w);
    if (r < 0)
        return r;
    pthread_mutex_lock(&w->commit_lock);
    r = update_locked(w, change, arg, b);
    pthread_mutex_unlock(&w->commit_lock);
    return r;
}

/* --- rename --- */

static int set_name(void *arg, struct ws_rec *rec)
{
    memset(rec->name, 0, sizeof rec->name);
    strcpy(rec->name, arg);
    return 0;
}

static int rename_ws(struct store *s, const char *id, const char *new_name)
{
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    char name[OBJECT_NAME_MAX + 1];
    struct ws_rec rec;
    int r = b ? ws_rec_get(s->meta, id, &rec) : -ENOMEM;

    if (r < 0)
        return r;
    strcpy(name, new_name);
    ws_name_delete(b, rec.name);
    ws_name_put(b, name, id);
    return ws_update(s, id, set_name, name, b);
}

static int rename_snap(struct store *s, const char *id, const char *new_name)
{
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    struct snap_rec rec;
    int r;

    pthread_mutex_lock(&s->lock);
    r = b ? snap_rec_get(s->meta, id, &rec) : -ENOMEM;
    if (r == 0) {
        if (rec.name[0])
            snap_name_delete(b, rec.ws_id, rec.name);
        memset(rec.name, 0, sizeof rec.name);
        strcpy(rec.name, new_name);
        snap_name_put(b, rec.ws_id, rec.name, rec.id);
        snap_rec_put(b, &rec);
        r = meta_write(s->meta, b, true);
        atomic_fetch_add(&s->states_made, 1);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

int verb_rename(struct store *s, const struct object *o, const char *new_name)
{
    bool snap = o->snap.id[0];
    struct name_hold h, old;
    int r;

    if (!object_name_valid(new_name))
        return -EINVAL;
    if (!strcmp(snap ? o->snap.name : o->ws.name, new_name))
        return 0;
    r = name_hold(s, snap ? o->snap.ws_id : "", new_name, &h);
    if (r < 0)
        return r;
    /* Two renames of one workspace at once would both delete the old name and leave two new ones: the id is held as a name meanwhile. */
    r = name_hold(s, "rename", snap ? o->snap.id : o->ws.id, &old);
    if (r == 0) {
        r = snap ? rename_snap(s, o->snap.id, new_name) : rename_ws(s, o->ws.id, new_name);
        name_release(s, &old);
    } else if (r == -EEXIST) {
        r = -EBUSY;
    }
    name_release(s, &h);
    return r;
}

/* --- labels --- */

static int label_at(const struct labels *l, const char *key)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (!strcmp(l->l[i].key, key))
            return (int)i;
    }
    return -1;
}

static int labels_apply(struct labels *l, const struct label_change *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int at = label_at(l, c[i].key);

        if (!c[i].key[0] || strlen(c[i].key) > LABEL_KEY_MAX || (c[i].val && strlen(c[i].val) > LABEL_VAL_MAX))
            return -EINVAL;
        if (c[i].val && at < 0) {
            if (l->count == LABEL_MAX)
                return -E2BIG;
            at = (int)l->count++;
            strcpy(l->l[at].key, c[i].key);
        }
        if (c[i].val) {
            strcpy(l->l[at].val, c[i].val);
        } else if (at >= 0) {
            memmove(&l->l[at], &l->l[at + 1], (l->count - (uint32_t)at - 1) * sizeof l->l[0]);
            l->count--;
        }
    }
    return 0;
}

struct label_job { const struct label_change *c; unsigned n; };

static int change_labels(void *arg, struct ws_rec *rec)
{
    const struct label_job *job = arg;

    return labels_apply(&rec->labels, job->c, job->n);
}

static int label_ws(struct store *s, const char *id, const struct label_change *c, unsigned n)
{
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    struct label_job job = { c, n };

    return b ? ws_update(s, id, change_labels, &job, b) : -ENOMEM;
}

static int label_snap(struct store *s, const char *id, const struct label_change *c, unsigned n)
{
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    struct snap_rec rec;
    int r;

    pthread_mutex_lock(&s->lock);
    r = b ? snap_rec_get(s->meta, id, &rec) : -ENOMEM;
    if (r == 0)
        r = labels_apply(&rec.labels, c, n);
    if (r == 0) {
        snap_rec_put(b, &rec);
        r = meta_write(s->meta, b, true);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

int verb_label(struct store *s, const struct object *o, const struct label_change *c, unsigned n)
{
    return o->snap.id[0] ? label_snap(s, o->snap.id, c, n) : label_ws(s, o->ws.id, c, n);
}
