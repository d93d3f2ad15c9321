/* Storing chunks.
 *
 * The pack segment is appended to from the calls of one putter (whoever holds the fold lock). Appended bytes are not referred to by
 * anything durable until chunk_put_done(true): between two of these calls the tail since the mark is provisional.
 *
 *   put ... put, sync, (caller writes the batch), done(true)    mark moves up
 *   put ... put, abandon                                        nobody tried to write the batch: the tail is freed and used again
 *   put ... put, sync, (writing fails), done(false)             the write may yet turn out to have happened: the tail is left alone
 */
#include "fs/chunk_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "fs/meta.h"

enum { COMPARES_MAX = 64 };               /* colliding chunks that are compared; beyond, equal bytes may be stored twice */

static int pending_put(struct chunks *c, const struct addr *a, const struct chunk_loc *loc)
{
    struct pending **head = &c->pending[le32(a->b) % PENDING_BUCKETS], *p, *fresh = mem_alloc(sizeof *fresh);

    if (!fresh)
        return -ENOMEM;
    pthread_mutex_lock(&c->lock);
    for (p = *head; p && !addr_eq(&p->addr, a);)
        p = p->next;
    if (p) {
        p->loc = *loc;
    } else {
        *fresh = (struct pending){ .next = *head, .addr = *a, .loc = *loc };
        *head = fresh;
        c->pending_count++;
        fresh = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    free(fresh);
    return 0;
}

static void pending_clear(struct chunks *c)
{
    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; c->pending_count && i < PENDING_BUCKETS; i++) {
        while (c->pending[i]) {
            struct pending *p = c->pending[i];

            c->pending[i] = p->next;
            free(p);
            c->pending_count--;
        }
    }
    pthread_mutex_unlock(&c->lock);
}

/* --- the pack segment --- */

