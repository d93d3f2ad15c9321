/* Freeing the space of chunks that nobody needs.
 *
 * 1. The segments there are, in memory: an id, and whether it is to be left alone.
 * 2. One walk over the index: entries not kept are deleted; the live bytes of each segment are summed. The deletions are made durable.
 * 3. Segments with nothing live are removed. The others with much more space taken than live bytes are cleaned: the index is walked
 *    again for their chunks, as often as it takes to hold the chunks of a group of segments in bounded memory. A pack segment less than
 *    half full is rewritten and removed; in others the gaps are punched.
 *
 * A crash after any step leaves only garbage for the next sweep. A reader who meets a chunk on the move asks again (chunk.c).
 */
#include "fs/chunk_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/meta.h"

enum { GROUP_CHUNKS = 1 << 18, SLACK_BYTES = 64 * 1024 };

struct seg_use {
    uint64_t id, live, chunks;            /* live: rounded up to what can be freed */
    bool skip, pack, chosen, rewrite, stuck;
};
struct range { struct seg_use *seg; struct addr addr; struct chunk_loc loc; };

struct sweep {
    struct chunks *c;
    bool (*keep)(void *arg, const struct addr *a);
    bool (*skip)(void *arg, uint64_t seg);
    void *arg;
    bool dry;
    struct sweep_stats st;
    struct batch *b;
    bool changed;                         /* something was put into b, or was to be: running out of memory is an error of b */
    struct seg_use *segs;                 /* sorted by id */
    size_t count, cap;
    struct range *ranges;                 /* of the segments chosen */
    size_t range_count, range_cap;
    uint8_t *stored, *raw;                /* SLOT each */
};

static int add_seg(void *arg, uint64_t id)
{
    struct sweep *s = arg;

    if (s->count == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        struct seg_use *v = mem_realloc(s->segs, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        s->segs = v;
        s->cap = cap;
    }
    s->segs[s->count++] = (struct seg_use){ .id = id, .skip = s->skip && s->skip(s->arg, id) };
    return 0;
}

static int by_id(const void *pa, const void *pb)
{
    const struct seg_use *a = pa, *b = pb;

    return a->id < b->id ? -1 : a->id > b->id;
}

static int by_place(const void *pa, const void *pb)
{
    const struct range *a = pa, *b = pb;

    if (a->loc.seg != b->loc.seg)
        return a->loc.seg < b->loc.seg ? -1 : 1;
    return a->loc.off < b->loc.off ? -1 : a->loc.off > b->loc.off;
}

static struct seg_use *seg_find(struct sweep *s, uint64_t id)
{
    struct seg_use key = { .id = id };

    return s->count ? bsearch(&key, s->segs, s->count, sizeof key, by_id) : NULL;
}

static int flush(struct sweep *s, bool sync)
{
    int r = s->changed ? meta_write(s->c->meta, s->b, sync) : 0;

    if (r == 0)
        batch_clear(s->b);
    return r;
}

static int mark_one(void *arg, const struct addr *a, const struct chunk_loc *loc)
{
    struct sweep *s = arg;
    struct seg_use *g = seg_find(s, loc->seg);
    bool skip = g ? g->skip : s->skip && s->skip(s->arg, loc->seg);

    if (!skip && !s->keep(s->arg, a)) {
        s->st.chunks++;
        s->st.chunk_bytes += loc->stored_len;
        if (s->dry)
            return 0;
        s->changed = true;
        batch_delete(s->b, CF_CHUNK, a->b, ADDR_BYTES);
        return batch_bytes(s->b) > CHUNK_BATCH_BYTES ? flush(s, false) : 0;
    }
    if (g) {
        bool packed = loc->off % UNIT;

        g->chunks++;
        g->pack = g->pack || packed;
        g->live += packed ? loc->stored_len : (loc->stored_len + UNIT - 1) / UNIT * UNIT;
    }
    return 0;
}

static bool is_current(struct sweep *s, const struct seg_use *g)
{
    return s->c->pack && segment_id(s->c->pack) == g->id;
}

/* The current pack segment goes the way of the others; the next append begins a new one. Nothing that counts is unsynced: putters are
 * out. */
static void leave_current(struct sweep *s)
{
    segment_unref(s->c->pack);
    s->c->pack = NULL;
    chunk_append_keep(s->c);
}

static int remove_empty(struct sweep *s)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->count; i++) {
        struct seg_use *g = &s->segs[i];

        if (g->skip || g->chunks)
            continue;
        s->st.segments++;
        if (s->dry)
            continue;
        if (is_current(s, g))
            leave_current(s);
        r = segment_remove(s->c->segs, g->id);
    }
    return r;
}

/* The slack is for the file system's own blocks and for the ends of gaps. */
static bool needs_cleaning(struct sweep *s, struct seg_use *g)
{
    struct segment *seg;
    uint64_t size, taken;

    if (g->skip || g->chunks == 0 || segment_get(s->c->segs, g->id, false, &seg) < 0)
        return false;
    size = segment_size(seg);
    taken = segment_allocated(seg);
    segment_unref(seg);
    g->rewrite = g->pack && g->live < size / 2;
    if (g->rewrite && is_current(s, g))
        leave_current(s);
    return g->rewrite || taken > g->live + g->live / 16 + SLACK_BYTES;
}

