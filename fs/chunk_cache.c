/* Shards by address, each with its own lock, table, budget and clock hand. */
#include "fs/chunk_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { SHARDS = 8, BUCKETS_MIN = 64, BYTES_PER_BUCKET = 8192 };

struct shard {
    pthread_mutex_t lock;
    struct chunk_buf **table;
    struct chunk_buf *hand;               /* ring of all; next to be looked at for dropping */
    size_t bytes;
};

struct chunk_cache {
    struct shard shards[SHARDS];
    size_t buckets, shard_budget;
};

struct chunk_buf *chunk_buf_new(uint32_t n)
{
    struct chunk_buf *b = mem_alloc(sizeof *b + n);

    if (!b)
        return NULL;
    memset(b, 0, sizeof *b);
    b->refs = 1;
    b->n = n;
    return b;
}

void chunk_buf_unref(struct chunk_buf *b)
{
    if (b && atomic_fetch_sub(&b->refs, 1) == 1)
        free(b);
}

static size_t cost(const struct chunk_buf *b)
{
    return sizeof *b + b->n;
}

static uint64_t hash_of(const struct addr *a)
{
    uint64_t h;

    memcpy(&h, a->b, sizeof h);
    return h + a->b[ADDR_BYTES - 1];
}

static struct shard *shard_of(struct chunk_cache *c, const struct addr *a, struct chunk_buf ***ret_bucket)
{
    uint64_t h = hash_of(a);
    struct shard *s = &c->shards[h % SHARDS];

    *ret_bucket = &s->table[(h / SHARDS) & (c->buckets - 1)];
    return s;
}

struct chunk_cache *chunk_cache_new(size_t budget_bytes)
{
    struct chunk_cache *c = mem_zalloc(sizeof *c);
    bool ok = true;

    if (!c)
        return NULL;
    c->shard_budget = budget_bytes / SHARDS;
    for (c->buckets = BUCKETS_MIN; c->buckets < c->shard_budget / BYTES_PER_BUCKET;)
        c->buckets *= 2;
    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&c->shards[i].lock, NULL);
        c->shards[i].table = mem_zalloc(c->buckets * sizeof(struct chunk_buf *));
        ok = ok && c->shards[i].table;
    }
    if (!ok) {
        chunk_cache_free(c);
        return NULL;
    }
    return c;
}

static struct chunk_buf **chain_find(struct chunk_buf **p, const struct addr *a)
{
    while (*p && !addr_eq(&(*p)->addr, a))
        p = &(*p)->chain;
    return p;
}

static void drop(struct chunk_cache *c, struct shard *s, struct chunk_buf *b)
{
    struct chunk_buf **p;

    shard_of(c, &b->addr, &p);
    p = chain_find(p, &b->addr);
    *p = b->chain;
    if (s->hand == b)
        s->hand = b->ring_next == b ? NULL : b->ring_next;
    b->ring_prev->ring_next = b->ring_next;
    b->ring_next->ring_prev = b->ring_prev;
    s->bytes -= cost(b);
    chunk_buf_unref(b);
}

void chunk_cache_free(struct chunk_cache *c)
{
    if (!c)
        return;
    for (int i = 0; i < SHARDS; i++) {
        while (c->shards[i].hand)
            drop(c, &c->shards[i], c->shards[i].hand);
        free(c->shards[i].table);
        pthread_mutex_destroy(&c->shards[i].lock);
    }
    free(c);
}

struct chunk_buf *chunk_cache_get(struct chunk_cache *c, const struct addr *a)
{
    struct chunk_buf **p, *b;
    struct shard *s = shard_of(c, a, &p);

    pthread_mutex_lock(&s->lock);
    b = *chain_find(p, a);
    if (b) {
        atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
        b->hot = true;
    }
    pthread_mutex_unlock(&s->lock);
    return b;
}

static void make_room(struct chunk_cache *c, struct shard *s, size_t n)
{
    while (s->hand && s->bytes + n > c->shard_budget) {
        struct chunk_buf *b = s->hand;

        s->hand = b->ring_next;
        if (b->hot)
            b->hot = false;
        else
            drop(c, s, b);
    }
}

void chunk_cache_put(struct chunk_cache *c, struct chunk_buf *b)
{
    struct chunk_buf **p;
    struct shard *s = shard_of(c, &b->addr, &p);

    if (cost(b) > c->shard_budget)
        return;
    pthread_mutex_lock(&s->lock);
    if (!*chain_find(p, &b->addr)) {
        make_room(c, s, cost(b));
        b->chain = *p;
        *p = b;
        b->hot = false;
        if (s->hand) {                    /* behind the hand: looked at last */
            b->ring_next = s->hand;
            b->ring_prev = s->hand->ring_prev;
            b->ring_prev->ring_next = b->ring_next->ring_prev = b;
        } else {
            s->hand = b->ring_next = b->ring_prev = b;
        }
        s->bytes += cost(b);
        atomic_fetch_add(&b->refs, 1);
    }
    pthread_mutex_unlock(&s->lock);
}

size_t chunk_cache_bytes(struct chunk_cache *c)
{
    size_t sum = 0;

    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&c->shards[i].lock);
        sum += c->shards[i].bytes;
        pthread_mutex_unlock(&c->shards[i].lock);
    }
    return sum;
}
