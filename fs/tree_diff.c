/*
 * Difference of two trees. Both are walked in key order by a stack of frames; where a walk stands is an item: an entry of the map, or a
 * whole subtree not gone into. Equal subtrees under comparison are stepped over. Otherwise:
 *   - different first keys: the smaller one is in its tree only. It is reported if it is an entry, and gone into if it is a subtree (its
 *     first entry is a difference).
 *   - equal first keys: the higher item is gone into, so that both come to equal heights, and to entries at last.
 * A walk that has finished a node goes on with the highest subtree that begins there. So what is read are paths to differences, and the
 * nodes until the boundaries of both trees meet again after one.
 */
#include "fs/tree.h"

#include <errno.h>

#include "fs/key.h"
#include "fs/node_cache.h"

struct frame {
    const struct node_entry *entries;
    uint32_t count, i;
    uint8_t level;                        /* of the items: 0 = entries of the map, k + 1 = subtrees whose node has level k */
    struct node *pin;
};

struct side {
    struct node_cache *c;
    struct node_entry root;               /* the tree itself as an item */
    uint8_t root_val[NODE_CHILD_BYTES];
    int depth;                            /* 0 = at the end */
    struct frame at[NODE_LEVELS_MAX + 1];
};

static int side_init(struct side *s, struct node_cache *c, const struct addr *root)
{
    struct node *n;

    s->c = c;
    s->depth = 0;
    if (addr_is_zero(root))
        return 0;
    int r = node_get(c, root, &n);
    if (r)
        return r;
    memcpy(s->root_val, root->b, ADDR_BYTES);
    s->root = (struct node_entry){ .key = n->entries[0].key, .key_len = n->entries[0].key_len, .val = s->root_val, .val_len = NODE_CHILD_BYTES };
    s->at[0] = (struct frame){ .entries = &s->root, .count = 1, .level = (uint8_t)(n->level + 1), .pin = n };
    s->depth = 1;
    return 0;
}

static void side_fini(struct side *s)
{
    while (s->depth > 0)
        node_unref(s->at[--s->depth].pin);
}

static const struct frame *side_top(const struct side *s)
{
    return &s->at[s->depth - 1];
}

static const struct node_entry *side_item(const struct side *s)
{
    const struct frame *f = side_top(s);

    return &f->entries[f->i];
}

static void side_step(struct side *s)
{
    s->at[s->depth - 1].i++;
    while (s->depth > 0 && s->at[s->depth - 1].i == s->at[s->depth - 1].count) {
        node_unref(s->at[--s->depth].pin);
        if (s->depth > 0)
            s->at[s->depth - 1].i++;
    }
}

/* Goes into the subtree it stands on. */
static int side_enter(struct side *s)
{
    struct frame *f = &s->at[s->depth - 1];
    struct node *n;
    int r = 0;

    if (s->depth == 1)
        n = node_ref(f->pin);             /* the root is held already */
    else
        r = tree_child(s->c, f->pin, f->i, &n);
    if (r)
        return r;
    s->at[s->depth++] = (struct frame){ .entries = n->entries, .count = n->count, .level = n->level, .pin = n };
    return 0;
}

/* The item of one side that comes first: report it or go into it. */
static int side_alone(struct side *s, bool is_a, tree_diff_fn *fn, void *arg)
{
    const struct node_entry *e = side_item(s);

    if (side_top(s)->level > 0)
        return side_enter(s);
    int r = is_a ? fn(arg, e, NULL) : fn(arg, NULL, e);
    side_step(s);
    return r;
}

static bool same_value(const struct node_entry *a, const struct node_entry *b)
{
    return a->val_len == b->val_len && !memcmp(a->val, b->val, a->val_len);
}

/* Both items begin with the same key. */
static int sides_equal_key(struct side *a, struct side *b, tree_diff_fn *fn, void *arg)
{
    unsigned la = side_top(a)->level, lb = side_top(b)->level;
    const struct node_entry *ea = side_item(a), *eb = side_item(b);
    int r = 0;

    if (la != lb)
        return side_enter(la > lb ? a : b);
    if (la > 0) {
        if (memcmp(ea->val, eb->val, ADDR_BYTES)) {
            r = side_enter(a);
            return r ? r : side_enter(b);
        }
    } else if (!same_value(ea, eb)) {
        r = fn(arg, ea, eb);
    }
    side_step(a);
    side_step(b);
    return r;
}

static int sides_step(struct side *a, struct side *b, tree_diff_fn *fn, void *arg)
{
    if (!b->depth)
        return side_alone(a, true, fn, arg);
    if (!a->depth)
        return side_alone(b, false, fn, arg);
    const struct node_entry *ea = side_item(a), *eb = side_item(b);
    int c = key_cmp(ea->key, ea->key_len, eb->key, eb->key_len);
    if (c)
        return side_alone(c < 0 ? a : b, c < 0, fn, arg);
    return sides_equal_key(a, b, fn, arg);
}

int tree_diff(struct node_cache *c, const struct addr *a, const struct addr *b, tree_diff_fn *fn, void *arg)
{
    struct side sa = { 0 }, sb = { 0 };

    if (addr_eq(a, b))
        return 0;
    int r = side_init(&sa, c, a);
    if (!r)
        r = side_init(&sb, c, b);
    while (!r && (sa.depth || sb.depth))
        r = sides_step(&sa, &sb, fn, arg);
    side_fini(&sa);
    side_fini(&sb);
    return r;
}
