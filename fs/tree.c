/*
 * Lookup, cursor and walk. An inner node's entries name their children by first key; the child that may hold a key is the last one
 * whose first key is not above it. Every step down checks that the child is one level lower and begins with the key it is named by, so
 * that a wrong tree gives -EIO and never a loop or a wrong answer.
 */
#include "fs/tree.h"

#include <errno.h>

#include "base/log.h"
#include "fs/key.h"
#include "fs/node_cache.h"

static struct addr child_addr(const struct node_entry *e)
{
    struct addr a;

    memcpy(a.b, e->val, ADDR_BYTES);
    return a;
}

int tree_child(struct node_cache *c, const struct node *n, uint32_t i, struct node **ret)
{
    const struct node_entry *e = &n->entries[i];
    struct addr a = child_addr(e);
    struct node *child;

    int r = node_get(c, &a, &child);
    if (r)
        return r;
    const struct node_entry *first = &child->entries[0];
    if (child->level + 1 != n->level || key_cmp(first->key, first->key_len, e->key, e->key_len)) {
        char hex[2 * ADDR_BYTES + 1];
        addr_hex(&a, hex);
        log_error("node=%s err=EIO reason=\"does not fit its parent\"", hex);
        node_unref(child);
        return -EIO;
    }
    *ret = child;
    return 0;
}

/* Index of the child whose range holds the key; 0 also for a key before all. */
static uint32_t child_index(const struct node *n, const void *key, size_t key_len)
{
    bool exact;
    uint32_t i = node_search(n, key, key_len, &exact);

    return exact || i == 0 ? i : i - 1;
}

int tree_get(struct node_cache *c, const struct addr *root, const void *key, size_t key_len, struct tree_val *ret)
{
    struct node *n;
    bool exact;

    if (addr_is_zero(root))
        return 0;
    int r = node_get(c, root, &n);
    if (r)
        return r;
    while (n->level > 0) {
        struct node *child;
        r = tree_child(c, n, child_index(n, key, key_len), &child);
        node_unref(n);
        if (r)
            return r;
        n = child;
    }
    uint32_t i = node_search(n, key, key_len, &exact);
    if (!exact) {
        node_unref(n);
        return 0;
    }
    *ret = (struct tree_val){ .p = n->entries[i].val, .n = n->entries[i].val_len, .pin = n };
    return 1;
}

uint64_t tree_node_count(const struct node *n)
{
    uint64_t sum = 0;

    if (n->level == 0)
        return n->count;
    for (uint32_t i = 0; i < n->count; i++)
        sum += le64(n->entries[i].val + ADDR_BYTES);
    return sum;
}

int tree_count(struct node_cache *c, const struct addr *root, uint64_t *ret)
{
    struct node *n;

    if (addr_is_zero(root)) {
        *ret = 0;
        return 0;
    }
    int r = node_get(c, root, &n);
    if (r)
        return r;
    *ret = tree_node_count(n);
    node_unref(n);
    return 0;
}

/* --- cursor --- */

void tree_cursor_init(struct tree_cursor *cur, struct node_cache *c, const struct addr *root)
{
    *cur = (struct tree_cursor){ .c = c, .root = *root };
}

void tree_cursor_fini(struct tree_cursor *cur)
{
    while (cur->depth > 0)
        node_unref(cur->at[--cur->depth].n);
}

/* The lowest node has been placed; goes up from exhausted nodes and down again to a leaf's first entry. */
static int cursor_settle(struct tree_cursor *cur)
{
    while (cur->depth > 0 && cur->at[cur->depth - 1].i >= cur->at[cur->depth - 1].n->count) {
        node_unref(cur->at[--cur->depth].n);
        if (cur->depth > 0)
            cur->at[cur->depth - 1].i++;
    }
    if (cur->depth == 0)
        return 0;
    while (cur->at[cur->depth - 1].n->level > 0) {
        struct node *child;
        int r = tree_child(cur->c, cur->at[cur->depth - 1].n, cur->at[cur->depth - 1].i, &child);
        if (r) {
            tree_cursor_fini(cur);
            return r;
        }
        cur->at[cur->depth].n = child;
        cur->at[cur->depth++].i = 0;
    }
    return 1;
}

int tree_cursor_seek(struct tree_cursor *cur, const void *key, size_t key_len)
{
    struct node *n;
    bool exact;

    tree_cursor_fini(cur);
    if (addr_is_zero(&cur->root))
        return 0;
    int r = node_get(cur->c, &cur->root, &n);
    if (r)
        return r;
    for (;;) {
        uint32_t i = n->level > 0 ? child_index(n, key, key_len) : node_search(n, key, key_len, &exact);
        cur->at[cur->depth].n = n;
        cur->at[cur->depth++].i = i;
        if (n->level == 0)
            return cursor_settle(cur);
        r = tree_child(cur->c, n, i, &n);
        if (r) {
            tree_cursor_fini(cur);
            return r;
        }
    }
}

int tree_cursor_next(struct tree_cursor *cur)
{
    if (cur->depth == 0)
        return 0;
    cur->at[cur->depth - 1].i++;
    return cursor_settle(cur);
}

const struct node_entry *tree_cursor_entry(const struct tree_cursor *cur)
{
    return cur->depth ? &cur->at[cur->depth - 1].n->entries[cur->at[cur->depth - 1].i] : NULL;
}

/* --- walk --- */

static int walk_below(struct node_cache *c, const struct node *n, int (*enter)(void *, const struct addr *), tree_walk_fn *fn, void *arg);

static int walk_node(struct node_cache *c, struct node *n, int (*enter)(void *, const struct addr *), tree_walk_fn *fn, void *arg)
{
    int r = fn(arg, &n->addr, n->level, n);

    return r == 1 && n->level > 0 ? walk_below(c, n, enter, fn, arg) : r < 0 ? r : 0;
}

static int walk_below(struct node_cache *c, const struct node *n, int (*enter)(void *, const struct addr *), tree_walk_fn *fn, void *arg)
{
    for (uint32_t i = 0; i < n->count; i++) {
        struct addr a = child_addr(&n->entries[i]);
        struct node *child;
        int r = enter ? enter(arg, &a) : 1;
        if (r < 0)
            return r;
        if (r == 0)
            continue;
        r = tree_child(c, n, i, &child);
        if (r)
            return r;
        r = walk_node(c, child, enter, fn, arg);
        node_unref(child);
        if (r)
            return r;
    }
    return 0;
}

int tree_walk(struct node_cache *c, const struct addr *root, int (*enter)(void *arg, const struct addr *a), tree_walk_fn *fn, void *arg)
{
    struct node *n;

    if (addr_is_zero(root))
        return 0;
    int r = enter ? enter(arg, root) : 1;
    if (r <= 0)
        return r;
    r = node_get(c, root, &n);
    if (r)
        return r;
    r = walk_node(c, n, enter, fn, arg);
    node_unref(n);
    return r;
}
