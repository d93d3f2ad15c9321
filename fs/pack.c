/* Packing: raw chunks are compressed into pack segments, a few at a time.
 *
 * One step: take raw chunks from the cursor on, up to the bytes allowed; write their compressed form to the pack segment; sync;
 * change their locations in one durable batch; punch the old places. A crash anywhere leaves each chunk whole at one of the two
 * places; what is left of the other is found by chunk_sweep. Readers at the old place see zeros then and ask again (chunk.c).
 * A chunk that does not shrink stays where it is and is marked STORED, so that it is not tried again.
 */
#include "fs/chunk_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/meta.h"

enum { STEP_CHUNKS = 4096, STEP_SCAN = 1 << 18, LEVEL = 3 };

struct candidate { struct addr addr; struct chunk_loc loc; bool moved; };

struct step {
    struct chunks *c;
    bool (*skip)(void *arg, uint64_t seg);
    void *arg;
    uint64_t bytes, max_bytes;
    struct candidate *v;
    unsigned count, scanned;
    struct addr next;                     /* where the next step begins, if full */
    bool full;
};

static int collect(void *arg, const struct addr *a, const struct chunk_loc *loc)
{
    struct step *s = arg;

    if (s->count == STEP_CHUNKS || s->bytes >= s->max_bytes || s->scanned++ == STEP_SCAN) {
        s->full = true;
        s->next = *a;
        return 1;
    }
    if (loc->codec != CODEC_RAW)
        return 0;
    if (s->skip && s->skip(s->arg, loc->seg)) {
        s->c->maybe_raw = true;           /* to be looked at in the next round */
        return 0;
    }
    s->v[s->count++] = (struct candidate){ .addr = *a, .loc = *loc };
    s->bytes += loc->raw_len;
    return 0;
}

static int by_place(const void *pa, const void *pb)
{
    const struct candidate *a = pa, *b = pb;

    if (a->loc.seg != b->loc.seg)
        return a->loc.seg < b->loc.seg ? -1 : 1;
    return a->loc.off < b->loc.off ? -1 : a->loc.off > b->loc.off;
}

struct scratch { uint8_t raw[SLOT]; size_t cap; ZSTD_CCtx *zip; uint8_t out[]; };

static void scratch_free(struct scratch *x)
{
    if (x)
        ZSTD_freeCCtx(x->zip);
    free(x);
}
DEFINE_CLEANUP(struct scratch *, scratch_free)
DEFINE_CLEANUP(struct batch *, batch_free)

static struct scratch *scratch_new(void)
{
    size_t cap = ZSTD_compressBound(SLOT);
    struct scratch *x = mem_alloc(sizeof *x + cap);

    if (!x)
        return NULL;
    x->cap = cap;
    x->zip = ZSTD_createCCtx();
    if (!x->zip) {
        free(x);
        return NULL;
    }
    return x;
}

/* Worth it: an eighth smaller. What cannot be read, or is not what its address says, is left for scrub to report. */
static int pack_one(struct chunks *c, struct batch *b, struct candidate *k, struct scratch *x, struct pack_stats *st)
{
    struct chunk_loc loc = k->loc;
    uint8_t val[CHUNK_LOC_BYTES];
    int r = chunk_read_raw(c, &loc, x->raw);
    size_t n;

    if (r == -EIO || (r == 0 && !chunk_matches(&k->addr, x->raw, loc.raw_len)))
        return 0;
    if (r < 0)
        return r;
    n = ZSTD_compressCCtx(x->zip, x->out, x->cap, x->raw, loc.raw_len, LEVEL);
    if (!ZSTD_isError(n) && n <= loc.raw_len - loc.raw_len / 8) {
        loc.codec = CODEC_ZSTD;
        loc.stored_len = (uint32_t)n;
        r = chunk_append(c, x->out, loc.stored_len, &loc.seg, &loc.off);
        k->moved = r == 0;
    } else {
        loc.codec = CODEC_STORED;
    }
    if (r < 0)
        return r;
    chunk_loc_encode(&loc, val);
    batch_put(b, CF_CHUNK, k->addr.b, ADDR_BYTES, val, sizeof val);
    st->chunks++;
    st->bytes_in += loc.raw_len;
    st->bytes_out += loc.stored_len;
    return 0;
}

/* Only space is at stake: what cannot be punched now is found by sweep. */
static void punch_old(struct chunks *c, const struct candidate *k)
{
    uint64_t from = (k->loc.off + UNIT - 1) / UNIT * UNIT, end = k->loc.off + k->loc.stored_len;
    uint64_t to = (k->loc.off % UNIT ? end : end + UNIT - 1) / UNIT * UNIT;
    struct segment *seg;

    if (!k->moved || to <= from || segment_get(c->segs, k->loc.seg, false, &seg) < 0)
        return;
    segment_punch(seg, from, to - from);
    segment_unref(seg);
}

/* put_lock held. */
static int pack_step(struct chunks *c, struct step *s, struct pack_stats *st)
{
    _cleanup_(scratch_free_p) struct scratch *x = scratch_new();
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    int r = x && b ? 0 : -ENOMEM;

    qsort(s->v, s->count, sizeof *s->v, by_place);
    for (unsigned i = 0; r == 0 && i < s->count; i++)
        r = pack_one(c, b, &s->v[i], x, st);
    if (r == 0)
        r = chunk_append_sync(c);
    if (r < 0) {
        chunk_append_drop(c);
        return r;
    }
    r = st->chunks ? meta_write(c->meta, b, true) : 0;
    chunk_append_keep(c);
    for (unsigned i = 0; r == 0 && i < s->count; i++)
        punch_old(c, &s->v[i]);
    return r;
}

int chunk_pack(struct chunks *c, uint64_t max_bytes, bool (*skip)(void *arg, uint64_t seg), void *arg, struct pack_stats *ret)
{
    _cleanup_free_ struct candidate *v = mem_alloc(STEP_CHUNKS * sizeof *v);
    struct step s = { .c = c, .skip = skip, .arg = arg, .max_bytes = max_bytes, .v = v };
    struct pack_stats st = { 0 };
    int r = 0;

    if (!v)
        return -ENOMEM;
    pthread_mutex_lock(&c->put_lock);
    if (!addr_is_zero(&c->pack_cursor) || c->maybe_raw) {
        if (addr_is_zero(&c->pack_cursor))
            c->maybe_raw = false;         /* set again by what is put, or passed over, from here on */
        r = chunk_each(c, &c->pack_cursor, collect, &s);
    }
    if (r >= 0)
        r = pack_step(c, &s, &st);
    if (r == 0) {
        c->pack_cursor = s.full ? s.next : (struct addr){ 0 };
        st.more = s.full;
        *ret = st;
    } else {
        c->maybe_raw = true;
    }
    pthread_mutex_unlock(&c->put_lock);
    return r;
}
