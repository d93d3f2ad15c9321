/* Reads and verifies everything: all stored nodes, straight from the database, and all chunks. Only when something is bad are the trees walked to
 * say whose it is.
 *
 * Repair: what is bad on disk may still be good in a cache; then it is written again (a node by its encoding, which is canonical). What is not is
 * lost until equal content is stored again: chunk_put and node_put then replace the damaged copy. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "fs/addr_set.h"
#include "fs/chunk.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/node.h"
#include "fs/store.h"
#include "fs/tree.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"

DEFINE_CLEANUP(struct batch *, batch_free)

struct scrub {
    struct store *store;
    int (*fn)(void *arg, const struct problem *p);
    void *arg;
    uint64_t checked, chunks_done;
    struct addr_set bad_nodes, bad_chunks;
    struct addr_set clean;                /* subtrees with nothing bad in them */
    const char *label;
    const struct addr *root;
};

static int report(struct scrub *x, const char *where, const char *what)
{
    return x->fn(x->arg, &(struct problem){ where, what });
}

static int report_addr(struct scrub *x, const struct addr *a, const char *what)
{
    char hex[2 * ADDR_BYTES + 1];

    addr_hex(a, hex);
    return report(x, hex, what);
}

/* --- verifying --- */

static int scrub_nodes(struct scrub *x)
{
    struct meta_iter *it = meta_iter_new(x->store->meta, CF_NODE);
    int r = 0;

    if (!it)
        return -ENOMEM;
    for (meta_iter_seek(it, "", 0); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, n;
        const uint8_t *key = meta_iter_key(it, &kn), *val = meta_iter_val(it, &n);
        struct node *node = NULL;
        struct addr a;

        x->checked++;
        if (kn != ADDR_BYTES) {
            r = report(x, "nodes", "there is a node with a malformed address");
            continue;
        }
        memcpy(a.b, key, ADDR_BYTES);
        r = addr_matches(&a, val, n) ? node_decode(val, n, &node) : -EUCLEAN;
        if (r == 0)
            node_unref(node);
        else if (r == -EUCLEAN)
            r = addr_set_add(&x->bad_nodes, &a, NULL) < 0 ? -ENOMEM : 0;
    }
    if (r == 0 && meta_iter_err(it) < 0)
        r = report(x, "nodes", "the database cannot be read further: a part of its own files is damaged");
    meta_iter_free(it);
    return r;
}

static int note_bad_chunk(void *arg, const struct addr *a, const struct chunk_loc *loc, int err)
{
    struct scrub *x = arg;

    (void)loc, (void)err;
    return addr_set_add(&x->bad_chunks, a, NULL) < 0 ? -ENOMEM : 0;
}

static int note_progress(void *arg, uint64_t done)
{
    struct scrub *x = arg;

    x->chunks_done = done;
    return 0;
}

static int scrub_chunks(struct scrub *x)
{
    int r = chunk_scrub(x->store->chunks, note_bad_chunk, note_progress, x);

    x->checked += x->chunks_done;
    return r;
}

/* --- repair --- */

static int repair_node(struct scrub *x, struct batch *b, const struct addr *a)
{
    struct buf bytes = BUF_INIT;
    struct node *n;
    int r = node_get(x->store->nodes, a, &n);

    if (r < 0)
        return r;
    node_encode(n->level, n->entries, n->count, &bytes);
    node_unref(n);
    r = buf_err(&bytes) ? -ENOMEM : addr_matches(a, bytes.data, bytes.len) ? 0 : -EIO;
    if (r == 0) {
        batch_put(b, CF_NODE, a->b, ADDR_BYTES, bytes.data, bytes.len);
        r = meta_write(x->store->meta, b, true);
    }
    buf_fini(&bytes);
    return r;
}

