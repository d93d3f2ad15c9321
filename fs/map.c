/* The map of a layer.
 *
 * A B+tree whose leaves hold pointers to entries. Entries, and the values in them, come from an arena that only grows and is freed with the
 * map: nothing is ever removed from a layer, and a value that outgrows its place moves to one of twice the size. Beside each pointer
 * stand the first 16 bytes of the key as two numbers, so that most comparisons touch no entry.
 *
 * Invariants (map_check in the tests): keys ascend along the leaf chain; separator i of an inner node, i >= 1, is <= every key
 * below child i and > every key below child i - 1 (separator 0 is not looked at); all leaves are at the same depth; the dirty
 * list holds exactly the entries with the dirty flag.
 */
#include "fs/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "fs/key.h"

enum { FANOUT = 32, HEIGHT_MAX = 12, BLOCK_FIRST = 2048, BLOCK_MOST = 256 * 1024 };

struct mnode {
    uint16_t n;
    bool leaf;
    struct mnode *next;                   /* leaf: the following leaf; on the spare list: the next spare */
    uint64_t p0[FANOUT], p1[FANOUT];
    struct map_entry *entry[FANOUT];      /* leaf: the entries; inner: separators */
    struct mnode *child[];                /* inner: FANOUT of them */
};

struct block {
    struct block *next;
    size_t used, size;
    uint8_t data[];
};

struct map {
    struct mnode *root;
    unsigned height;                      /* 0: empty; 1: the root is a leaf */
    size_t count, nodes, bytes;
    struct map_entry *dirty;
    struct block *blocks;                 /* newest first; only the newest has room */
    struct mnode *spare_leaf, *spare_inner;
    size_t spare_leaves, spare_inners;
};

struct prefix {
    uint64_t p0, p1;
};

static struct prefix prefix_of(const uint8_t *key, size_t n)
{
    uint8_t b[16] = { 0 };

    memcpy(b, key, n < 16 ? n : 16);
    return (struct prefix){ be64(b), be64(b + 8) };
}

static int node_cmp(const struct mnode *n, unsigned i, struct prefix p, const uint8_t *key, size_t key_len)
{
    if (n->p0[i] != p.p0)
        return n->p0[i] < p.p0 ? -1 : 1;
    if (n->p1[i] != p.p1)
        return n->p1[i] < p.p1 ? -1 : 1;
    return key_cmp(n->entry[i]->key, n->entry[i]->key_len, key, key_len);
}

