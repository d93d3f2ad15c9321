/* Folding: a frozen layer and the tree under it become a tree.
 *
 * The layer's map is walked inode by inode and turned into a stream of tree changes, which tree_apply merges into the parent's tree.
 *   INODE tombstone, or a record without links  -> the inode's whole prefix is deleted, its other keys are passed over
 *   a regular file                              -> fold_file.c
 *   anything else                               -> as it is; a tombstone deletes
 *
 * Order on the disk, each step after the one before: bytes of chunks (synced); their index entries; nodes, and the base record with the
 * new root (one batch, synced). In memory then: the view's root is published under view_lock, and the layer, no longer needed by anyone new, is
 * retired with its last reader. A failure or crash before the last step leaves the view as it was and garbage that gc finds; what is
 * found again by the next attempt is used.
 *
 * fold_lock is held throughout: nobody else changes views, packs or sweeps.
 */
#include "fs/fold_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "fs/segment.h"
#include "fs/ws_internal.h"

enum stage { AT_ENTRY, FILE_INODE, FILE_BODY, FILE_OTHER, FILE_EXTENTS };

static void skip_inode(struct fold *f)
{
    while (f->e && key_ino(f->e->key) == f->ino)
        f->e = map_next(&f->it);
}

static int give(struct tree_change *ret, enum tree_op op, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len)
{
    *ret = (struct tree_change){ .op = op, .key = key, .key_len = key_len, .val = val, .val_len = val_len };
    return 1;
}

static int give_own(struct fold *f, struct tree_change *ret, enum tree_op op, struct key key, const uint8_t *val, size_t val_len)
{
    f->key = key;
    return give(ret, op, f->key.b, f->key.len, val, val_len);
}

static int give_entry(struct fold *f, struct tree_change *ret)
{
    const struct map_entry *e = f->e;

    f->e = map_next(&f->it);
    return give(ret, e->tombstone ? TREE_DEL : TREE_PUT, e->key, e->key_len, e->val, e->val_len);
}

/* f->e is the first entry of an inode. What it comes to: 1 given (its prefix is deleted), 0 go on by stage, negative. */
static int begin_inode(struct fold *f, struct tree_change *ret)
{
    const struct map_entry *e = f->e;
    bool has_record = key_kind_of(e->key) == KEY_INODE, found;
    struct inode in, parent;
    int r;

    f->ino = key_ino(e->key);
    if (has_record && !e->tombstone) {
        r = inode_decode(e->val, e->val_len, &in);
        if (r < 0)
            return r;
    }
    r = fold_parent_inode(f, f->ino, &found, &parent);
    if (r < 0)
        return r;
    if (has_record && !e->tombstone && in.nlink && !inode_is_reg(&in)) {
        f->units += (int64_t)(inode_charge(&in) - (found ? inode_charge(&parent) : 0));
        return 0;
    }
    if (!has_record && !found) {          /* left over from an inode that is gone */
        skip_inode(f);
        f->ino = 0;
        return 0;
    }
    if (!has_record) {
        if (!inode_is_reg(&parent))
            return 0;
        in = parent;
    } else if (e->tombstone || in.nlink == 0) {
        if (found)
            f->units -= (int64_t)inode_charge(&parent);
        skip_inode(f);
        struct key prefix = { .len = 8 };
        put_be64(prefix.b, f->ino);
        f->ino = 0;
        return give_own(f, ret, TREE_DEL_PREFIX, prefix, NULL, 0);
    }
    r = fold_file(f, &in, has_record, found ? &parent : NULL);
    f->stage = FILE_INODE;
    f->at = 0;
    return r;
}

static int give_extent(struct fold *f, struct tree_change *ret)
{
    const struct fold_extent *x = &f->file.v[f->at++];
    struct key k = key_extent(f->ino, x->slot);

    if (x->del)
        return give_own(f, ret, TREE_DEL, k, NULL, 0);
    memcpy(f->val, x->addr.b, ADDR_BYTES);
    put_le32(f->val + ADDR_BYTES, x->len);
    return give_own(f, ret, TREE_PUT, k, f->val, EXTENT_BYTES);
}

