/* Verified bytes of chunks in memory: reference counted buffers, and a bounded cache of them by address. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/addr.h"

struct chunk_buf {
    _Atomic int refs;
    bool hot;                             /* used since the hand passed; this and the links under the shard's lock */
    struct chunk_buf *chain, *ring_prev, *ring_next;
    struct addr addr;
    uint32_t n;
    uint8_t data[];
};
struct chunk_buf *chunk_buf_new(uint32_t n);              /* one reference; NULL: out of memory */
void chunk_buf_unref(struct chunk_buf *b);

struct chunk_cache;
struct chunk_cache *chunk_cache_new(size_t budget_bytes);
void chunk_cache_free(struct chunk_cache *c);
/* A reference, or NULL. Thread-safe. */
struct chunk_buf *chunk_cache_get(struct chunk_cache *c, const struct addr *a);
/* Keeps a reference of its own while there is room; does nothing if the address is there already. b->addr is set. */
void chunk_cache_put(struct chunk_cache *c, struct chunk_buf *b);
size_t chunk_cache_bytes(struct chunk_cache *c);
