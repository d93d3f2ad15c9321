/* Sizes of all objects, with what they share told apart.
 *
 * Three passes over the trees, each of which enters a shared subtree once:
 *  1. own: every node and chunk gets an owner, the one object that refers to it, or SHARED. A walk that meets a node of another owner goes down it once
 *     more, to make all below SHARED; one that meets its own or a SHARED node stops. So each node is entered at most twice.
 *  2. sum: per node, the number of files and directories and the bytes below it: entries are distinct, so these add up.
 *  3. per object: private is what pass 1 gave to it; shared is what its extents refer to otherwise, counted for each use.
 * A workspace's live layer is added from its record and its map: all of that is private. States are folded first. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "fs/addr_set.h"
#include "fs/chunk.h"
#include "fs/inode.h"
#include "fs/key.h"
#include "fs/map.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/tree.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"
#include "fs/workspace.h"

enum { SHARED = UINT32_MAX };

struct item {
    struct usage u;
    struct view *view;                    /* referenced: gc keeps it */
    struct addr root;
    uint64_t own_nodes, own_chunks;       /* stored bytes */
};
struct node_val { uint32_t owner, bytes; bool summed; uint64_t files, dirs, logical, refs; };      /* refs: stored bytes that extents below refer to */
struct chunk_val { uint32_t owner, bytes; };

struct sizes {
    struct store *store;
    struct item *items;
    size_t count, cap;
    struct addr_set nodes, chunks;        /* of node_val, chunk_val */
};

/* Values in the sets are not aligned. */
static struct node_val node_val_of(const struct sizes *z, const struct addr *a)
{
    struct node_val v = { 0 };
    const void *p = addr_set_val(&z->nodes, a);

    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

static struct chunk_val chunk_val_of(const struct sizes *z, const struct addr *a)
{
    struct chunk_val v = { 0 };
    const void *p = addr_set_val(&z->chunks, a);