/* One step within a regular file: 1 given, 0 go on. */
static int next_of_file(struct fold *f, struct tree_change *ret)
{
    struct fold_file *file = &f->file;

    switch ((enum stage)f->stage) {
    case FILE_INODE:
        f->stage = FILE_BODY;
        return file->put_inode ? give_own(f, ret, TREE_PUT, key_simple(f->ino, KEY_INODE), file->inode, INODE_BYTES) : 0;
    case FILE_BODY:
        f->stage = FILE_OTHER;
        if (file->put_body)
            return give_own(f, ret, TREE_PUT, key_simple(f->ino, KEY_BODY), file->body, file->body_len);
        return file->del_body ? give_own(f, ret, TREE_DEL, key_simple(f->ino, KEY_BODY), NULL, 0) : 0;
    case FILE_OTHER:
        while (f->e && key_ino(f->e->key) == f->ino && key_kind_of(f->e->key) <= KEY_BODY)
            f->e = map_next(&f->it);
        if (f->e && key_ino(f->e->key) == f->ino && key_kind_of(f->e->key) < KEY_EXTENT)
            return give_entry(f, ret);
        f->stage = FILE_EXTENTS;
        return 0;
    case FILE_EXTENTS:
        if (f->at < file->count)
            return give_extent(f, ret);
        skip_inode(f);
        f->stage = AT_ENTRY;
        return 0;
    case AT_ENTRY:
        break;
    }
    return 0;
}

static int next_change(struct tree_changes *self, struct tree_change *ret)
{
    struct fold *f = (struct fold *)self;
    int r = 0;

    while (r == 0) {
        if (f->stage != AT_ENTRY)
            r = next_of_file(f, ret);
        else if (!f->e)
            return 0;
        else if (f->cancel && *f->cancel)
            r = -ECANCELED;
        else if (key_ino(f->e->key) != f->ino)
            r = begin_inode(f, ret);
        else
            r = give_entry(f, ret);
    }
    return r;
}

/* --- one layer --- */

static int fold_init(struct fold *f, struct store *s, struct view *v, const _Atomic bool *cancel)
{
    static const uint8_t none;

    *f = (struct fold){ .changes = { next_change }, .store = s, .view = v, .layer = v->layer, .cancel = cancel };
    if (v->parent)
        f->root = v->parent->rec.root;
    f->e = map_seek(v->layer->map, &f->it, &none, 0);
    f->bytes = mem_alloc(SLOT);
    f->chunks = batch_new();
    return f->bytes && f->chunks ? 0 : -ENOMEM;
}

static void fold_fini(struct fold *f)
{
    batch_free(f->chunks);
    free(f->bytes);
    free(f->file.v);
    free(f->adopted);
    free(f->fixes);
}

static bool bit(const struct fold *f, uint64_t unit)
{
    return unit / 64 < f->adopted_words && (f->adopted[unit / 64] >> unit % 64 & 1);
}

/* The bits as ranges, for the layer's retirement. */
static int adopted_ranges(struct fold *f, __typeof__(((struct layer *)0)->adopted) *ret, size_t *ret_count)
{
    __typeof__(*ret) v;
    uint64_t end = f->adopted_words * 64;
    size_t n = 0;

    for (uint64_t u = 0; u < end; u++)
        n += bit(f, u) && (u == 0 || !bit(f, u - 1));
    v = mem_alloc(n * sizeof *v);
    if (!v)
        return -ENOMEM;
    n = 0;
    for (uint64_t u = 0; u < end; u++) {
        if (!bit(f, u))
            continue;
        if (u == 0 || !bit(f, u - 1)) {
            v[n].off = u * UNIT;
            v[n++].len = 0;
        }
        v[n - 1].len += UNIT;
    }
    *ret = v;
    *ret_count = n;
    return 0;
}

/* All open workspaces, with references; NULL-terminated. */
static int open_workspaces(struct store *s, struct workspace ***ret)
{
    struct workspace **v;
    size_t n = 0;

    pthread_mutex_lock(&s->lock);
    for (struct workspace *w = s->workspaces; w; w = w->next)
        n++;
    v = mem_zalloc((n + 1) * sizeof(struct workspace *));
    n = 0;
    for (struct workspace *w = s->workspaces; v && w; w = w->next)
        v[n++] = workspace_ref(w);
    pthread_mutex_unlock(&s->lock);
    *ret = v;
    return v ? 0 : -ENOMEM;
}

static void workspaces_done(struct workspace **v)
{
    for (size_t i = 0; v && v[i]; i++)
        workspace_unref(v[i]);
    free(v);
}

static int carry_orphans(struct workspace **v, struct view *view)
{
    int r = 0;

    for (size_t i = 0; r == 0 && v[i]; i++)
        r = ws_carry_orphans(v[i], view);
    return r;
}

static int64_t fixes_sum(const struct fold *f)
{
    int64_t n = 0;

    for (size_t i = 0; i < f->fix_count; i++)
        n += f->fixes[i].by;
    return n;
}