/* chunk_put() alone would take the cached copy for proof that the chunk is stored. So the index forgets it first; on failure the entry comes back. */
static int store_anew(struct scrub *x, struct batch *b, const struct addr *a, const struct chunk_data *d)
{
    struct chunks *c = x->store->chunks;
    struct addr again;
    bool shared;
    int r;

    batch_delete(b, CF_CHUNK, a->b, ADDR_BYTES);
    r = meta_write(x->store->meta, b, false);
    if (r < 0)
        return r;
    batch_clear(b);
    r = chunk_put(c, b, d->p, d->n, NULL, &again, &shared);
    if (r == 0 && !addr_eq(a, &again))
        r = -EIO;
    if (r == 0)
        r = chunk_put_sync(c);
    if (r == 0)
        r = meta_write(x->store->meta, b, true);
    chunk_put_done(c, r == 0);
    return r;
}

static int repair_chunk(struct scrub *x, struct batch *b, const struct addr *a)
{
    _cleanup_free_ uint8_t *entry = NULL;
    struct chunk_data d;
    size_t n;
    int r = chunk_get(x->store->chunks, a, &d);

    if (r < 0)
        return r;
    r = meta_get(x->store->meta, CF_CHUNK, a->b, ADDR_BYTES, &entry, &n);
    if (r == 0)
        r = store_anew(x, b, a, &d);
    chunk_data_done(&d);
    if (r < 0 && entry) {
        batch_clear(b);
        batch_put(b, CF_CHUNK, a->b, ADDR_BYTES, entry, n);
        if (meta_write(x->store->meta, b, true) < 0)
            log_error("scrub step=repair err=EIO what=\"an index entry of a damaged chunk is gone\"");
    }
    return r;
}

/* Tries each bad address; those repaired leave the set. */
static int repair_set(struct scrub *x, struct addr_set *bad, int (*repair)(struct scrub *x, struct batch *b, const struct addr *a))
{
    struct addr_set left = ADDR_SET(0);
    int r = 0;

    for (size_t i = 0; r == 0 && i < bad->cap; i++) {
        _cleanup_(batch_free_p) struct batch *b = batch_new();
        struct addr a;

        memcpy(a.b, bad->slots + i * ADDR_BYTES, ADDR_BYTES);
        if (addr_is_zero(&a))
            continue;
        pthread_mutex_lock(&x->store->fold_lock);
        int e = b ? repair(x, b, &a) : -ENOMEM;
        pthread_mutex_unlock(&x->store->fold_lock);
        if (e == 0)
            r = report_addr(x, &a, "it was damaged on disk and has been written again from memory");
        else if (addr_set_add(&left, &a, NULL) < 0)
            r = -ENOMEM;
    }
    addr_set_fini(bad);
    *bad = left;
    return r;
}

/* --- whose it is --- */

static int report_at(struct scrub *x, uint64_t ino, const char *what)
{
    struct buf where = BUF_INIT;
    int r;

    buf_printf(&where, "%s:", x->label);
    if (ino)
        tree_path(x->store->nodes, x->root, ino, &where);
    buf_put_u8(&where, 0);
    r = buf_err(&where) ? -ENOMEM : report(x, (const char *)where.data, what);
    buf_fini(&where);
    return r;
}

static int find_in_leaf(struct scrub *x, const struct node *n, bool *ret_bad)
{
    for (uint32_t i = 0; i < n->count; i++) {
        const struct node_entry *e = &n->entries[i];
        struct addr a;
        char what[128];

        if (e->key_len != 17 || key_kind_of(e->key) != KEY_EXTENT || e->val_len != EXTENT_BYTES)
            continue;
        memcpy(a.b, e->val, ADDR_BYTES);
        if (!addr_set_has(&x->bad_chunks, &a))
            continue;
        *ret_bad = true;
        uint64_t off = key_number(e->key) * SLOT;
        snprintf(what, sizeof what, "bytes %" PRIu64 " to %" PRIu64 " of it are lost", off, off + le32(e->val + ADDR_BYTES) - 1);
        int r = report_at(x, key_ino(e->key), what);
        if (r != 0)
            return r;
    }
    return 0;
}

