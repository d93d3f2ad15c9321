/* Between fold.c, fold_file.c and folder.c only. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include "base/buf.h"
#include "fs/chunk.h"
#include "fs/fold.h"
#include "fs/key.h"
#include "fs/map.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/view.h"

/* A slot of the file at hand after the fold: a chunk, or nothing. */
struct fold_extent { uint64_t slot; struct addr addr; uint32_t len; bool del; };

/* The regular file at hand: what becomes of its record, body and extents. Filled by fold_file(). */
struct fold_file {
    bool put_inode, put_body, del_body;
    uint8_t inode[INODE_BYTES];
    uint8_t body[INLINE_MAX];
    uint32_t body_len;
    struct fold_extent *v;
    size_t count, cap;
};

struct fold {
    struct tree_changes changes;          /* handed to tree_apply; first */
    struct store *store;
    struct view *view;
    struct layer *layer;
    struct addr root;                     /* of the parent */
    const _Atomic bool *cancel;           /* NULL, or: stop soon if it says so */

    struct map_iter it;
    const struct map_entry *e;            /* the next one of the layer */
    uint64_t ino;                         /* the inode at hand */
    unsigned stage;
    size_t at;                            /* in file.v */
    struct fold_file file;
    struct key key;                       /* of the change given out, where it is none of the layer's */
    uint8_t val[EXTENT_BYTES];

    uint8_t *bytes;                       /* SLOT bytes of scratch */
    struct batch *chunks;                 /* index entries of chunks, written before the nodes that refer to them */
    bool chunks_tried;                    /* writing them failed: they may be there all the same */
    uint64_t *adopted;                    /* bit per unit of the layer's segment that became a chunk's */
    size_t adopted_words;

    int64_t units;                        /* of this state less those of the parent */
    struct unit_fix { uint64_t ino; int64_t by; } *fixes;         /* records whose units were not what their content says */
    size_t fix_count, fix_cap;
};

/* Decides about the regular file f->ino. in: its record in this state; in_layer: whether that is in the layer; parent: the parent's
 * record, NULL if it has none. The result is in f->file. */
int fold_file(struct fold *f, const struct inode *in, bool in_layer, const struct inode *parent);
/* 0 and whether the parent's tree has the inode. */
int fold_parent_inode(struct fold *f, uint64_t ino, bool *ret_found, struct inode *ret);
/* As fold_view, ending with -ECANCELED soon after *cancel becomes true. */
int fold_view_until(struct store *s, struct view *v, const _Atomic bool *cancel);