static bool layer_has(const struct layer *l, uint64_t ino)
{
    struct key k = key_simple(ino, KEY_INODE);

    return map_get(l->map, k.b, k.len);
}

/* A record of the live layer was counted over a state that has other units now: its count is made what writes will find. */
static void fix_live(struct workspace *w, uint64_t ino)
{
    struct inode in, old;
    uint64_t units, was, now;

    if (ws_get_inode(w, ino, &in) < 0 || !inode_is_reg(&in) || content_units(w, ino, &units) < 0 || ws_reserve(w, 1, 0) < 0)
        return;
    old = in;
    in.units = units;
    was = inode_charge(&old);
    now = inode_charge(&in);
    struct key k = key_simple(ino, KEY_INODE);
    uint8_t bytes[INODE_BYTES];
    inode_encode(&in, bytes);
    ws_put(w, &k, bytes, INODE_BYTES);
    w->rec_dirty = true;
    uint64_t *count = in.nlink ? &w->rec.units : &w->orphan_units;
    *count = *count + now < was ? 0 : *count + now - was;
    ws_changed(w, false);
}

/* What a view says that stands on the folded one was counted over what that said before. view_lock is held for writing. */
static void fix_view(struct fold *f, struct view *v, int64_t by)
{
    for (size_t i = 0; i < f->fix_count; i++)
        by += layer_has(v->layer, f->fixes[i].ino) ? 0 : f->fixes[i].by;
    v->rec.units += (uint64_t)by;
    v->uncounted = false;
}

/* One that a freeze is about to make is left alone, as its layer still changes: who owns the layer puts it right. */
static void fix_views(struct fold *f, int64_t drift)
{
    struct store *s = f->store;

    pthread_mutex_lock(&s->lock);
    pthread_rwlock_wrlock(&s->view_lock);
    for (struct view *v = s->views; v; v = v->next) {
        if (v->parent == f->view && v->fluid)
            v->uncounted = true;
        else if (v->parent == f->view && v->layer)
            fix_view(f, v, drift);
    }
    pthread_rwlock_unlock(&s->view_lock);
    pthread_mutex_unlock(&s->lock);
}

/* The freeze came between fix_views() and this workspace: it has kept the count from before. */
static void fix_late(struct fold *f, struct view *v, int64_t drift)
{
    pthread_rwlock_wrlock(&f->store->view_lock);
    if (v->uncounted && v->layer)
        fix_view(f, v, drift);
    pthread_rwlock_unlock(&f->store->view_lock);
}

/* The folded state's records count other units than they did: so does each workspace above it, but for files that a layer in between or the live
 * one has a record of. upper: the view in between, or NULL; its own count is put right once. */
static void fix_units(struct fold *f, struct workspace *w, int64_t drift)
{
    struct view *upper;
    int64_t by = drift;

    if (w->readonly)
        return;
    ws_lock(w);
    upper = w->view->parent == f->view ? w->view : NULL;
    if (w->view != f->view && !upper) {
        ws_unlock(w);
        return;
    }
    for (size_t i = 0; i < f->fix_count; i++) {
        uint64_t ino = f->fixes[i].ino;
        if (layer_has(w->live, ino))
            fix_live(w, ino);
        else if (!upper || !layer_has(upper->layer, ino))
            by += f->fixes[i].by;
    }
    w->rec.units = by < 0 && w->rec.units < (uint64_t)-by ? 0 : w->rec.units + (uint64_t)by;
    w->rec_dirty = w->rec_dirty || by;
    struct view *late = upper && upper->uncounted ? view_ref(upper) : NULL;
    ws_unlock(w);
    if (late)
        fix_late(f, late, drift);
    view_unref(late);
}

/* Freezes that came after their workspace was put right have the right count. */
static void fix_done(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    pthread_rwlock_wrlock(&s->view_lock);
    for (struct view *v = s->views; v; v = v->next)
        v->uncounted = false;
    pthread_rwlock_unlock(&s->view_lock);
    pthread_mutex_unlock(&s->lock);
}

static void fix_counts(struct fold *f, struct workspace **open, int64_t drift)
{
    fix_views(f, drift);
    for (size_t i = 0; open[i]; i++)
        fix_units(f, open[i], drift);
    fix_done(f->store);
}

