/* What a store's records, open views and open workspaces refer to, as of one moment. */
#pragma once
#include "fs/addr_set.h"
#include "fs/object.h"

struct store; struct view; struct layer; struct workspace;

struct mark_live { struct workspace *ws; struct layer *layer; };
struct mark {
    struct store *store;
    /* Before the moment: what may be garbage. */
    struct id_vec segments, keyed_layers; /* files in data/; layers that have keys in CF_LAYER */
    /* At the moment. */
    struct base_rec *bases;               /* all that are on disk, by id */
    size_t base_count, base_cap;
    struct id_vec ws_bases, snap_bases, ws_live;      /* what records name */
    struct view **views;                  /* referenced: loaded views */
    size_t view_count;
    struct mark_live *live;               /* referenced: open workspaces and their live layers */
    size_t live_count;
    /* Found from there. */
    struct id_vec used_bases, used_layers;
    struct addr_set nodes, chunks;
};
/* All of it. The caller holds fold_lock: no fold, import or gc meanwhile; and until mark_fini. -EIO: a node cannot be read: nothing can be said. */
int mark_all(struct store *s, struct mark *m);
/* Gives up all references and marks; what mark_segment_is_busy needs is kept. */
void mark_unpin(struct mark *m);
void mark_fini(struct mark *m);
/* Layers that nobody refers to and nobody can be reading: left by a crash. */
bool mark_layer_is_garbage(const struct mark *m, uint64_t layer);
/* Segments that chunk_sweep and chunk_pack must leave alone. Holds for as long as the marks are kept, also after fold_lock is given up. */
bool mark_segment_is_busy(const struct mark *m, uint64_t seg);
