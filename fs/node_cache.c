/*
 * The cache of decoded nodes, and the only way to the stored ones.
 *
 * Shards by address, each with a lock, a hash table and a clock: nodes stand on a ring; a hand goes round, spares once what was used
 * since it came by (`hot`) and drops the rest until the shard is within its budget. A node is loaded with no lock held; of two threads
 * that load the same node, the second takes what the first put in.
 *
 * Nodes that node_put() gave out but that are in a batch not written yet are kept as bytes in `pending`: node_get() and node_put() look
 * there before they ask the store. The decoded cache is never taken as proof that a node is stored: gc may have deleted it.
 *
 * Locks, outermost first: put_lock (one node_put() at a time: no two nodes take one address), pend_lock, shard lock.
 */
#include "fs/node.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "fs/meta.h"
#include "fs/node_cache.h"

enum { SHARDS = 16, TABLE_MIN = 64, DISC_MAX = 256, LOGGED = 16 };

struct shard {
    pthread_mutex_t lock;
    struct node_box **table, *hand;
    size_t size, count, bytes;            /* table slots (a power of two), nodes, their memory */
} __attribute__((aligned(64)));

struct pending {
    struct pending *chain;                /* of the table's slot */
    struct batch *batch;
    struct addr addr;
    size_t n;
    uint8_t bytes[];
};

enum { PENDING_SLOTS = 4096 };

struct node_cache {
    struct shard shards[SHARDS];
    struct meta *meta;
    size_t shard_budget;
    pthread_mutex_t put_lock, pend_lock;
    struct pending *pending[PENDING_SLOTS];   /* under pend_lock */
    _Atomic size_t pending_count;
    struct addr logged[LOGGED];               /* bad nodes named lately, under pend_lock: no flood of one message */
    unsigned logged_at;
};

struct addr (*node_hash)(const void *bytes, size_t n) = addr_of;

static bool addr_is_of(const struct addr *a, const void *bytes, size_t n)
{
    struct addr b = node_hash(bytes, n);

    return !memcmp(a->b, b.b, ADDR_BYTES - 4);
}

static size_t addr_slot(const struct addr *a, size_t size)
{
    return le64(a->b) & (size - 1);
}

static struct shard *shard_of(struct node_cache *c, const struct addr *a)
{
    return &c->shards[a->b[8] % SHARDS];
}

/* --- life --- */

static bool shard_init(struct shard *s)
{
    s->table = mem_zalloc(TABLE_MIN * sizeof *s->table);
    s->size = TABLE_MIN;
    pthread_mutex_init(&s->lock, NULL);
    return s->table;
}

static void shard_fini(struct shard *s)
{
    for (size_t i = 0; s->table && i < s->size; i++) {
        for (struct node_box *b = s->table[i], *next; b; b = next) {
            next = b->chain;
            node_unref(&b->n);
        }
    }
    free(s->table);
    pthread_mutex_destroy(&s->lock);
}

struct node_cache *node_cache_new(struct meta *m, size_t budget_bytes)
{
    struct node_cache *c = NULL;
    bool ok = true;

    /* Not mem_*'s own alignment, but its fault seam. */
    if (mem_fault && mem_fault(sizeof *c))
        return NULL;
    if (posix_memalign((void **)&c, 64, sizeof *c))
        return NULL;
    memset(c, 0, sizeof *c);
    c->meta = m;
    c->shard_budget = budget_bytes / SHARDS;
    pthread_mutex_init(&c->put_lock, NULL);
    pthread_mutex_init(&c->pend_lock, NULL);
    for (int i = 0; i < SHARDS; i++)
        ok = shard_init(&c->shards[i]) && ok;
    if (!ok) {
        node_cache_free(c);
        return NULL;
    }
    return c;
}

void node_cache_free(struct node_cache *c)
{
    if (!c)
        return;
    node_put_done(c, false);
    for (int i = 0; i < SHARDS; i++)
        shard_fini(&c->shards[i]);
    pthread_mutex_destroy(&c->put_lock);
    pthread_mutex_destroy(&c->pend_lock);
    free(c);
}

size_t node_cache_bytes(struct node_cache *c)
{
    size_t sum = 0;

    for (int i = 0; i < SHARDS; i++) {
        pthread_mutex_lock(&c->shards[i].lock);
        sum += c->shards[i].bytes;
        pthread_mutex_unlock(&c->shards[i].lock);
    }
    return sum;
}

/* --- decoded nodes; these are called with the shard's lock --- */

static struct node_box *shard_find(struct shard *s, const struct addr *a)
{
    struct node_box *b = s->table[addr_slot(a, s->size)];

    while (b && !addr_eq(&b->n.addr, a))
        b = b->chain;
    return b;
}