    if (p)
        memcpy(&v, p, sizeof v);
    return v;
}

/* --- the objects --- */

static struct item *add_item(struct sizes *z, const char *id, bool is_snapshot)
{
    if (z->count == z->cap) {
        size_t cap = z->cap ? z->cap * 2 : 64;
        struct item *items = mem_realloc(z->items, cap * sizeof *items);

        if (!items)
            return NULL;
        z->items = items;
        z->cap = cap;
    }
    struct item *x = &z->items[z->count++];
    *x = (struct item){ .u.is_snapshot = is_snapshot };
    snprintf(x->u.id, sizeof x->u.id, "%s", id);
    return x;
}

static int add_ws(void *arg, const struct ws_rec *r)
{
    return add_item(arg, r->id, false) ? 0 : -ENOMEM;
}

static int add_snap(void *arg, const struct snap_rec *r)
{
    return add_item(arg, r->id, true) ? 0 : -ENOMEM;
}

/* What the live layer adds: its units, and inodes beyond those of the base. */
static void live_of(struct workspace *w, struct view **ret_view, uint64_t *ret_own_bytes, int64_t *ret_inodes, int64_t *ret_units)
{
    struct map_iter it;
    uint64_t units = 0;
    struct slot s;

    pthread_mutex_lock(&w->lock);
    for (const struct map_entry *e = map_seek(w->live->map, &it, "", 0); e; e = map_next(&it)) {
        if (e->tombstone || e->key_len < 9 || key_kind_of(e->key) != KEY_EXTENT || slot_decode(e->val, e->val_len, &s) < 0)
            continue;
        for (unsigned i = 0; i < s.count; i++)
            units += s.runs[i].kind == RUN_SEG ? s.runs[i].count : 0;
    }
    *ret_own_bytes = units * UNIT;
    *ret_view = view_ref(w->view);
    pthread_rwlock_rdlock(&w->store->view_lock);
    *ret_inodes = (int64_t)(w->rec.inodes - w->view->rec.inodes);
    *ret_units = (int64_t)(w->rec.units - w->view->rec.units);
    pthread_rwlock_unlock(&w->store->view_lock);
    pthread_mutex_unlock(&w->lock);
}

static int load_ws(struct sizes *z, struct item *x, int64_t *ret_inodes, int64_t *ret_units)
{
    struct workspace *w;
    int r = workspace_open(z->store, x->u.id, &w);

    if (r < 0)
        return r;
    live_of(w, &x->view, &x->u.private_bytes, ret_inodes, ret_units);
    workspace_unref(w);
    return 0;
}

static int load_snap(struct sizes *z, struct item *x)
{
    struct snap_rec rec;
    int r = snap_rec_get(z->store->meta, x->u.id, &rec);

    return r < 0 ? r : snap_view(z->store, &rec, &x->view);
}

/* An object removed meanwhile is left out. */
static int load_items(struct sizes *z)
{
    size_t n = 0;

    for (size_t i = 0; i < z->count; i++) {
        struct item x = z->items[i];
        int64_t inodes = 0, units = 0;
        int r = x.u.is_snapshot ? load_snap(z, &x) : load_ws(z, &x, &inodes, &units);

        z->items[i].view = NULL;
        if (r == -ENOENT)
            continue;
        if (r == 0)
            r = view_fold_now(z->store, x.view, &x.root);
        if (r == -ENOENT) {               /* between the two: the base of a state that was not folded yet is gone with its object */
            view_unref(x.view);
            continue;
        }
        x.u.files = (uint64_t)inodes;                  /* wraps until the tree's are added */
        x.u.logical_bytes = (uint64_t)units * UNIT;
        z->items[n++] = x;
        if (r < 0)
            return r;
    }
    z->count = n;
    return 0;
}

/* --- pass 1 --- */

struct owning { struct sizes *z; uint32_t owner; };

static int own_enter(void *arg, const struct addr *a)
{
    struct owning *o = arg;
    void *p;
    int r = addr_set_add(&o->z->nodes, a, &p);
    struct node_val v;

    if (r < 0)
        return r;
    memcpy(&v, p, sizeof v);
    if (r == 0 && (v.owner == SHARED || v.owner == o->owner))
        return 0;
    v.owner = r == 1 ? o->owner : SHARED;
    memcpy(p, &v, sizeof v);
    return 1;
}

static int own_chunk(struct owning *o, const struct addr *a)
{
    struct chunk_loc loc = { 0 };
    struct chunk_val v;
    void *p;
    int r = addr_set_add(&o->z->chunks, a, &p);

    if (r < 0)
        return r;
    memcpy(&v, p, sizeof v);
    if (r == 1) {
        if (chunk_stat(o->z->store->chunks, a, &loc) == 0)      /* missing: 0 bytes; fsck says so */
            v.bytes = loc.stored_len;
        v.owner = o->owner;
    } else if (v.owner != o->owner) {
        v.owner = SHARED;
    }
    memcpy(p, &v, sizeof v);
    return 0;
}

static bool is_extent(const struct node_entry *e)
{
    return e->key_len == 17 && key_kind_of(e->key) == KEY_EXTENT && e->val_len == EXTENT_BYTES;
}

static int own_node(void *arg, const struct addr *a, uint8_t level, const struct node *n)
{
    struct owning *o = arg;
    uint32_t bytes = 0;

    for (uint32_t i = 0; i < n->count; i++) {
        const struct node_entry *e = &n->entries[i];
        struct addr chunk;

        bytes += e->key_len + e->val_len;
        if (level > 0 || !is_extent(e))
            continue;
        memcpy(chunk.b, e->val, ADDR_BYTES);
        int r = own_chunk(o, &chunk);
        if (r < 0)
            return r;
    }
    void *p = addr_set_val(&o->z->nodes, a);
    struct node_val v;
    memcpy(&v, p, sizeof v);
    v.bytes = bytes;
    memcpy(p, &v, sizeof v);
    return 1;
}

static int own_all(struct sizes *z)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < z->count; i++) {
        struct owning o = { z, (uint32_t)i };

        if (!addr_is_zero(&z->items[i].root))
            r = tree_walk(z->store->nodes, &z->items[i].root, own_enter, own_node, &o);
    }
    return r;
}

/* --- pass 2 --- */

static void sum_leaf(const struct sizes *z, const struct node *n, struct node_val *v)
{
    for (uint32_t i = 0; i < n->count; i++) {
        const struct node_entry *e = &n->entries[i];
        struct inode in;
        struct addr chunk;

        if (is_extent(e)) {
            memcpy(chunk.b, e->val, ADDR_BYTES);
            v->refs += chunk_val_of(z, &chunk).bytes;
        } else if (e->key_len == 9 && key_kind_of(e->key) == KEY_INODE && inode_decode(e->val, e->val_len, &in) == 0) {
            v->dirs += inode_is_dir(&in);
            v->files += !inode_is_dir(&in);
            v->logical += inode_charge(&in) * UNIT;
        }
    }
}

