/* Chunks: content-addressed byte strings of 1..SLOT bytes that do not end in a zero byte. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/addr.h"
#include "fs/segment.h"

struct meta; struct batch; struct chunks;
/* STORED: raw, and compressing it was found not to pay. */
enum chunk_codec { CODEC_RAW = 0, CODEC_ZSTD = 1, CODEC_STORED = 2 };
/* Where off is a multiple of UNIT the chunk lies in a layer's segment and its units up to the next multiple are its own; in pack segments
 * chunks lie back to back and never begin on a multiple. */
struct chunk_loc { uint64_t seg, off; uint32_t stored_len, raw_len; uint8_t codec; };   /* CF_CHUNK value, CHUNK_LOC_BYTES, little-endian */
enum { CHUNK_LOC_BYTES = 25 };

int chunks_open(struct meta *m, struct segments *segs, size_t cache_bytes, struct chunks **ret);
void chunks_close(struct chunks *c);
/* Where ids of new pack segments come from; needed before anything is appended. */
void chunks_set_id_source(struct chunks *c, int (*next)(void *arg, uint64_t *ret), void *arg);
/* Test seam: the hash that addresses are made of. */
extern struct addr (*chunk_hash)(const void *bytes, size_t n);

/* Verified bytes of a chunk from the bounded shared cache. 0 and a pinned buffer (chunk_data_done); -EIO: missing, unreadable or not what the
 * address says, after one retry of the location (logged once per address). */
struct chunk_data { const uint8_t *p; uint32_t n; void *pin; };
int chunk_get(struct chunks *c, const struct addr *a, struct chunk_data *ret);
void chunk_data_done(struct chunk_data *d);
/* Present and its raw length, without reading it. 0, -ENOENT, -EIO. */
int chunk_stat(struct chunks *c, const struct addr *a, struct chunk_loc *ret);

/* Stores bytes. If they lie in a raw segment already (in_place: seg, off), adopt them there; else append to the current pack segment.
 * Equal bytes stored before are shared after a byte comparison: then *ret_shared is true and the place given is not used.
 * The index entry goes into b; until chunk_put_done() it is visible to later chunk_put() and chunk_get() of this store only.
 * If a stored chunk's own bytes turn out corrupt during the comparison, the good bytes take its place (repair). 0 or negative. */
struct chunk_place { bool in_place; uint64_t seg, off; };
int chunk_put(struct chunks *c, struct batch *b, const void *p, uint32_t n, const struct chunk_place *place, struct addr *ret, bool *ret_shared);
/* As chunk_put, and says where the chunk lies now. */
int chunk_put_at(struct chunks *c, struct batch *b, const void *p, uint32_t n, const struct chunk_place *place, struct addr *ret,
                 struct chunk_loc *ret_loc);
/* Before the batch is written: makes appended bytes durable. */
int chunk_put_sync(struct chunks *c);
void chunk_put_done(struct chunks *c, bool ok);
/* Instead of chunk_put_done(false) if nobody tried to write the batch: also gives back the space of what was appended. */
void chunk_put_abandon(struct chunks *c);

/* Compresses raw chunks (at most max_bytes of input in this call) into pack segments, updates the index durably, punches the old places.
 * skip(id): leave chunks of this segment (it belongs to a layer not retired). Needs the fold lock. 0 and what was done. */
struct pack_stats { uint64_t chunks, bytes_in, bytes_out; bool more; };
int chunk_pack(struct chunks *c, uint64_t max_bytes, bool (*skip)(void *arg, uint64_t seg), void *arg, struct pack_stats *ret);

/* GC: deletes the index entries of chunks for which keep() is false and frees their space: punches, unlinks segments with nothing left,
 * rewrites pack segments less than half full. skip is asked for every segment found: it must be true for those of live layers, of layers not
 * retired, and of layers made since the caller made up his mind. dry: counts only. Needs the fold lock. */
struct sweep_stats { uint64_t chunks, chunk_bytes, segments; };
int chunk_sweep(struct chunks *c, bool (*keep)(void *arg, const struct addr *a), bool (*skip)(void *arg, uint64_t seg), void *arg, bool dry, struct sweep_stats *ret);

/* Reads and verifies every chunk; calls bad() for those that fail. progress may be NULL; it gets the
 * number of chunks. A non-zero result of either stops and is returned. */
int chunk_scrub(struct chunks *c, int (*bad)(void *arg, const struct addr *a, const struct chunk_loc *loc, int err),
                int (*progress)(void *arg, uint64_t done), void *arg);
/* Sum over the index. */
struct chunk_totals { uint64_t chunks, raw_bytes, stored_bytes, packed_chunks; };
int chunk_totals(struct chunks *c, struct chunk_totals *ret);