/* Depth is bounded by NODE_LEVELS_MAX: node_decode refuses more, and levels must fall. */
static int find_in(struct scrub *x, const struct addr *a, int above, bool *ret_bad)
{
    struct node *n;
    bool bad = false;
    int r;

    if (addr_set_has(&x->clean, a))
        return 0;
    r = addr_set_has(&x->bad_nodes, a) ? -EIO : node_get(x->store->nodes, a, &n);
    if (r == -EIO || (r == 0 && n->level >= above)) {
        if (r == 0)
            node_unref(n);
        *ret_bad = true;
        return report_at(x, 0, "a node of its tree is lost: a part of its files cannot be reached");
    }
    if (r < 0)
        return r;
    if (n->level == 0)
        r = find_in_leaf(x, n, &bad);
    for (uint32_t i = 0; r == 0 && n->level > 0 && i < n->count; i++) {
        struct addr child;

        memcpy(child.b, n->entries[i].val, ADDR_BYTES);
        r = find_in(x, &child, n->level, &bad);
    }
    node_unref(n);
    if (r == 0 && !bad)
        r = addr_set_add(&x->clean, a, NULL) < 0 ? -ENOMEM : 0;
    *ret_bad = *ret_bad || bad;
    return r;
}

static int find_in_base(struct scrub *x, uint64_t base, const char *label)
{
    struct view *v;
    bool bad = false;
    int r = view_get(x->store, base, &v);

    if (r < 0)
        return r == -ENOMEM ? r : report(x, label, "its state cannot be loaded");
    struct addr root;
    pthread_rwlock_rdlock(&x->store->view_lock);
    const struct view *u = v;
    while (u->layer)
        u = u->parent;
    root = u->rec.root;
    pthread_rwlock_unlock(&x->store->view_lock);
    x->label = label;
    x->root = &root;
    if (!addr_is_zero(&root))
        r = find_in(x, &root, NODE_LEVELS_MAX + 1, &bad);
    view_unref(v);
    return r;
}

static int find_in_ws(void *arg, const struct ws_rec *r)
{
    return find_in_base(arg, r->base, r->name);
}

static int find_in_snap(void *arg, const struct snap_rec *r)
{
    return find_in_base(arg, r->base, r->id);
}

/* Addresses themselves too, for what no tree shows (live layers, garbage). */
static int report_set(struct scrub *x, const struct addr_set *bad, const char *what)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < bad->cap; i++) {
        struct addr a;

        memcpy(a.b, bad->slots + i * ADDR_BYTES, ADDR_BYTES);
        if (!addr_is_zero(&a))
            r = report_addr(x, &a, what);
    }
    return r;
}

static int tell(struct scrub *x)
{
    int r = report_set(x, &x->bad_nodes, "the node is damaged");

    if (r == 0)
        r = report_set(x, &x->bad_chunks, "the chunk is damaged or cannot be read");
    if (r == 0)
        r = snap_rec_each(x->store->meta, find_in_snap, x);
    if (r == 0)
        r = ws_rec_each(x->store->meta, find_in_ws, x);
    return r;
}

int verb_scrub(struct store *s, bool repair, int (*fn)(void *arg, const struct problem *p), void *arg, uint64_t *ret_checked)
{
    struct scrub x = { .store = s, .fn = fn, .arg = arg, .bad_nodes = ADDR_SET(0), .bad_chunks = ADDR_SET(0), .clean = ADDR_SET(0) };
    int r = scrub_nodes(&x);

    if (r == 0)
        r = scrub_chunks(&x);
    if (r == 0 && repair)
        r = repair_set(&x, &x.bad_nodes, repair_node);
    if (r == 0 && repair)
        r = repair_set(&x, &x.bad_chunks, repair_chunk);
    if (r == 0 && (x.bad_nodes.count || x.bad_chunks.count))
        r = tell(&x);
    addr_set_fini(&x.bad_nodes);
    addr_set_fini(&x.bad_chunks);
    addr_set_fini(&x.clean);
    if (r == 0)
        *ret_checked = x.checked;
    return r;
}