static void publish(struct fold *f, const struct base_rec *rec)
{
    struct store *s = f->store;
    struct view *v = f->view, *parent;
    struct layer *layer;

    pthread_rwlock_wrlock(&s->view_lock);
    v->rec.root = rec->root;             /* not the id: that is read under store->lock */
    v->rec.parent = rec->parent;
    v->rec.layer = rec->layer;
    v->rec.units = rec->units;
    parent = v->parent;
    layer = v->layer;
    v->parent = NULL;
    v->layer = NULL;
    pthread_rwlock_unlock(&s->view_lock);
    view_unref(parent);
    layer_unref(layer);
}

/* A view whose record is not on disk (yet, or any more) must not get one from here. */
static int check_on_disk(struct store *s, struct view *v)
{
    struct base_rec rec;
    int r = base_get(s->meta, v->rec.id, &rec);

    return r < 0 ? r : rec.layer == v->layer->id ? 0 : -EUCLEAN;
}

/* The layer's data was synced by the commit; if that failed the segment says so. */
static int check_durable(struct store *s, struct layer *l)
{
    struct segment *seg;
    int r = segment_get(s->segments, l->id, false, &seg);

    if (r == -ENOENT)
        return 0;                         /* no file data in this layer */
    if (r == 0) {
        r = segment_sync(seg);
        segment_unref(seg);
    }
    return r;
}

static int write_all(struct fold *f, struct batch *b, const struct base_rec *rec)
{
    int r = chunk_put_sync(f->store->chunks);

    if (r < 0)
        return r;
    f->chunks_tried = true;
    r = meta_write(f->store->meta, f->chunks, false);
    if (r == 0) {
        base_put(b, rec);
        r = meta_write(f->store->meta, b, true);
    }
    chunk_put_done(f->store->chunks, r == 0);
    return r;
}

static void give_up(struct fold *f)
{
    if (f->chunks_tried)
        chunk_put_done(f->store->chunks, false);
    else
        chunk_put_abandon(f->store->chunks);
}

static int fold_steps(struct fold *f, struct batch *b, struct workspace **open)
{
    struct view *v = f->view;
    struct base_rec rec = v->rec;
    __typeof__(v->layer->adopted) adopted = NULL;
    size_t adopted_count = 0;
    int r = check_durable(f->store, f->layer);

    if (r == 0)
        r = tree_apply(f->store->nodes, b, &f->root, &f->changes, &rec.root);
    if (r == 0)
        r = adopted_ranges(f, &adopted, &adopted_count);
    if (r == 0)
        r = carry_orphans(open, v);
    if (r < 0) {
        give_up(f);
        free(adopted);
        return r;
    }
    int64_t units = (int64_t)(v->parent ? v->parent->rec.units : 0) + f->units;
    rec.units = units > 0 ? (uint64_t)units : 0;
    rec.layer = rec.parent = 0;
    int64_t drift = (int64_t)(rec.units - v->rec.units) - fixes_sum(f);      /* of a state below that was put right before this one was loaded */
    r = write_all(f, b, &rec);
    if (r < 0) {
        give_up(f);
        free(adopted);
        return r;
    }
    free(f->layer->adopted);
    f->layer->adopted = adopted;
    f->layer->adopted_count = adopted_count;
    f->layer->folded = true;
    publish(f, &rec);
    if (drift || f->fix_count)
        fix_counts(f, open, drift);
    return 0;
}

/* v has a layer, its parent none. */
static int fold_one(struct store *s, struct view *v, const _Atomic bool *cancel)
{
    struct workspace **open = NULL;
    struct batch *b = batch_new();
    struct fold f;
    int r = fold_init(&f, s, v, cancel);

    if (r == 0 && !b)
        r = -ENOMEM;
    if (r == 0)
        r = check_on_disk(s, v);
    if (r == 0)
        r = open_workspaces(s, &open);
    if (r == 0) {
        r = fold_steps(&f, b, open);
        node_put_done(s->nodes, r == 0);
    }
    workspaces_done(open);
    batch_free(b);
    fold_fini(&f);
    return r;
}

/* With fold_lock held nobody else changes views, so they are read without view_lock. */
int fold_view_until(struct store *s, struct view *v, const _Atomic bool *cancel)
{
    int r = 0;

    pthread_mutex_lock(&s->fold_lock);
    while (r == 0 && v->layer) {
        struct view *u = v;

        while (u->parent && u->parent->layer)
            u = u->parent;
        r = fold_one(s, u, cancel);
    }
    pthread_mutex_unlock(&s->fold_lock);
    return r;
}

int fold_view(struct store *s, struct view *v)
{
    return fold_view_until(s, v, NULL);
}