/* Depth is the tree's: levels fall, or pass 1 would not have ended. */
static int sum_node(struct sizes *z, const struct addr *a, struct node_val *ret)
{
    struct node_val v = node_val_of(z, a);
    struct node *n;
    int r;

    if (v.summed) {
        *ret = v;
        return 0;
    }
    r = node_get(z->store->nodes, a, &n);
    if (r < 0)
        return r;
    if (n->level == 0)
        sum_leaf(z, n, &v);
    for (uint32_t i = 0; r == 0 && n->level > 0 && i < n->count; i++) {
        struct node_val below = { 0 };
        struct addr child;

        memcpy(child.b, n->entries[i].val, ADDR_BYTES);
        r = sum_node(z, &child, &below);
        v.files += below.files;
        v.dirs += below.dirs;
        v.logical += below.logical;
        v.refs += below.refs;
    }
    node_unref(n);
    if (r < 0)
        return r;
    v.summed = true;
    memcpy(addr_set_val(&z->nodes, a), &v, sizeof v);
    *ret = v;
    return 0;
}

/* --- pass 3 --- */

static void give_owned(struct sizes *z)
{
    for (size_t i = 0; i < z->nodes.cap; i++) {
        const uint8_t *slot = z->nodes.slots + i * (ADDR_BYTES + z->nodes.val_bytes);
        struct node_val v;

        memcpy(&v, slot + ADDR_BYTES, sizeof v);
        if (!addr_is_zero((const struct addr *)slot) && v.owner != SHARED)
            z->items[v.owner].own_nodes += v.bytes;
    }
    for (size_t i = 0; i < z->chunks.cap; i++) {
        const uint8_t *slot = z->chunks.slots + i * (ADDR_BYTES + z->chunks.val_bytes);
        struct chunk_val v;

        memcpy(&v, slot + ADDR_BYTES, sizeof v);
        if (!addr_is_zero((const struct addr *)slot) && v.owner != SHARED)
            z->items[v.owner].own_chunks += v.bytes;
    }
}

static int report_all(struct sizes *z, int (*fn)(void *arg, const struct usage *u), void *arg)
{
    int r = 0;

    give_owned(z);
    for (size_t i = 0; r == 0 && i < z->count; i++) {
        struct item *x = &z->items[i];
        struct node_val v = { 0 };

        if (!addr_is_zero(&x->root))
            r = sum_node(z, &x->root, &v);
        if (r < 0)
            return r;
        x->u.files += v.files;
        x->u.dirs += v.dirs;
        x->u.logical_bytes += v.logical;
        x->u.shared_bytes = v.refs > x->own_chunks ? v.refs - x->own_chunks : 0;
        x->u.private_bytes += x->own_chunks;
        x->u.meta_private_bytes = x->own_nodes;
        r = fn(arg, &x->u);
    }
    return r;
}

/* Of the objects in z, which is freed. */
static int measure(struct sizes *z, int (*fn)(void *arg, const struct usage *u), void *arg)
{
    int r = load_items(z);

    if (r == 0)
        r = own_all(z);
    if (r == 0)
        r = report_all(z, fn, arg);
    for (size_t i = 0; i < z->count; i++)
        view_unref(z->items[i].view);
    free(z->items);
    addr_set_fini(&z->nodes);
    addr_set_fini(&z->chunks);
    return r;
}

static struct sizes sizes_of(struct store *s)
{
    return (struct sizes){ .store = s, .nodes = ADDR_SET(sizeof(struct node_val)), .chunks = ADDR_SET(sizeof(struct chunk_val)) };
}

int verb_usage(struct store *s, int (*fn)(void *arg, const struct usage *u), void *arg)
{
    struct sizes z = sizes_of(s);
    int r = ws_rec_each(s->meta, add_ws, &z);

    if (r == 0)
        r = snap_rec_each(s->meta, add_snap, &z);
    if (r < 0)
        z.count = 0;
    int e = measure(&z, fn, arg);
    return r < 0 ? r : e;
}

/* --- one object --- */

struct wanted { const char *id; struct usage *ret; bool found; };

static int keep_wanted(void *arg, const struct usage *u)
{
    struct wanted *w = arg;

    if (strcmp(u->id, w->id) != 0)
        return 0;
    *w->ret = *u;
    w->found = true;
    return 1;
}

int verb_usage_of(struct store *s, const char *id, bool is_snapshot, uint64_t objects_max, struct usage *ret)
{
    struct wanted w = { .id = id, .ret = ret };
    bool all = object_count(s->meta, objects_max + 1) <= objects_max;
    struct sizes z = sizes_of(s);
    int r;

    if (all)
        r = verb_usage(s, keep_wanted, &w);
    else
        r = add_item(&z, id, is_snapshot) ? measure(&z, keep_wanted, &w) : -ENOMEM;
    if (r < 0)
        return r;
    if (!all)
        ret->shared_bytes = ret->private_bytes = ret->meta_private_bytes = 0;       /* of one object alone that cannot be told */
    return !w.found ? -ENOENT : all;
}