static int remember_new(struct chunks *c, uint64_t id)
{
    if (c->new_count == c->new_cap) {
        size_t cap = c->new_cap ? 2 * c->new_cap : 8;
        uint64_t *v = mem_realloc(c->new_segs, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        c->new_segs = v;
        c->new_cap = cap;
    }
    c->new_segs[c->new_count++] = id;
    return 0;
}

static int pack_begin(struct chunks *c)
{
    uint64_t id;
    int r = c->next_id ? c->next_id(c->next_id_arg, &id) : -EINVAL;

    if (r < 0)
        return r;
    r = remember_new(c, id);
    if (r < 0)
        return r;
    c->pack_off = 0;
    c->pack_dirty = false;
    r = segment_get(c->segs, id, true, &c->pack);
    if (r < 0)
        c->new_count--;
    return r;
}

/* A pack segment that broke, or is full, is left; its unsynced bytes first made durable. */
static int pack_end_if_done(struct chunks *c, uint32_t n)
{
    int r = 0;

    if (!c->pack || (!segment_is_broken(c->pack) && c->pack_off + n < PACK_SEGMENT_BYTES))
        return 0;
    if (c->pack_dirty)
        r = segment_sync(c->pack);
    segment_unref(c->pack);
    c->pack = NULL;
    c->pack_dirty = false;
    return r;
}

int chunk_append(struct chunks *c, const void *p, uint32_t n, uint64_t *ret_seg, uint64_t *ret_off)
{
    int r = pack_end_if_done(c, n);
    uint64_t off;

    if (r == 0 && !c->pack)
        r = pack_begin(c);
    if (r < 0)
        return r;
    off = c->pack_off % UNIT ? c->pack_off : c->pack_off + 1;      /* see enum chunk_codec */
    r = segment_write(c->pack, p, n, off);
    if (r < 0)
        return r;
    c->pack_off = off + n;
    c->pack_dirty = true;
    *ret_seg = segment_id(c->pack);
    *ret_off = off;
    return 0;
}

int chunk_append_sync(struct chunks *c)
{
    int r = c->pack && c->pack_dirty ? segment_sync(c->pack) : 0;

    if (r == 0)
        c->pack_dirty = false;
    return r;
}

void chunk_append_keep(struct chunks *c)
{
    c->new_count = 0;
    c->mark_seg = c->pack ? segment_id(c->pack) : 0;
    c->mark_off = c->pack_off;
}

/* The marked segment may not be the current one any more: it is full then, and its tail is left for gc. */
void chunk_append_drop(struct chunks *c)
{
    if (c->new_count) {
        segment_unref(c->pack);
        c->pack = NULL;
        c->pack_dirty = false;
        while (c->new_count)
            segment_remove(c->segs, c->new_segs[--c->new_count]);
    } else if (c->pack && segment_id(c->pack) == c->mark_seg && c->pack_off > c->mark_off) {
        uint64_t from = (c->mark_off + UNIT - 1) / UNIT * UNIT, to = (c->pack_off + UNIT - 1) / UNIT * UNIT;

        if (to > from)
            segment_punch(c->pack, from, to - from);   /* only space: an error does not matter */
        c->pack_off = c->mark_off;
    }
    chunk_append_keep(c);
}

/* --- storing --- */

enum verdict { SAME, OTHER, BAD };

/* What is stored at the address, compared with the bytes. 0 and a verdict; or a passing error (memory, descriptors). */
static int compare(struct chunks *c, const struct addr *a, const struct chunk_loc *loc, const void *p, uint32_t n, enum verdict *ret)
{
    struct chunk_buf *b;
    int r;

    *ret = OTHER;
    if (loc->raw_len != n)
        return 0;
    b = chunk_cache_get(c->cache, a);
    if (b) {
        *ret = b->n == n && !memcmp(b->data, p, n) ? SAME : OTHER;
        chunk_buf_unref(b);
        return 0;
    }
    r = chunk_read_raw(c, loc, c->compare);
    if (r < 0 && r != -EIO)
        return r;
    if (r == 0 && !memcmp(c->compare, p, n))
        *ret = SAME;
    else if (r < 0 || !chunk_matches(a, c->compare, n))
        *ret = BAD;
    return 0;
}

/* Looks for the bytes, or for a free address for them. 1: found at *loc; 0: to be stored under *a; negative. */
static int find(struct chunks *c, const void *p, uint32_t n, struct addr *a, struct chunk_loc *loc)
{
    uint32_t step = 1;

    *a = chunk_hash(p, n);
    for (uint32_t disc = 0, tries = 0;; disc += step, tries++) {
        enum verdict v = OTHER;
        int r;

        addr_set_disc(a, disc);
        r = chunk_stat(c, a, loc);
        if (r == -ENOENT)
            return 0;
        if (r < 0)
            return r;
        if (tries < COMPARES_MAX)
            r = compare(c, a, loc, p, n, &v);
        else
            step += step < (1u << 24) ? step : 0;
        if (r < 0)
            return r;
        if (v != OTHER)
            return v == SAME;
    }
}

static int put(struct chunks *c, struct batch *b, const void *p, uint32_t n, const struct chunk_place *place, struct addr *ret,
               struct chunk_loc *ret_loc, bool *ret_shared)
{
    uint8_t val[CHUNK_LOC_BYTES];
    struct chunk_loc loc;
    int r = find(c, p, n, ret, &loc);

    if (r < 0)
        return r;
    *ret_shared = r > 0 && !(place && place->in_place && loc.seg == place->seg && loc.off == place->off);
    if (r == 0) {
        loc = (struct chunk_loc){ .stored_len = n, .raw_len = n, .codec = CODEC_RAW };
        if (place && place->in_place) {
            loc.seg = place->seg;
            loc.off = place->off;
        } else {
            r = chunk_append(c, p, n, &loc.seg, &loc.off);
        }
        if (r == 0)
            r = pending_put(c, ret, &loc);
        if (r < 0)
            return r;
        chunk_loc_encode(&loc, val);
        batch_put(b, CF_CHUNK, ret->b, ADDR_BYTES, val, sizeof val);
        c->maybe_raw = true;
    }
    *ret_loc = loc;
    return 0;
}

static int put_locked(struct chunks *c, struct batch *b, const void *p, uint32_t n, const struct chunk_place *place, struct addr *ret,
                      struct chunk_loc *ret_loc, bool *ret_shared)
{
    int r;

    if (n == 0 || n > SLOT)
        return -EINVAL;
    pthread_mutex_lock(&c->put_lock);
    r = put(c, b, p, n, place, ret, ret_loc, ret_shared);
    pthread_mutex_unlock(&c->put_lock);
    return r;
}

int chunk_put(struct chunks *c, struct batch *b, const void *p, uint32_t n, const struct chunk_place *place, struct addr *ret,
              bool *ret_shared)
{
    struct chunk_loc loc;

    return put_locked(c, b, p, n, place, ret, &loc, ret_shared);
}

int chunk_put_at(struct chunks *c, struct batch *b, const void *p, uint32_t n, const struct chunk_place *place, struct addr *ret,
                 struct chunk_loc *ret_loc)
{
    bool shared;

    return put_locked(c, b, p, n, place, ret, ret_loc, &shared);
}

int chunk_put_sync(struct chunks *c)
{
    int r;

    pthread_mutex_lock(&c->put_lock);
    r = chunk_append_sync(c);
    pthread_mutex_unlock(&c->put_lock);
    return r;
}

void chunk_put_done(struct chunks *c, bool ok)
{
    pthread_mutex_lock(&c->put_lock);
    pending_clear(c);
    chunk_append_keep(c);
    pthread_mutex_unlock(&c->put_lock);
}

void chunk_put_abandon(struct chunks *c)
{
    pthread_mutex_lock(&c->put_lock);
    pending_clear(c);
    chunk_append_drop(c);
    pthread_mutex_unlock(&c->put_lock);
}
