/* Between chunk.c, chunk_put.c, chunk_scan.c, pack.c and sweep.c only. */
#pragma once
#include <pthread.h>
#include "fs/chunk.h"
#include "fs/chunk_cache.h"
#include "fs/limits.h"

#define PACK_SEGMENT_BYTES (256ull << 20)
enum { UNZIPPERS_MAX = 8, LOGGED_MAX = 64, PENDING_BUCKETS = 4096, CHUNK_BATCH_BYTES = 4 << 20 };

struct pending { struct pending *next; struct addr addr; struct chunk_loc loc; };
typedef struct ZSTD_DCtx_s unzipper;

struct chunks {
    struct meta *meta;
    struct segments *segs;
    struct chunk_cache *cache;
    int (*next_id)(void *arg, uint64_t *ret);
    void *next_id_arg;

    pthread_mutex_t put_lock;             /* the appending side; held across its writes, readers do not take it */
    struct segment *pack;                 /* appended to, NULL: none yet */
    uint64_t pack_off;                    /* where the next chunk goes */
    bool pack_dirty;
    uint64_t mark_seg, mark_off;          /* where appending stood at the last chunk_put_done() */
    uint64_t *new_segs;                   /* made since */
    size_t new_count, new_cap;
    uint8_t *compare;                     /* SLOT bytes of scratch */
    struct addr pack_cursor;              /* chunk_pack goes on from here */
    bool maybe_raw;                       /* there may be raw chunks that a round of chunk_pack begun now would take; put_lock */

    pthread_mutex_t lock;                 /* what follows; short, no system call within */
    struct pending *pending[PENDING_BUCKETS];
    _Atomic size_t pending_count;
    unzipper *unzippers[UNZIPPERS_MAX];
    unsigned unzipper_count;
    struct addr logged[LOGGED_MAX];
    unsigned logged_count;
};

void chunk_loc_encode(const struct chunk_loc *loc, uint8_t out[CHUNK_LOC_BYTES]);
int chunk_loc_decode(const uint8_t *p, size_t n, struct chunk_loc *ret);              /* -EUCLEAN */
static inline bool chunk_loc_eq(const struct chunk_loc *a, const struct chunk_loc *b)
{
    return a->seg == b->seg && a->off == b->off && a->stored_len == b->stored_len && a->raw_len == b->raw_len && a->codec == b->codec;
}
bool chunk_matches(const struct addr *a, const void *bytes, size_t n);
/* The stored form of a chunk: stored_len bytes. 0, -EIO (also: no such segment), -ENOMEM... */
int chunk_read_stored(struct chunks *c, const struct chunk_loc *loc, uint8_t *out);
/* raw_len bytes out of the stored form, not verified: 0, -EIO. */
int chunk_expand(struct chunks *c, const struct chunk_loc *loc, const uint8_t *stored, uint8_t *out);
/* Reads and expands, not verified. */
int chunk_read_raw(struct chunks *c, const struct chunk_loc *loc, uint8_t *out);
/* Reads and verifies, past the cache; asks for the location again while it changes. *ret_loc: the last one tried. -ENOENT: no such
 * chunk. */
int chunk_load(struct chunks *c, const struct addr *a, struct chunk_buf **ret, struct chunk_loc *ret_loc);

/* put_lock held. Writes bytes to the end of the pack segment. */
int chunk_append(struct chunks *c, const void *p, uint32_t n, uint64_t *ret_seg, uint64_t *ret_off);
int chunk_append_sync(struct chunks *c);
void chunk_append_keep(struct chunks *c);                 /* what was appended stays */
void chunk_append_drop(struct chunks *c);                 /* nobody refers to what was appended since the last keep: frees the space */

/* Calls fn for each entry of the index from `from` on (NULL: all), in order of address, as of the call. Malformed entries are logged and
 * left out. */
typedef int chunk_each_fn(void *arg, const struct addr *a, const struct chunk_loc *loc);
int chunk_each(struct chunks *c, const struct addr *from, chunk_each_fn *fn, void *arg);
