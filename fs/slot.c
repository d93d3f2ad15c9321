/* Slot records. Encoding: count (1), then per run: kind (1), start (1), count (1), flags (1: bit 0 shared), then for SEG the unit (8), for
 * CHUNK the unit (8) and the address (20). Runs cover the 32 units without gap or overlap. */
#include "fs/view.h"

#include <errno.h>

#include "base/wire.h"

void slot_encode(const struct slot *s, struct buf *out)
{
    buf_put_u8(out, s->count);
    for (unsigned i = 0; i < s->count; i++) {
        const struct run *r = &s->runs[i];
        buf_put_u8(out, r->kind);
        buf_put_u8(out, r->start);
        buf_put_u8(out, r->count);
        buf_put_u8(out, r->shared);
        if (r->kind == RUN_SEG || r->kind == RUN_CHUNK)
            buf_put_u64(out, r->unit);
        if (r->kind == RUN_CHUNK)
            buf_put(out, r->chunk.b, ADDR_BYTES);
    }
}

static int run_decode(struct reader *r, struct run *ret, unsigned start)
{
    struct run run = { 0 };

    run.kind = get_u8(r);
    run.start = get_u8(r);
    run.count = get_u8(r);
    uint8_t flags = get_u8(r);
    run.shared = flags & 1;
    if (run.kind == RUN_SEG || run.kind == RUN_CHUNK)
        run.unit = get_u64(r);
    if (run.kind == RUN_CHUNK) {
        const uint8_t *a = get_bytes(r, ADDR_BYTES);
        if (a)
            memcpy(run.chunk.b, a, ADDR_BYTES);
    }
    if (r->bad || run.kind > RUN_CHUNK || flags > 1 || (run.shared && run.kind != RUN_SEG) || run.start != start || run.count == 0 ||
        run.start + run.count > SLOT_UNITS)
        return -EUCLEAN;
    if ((run.kind == RUN_SEG && run.unit > INT64_MAX / UNIT - SLOT_UNITS) || (run.kind == RUN_CHUNK && run.unit + run.count > SLOT_UNITS))
        return -EUCLEAN;
    *ret = run;
    return 0;
}

int slot_decode(const uint8_t *p, size_t n, struct slot *ret)
{
    struct reader r = reader_of(p, n);
    struct slot s;
    unsigned start = 0;

    s.count = get_u8(&r);
    if (s.count == 0 || s.count > SLOT_UNITS)
        return -EUCLEAN;
    for (unsigned i = 0; i < s.count; i++) {
        if (run_decode(&r, &s.runs[i], start) < 0)
            return -EUCLEAN;
        start += s.runs[i].count;
    }
    if (r.bad || reader_left(&r) || start != SLOT_UNITS)
        return -EUCLEAN;
    *ret = s;
    return 0;
}

/* True if b, which follows a, continues it. */
static bool run_continues(const struct run *a, const struct run *b)
{
    if (a->kind != b->kind || a->shared != b->shared)
        return false;
    if (a->kind == RUN_ZERO || a->kind == RUN_BELOW)
        return true;
    return b->unit == a->unit + a->count && (a->kind == RUN_SEG || addr_eq(&a->chunk, &b->chunk));
}

static void slot_append(struct slot *s, const struct run *r)
{
    if (r->count == 0)
        return;
    if (s->count && run_continues(&s->runs[s->count - 1], r))
        s->runs[s->count - 1].count += r->count;
    else
        s->runs[s->count++] = *r;
}

/* The part of r within units [from, to). */
static struct run run_cut(const struct run *r, unsigned from, unsigned to)
{
    struct run c = *r;
    unsigned start = r->start > from ? r->start : from;
    unsigned end = r->start + r->count < (int)to ? (unsigned)(r->start + r->count) : to;

    c.count = end > start ? (uint8_t)(end - start) : 0;
    c.start = (uint8_t)start;
    if (c.count && (r->kind == RUN_SEG || r->kind == RUN_CHUNK))
        c.unit += start - r->start;
    return c;
}

void slot_set(struct slot *s, const struct run *r)
{
    struct slot out = { .count = 0 };
    unsigned end = r->start + r->count;

    for (unsigned i = 0; i < s->count; i++) {
        struct run head = run_cut(&s->runs[i], 0, r->start);
        slot_append(&out, &head);
    }
    slot_append(&out, r);
    for (unsigned i = 0; i < s->count; i++) {
        struct run tail = run_cut(&s->runs[i], end, SLOT_UNITS);
        slot_append(&out, &tail);
    }
    *s = out;
}