static void shard_drop(struct shard *s, struct node_box *b)
{
    struct node_box **at = &s->table[addr_slot(&b->n.addr, s->size)];

    while (*at != b)
        at = &(*at)->chain;
    *at = b->chain;
    if (b->ring_next == b) {
        s->hand = NULL;
    } else {
        b->ring_next->ring_prev = b->ring_prev;
        b->ring_prev->ring_next = b->ring_next;
        if (s->hand == b)
            s->hand = b->ring_next;
    }
    s->count--;
    s->bytes -= b->bytes;
    node_unref(&b->n);
}

/* Doubles the table; out of memory leaves longer chains. */
static void shard_grow(struct shard *s)
{
    size_t size = s->size * 2;
    struct node_box **table = mem_zalloc(size * sizeof *table);

    if (!table)
        return;
    for (size_t i = 0; i < s->size; i++) {
        for (struct node_box *b = s->table[i], *next; b; b = next) {
            struct node_box **at = &table[addr_slot(&b->n.addr, size)];
            next = b->chain;
            b->chain = *at;
            *at = b;
        }
    }
    free(s->table);
    s->table = table;
    s->size = size;
}

static void shard_insert(struct shard *s, struct node_box *b, size_t budget)
{
    if (s->count >= s->size)
        shard_grow(s);
    struct node_box **at = &s->table[addr_slot(&b->n.addr, s->size)];
    b->chain = *at;
    *at = b;
    if (s->hand) {
        b->ring_next = s->hand;
        b->ring_prev = s->hand->ring_prev;
        b->ring_prev->ring_next = b->ring_next->ring_prev = b;
    } else {
        s->hand = b->ring_next = b->ring_prev = b;
    }
    s->count++;
    s->bytes += b->bytes;
    while (s->bytes > budget && s->hand) {
        if (s->hand->hot) {
            s->hand->hot = false;
            s->hand = s->hand->ring_next;
        } else {
            shard_drop(s, s->hand);
        }
    }
}

/* --- nodes not written yet; with pend_lock --- */

/* Of this batch, or of any (NULL). */
static struct pending *pending_find(struct node_cache *c, const struct addr *a, const struct batch *of)
{
    struct pending *p = c->pending[addr_slot(a, PENDING_SLOTS)];

    while (p && (!addr_eq(&p->addr, a) || (of && p->batch != of)))
        p = p->chain;
    return p;
}

/* Drops those of a batch, or all (NULL). */
static void pending_drop(struct node_cache *c, const struct batch *of)
{
    for (size_t i = 0; i < PENDING_SLOTS; i++) {
        for (struct pending **at = &c->pending[i], *p; (p = *at);) {
            if (of && p->batch != of) {
                at = &p->chain;
                continue;
            }
            *at = p->chain;
            free(p);
            c->pending_count--;
        }
    }
}

/* --- reading --- */

static int bad_node(struct node_cache *c, const struct addr *a, const char *why)
{
    char hex[2 * ADDR_BYTES + 1];
    bool seen = false;

    pthread_mutex_lock(&c->pend_lock);
    for (int i = 0; i < LOGGED; i++)
        seen = seen || addr_eq(&c->logged[i], a);
    if (!seen)
        c->logged[c->logged_at++ % LOGGED] = *a;
    pthread_mutex_unlock(&c->pend_lock);
    addr_hex(a, hex);
    if (!seen)
        log_error("node=%s err=EIO reason=%s", hex, why);
    return -EIO;
}

/* An owned copy of the bytes, not verified: -ENOENT if there is no such node. */
static int node_bytes(struct node_cache *c, const struct addr *a, uint8_t **ret, size_t *ret_n)
{
    if (c->pending_count) {
        pthread_mutex_lock(&c->pend_lock);
        const struct pending *p = pending_find(c, a, NULL);
        if (p) {
            *ret = mem_dup(p->bytes, p->n);
            *ret_n = p->n;
        }
        pthread_mutex_unlock(&c->pend_lock);
        if (p)
            return *ret ? 0 : -ENOMEM;
    }
    return meta_get(c->meta, CF_NODE, a->b, ADDR_BYTES, ret, ret_n);
}

static int node_load(struct node_cache *c, const struct addr *a, struct node **ret)
{
    uint8_t *bytes = NULL;
    size_t n;
    struct node *node;

    int r = node_bytes(c, a, &bytes, &n);
    if (r)
        return r == -ENOMEM ? r : bad_node(c, a, r == -ENOENT ? "missing" : "unreadable");
    if (!addr_is_of(a, bytes, n))
        r = bad_node(c, a, "mismatch");
    else if ((r = node_decode(bytes, n, &node)) == -EUCLEAN)
        r = bad_node(c, a, "malformed");
    free(bytes);
    if (r)
        return r;
    node->addr = *a;
    *ret = node;
    return 0;
}

static struct node *cache_find(struct node_cache *c, const struct addr *a)
{
    struct shard *s = shard_of(c, a);

