/* Reads the portable archive. Format: fs/archive.h.
 *
 * Theory of operation, in two passes:
 *  1. spool (archive_read.c): the archive is copied from the client's descriptor into a nameless file of the store's directory. Its
 *     start is checked at once, and the SHA-256 at its end when it is here. A slow or lying client holds no lock, and a damaged archive
 *     touches nothing.
 *  2. build (archive_records.c): with fold_lock held (so that no gc runs while nothing refers to the new nodes and chunks), records are
 *     parsed and checked one by one and handed to tree_apply() as its stream of changes; chunks are stored on the way. Memory: the
 *     buffer, one record, 56 bytes per chunk.
 * Then the new root is compared with the header's, tree_check() looks at the whole tree as fsck does, and one durable batch makes the base,
 * the snapshot, the workspace and their names. Until then nothing refers to what was stored: on any failure gc sweeps it.
 *
 * The root and discriminators. An address is a hash and a discriminator, which is 0 unless this store has met two byte strings with one
 * hash (so: an attack). It depends on the order in which a store saw them, and parents hash their children's addresses. So: roots must be
 * equal; a difference is forgiven only if END says that the exporter met a discriminator, or the new tree here has one. What then still
 * holds are the SHA-256 of each chunk and of the archive, and the check of the tree. The base of a delta is found by its exact root. */
#include "fs/archive_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "fs/chunk.h"
#include "fs/limits.h"
#include "fs/meta.h"
#include "fs/node.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"

/* --- the base of a delta --- */

struct find { struct archive_in *in; bool fold; struct view *view; char snap[ID_MAX]; };

static int find_base_one(void *arg, const struct snap_rec *rec)
{
    struct find *f = arg;
    struct base_rec base;
    struct addr root;
    struct view *v;
    int r = base_get(f->in->s->meta, rec->base, &base);

    if (r == -ENOENT || (!r && (base.layer != 0) != f->fold))
        return 0;
    if (!r && !f->fold && !addr_eq(&base.root, &f->in->h.base))
        return 0;
    if (!r)
        r = view_get(f->in->s, rec->base, &v);
    if (r)
        return r == -ENOENT ? 0 : r;
    r = view_fold_now(f->in->s, v, &root);
    if (r || !addr_eq(&root, &f->in->h.base)) {
        view_unref(v);
        return r;
    }
    f->view = v;
    memcpy(f->snap, rec->id, sizeof(f->snap));
    return 1;
}

/* A reference on the view keeps gc from it. Folded snapshots first, they cost a record each. */
static int find_base(struct archive_in *in, struct find *f)
{
    f->in = in;
    int r = snap_rec_each(in->s->meta, find_base_one, f);
    f->fold = true;
    if (!r)
        r = snap_rec_each(in->s->meta, find_base_one, f);
    if (r < 0)
        return archive_refuse(in, r, "cannot look for the delta's base: %s", strerror(-r));
    if (r == 0) {
        char hex[2 * ADDR_BYTES + 1];
        addr_hex(&in->h.base, hex);
        return archive_refuse(in, -ESTALE, "this is a delta, and the snapshot it was made against (root %s) is not in this store: "
                              "import that one first", hex);
    }
    return 0;
}

/* --- the new tree --- */

static int tree_has_disc(struct store *s, const struct addr *root)
{
    struct tree_cursor cur;
    const struct node *leaf = NULL;
    bool found = addr_disc(root) != 0;

    tree_cursor_init(&cur, s->nodes, root);
    int r = tree_cursor_seek(&cur, "", 0);
    while (r == 1 && !found) {
        const struct node_entry *e = tree_cursor_entry(&cur);
        if (cur.at[cur.depth - 1].n != leaf) {
            leaf = cur.at[cur.depth - 1].n;
            for (int i = 0; i < cur.depth; i++)
                found |= addr_disc(&cur.at[i].n->addr) != 0;
        }
        if (e->key_len >= 9 && key_kind_of(e->key) == KEY_EXTENT && e->val_len == EXTENT_BYTES) {
            struct addr a;
            memcpy(a.b, e->val, ADDR_BYTES);
            found |= addr_disc(&a) != 0;
        }
        r = tree_cursor_next(&cur);
    }
    tree_cursor_fini(&cur);
    return r < 0 ? r : found;
}

static int keep_problem(void *arg, const struct problem *p)
{
    struct archive_in *in = arg;

    archive_refuse(in, 0, "the archive's tree is not sound: %s: %s", p->where, p->what);
    return -EUCLEAN;
}

