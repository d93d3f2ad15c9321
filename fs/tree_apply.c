/*
 * The canonical incremental merge.
 *
 * Out: one cutter per level takes entries in key order, and ends its node by a rule that looks only at the entries since the node began
 * (see cutter_add). A finished node is stored and becomes an entry (first key, address, count) of the cutter above. So the nodes are a
 * function of the set of entries. At the end all cutters are emptied from below; the root is the lowest level that has one node.
 *
 * In: the old tree is walked in key order, merged with the changes. A subtree of height k is taken over whole, as one entry for cutter
 * k+1, if
 *   1. no change falls between its first key and the first key after it (`hi`), nor does a deleted prefix reach into it; and
 *   2. cutters 0..k are empty: so a fresh build would begin nodes of levels 0..k right here.
 * It then ends where a fresh build would end nodes on all these levels too: either it is not the last of its level, then the rule has
 * ended its last nodes; or it is the last: then hi is infinite, so by 1. nothing follows, and the end of the tree ends them.
 * If only 2. fails, the walk goes down and takes the children over; a cutter that was thrown off by a change comes back to a boundary
 * of the old tree after a few nodes, since both look for the same hashes.
 *
 * One change costs the nodes on its path and the few until the boundaries meet again.
 */
#include "fs/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/node_cache.h"

enum { SPILL_BYTES = 4 << 20 };

struct cutter {
    struct node_writer w;                 /* count 0 = on a boundary */
    struct key first;
    uint64_t entries;                     /* of the map, below this node so far */
    uint64_t nodes;                       /* ended on this level; 2 stands for many */
    struct addr last;                     /* the last of them */
};

struct apply {
    struct node_cache *c;
    struct batch *own;                    /* nodes go here first: what the caller has in his batch is not for us to write */
    struct tree_changes *changes;
    struct tree_change next;              /* the change to come, if any */
    bool more;
    struct key prev;                      /* of the change before, for checking the order */
    enum tree_op prev_op;
    struct key cut;                       /* deleted prefix that is in force, if cutting */
    bool cutting;
    struct cutter level[NODE_LEVELS_MAX];
};

/* A bound above all keys of a subtree: key NULL is infinity. */
struct bound { const uint8_t *key; size_t len; };

static bool has_prefix(const uint8_t *key, size_t len, const struct key *prefix)
{
    return len >= prefix->len && !memcmp(key, prefix->b, prefix->len);
}

static void key_copy(struct key *k, const uint8_t *b, size_t len)
{
    k->len = (uint16_t)len;
    memcpy(k->b, b, len);
}

/* --- out --- */

static int cutter_add(struct apply *ap, unsigned level, const struct node_entry *e, uint64_t entries);

/* Adds the entry of a finished or reused node to the level above it. */
static int push_child(struct apply *ap, unsigned level, const struct key *first, const struct addr *a, uint64_t entries)
{
    uint8_t val[NODE_CHILD_BYTES];
    struct node_entry e = { .key = first->b, .key_len = first->len, .val = val, .val_len = sizeof val };

    memcpy(val, a->b, ADDR_BYTES);
    put_le64(val + ADDR_BYTES, entries);
    ap->level[level].nodes++;
    ap->level[level].last = *a;
    return level + 1 < NODE_LEVELS_MAX ? cutter_add(ap, level + 1, &e, entries) : -EFBIG;
}

static int cutter_end(struct apply *ap, unsigned level)
{
    struct cutter *ct = &ap->level[level];
    struct key first = ct->first;
    uint64_t entries = ct->entries;
    struct addr a;

    node_writer_end(&ct->w);
    int r = buf_err(&ct->w.out);
    if (!r)
        r = node_put(ap->c, ap->own, ct->w.out.data, ct->w.out.len, &a);
    if (!r && batch_bytes(ap->own) > SPILL_BYTES)
        r = node_batch_flush(ap->c, ap->own);
    if (r)
        return r;
    buf_clear(&ct->w.out);
    ct->w.count = 0;
    ct->entries = 0;
    return push_child(ap, level, &first, &a, entries);
}

