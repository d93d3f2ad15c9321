/* Views: immutable states of a tree, as read by workspaces. A view is either folded (root) or parent + one frozen layer. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/addr.h"
#include "fs/inode.h"
#include "fs/tree.h"
#include "fs/object.h"

struct store; struct map; struct segment; struct space; struct chunks;

/* A layer: changed keys and their data. Live (owned by one workspace, changed under its lock) or frozen (immutable). */
struct layer {
    _Atomic int refs;
    uint64_t id;                          /* also of its segment */
    struct map *map;
    struct store *store;
    bool folded;                          /* published: on the last unref it is retired (keys deleted, segment trimmed) */
    struct { uint64_t off, len; } *adopted;  /* ranges of the segment that became chunks, sorted; set by fold */
    size_t adopted_count;
};
struct layer *layer_new(struct store *s, uint64_t id);           /* empty; NULL: out of memory */
int layer_load(struct store *s, uint64_t id, struct layer **ret);/* with its keys from CF_LAYER */
struct layer *layer_ref(struct layer *l);
void layer_unref(struct layer *l);
/* CF_LAYER: key = layer id (8 BE) + key; value = tag (0 put, 1 tombstone) + bytes. */
void layer_batch_put(struct batch *b, uint64_t layer_id, const void *key, size_t key_len, const void *val, size_t val_len, bool tombstone);
void layer_batch_delete_all(struct batch *b, uint64_t layer_id);

struct view {
    _Atomic int refs;
    struct view *next;                    /* store->views */
    struct store *store;
    struct base_rec rec;                  /* rec.root/layer/parent change once, at publish, under view_lock */
    struct view *parent;                  /* owned reference, NULL when folded */
    struct layer *layer;                  /* owned reference, NULL when folded */
    bool fluid;                           /* a freeze under way: its layer is still being changed. Under view_lock */
    bool uncounted;                       /* what fix_views() would have done is to be done: under view_lock */
};
/* The view of this base id, from the table or loaded with its layers. 0 and a reference, -ENOENT, -EIO, -ENOMEM. Takes store->lock. */
int view_get(struct store *s, uint64_t base_id, struct view **ret);
/* A new view in the table, not on disk yet: parent (reference taken) + layer (reference taken; fluid), or a root. */
int view_add(struct store *s, const struct base_rec *rec, struct view *parent, struct layer *layer, struct view **ret);
struct view *view_ref(struct view *v);
void view_unref(struct view *v);
int view_depth(struct view *v);           /* number of frozen layers under it; takes view_lock itself */

/* What follows is called with store->view_lock held for reading (or by the fold thread). */

/* A value in a view. source: the layer it came from, NULL for the tree. Valid until view_lock is released (layer) or done (tree). */
struct view_val { struct tree_val v; struct layer *source; };
static inline void view_val_done(struct view_val *x) { tree_val_done(&x->v); }
/* 1 found, 0 absent (or tombstone, also through its inode's), negative error. */
int view_get_key(struct view *v, const void *key, size_t key_len, struct view_val *ret);
/* The same with a live layer on top (NULL: none; then its workspace's lock is held too). */
int view_get_over(struct view *v, struct layer *live, const void *key, size_t key_len, struct view_val *ret);
/* Ordered iteration over the merged levels from the first key >= from; calls fn per present key with key < to (to NULL: no end);
 * tombstones applied. fn non-zero stops and is returned. extra: a live map on top, or NULL. The entry bytes are valid during the call.
 * fn must not put into `extra`. */
typedef int view_each_fn(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source);
int view_each(struct view *v, struct layer *extra, const void *from, size_t from_len, const void *to, size_t to_len, view_each_fn *fn, void *arg);

/* --- slot records: the value of an EXTENT key in a layer --- */
enum run_kind { RUN_ZERO = 0, RUN_SEG = 1, RUN_BELOW = 2, RUN_CHUNK = 3 };
struct run {
    uint8_t kind, start, count;           /* units in the slot */
    bool shared;                          /* RUN_SEG: also used by another slot: never overwrite in place */
    uint64_t unit;                        /* RUN_SEG: unit in the layer's segment; RUN_CHUNK: first unit within the chunk */
    struct addr chunk;                    /* RUN_CHUNK */
};
struct slot { uint8_t count; struct run runs[SLOT_UNITS]; };     /* covers all 32 units, ascending */
void slot_encode(const struct slot *s, struct buf *out);
int slot_decode(const uint8_t *p, size_t n, struct slot *ret);   /* strict: -EUCLEAN */
/* Replaces units [r->start, +count) by r, merging neighbours that continue each other. Never more than 32 runs. */
void slot_set(struct slot *s, const struct run *r);
/* EXTENT value in a tree: chunk address (20) + raw length (4 LE). */
enum { EXTENT_BYTES = ADDR_BYTES + 4 };

/* --- reading data --- */
/* A piece of content resolved without reading it: bytes [off, off+len) of the file come from here. */
enum piece_kind { PIECE_ZERO, PIECE_SEG, PIECE_CHUNK, PIECE_MEM };
struct piece { enum piece_kind kind; uint32_t len; uint64_t off; struct layer *layer; struct addr chunk; uint8_t *mem; };
struct pieces { struct piece *v; size_t count, cap; };           /* holds references: free with pieces_fini */
void pieces_fini(struct pieces *p);
/* Resolves a range of one file over levels `live` (may be NULL) and `v` (may be NULL = nothing below). Appends to out. Looks at BODY and EXTENT keys; the caller clips to the size.
 * Call with view_lock (and, with live, its workspace's lock). 0, -EIO, -ENOMEM, -EUCLEAN. */
int data_resolve(struct view *v, struct layer *live, uint64_t ino, uint64_t off, uint64_t len, struct pieces *out);
/* 1 and the BODY if the content of slot 0 is one: found before any record of slot 0 on the way down. A BODY below such a record does not count: the
 * fold of a lower layer may bring one about at any time. 0: slots (or nothing). Same locks as data_resolve; view_val_done(). */
int data_body(struct view *v, struct layer *live, uint64_t ino, struct view_val *ret);
/* Reads resolved pieces into dst (sum of lengths); no lock needed. 0 or -EIO. */
int data_read(struct store *s, const struct pieces *p, uint8_t *dst);