static int build(struct archive_in *in, struct base_rec *ret_base)
{
    static const struct addr empty;
    struct store *s = in->s;
    struct addr root;
    struct batch *b = batch_new();

    if (!b)
        return -ENOMEM;
    in->changes.next = archive_next_change;
    int r = tree_apply(s->nodes, b, in->h.delta ? &in->h.base : &empty, &in->changes, &root);
    int r2 = r ? 0 : archive_chunks_flush(in);
    if (!r)
        r = r2;
    if (r && in->chunk_pending)
        chunk_put_done(s->chunks, false);
    in->chunk_pending = 0;
    if (!r)
        r = meta_write(s->meta, b, true);
    node_put_done(s->nodes, r == 0);
    batch_free(b);
    if (r)
        return r;
    if (!addr_eq(&root, &in->h.root) && !in->disc) {
        r = tree_has_disc(s, &root);
        if (r < 0)
            return r;
        if (r == 0)
            return archive_bad(in, "the tree that came out is not the one it names");
    }
    memset(ret_base, 0, sizeof(*ret_base));
    r = tree_check(s, &root, keep_problem, in, ret_base);
    if (r)
        return r;
    ret_base->root = root;
    ret_base->parent = ret_base->layer = 0;
    if (ret_base->next_ino < in->h.next_ino)
        ret_base->next_ino = in->h.next_ino;
    return ret_base->next_ino < INO_IMPORT / 2 ? 0 : archive_bad(in, "inode numbers that leave none for new files");
}

/* --- names --- */

static int name_it(struct archive_in *in, const char *name, const char *parent_snap, struct base_rec *base, struct ws_rec *w,
                   struct snap_rec *sn)
{
    struct store *s = in->s;
    char other[ID_MAX];
    struct timespec now;
    struct batch *b = batch_new();
    int r = b ? 0 : -ENOMEM;

    *w = (struct ws_rec){ .kind = in->h.kind, .inodes = base->inodes, .units = base->units, .next_ino = base->next_ino };
    *sn = in->h.snap;
    sn->cause = SNAP_IMPORT;
    sn->kind = in->h.kind;
    strcpy(w->name, name);
    strcpy(sn->ws_name, name);
    strcpy(sn->parent, parent_snap);
    clock_real(&now);
    w->created = now.tv_sec;
    if (!r)
        r = object_new_id("ws-", w->id);
    if (!r)
        r = object_new_id("snap-", sn->id);
    if (!r)
        r = counter_next(s->counter, &base->id);
    if (!r)
        r = counter_next(s->counter, &w->live);
    if (!r)
        r = counter_next(s->counter, &w->seq);
    if (!r)
        r = counter_next(s->counter, &sn->seq);
    if (r) {
        batch_free(b);
        return r;
    }
    w->base = sn->base = base->id;
    strcpy(sn->ws_id, w->id);
    strcpy(w->parent_snap, sn->id);
    base_put(b, base);
    ws_rec_put(b, w);
    snap_rec_put(b, sn);
    ws_name_put(b, name, w->id);
    if (sn->name[0])
        snap_name_put(b, w->id, sn->name, sn->id);
    pthread_mutex_lock(&s->lock);
    r = ws_name_get(s->meta, name, other);
    if (r == -ENOENT)
        r = meta_write(s->meta, b, true);
    else if (r == 0)
        r = -EEXIST;
    pthread_mutex_unlock(&s->lock);
    batch_free(b);
    return r;
}

static int import_spooled(struct archive_in *in, const char *name, struct ws_rec *ret_ws, struct snap_rec *ret_snap)
{
    struct find f = { 0 };
    struct base_rec base;
    int r = archive_parse_header(in);

    if (!r && in->h.delta)
        r = find_base(in, &f);
    if (r)
        return r;
    pthread_mutex_lock(&in->s->fold_lock);
    r = build(in, &base);
    if (!r)
        r = name_it(in, name, f.snap, &base, ret_ws, ret_snap);
    pthread_mutex_unlock(&in->s->fold_lock);
    view_unref(f.view);
    return r;
}

int archive_import(struct store *s, int fd, const char *name, struct ws_rec *ret_ws, struct snap_rec *ret_snap, char *err, size_t err_size,
                   void (*progress)(void *arg, uint64_t bytes), void *arg)
{
    char other[ID_MAX];
    struct archive_in in = { .s = s, .client = fd, .spool = -1, .err = err, .err_size = err_size, .progress = progress, .arg = arg };

    if (err_size)
        err[0] = 0;
    if (!object_name_valid(name))
        return archive_refuse(&in, -EINVAL, "not a valid name for a workspace");
    int r = ws_name_get(s->meta, name, other);
    if (r != -ENOENT)
        return archive_refuse(&in, r ? r : -EEXIST, "%s", r ? strerror(-r) : "a workspace of this name exists");
    in.piece = mem_alloc(ARCHIVE_PIECE);
    in.raw = mem_alloc(SLOT);
    in.chunk_batch = batch_new();
    in.zstd = ZSTD_createDCtx();
    r = in.piece && in.raw && in.chunk_batch && in.zstd ? 0 : -ENOMEM;
    if (!r)
        r = archive_spool(&in);
    if (!r)
        r = import_spooled(&in, name, ret_ws, ret_snap);
    if (r && err_size && !err[0])
        archive_refuse(&in, r, "%s", r == -EEXIST ? "a workspace of this name exists" : strerror(-r));
    if (in.spool >= 0)
        close(in.spool);
    free(in.piece);
    free(in.raw);
    free(in.chunks.v);
    batch_free(in.chunk_batch);
    ZSTD_freeDCtx(in.zstd);
    buf_fini(&in.val);
    return r;
}