static bool ends_node(const struct node_writer *w, unsigned level, const struct node_entry *e)
{
    size_t size = node_writer_size(w);

    return size >= NODE_MAX || (size >= NODE_MIN && (XXH3_64bits_withSeed(e->key, e->key_len, level) & NODE_MASK) == 0);
}

static int cutter_add(struct apply *ap, unsigned level, const struct node_entry *e, uint64_t entries)
{
    struct cutter *ct = &ap->level[level];

    if (ct->w.count == 0) {
        node_writer_start(&ct->w, (uint8_t)level);
        key_copy(&ct->first, e->key, e->key_len);
    }
    node_writer_add(&ct->w, e);
    ct->entries += entries;
    if (buf_err(&ct->w.out))
        return buf_err(&ct->w.out);
    return ends_node(&ct->w, level, e) ? cutter_end(ap, level) : 0;
}

static bool on_boundary(const struct apply *ap, unsigned top)
{
    for (unsigned i = 0; i <= top; i++) {
        if (ap->level[i].w.count)
            return false;
    }
    return true;
}

static int reuse(struct apply *ap, const struct node_entry *e, unsigned level)
{
    struct key first;
    struct addr a;

    memcpy(a.b, e->val, ADDR_BYTES);
    key_copy(&first, e->key, e->key_len);
    for (unsigned i = 0; i < level; i++)
        ap->level[i].nodes += 2;
    return push_child(ap, level, &first, &a, le64(e->val + ADDR_BYTES));
}

/* --- the changes --- */

static int change_next(struct apply *ap)
{
    struct tree_change *ch = &ap->next;

    int r = ap->changes->next(ap->changes, ch);
    if (r < 0)
        return r;
    ap->more = r > 0;
    if (!ap->more)
        return 0;
    if (ch->key_len == 0 || ch->key_len > KEY_MAX || (ch->op == TREE_PUT && ch->val_len > XATTR_VALUE_MAX))
        return -EINVAL;
    int c = key_cmp(ap->prev.b, ap->prev.len, ch->key, ch->key_len);
    if (c > 0 || (c == 0 && !(ap->prev_op == TREE_DEL_PREFIX && ch->op != TREE_DEL_PREFIX)))
        return -EINVAL;
    key_copy(&ap->prev, ch->key, ch->key_len);
    ap->prev_op = ch->op;
    return 0;
}

/* Does what the change to come says about what is not in the old tree, and takes the next. */
static int change_take(struct apply *ap)
{
    const struct tree_change *ch = &ap->next;
    int r = 0;

    if (ch->op == TREE_PUT) {
        struct node_entry e = { .key = ch->key, .key_len = (uint16_t)ch->key_len, .val = ch->val, .val_len = (uint32_t)ch->val_len };
        r = cutter_add(ap, 0, &e, 1);
    } else if (ch->op == TREE_DEL_PREFIX && !(ap->cutting && has_prefix(ch->key, ch->key_len, &ap->cut))) {
        key_copy(&ap->cut, ch->key, ch->key_len);
        ap->cutting = true;
    }
    return r ? r : change_next(ap);
}

/* True if the change to come is before this bound. */
static bool change_before(const struct apply *ap, struct bound b)
{
    return ap->more && (!b.key || key_cmp(ap->next.key, ap->next.key_len, b.key, b.len) < 0);
}

/* --- in --- */

static int merge_leaf(struct apply *ap, const struct node *n)
{
    for (uint32_t i = 0; i < n->count; i++) {
        const struct node_entry *e = &n->entries[i];
        bool replaced = false;
        while (ap->more) {
            int c = key_cmp(ap->next.key, ap->next.key_len, e->key, e->key_len);
            if (c > 0)
                break;
            replaced = replaced || (c == 0 && ap->next.op != TREE_DEL_PREFIX);
            int r = change_take(ap);
            if (r)
                return r;
        }
        if (replaced || (ap->cutting && has_prefix(e->key, e->key_len, &ap->cut)))
            continue;
        int r = cutter_add(ap, 0, e, 1);
        if (r)
            return r;
    }
    return 0;
}

static int merge_children(struct apply *ap, const struct node *n, struct bound hi);