    pthread_mutex_lock(&s->lock);
    struct node_box *b = shard_find(s, a);
    if (b) {
        b->hot = true;
        node_ref(&b->n);
    }
    pthread_mutex_unlock(&s->lock);
    return b ? &b->n : NULL;
}

int node_get(struct node_cache *c, const struct addr *a, struct node **ret)
{
    struct shard *s = shard_of(c, a);
    struct node *n = cache_find(c, a);

    if (!n) {
        int r = node_load(c, a, &n);
        if (r)
            return r;
        pthread_mutex_lock(&s->lock);
        struct node_box *other = shard_find(s, a);
        struct node *spare = NULL;
        if (other) {
            spare = n;
            n = node_ref(&other->n);
        } else {
            shard_insert(s, node_box_of(node_ref(n)), c->shard_budget);   /* the cache's reference */
        }
        pthread_mutex_unlock(&s->lock);
        node_unref(spare);
    }
    *ret = n;
    return 0;
}

/* --- writing --- */

/* True if a node with this address is pending, but not in this batch. It may be given up while ours is written: so ours needs it too. */
static bool pending_elsewhere(struct node_cache *c, const struct addr *a, const struct batch *b)
{
    pthread_mutex_lock(&c->pend_lock);
    bool elsewhere = pending_find(c, a, NULL) && !pending_find(c, a, b);
    pthread_mutex_unlock(&c->pend_lock);
    return elsewhere;
}

/* 1: this node is stored under a, or will be by b; 0: it has to be put there (the address is free, or what lies there is broken);
 * -EEXIST: another node has it. */
static int address_state(struct node_cache *c, const struct batch *b, const struct addr *a, const uint8_t *p, size_t n)
{
    uint8_t *have = NULL;
    size_t have_n;
    int r = node_bytes(c, a, &have, &have_n);

    if (r == -ENOENT)
        return 0;
    if (r)
        return r == -ENOMEM ? r : -EIO;
    if (have_n == n && !memcmp(have, p, n)) {
        r = !pending_elsewhere(c, a, b);
    } else if (addr_is_of(a, have, have_n)) {
        r = -EEXIST;
    } else {
        bad_node(c, a, "mismatch, replaced");
        r = 0;
    }
    free(have);
    return r;
}

static int pending_add(struct node_cache *c, struct batch *b, const struct addr *a, const uint8_t *p, size_t n)
{
    struct pending *e = mem_alloc(sizeof *e + n);

    if (!e)
        return -ENOMEM;
    e->batch = b;
    e->addr = *a;
    e->n = n;
    memcpy(e->bytes, p, n);
    pthread_mutex_lock(&c->pend_lock);
    struct pending **at = &c->pending[addr_slot(a, PENDING_SLOTS)];
    e->chain = *at;
    *at = e;
    c->pending_count++;
    pthread_mutex_unlock(&c->pend_lock);
    batch_put(b, CF_NODE, a->b, ADDR_BYTES, p, n);
    return 0;
}

int node_put(struct node_cache *c, struct batch *b, const uint8_t *p, size_t n, struct addr *ret)
{
    struct addr a = node_hash(p, n);
    int r = -EEXIST;

    pthread_mutex_lock(&c->put_lock);
    for (uint32_t disc = 0; disc < DISC_MAX && r == -EEXIST; disc++) {
        addr_set_disc(&a, disc);
        r = address_state(c, b, &a, p, n);
    }
    if (r == 0)
        r = pending_add(c, b, &a, p, n);
    pthread_mutex_unlock(&c->put_lock);
    if (r < 0)
        return r == -EEXIST ? -EIO : r;
    *ret = a;
    return 0;
}

void node_put_done(struct node_cache *c, bool ok)
{
    (void)ok;   /* either way the store is asked from now on */
    pthread_mutex_lock(&c->pend_lock);
    pending_drop(c, NULL);
    pthread_mutex_unlock(&c->pend_lock);
}

int node_batch_flush(struct node_cache *c, struct batch *b)
{
    int r = meta_write(c->meta, b, false);

    if (r)
        return r;
    node_batch_forget(c, b);
    batch_clear(b);
    return 0;
}

void node_batch_move(struct node_cache *c, struct batch *from, struct batch *to)
{
    pthread_mutex_lock(&c->pend_lock);
    for (size_t i = 0; i < PENDING_SLOTS; i++) {
        for (struct pending *p = c->pending[i]; p; p = p->chain) {
            if (p->batch != from)
                continue;
            batch_put(to, CF_NODE, p->addr.b, ADDR_BYTES, p->bytes, p->n);
            p->batch = to;
        }
    }
    pthread_mutex_unlock(&c->pend_lock);
}

void node_batch_forget(struct node_cache *c, struct batch *b)
{
    pthread_mutex_lock(&c->pend_lock);
    pending_drop(c, b);
    pthread_mutex_unlock(&c->pend_lock);
}