/* First index with an entry >= key. */
static unsigned lower_bound(const struct mnode *n, struct prefix p, const uint8_t *key, size_t key_len, bool *ret_exact)
{
    unsigned lo = 0, hi = n->n;

    *ret_exact = false;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        int c = node_cmp(n, mid, p, key, key_len);
        if (c == 0) {
            *ret_exact = true;
            return mid;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static unsigned child_index(const struct mnode *n, struct prefix p, const uint8_t *key, size_t key_len)
{
    bool exact;
    unsigned i = lower_bound(n, p, key, key_len, &exact);

    return exact ? i : i ? i - 1 : 0;
}

struct map *map_new(void)
{
    return mem_zalloc(sizeof(struct map));
}

static void nodes_free(struct mnode *n, unsigned height)
{
    if (height > 1)
        for (unsigned i = 0; i < n->n; i++)
            nodes_free(n->child[i], height - 1);
    free(n);
}

static void spares_free(struct mnode *n)
{
    while (n) {
        struct mnode *next = n->next;
        free(n);
        n = next;
    }
}

void map_free(struct map *m)
{
    if (!m)
        return;
    if (m->root)
        nodes_free(m->root, m->height);
    spares_free(m->spare_leaf);
    spares_free(m->spare_inner);
    while (m->blocks) {
        struct block *next = m->blocks->next;
        free(m->blocks);
        m->blocks = next;
    }
    free(m);
}

static size_t mnode_size(bool leaf)
{
    return sizeof(struct mnode) + (leaf ? 0 : FANOUT * sizeof(struct mnode *));
}

static int spare_add(struct map *m, bool leaf)
{
    struct mnode *n = mem_zalloc(mnode_size(leaf));

    if (!n)
        return -ENOMEM;
    struct mnode **list = leaf ? &m->spare_leaf : &m->spare_inner;
    n->leaf = leaf;
    n->next = *list;
    *list = n;
    *(leaf ? &m->spare_leaves : &m->spare_inners) += 1;
    m->bytes += mnode_size(leaf);
    return 0;
}

/* Never NULL: map_reserve() has been there. */
static struct mnode *spare_take(struct map *m, bool leaf)
{
    struct mnode **list = leaf ? &m->spare_leaf : &m->spare_inner;
    struct mnode *n = *list;

    *list = n->next;
    n->next = NULL;
    *(leaf ? &m->spare_leaves : &m->spare_inners) -= 1;
    m->nodes++;
    return n;
}

static int block_add(struct map *m, size_t need)
{
    size_t size = m->blocks ? m->blocks->size * 2 : BLOCK_FIRST;

    if (size > BLOCK_MOST)
        size = BLOCK_MOST;
    if (size < need)
        size = need;
    struct block *b = mem_alloc(sizeof *b + size);
    if (!b)
        return -ENOMEM;
    *b = (struct block){ .next = m->blocks, .size = size };
    m->blocks = b;
    m->bytes += sizeof *b + size;
    return 0;
}

static void *arena_take(struct map *m, size_t n)
{
    struct block *b = m->blocks;
    void *p = b->data + b->used;

    b->used += (n + 7) & ~(size_t)7;
    return p;
}

static uint32_t cap_for(size_t n)
{
    uint32_t cap = 16;

    if (n >= 128 && n <= 2048 + 64)
        return (uint32_t)((n + 63) & ~(size_t)63);
    while (cap < n)
        cap *= 2;
    return cap;
}

static int nodes_reserve(struct map *m, unsigned n)
{
    /* Every node there is may split at its first touch, and once more for each half node of new keys; or each key splits a whole path. */
    size_t by_key = (size_t)n * (m->height + 1) + 2, by_node = m->nodes + n / 8 + HEIGHT_MAX + 2;
    size_t leaves = n + 1 < by_node ? n + 1 : by_node, inners = by_key < by_node ? by_key : by_node;

    while (m->spare_leaves < leaves)
        if (spare_add(m, true) < 0)
            return -ENOMEM;
    while (m->spare_inners < inners)
        if (spare_add(m, false) < 0)
            return -ENOMEM;
    return 0;
}

static int room_reserve(struct map *m, size_t room)
{
    if (!m->blocks || m->blocks->size - m->blocks->used < room)
        return block_add(m, room);
    return 0;
}

int map_reserve(struct map *m, unsigned n, size_t bytes)
{
    int r = nodes_reserve(m, n);

    /* A value takes at most twice its length or 64 bytes more: see cap_for(). */
    return r < 0 ? r : room_reserve(m, (size_t)n * (sizeof(struct map_entry) + KEY_MAX + 8 + 64) + 2 * bytes);
}

static struct map_entry *entry_make(struct map *m, const void *key, size_t key_len)
{
    struct map_entry *e = arena_take(m, sizeof *e + key_len);

    memset(e, 0, sizeof *e);
    e->key_len = (uint16_t)key_len;
    memcpy(e->key, key, key_len);
    m->count++;
    return e;
}

static void node_insert(struct mnode *n, unsigned at, struct prefix p, struct map_entry *e, struct mnode *child)
{
    unsigned tail = n->n - at;

    memmove(n->p0 + at + 1, n->p0 + at, tail * sizeof n->p0[0]);
    memmove(n->p1 + at + 1, n->p1 + at, tail * sizeof n->p1[0]);
    memmove(n->entry + at + 1, n->entry + at, tail * sizeof n->entry[0]);
    if (!n->leaf) {
        memmove(n->child + at + 1, n->child + at, tail * sizeof n->child[0]);
        n->child[at] = child;
    }
    n->p0[at] = p.p0;
    n->p1[at] = p.p1;
    n->entry[at] = e;
    n->n++;
}

/* Moves the upper part of a full node into a new one to its right. A node filled at its end keeps nearly all: appends fill leaves. */
static struct mnode *node_split(struct map *m, struct mnode *n, unsigned at)
{
    struct mnode *r = spare_take(m, n->leaf);
    unsigned keep = at == FANOUT ? FANOUT - 1 : FANOUT / 2, moved = FANOUT - keep;

    memcpy(r->p0, n->p0 + keep, moved * sizeof n->p0[0]);
    memcpy(r->p1, n->p1 + keep, moved * sizeof n->p1[0]);
    memcpy(r->entry, n->entry + keep, moved * sizeof n->entry[0]);
    if (!n->leaf)
        memcpy(r->child, n->child + keep, moved * sizeof n->child[0]);
    r->n = (uint16_t)moved;
    n->n = (uint16_t)keep;
    if (n->leaf) {
        r->next = n->next;
        n->next = r;
    }
    return r;
}

struct path {
    struct mnode *node[HEIGHT_MAX];
    unsigned at[HEIGHT_MAX];
    unsigned depth;
};

/* Adds (p, e, child) at the bottom of the path, splitting upwards. Cannot fail: spares are reserved. */
static void path_insert(struct map *m, struct path *path, struct prefix p, struct map_entry *e)
{
    struct mnode *child = NULL;

    for (unsigned d = path->depth; d-- > 0;) {
        struct mnode *n = path->node[d];
        unsigned at = path->at[d] + (child ? 1 : 0);

        if (n->n < FANOUT) {
            node_insert(n, at, p, e, child);
            return;
        }
        struct mnode *r = node_split(m, n, at);
        if (at > n->n)
            node_insert(r, at - n->n, p, e, child);
        else
            node_insert(n, at, p, e, child);
        child = r;
        p = (struct prefix){ r->p0[0], r->p1[0] };
        e = r->entry[0];
    }
    struct mnode *root = spare_take(m, false);
    node_insert(root, 0, (struct prefix){ m->root->p0[0], m->root->p1[0] }, m->root->entry[0], m->root);
    node_insert(root, 1, p, e, child);
    m->root = root;
    m->height++;
}

static struct mnode *descend(const struct map *m, struct prefix p, const void *key, size_t key_len, struct path *path)
{
    struct mnode *n = m->root;

    for (unsigned h = m->height; h > 1; h--) {
        unsigned i = child_index(n, p, key, key_len);
        if (path) {
            path->node[path->depth] = n;
            path->at[path->depth++] = i;
        }
        n = n->child[i];
    }
    return n;
}

static struct map_entry *entry_find_or_make(struct map *m, const void *key, size_t key_len)
{
    struct prefix p = prefix_of(key, key_len);
    struct path path = { .depth = 0 };
    bool exact;

    if (!m->root) {
        m->root = spare_take(m, true);
        m->height = 1;
    }
    struct mnode *leaf = descend(m, p, key, key_len, &path);
    unsigned at = lower_bound(leaf, p, key, key_len, &exact);
    if (exact)
        return leaf->entry[at];
    struct map_entry *e = entry_make(m, key, key_len);
    path.node[path.depth] = leaf;
    path.at[path.depth++] = at;
    path_insert(m, &path, p, e);
    return e;
}

static int put(struct map *m, const void *key, size_t key_len, const void *val, size_t val_len, bool dirty)
{
    if (nodes_reserve(m, 1) < 0 || room_reserve(m, sizeof(struct map_entry) + key_len + 8 + cap_for(val_len) + 8) < 0)
        return -ENOMEM;
    struct map_entry *e = entry_find_or_make(m, key, key_len);
    if (val && val_len > e->val_cap) {
        uint32_t cap = cap_for(val_len);
        e->val = arena_take(m, cap);
        e->val_cap = cap;
    }
    if (val && val_len)
        memmove(e->val, val, val_len);
    e->val_len = val ? (uint32_t)val_len : 0;
    e->tombstone = !val;
    if (dirty && !e->dirty) {
        e->dirty = true;
        e->dirty_next = m->dirty;
        m->dirty = e;
    }
    return 0;
}

int map_put(struct map *m, const void *key, size_t key_len, const void *val, size_t val_len)
{
    return put(m, key, key_len, val, val_len, true);
}

int map_load(struct map *m, const void *key, size_t key_len, const void *val, size_t val_len)
{
    return put(m, key, key_len, val, val_len, false);
}

const struct map_entry *map_get(const struct map *m, const void *key, size_t key_len)
{
    struct prefix p = prefix_of(key, key_len);
    bool exact;

    if (!m->root)
        return NULL;
    const struct mnode *leaf = descend(m, p, key, key_len, NULL);
    unsigned at = lower_bound(leaf, p, key, key_len, &exact);
    return exact ? leaf->entry[at] : NULL;
}

size_t map_count(const struct map *m)
{
    return m->count;
}

size_t map_bytes(const struct map *m)
{
    return m->bytes;
}

bool map_has_dirty(const struct map *m)
{
    return m->dirty;
}

int map_each_dirty(struct map *m, int (*fn)(void *arg, const struct map_entry *e), void *arg)
{
    for (struct map_entry *e = m->dirty; e; e = e->dirty_next) {
        int r = fn(arg, e);
        if (r < 0)
            return r;
    }
    while (m->dirty) {
        struct map_entry *e = m->dirty;
        m->dirty = e->dirty_next;
        e->dirty_next = NULL;
        e->dirty = false;
    }
    return 0;
}

static const struct map_entry *iter_entry(struct map_iter *it)
{
    const struct mnode *leaf = it->leaf;

    while (leaf && it->pos >= leaf->n) {
        leaf = leaf->next;
        it->pos = 0;
    }
    it->leaf = leaf;
    return leaf ? leaf->entry[it->pos] : NULL;
}

const struct map_entry *map_seek(const struct map *m, struct map_iter *it, const void *key, size_t key_len)
{
    struct prefix p = prefix_of(key, key_len);
    bool exact;

    *it = (struct map_iter){ 0 };
    if (!m->root)
        return NULL;
    const struct mnode *leaf = descend(m, p, key, key_len, NULL);
    it->leaf = leaf;
    it->pos = lower_bound(leaf, p, key, key_len, &exact);
    return iter_entry(it);
}

const struct map_entry *map_next(struct map_iter *it)
{
    it->pos++;
    return iter_entry(it);
}