static int collect_range(void *arg, const struct addr *a, const struct chunk_loc *loc)
{
    struct sweep *s = arg;
    struct seg_use *g = seg_find(s, loc->seg);

    if (!g || !g->chosen)
        return 0;
    if (s->range_count == s->range_cap) {
        size_t cap = s->range_cap ? 2 * s->range_cap : 256;
        struct range *v = mem_realloc(s->ranges, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        s->ranges = v;
        s->range_cap = cap;
    }
    s->ranges[s->range_count++] = (struct range){ g, *a, *loc };
    return 0;
}

/* Moves the stored form as it is, once it is known to be good; else the segment stays, for repair. */
static int move_chunk(struct sweep *s, const struct range *x)
{
    struct chunk_loc loc = x->loc;
    uint8_t val[CHUNK_LOC_BYTES];
    int r = chunk_read_stored(s->c, &loc, s->stored);

    if (r == 0)
        r = chunk_expand(s->c, &loc, s->stored, s->raw);
    if (r == 0 && !chunk_matches(&x->addr, s->raw, loc.raw_len))
        r = -EIO;
    if (r == -EIO) {
        x->seg->stuck = true;
        return 0;
    }
    if (r == 0)
        r = chunk_append(s->c, s->stored, loc.stored_len, &loc.seg, &loc.off);
    if (r < 0)
        return r;
    chunk_loc_encode(&loc, val);
    s->changed = true;
    batch_put(s->b, CF_CHUNK, x->addr.b, ADDR_BYTES, val, sizeof val);
    return 0;
}

static void punch_gap(struct segment *seg, uint64_t from, uint64_t to)
{
    from = (from + UNIT - 1) / UNIT * UNIT;
    to = to / UNIT * UNIT;
    if (to > from)
        segment_punch(seg, from, to - from);  /* only space: the next sweep tries again */
}

/* ranges: those of one segment, in order. */
static void punch_gaps(struct sweep *s, const struct range *v, size_t n)
{
    struct segment *seg;
    uint64_t at = 0;

    if (segment_get(s->c->segs, v->loc.seg, false, &seg) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        punch_gap(seg, at, v[i].loc.off);
        if (v[i].loc.off + v[i].loc.stored_len > at)
            at = v[i].loc.off + v[i].loc.stored_len;
    }
    if (!is_current(s, v->seg))
        punch_gap(seg, at, (segment_size(seg) + UNIT - 1) / UNIT * UNIT);
    segment_unref(seg);
}

static int clean_group(struct sweep *s)
{
    int r;

    s->range_count = 0;
    r = chunk_each(s->c, NULL, collect_range, s);
    if (r < 0)
        return r;
    qsort(s->ranges, s->range_count, sizeof *s->ranges, by_place);
    for (size_t i = 0; r == 0 && i < s->range_count; i++)
        if (s->ranges[i].seg->rewrite)
            r = move_chunk(s, &s->ranges[i]);
    if (r == 0)
        r = chunk_append_sync(s->c);
    if (r < 0) {
        chunk_append_drop(s->c);
        return r;
    }
    r = flush(s, true);
    chunk_append_keep(s->c);
    for (size_t i = 0, n; r == 0 && i < s->range_count; i += n) {
        struct seg_use *g = s->ranges[i].seg;

        for (n = 1; i + n < s->range_count && s->ranges[i + n].seg == g;)
            n++;
        if (!g->rewrite)
            punch_gaps(s, &s->ranges[i], n);
        else if (!g->stuck) {
            s->st.segments++;
            r = segment_remove(s->c->segs, g->id);
        }
    }
    return r;
}

static int clean(struct sweep *s)
{
    uint64_t chunks = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < s->count; i++) {
        struct seg_use *g = &s->segs[i];

        if (needs_cleaning(s, g)) {
            if (chunks && chunks + g->chunks > GROUP_CHUNKS) {
                r = clean_group(s);
                for (size_t j = 0; j < i; j++)
                    s->segs[j].chosen = false;
                chunks = 0;
            }
            g->chosen = true;
            chunks += g->chunks;
        }
    }
    return r == 0 && chunks ? clean_group(s) : r;
}

static int sweep_run(struct sweep *s)
{
    int r = segments_each(s->c->segs, add_seg, s);

    if (r < 0)
        return r;
    if (s->count)
        qsort(s->segs, s->count, sizeof *s->segs, by_id);
    r = chunk_each(s->c, NULL, mark_one, s);
    if (r == 0)
        r = flush(s, true);
    if (r == 0)
        r = remove_empty(s);
    return r == 0 && !s->dry ? clean(s) : r;
}

int chunk_sweep(struct chunks *c, bool (*keep)(void *arg, const struct addr *a), bool (*skip)(void *arg, uint64_t seg), void *arg, bool dry,
                struct sweep_stats *ret)
{
    struct sweep s = { .c = c, .keep = keep, .skip = skip, .arg = arg, .dry = dry };
    int r = -ENOMEM;

    s.b = batch_new();
    s.stored = mem_alloc(SLOT);
    s.raw = mem_alloc(SLOT);
    if (s.b && s.stored && s.raw) {
        pthread_mutex_lock(&c->put_lock);
        r = sweep_run(&s);
        pthread_mutex_unlock(&c->put_lock);
    }
    batch_free(s.b);
    free(s.segs);
    free(s.ranges);
    free(s.stored);
    free(s.raw);
    if (r == 0)
        *ret = s.st;
    return r;
}