/* The subtree that e names, of the given level; loads it only if it must. */
static int merge_subtree(struct apply *ap, const struct node *parent, uint32_t i, struct bound hi)
{
    const struct node_entry *e = &parent->entries[i];
    unsigned level = parent->level - 1u;
    struct bound lo = { e->key, e->key_len };
    struct node *n;
    bool clean;
    int r = 0;

    while (!r && (change_before(ap, lo) ||
                  (ap->more && ap->next.op == TREE_DEL_PREFIX && !key_cmp(ap->next.key, ap->next.key_len, lo.key, lo.len))))
        r = change_take(ap);
    if (r)
        return r;
    clean = !change_before(ap, hi);
    if (ap->cutting && has_prefix(lo.key, lo.len, &ap->cut)) {
        if (hi.key && has_prefix(hi.key, hi.len, &ap->cut)) {
            while (!r && change_before(ap, hi))
                r = change_take(ap);
            return r;
        }
        clean = false;
    }
    if (clean && on_boundary(ap, level))
        return reuse(ap, e, level);
    r = tree_child(ap->c, parent, i, &n);
    if (r)
        return r;
    r = n->level > 0 ? merge_children(ap, n, hi) : merge_leaf(ap, n);
    node_unref(n);
    return r;
}

static int merge_children(struct apply *ap, const struct node *n, struct bound hi)
{
    for (uint32_t i = 0; i < n->count; i++) {
        const struct node_entry *after = i + 1 < n->count ? &n->entries[i + 1] : NULL;
        int r = merge_subtree(ap, n, i, after ? (struct bound){ after->key, after->key_len } : hi);
        if (r)
            return r;
    }
    return 0;
}

static int merge_tree(struct apply *ap, const struct addr *root)
{
    struct node *n;
    int r = 0;

    if (!addr_is_zero(root)) {
        r = node_get(ap->c, root, &n);
        if (r)
            return r;
        r = n->level > 0 ? merge_children(ap, n, (struct bound){ 0 }) : merge_leaf(ap, n);
        node_unref(n);
    }
    while (!r && ap->more)
        r = change_take(ap);
    return r;
}

/* A subtree taken over alone may be higher than a fresh build of it. */
static int unwrap(struct node_cache *c, struct addr *root)
{
    for (;;) {
        struct node *n;
        int r = node_get(c, root, &n);
        if (r)
            return r;
        bool single = n->level > 0 && n->count == 1;
        if (single)
            memcpy(root->b, n->entries[0].val, ADDR_BYTES);
        node_unref(n);
        if (!single)
            return 0;
    }
}

static int finish(struct apply *ap, struct addr *ret)
{
    for (unsigned level = 0; level < NODE_LEVELS_MAX; level++) {
        struct cutter *ct = &ap->level[level];
        /* With one node on this level, what its entry began on the level above is left unused. */
        if (ct->w.count) {
            int r = cutter_end(ap, level);
            if (r)
                return r;
        }
        if (ct->nodes == 1) {
            *ret = ct->last;
            return unwrap(ap->c, ret);
        }
        if (ct->nodes == 0) {
            *ret = (struct addr){ 0 };
            return 0;
        }
    }
    return -EFBIG;
}

int tree_apply(struct node_cache *c, struct batch *b, const struct addr *root, struct tree_changes *changes, struct addr *ret_root)
{
    struct apply *ap = mem_zalloc(sizeof *ap);
    struct addr new_root;

    if (!ap)
        return -ENOMEM;
    ap->c = c;
    ap->changes = changes;
    ap->own = batch_new();
    int r = ap->own ? change_next(ap) : -ENOMEM;
    if (!r && !ap->more)
        new_root = *root;
    else if (!r && !(r = merge_tree(ap, root)))
        r = finish(ap, &new_root);
    if (!r)
        node_batch_move(c, ap->own, b);
    else if (ap->own)
        node_batch_forget(c, ap->own);
    for (unsigned i = 0; i < NODE_LEVELS_MAX; i++)
        buf_fini(&ap->level[i].w.out);
    batch_free(ap->own);
    free(ap);
    if (!r)
        *ret_root = new_root;
    return r;
}
