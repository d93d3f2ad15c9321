/* Between node.c, node_cache.c and tree_apply.c only: what a decoded node carries beside its entries, and the writer's side of the cache. */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include "base/buf.h"
#include "fs/key.h"
#include "fs/node.h"

/* One allocation: this, entries[], heads[], all keys, all values. */
struct node_box {
    _Atomic int refs;
    uint16_t prefix;                      /* bytes that all keys share */
    bool hot;                             /* used since the clock's hand passed; under the shard's lock, as are the links */
    size_t bytes;                         /* of the allocation */
    uint64_t *heads;                      /* per entry: the 8 key bytes after the prefix, big-endian, zero-padded */
    struct node_box *chain, *ring_prev, *ring_next;
    struct node n;
};
static inline struct node_box *node_box_of(const struct node *n)
{
    return (struct node_box *)((char *)(uintptr_t)n - offsetof(struct node_box, n));
}

/* Builds the encoding of one node entry by entry; zero-initialise, then node_writer_start() per node. */
struct node_writer {
    struct buf out;
    size_t at;                            /* where the node begins in out */
    uint32_t count;
    struct key prev;
};
void node_writer_start(struct node_writer *w, uint8_t level);
void node_writer_add(struct node_writer *w, const struct node_entry *e);
void node_writer_end(struct node_writer *w);               /* completes the header; look at buf_err(&w->out) */
static inline size_t node_writer_size(const struct node_writer *w) { return w->out.len - w->at; }

enum { NODE_HEADER_BYTES = 7, NODE_CHILD_BYTES = ADDR_BYTES + 8 };

/* Writes a batch that holds only nodes (without sync), empties it and forgets that its nodes are not written. */
int node_batch_flush(struct node_cache *c, struct batch *b);
/* Puts the nodes of one batch into another as well: from then on they are of that one. */
void node_batch_move(struct node_cache *c, struct batch *from, struct batch *to);
/* The batch is given up: its nodes are not stored. */
void node_batch_forget(struct node_cache *c, struct batch *b);

/* tree.c, for the others of the tree: the child with index i, checked against its entry; -EIO. The entries below a node. */
int tree_child(struct node_cache *c, const struct node *n, uint32_t i, struct node **ret);
uint64_t tree_node_count(const struct node *n);
