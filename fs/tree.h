/* Merkle trees over nodes: lookup, cursor, change, difference. A tree is its root address; the zero address is the empty tree. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/addr.h"
#include "fs/limits.h"
#include "fs/node.h"

struct batch;

/* A value found: valid while pin is held; release with tree_val_done(). */
struct tree_val { const uint8_t *p; size_t n; struct node *pin; };
static inline void tree_val_done(struct tree_val *v) { if (v->pin) node_unref(v->pin); v->pin = NULL; }
/* 1 found, 0 not there, -EIO... */
int tree_get(struct node_cache *c, const struct addr *root, const void *key, size_t key_len, struct tree_val *ret);
/* Number of entries; 0 for the empty tree. */
int tree_count(struct node_cache *c, const struct addr *root, uint64_t *ret);

/* Cursor in key order. Zero-initialise with tree_cursor_init; fini releases its nodes. */
struct tree_cursor {
    struct node_cache *c;
    struct addr root;
    int depth;                                            /* levels pinned, 0 = at the end or not placed */
    struct { struct node *n; uint32_t i; } at[NODE_LEVELS_MAX];   /* [0] = root ... [depth-1] = leaf */
};
void tree_cursor_init(struct tree_cursor *cur, struct node_cache *c, const struct addr *root);
void tree_cursor_fini(struct tree_cursor *cur);
/* 1 and the cursor stands on the first entry >= key; 0 none; -EIO. */
int tree_cursor_seek(struct tree_cursor *cur, const void *key, size_t key_len);
int tree_cursor_next(struct tree_cursor *cur);            /* 1, 0 at the end, -EIO */
const struct node_entry *tree_cursor_entry(const struct tree_cursor *cur);   /* valid until the cursor moves */

/* A stream of changes in strictly ascending key order. next: 1 and fills *ret (valid until the next call), 0 end, negative error.
 * del: removes the key if present (no error if absent). del_prefix: removes all keys that start with these bytes; any following change
 * whose key starts with the prefix still applies afterwards (it must come later in the stream: key order holds as a prefix sorts first). */
enum tree_op { TREE_PUT, TREE_DEL, TREE_DEL_PREFIX };
struct tree_change { enum tree_op op; const uint8_t *key, *val; size_t key_len, val_len; };
struct tree_changes { int (*next)(struct tree_changes *self, struct tree_change *ret); };
/* New root of root with the changes applied. Nodes go into batches that are written (without sync) through meta whenever they exceed
 * 4 MiB, the rest is left in b. Canonical: depends only on the resulting set of entries. 0 or negative; then *ret_root is not set. */
int tree_apply(struct node_cache *c, struct batch *b, const struct addr *root, struct tree_changes *changes, struct addr *ret_root);

/* Differences between two trees in key order, equal subtrees skipped: in a only (b NULL), in b only (a NULL), or both with other values.
 * A non-zero result of fn stops and is returned. */
typedef int tree_diff_fn(void *arg, const struct node_entry *a, const struct node_entry *b);
int tree_diff(struct node_cache *c, const struct addr *a, const struct addr *b, tree_diff_fn *fn, void *arg);
/* Every node of the tree, root first, once per call of fn with its address and level before its children are visited; fn result 1 = go into it,
 * 0 = skip it, negative = stop. enter (may be NULL) is asked before a node is read: 1 = read it, 0 = leave it and all below it out,
 * negative = stop. A subtree that stands at several places is visited at each. Used by gc, stats, export, scrub. */
typedef int tree_walk_fn(void *arg, const struct addr *a, uint8_t level, const struct node *n);
int tree_walk(struct node_cache *c, const struct addr *root, int (*enter)(void *arg, const struct addr *a), tree_walk_fn *fn, void *arg);
