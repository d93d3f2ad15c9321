/* Space in a live segment, in blocks of 32 units (one slot's worth), each with a mask of its units.
 *
 * A unit is free, used, or given back and waiting: `fresh` (released since the last commit began) or `committing` (released
 * before the commit that is running). Waiting units count as used. A released unit may still be what the last durable commit
 * refers to; were it overwritten before the next one is durable, a crash would show one file's bytes in another.
 *
 * Invariants
 * 1. fresh and committing are subsets of used and disjoint; a block with either is on the waiting list.
 * 2. A block with free units is on the free list of its order: the largest k for which an aligned run of 2^k units is free.
 * 3. Nothing that gives back needs memory.
 */
#include "fs/segment.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/limits.h"

enum { ORDERS = 6, BLOCK_NONE = UINT32_MAX };

struct block {
    uint32_t used, fresh, committing;
    uint32_t free_prev, free_next;        /* list of its order */
    uint32_t wait_next;
    int8_t order;                         /* of the free list it is on, -1 none */
    bool waiting;
};

struct space {
    struct block *blocks;
    uint32_t count, cap;
    uint32_t free_head[ORDERS], wait_head;
    uint64_t end;
};

struct space *space_new(void)
{
    struct space *s = mem_zalloc(sizeof(*s));

    if (!s)
        return NULL;
    for (int k = 0; k < ORDERS; k++)
        s->free_head[k] = BLOCK_NONE;
    s->wait_head = BLOCK_NONE;
    return s;
}

void space_free(struct space *s)
{
    if (!s)
        return;
    free(s->blocks);
    free(s);
}

/* Bit i is set if units [i, i + 2^order) are free and i is a multiple of 2^order. */
static uint32_t free_runs(uint32_t used, int order)
{
    static const uint32_t aligned[ORDERS] = { 0xffffffff, 0x55555555, 0x11111111, 0x01010101, 0x00010001, 0x00000001 };
    uint32_t m = ~used;

    for (int k = 0; k < order; k++)
        m &= m >> (1u << k);
    return m & aligned[order];
}

static int order_of(uint32_t used)
{
    for (int k = ORDERS - 1; k >= 0; k--)
        if (free_runs(used, k))
            return k;
    return -1;
}

/* Puts the block on the list that its mask now asks for. */
static void relist(struct space *s, uint32_t i)
{
    struct block *b = &s->blocks[i];
    int order = order_of(b->used);

    if (order == b->order)
        return;
    if (b->order >= 0) {
        if (b->free_prev != BLOCK_NONE)
            s->blocks[b->free_prev].free_next = b->free_next;
        else
            s->free_head[b->order] = b->free_next;
        if (b->free_next != BLOCK_NONE)
            s->blocks[b->free_next].free_prev = b->free_prev;
    }
    b->order = (int8_t)order;
    if (order >= 0) {
        b->free_prev = BLOCK_NONE;
        b->free_next = s->free_head[order];
        if (b->free_next != BLOCK_NONE)
            s->blocks[b->free_next].free_prev = i;
        s->free_head[order] = i;
    }
}

/* Blocks [0, count) exist afterwards; new ones are free and listed. */
static int grow(struct space *s, uint64_t count)
{
    if (count <= s->count)
        return 0;
    if (count >= BLOCK_NONE)
        return -ENOMEM;
    if (count > s->cap) {
        uint64_t cap = count > 2ull * s->cap ? count : 2ull * s->cap;
        struct block *bigger = mem_realloc(s->blocks, cap * sizeof(*bigger));

        if (!bigger)
            return -ENOMEM;
        s->blocks = bigger;
        s->cap = cap < BLOCK_NONE ? (uint32_t)cap : BLOCK_NONE;
    }
    while (s->count < count) {
        s->blocks[s->count] = (struct block){ .order = -1 };
        relist(s, s->count++);
    }
    return 0;
}

/* The units of [unit, unit + n) that lie in the block of `unit`; *ret_n says how many. */
static uint32_t mask_of(uint64_t unit, uint64_t n, uint32_t *ret_n)
{
    uint32_t from = (uint32_t)(unit % SLOT_UNITS), len = SLOT_UNITS - from;

    if (n < len)
        len = (uint32_t)n;
    *ret_n = len;
    return (len == 32 ? UINT32_MAX : (1u << len) - 1) << from;
}

static void note_end(struct space *s, uint64_t end)
{
    if (end > s->end)
        s->end = end;
}

int space_claim(struct space *s, uint64_t unit, uint64_t n)
{
    uint32_t part;
    int r;

    if (n > UINT64_MAX - unit)
        return -ENOMEM;
    r = grow(s, (unit + n) / SLOT_UNITS + ((unit + n) % SLOT_UNITS != 0));
    if (r < 0)
        return r;
    note_end(s, unit + n);
    for (; n > 0; unit += part, n -= part) {
        uint32_t i = (uint32_t)(unit / SLOT_UNITS);

        s->blocks[i].used |= mask_of(unit, n, &part);
        relist(s, i);
    }
    return 0;
}

int space_alloc(struct space *s, uint32_t n, uint64_t *ret_unit)
{
    int order = __builtin_ctz(n), k = order;
    uint32_t i, at, part;
    int r;

    while (k < ORDERS && s->free_head[k] == BLOCK_NONE)
        k++;
    if (k < ORDERS) {
        i = s->free_head[k];
    } else {
        i = s->count;
        r = grow(s, (uint64_t)s->count + 1);
        if (r < 0)
            return r;
    }
    at = (uint32_t)__builtin_ctz(free_runs(s->blocks[i].used, order));
    s->blocks[i].used |= mask_of(at, n, &part);
    relist(s, i);
    *ret_unit = (uint64_t)i * SLOT_UNITS + at;
    note_end(s, *ret_unit + n);
    return 0;
}

static void release_units(struct space *s, uint32_t i, uint32_t units)
{
    struct block *b = &s->blocks[i];

    b->fresh |= units & b->used & ~b->committing;
    if (b->fresh && !b->waiting) {
        b->waiting = true;
        b->wait_next = s->wait_head;
        s->wait_head = i;
    }
}

void space_release(struct space *s, uint64_t unit, uint32_t n)
{
    uint32_t part;

    for (; n > 0 && unit / SLOT_UNITS < s->count; unit += part, n -= part)
        release_units(s, (uint32_t)(unit / SLOT_UNITS), mask_of(unit, n, &part));
}

void space_release_unused(struct space *s, const struct space *used)
{
    for (uint32_t i = 0; i < s->count; i++)
        release_units(s, i, ~(i < used->count ? used->blocks[i].used : 0));
}

void space_commit_begin(struct space *s)
{
    for (uint32_t i = s->wait_head; i != BLOCK_NONE; i = s->blocks[i].wait_next) {
        s->blocks[i].committing |= s->blocks[i].fresh;
        s->blocks[i].fresh = 0;
    }
}

void space_commit_done(struct space *s, bool ok)
{
    uint32_t i = s->wait_head;

    s->wait_head = BLOCK_NONE;
    while (i != BLOCK_NONE) {
        struct block *b = &s->blocks[i];
        uint32_t next = b->wait_next;

        if (ok)
            b->used &= ~b->committing;
        else
            b->fresh |= b->committing;
        b->committing = 0;
        b->waiting = b->fresh != 0;
        if (b->waiting) {
            b->wait_next = s->wait_head;
            s->wait_head = i;
        }
        relist(s, i);
        i = next;
    }
}

uint64_t space_end(const struct space *s)
{
    return s->end;
}
