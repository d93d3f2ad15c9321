/* Slots of a file in the live layer, and the space they stand in.
 *
 * Owned units (SEG, not shared) are overwritten in place; all others are written to new space first and the slot record changes after.
 * Space is set aside by whole power-of-two blocks aligned so that unit k of the slot stands at block + k: a file written piece by piece still ends
 * as one run, which the fold adopts as a chunk where it lies. What is set aside is remembered in a small table (w->resv) and may be
 * forgotten at any time: segments are sparse, so unused space costs nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/buf.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

#define CONTENT_END ((uint64_t)FILE_SIZE_MAX / SLOT * SLOT + SLOT)   /* past all slots */

unsigned slot_units(const struct slot *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->count; i++)
        if (s->runs[i].kind != RUN_ZERO)
            n += s->runs[i].count;
    return n;
}

static void slot_fill(struct slot *s, unsigned kind, unsigned from, unsigned to)
{
    if (from < to)
        slot_set(s, &(struct run){ .kind = (uint8_t)kind, .start = (uint8_t)from, .count = (uint8_t)(to - from) });
}

static int slot_from_below(const struct view_val *val, struct slot *ret)
{
    struct slot lower;

    if (!val->source) {
        if (val->v.n != EXTENT_BYTES || le32(val->v.p + ADDR_BYTES) > SLOT)
            return -EUCLEAN;
        slot_fill(ret, RUN_BELOW, 0, (le32(val->v.p + ADDR_BYTES) + UNIT - 1) / UNIT);
        return 0;
    }
    if (slot_decode(val->v.p, val->v.n, &lower) < 0)
        return -EUCLEAN;
    for (unsigned i = 0; i < lower.count; i++)
        if (lower.runs[i].kind != RUN_ZERO)
            slot_fill(ret, RUN_BELOW, lower.runs[i].start, lower.runs[i].start + lower.runs[i].count);
    return 0;
}

/* The live layer has a BODY, or says that there is none any more: one below does not count. */
static bool live_says_body(struct workspace *w, uint64_t ino)
{
    struct key k = key_simple(ino, KEY_BODY);

    return map_get(w->live->map, k.b, k.len);
}

int slot_load(struct workspace *w, uint64_t ino, uint64_t slot, bool fresh, struct slot *ret)
{
    struct key k = key_extent(ino, slot);
    const struct map_entry *e = map_get(w->live->map, k.b, k.len);
    struct view_val val;

    if (e && !e->tombstone)
        return slot_decode(e->val, e->val_len, ret);
    ret->count = 0;
    slot_fill(ret, RUN_ZERO, 0, SLOT_UNITS);
    if (e || fresh)
        return 0;
    int r = view_get_key(w->view, k.b, k.len, &val);
    if (r == 0 && slot == 0 && !live_says_body(w, ino)) {
        r = data_body(w->view, NULL, ino, &val);
        if (r > 0) {
            view_val_done(&val);
            slot_fill(ret, RUN_BELOW, 0, 1);
            return 0;
        }
    }
    if (r <= 0)
        return r;
    r = slot_from_below(&val, ret);
    view_val_done(&val);
    return r;
}

void slot_store(struct workspace *w, uint64_t ino, uint64_t slot, const struct slot *s)
{
    struct key k = key_extent(ino, slot);
    uint8_t bytes[1 + SLOT_UNITS * 32];
    struct buf b = { .data = bytes, .cap = sizeof bytes };   /* an encoded run takes at most 32 bytes: it never grows */

    if (slot_units(s) == 0) {
        ws_del(w, &k);
        return;
    }
    slot_encode(s, &b);
    ws_put(w, &k, b.data, b.len);
}

static void resv_forget(struct workspace *w, uint64_t unit, unsigned count)
{
    for (unsigned i = 0; i < sizeof w->resv / sizeof *w->resv; i++)
        if (w->resv[i].cap && unit < w->resv[i].unit + w->resv[i].cap && w->resv[i].unit < unit + count)
            w->resv[i].cap = 0;
}

void slot_release(struct workspace *w, const struct slot *s, unsigned from, unsigned to)
{
    for (unsigned i = 0; i < s->count; i++) {
        const struct run *r = &s->runs[i];
        unsigned start = r->start > from ? r->start : from, end = r->start + r->count;
        if (end > to)
            end = to;
        if (r->kind != RUN_SEG || r->shared || start >= end)
            continue;
        resv_forget(w, r->unit + (start - r->start), end - start);
        space_release(w->space, r->unit + (start - r->start), end - start);
    }
}

void slot_share(struct workspace *w, struct run *r)
{
    resv_forget(w, r->unit, r->count);
    r->shared = true;
}

int alloc_units(struct workspace *w, uint64_t ino, uint64_t slot, unsigned unit, unsigned count, uint64_t *ret_unit)
{
    struct resv *e = &w->resv[(ino * 31 + slot) % (sizeof w->resv / sizeof *w->resv)];
    bool mine = e->cap && e->ino == ino && e->slot == slot;
    uint32_t cap = SLOT_UNITS;

    if (!mine || unit + count > e->cap) {
        if (slot == 0 && !mine)
            for (cap = 1; cap < unit + count; cap *= 2)
                ;
        uint64_t base;
        int r = space_alloc(w->space, cap, &base);
        if (r < 0)
            return r;
        *e = (struct resv){ .ino = ino, .slot = slot, .unit = base, .cap = cap };
    }
    *ret_unit = e->unit + unit;
    return 0;
}

int live_segment(struct workspace *w)
{
    return w->seg ? 0 : segment_get(w->store->segments, w->live->id, true, &w->seg);
}

int inode_is_fresh(struct workspace *w, uint64_t ino, bool *ret)
{
    struct key k = key_simple(ino, KEY_INODE);
    struct view_val val;
    int r = view_get_key(w->view, k.b, k.len, &val);

    if (r < 0)
        return r;
    *ret = r == 0;
    if (r > 0)
        view_val_done(&val);
    return 0;
}

static bool unit_is_owned(const struct slot *s, unsigned unit)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->runs[i].kind == RUN_SEG && !s->runs[i].shared && unit >= s->runs[i].start && unit < (unsigned)s->runs[i].start + s->runs[i].count)
            return true;
    return false;
}

/* Writes one whole unit of a slot to new space and sets the slot; the caller stores it. Not in place: until the next commit the old bytes count. */
static int write_unit(struct workspace *w, uint64_t ino, uint64_t slot, struct slot *s, unsigned unit, const uint8_t bytes[UNIT])
{
    uint64_t at;
    int r = live_segment(w);

    for (unsigned i = 0; i < s->count; i++)               /* what is set aside must not be the place that is left now */
        if (s->runs[i].kind == RUN_SEG && unit >= s->runs[i].start && unit < (unsigned)s->runs[i].start + s->runs[i].count)
            resv_forget(w, s->runs[i].unit + (unit - s->runs[i].start), 1);
    if (r == 0)   /* an owned unit stands in the space set aside for it: another place is needed */
        r = unit_is_owned(s, unit) ? space_alloc(w->space, 1, &at) : alloc_units(w, ino, slot, unit, 1, &at);
    if (r == 0)
        r = segment_write(w->seg, bytes, UNIT, at * UNIT);
    if (r < 0)
        return r;
    w->seg_dirty = true;
    slot_release(w, s, unit, unit + 1);
    slot_set(s, &(struct run){ .kind = RUN_SEG, .start = (uint8_t)unit, .count = 1, .unit = at });
    return 0;
}

int content_unfold_body(struct txn *t, uint64_t ino, struct inode *in)
{
    struct key k = key_simple(ino, KEY_BODY);
    uint8_t unit[UNIT] = { 0 };
    struct view_val val;
    struct slot s = { .count = 0 };
    int r = data_body(t->w->view, t->w->live, ino, &val);

    if (r <= 0)
        return r;
    size_t n = val.v.n < INLINE_MAX ? val.v.n : INLINE_MAX;
    memcpy(unit, val.v.p, n);
    view_val_done(&val);
    slot_fill(&s, RUN_ZERO, 0, SLOT_UNITS);
    r = n ? write_unit(t->w, ino, 0, &s, 0, unit) : 0;
    if (r < 0)
        return r;
    slot_store(t->w, ino, 0, &s);
    ws_del(t->w, &k);
    return 1;
}

/* The bytes are those of one unit of the slot. */
static int unit_read(struct workspace *w, uint64_t ino, uint64_t slot, unsigned unit, uint8_t bytes[UNIT])
{
    struct pieces p = { 0 };
    int r = data_resolve(w->view, w->live, ino, slot * SLOT + unit * UNIT, UNIT, &p);

    if (r == 0)
        r = data_read(w->store, &p, bytes);
    pieces_fini(&p);
    return r;
}

/* Zeroes bytes [from, to) within one unit of a slot, by a new copy of the unit. */
static int zero_in_unit(struct workspace *w, uint64_t ino, uint64_t slot, struct slot *s, unsigned unit, unsigned from, unsigned to)
{
    uint8_t bytes[UNIT];

    for (unsigned i = 0; i < s->count; i++)
        if (s->runs[i].kind == RUN_ZERO && unit >= s->runs[i].start && unit < s->runs[i].start + s->runs[i].count)
            return 0;
    int r = unit_read(w, ino, slot, unit, bytes);
    if (r < 0)
        return r;
    memset(bytes + from, 0, to - from);
    return write_unit(w, ino, slot, s, unit, bytes);
}

/* Zeroes bytes [from, to) of a slot. */
static int slot_zero(struct txn *t, uint64_t ino, struct inode *in, uint64_t slot, unsigned from, unsigned to, bool fresh)
{
    unsigned first = (from + UNIT - 1) / UNIT, last = to / UNIT;   /* whole units: [first, last) */
    struct slot s;
    int r = slot_load(t->w, ino, slot, fresh, &s);
    unsigned before = r == 0 ? slot_units(&s) : 0;

    if (r < 0 || before == 0)
        return r;
    if (first > last) {
        r = zero_in_unit(t->w, ino, slot, &s, last, from % UNIT, to % UNIT);
    } else {
        if (from % UNIT)
            r = zero_in_unit(t->w, ino, slot, &s, from / UNIT, from % UNIT, UNIT);
        if (r == 0 && to % UNIT)
            r = zero_in_unit(t->w, ino, slot, &s, last, 0, to % UNIT);
        if (r == 0) {
            slot_release(t->w, &s, first, last);
            slot_fill(&s, RUN_ZERO, first, last);
        }
    }
    slot_store(t->w, ino, slot, &s);      /* also after a failure: a unit that was moved before it is given back already */
    in->units += slot_units(&s);
    in->units -= before < in->units ? before : in->units;
    return r;
}

static int first_slot(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    (void)key_len, (void)val, (void)val_len, (void)source;
    *(uint64_t *)arg = key_number(key);
    return 1;
}

int slot_next(struct workspace *w, uint64_t ino, uint64_t from, uint64_t *ret)
{
    struct key a = key_extent(ino, from), b = key_simple(ino, KEY_EXTENT + 1);

    return ws_each(w, &a, &b, first_slot, ret);
}

int content_units(struct workspace *w, uint64_t ino, uint64_t *ret)
{
    struct view_val body;
    uint64_t slot = 0, n = 0;
    struct slot s;
    bool fresh;
    int r = data_body(w->view, w->live, ino, &body);

    if (r > 0) {
        view_val_done(&body);
        n = slot = 1;                     /* it stands in the first slot; others may be there beside it */
        r = 0;
    }
    if (r == 0)
        r = inode_is_fresh(w, ino, &fresh);
    while (r == 0 && (r = slot_next(w, ino, slot, &slot)) > 0) {
        r = slot_load(w, ino, slot, fresh, &s);
        n += r == 0 ? slot_units(&s) : 0;
        slot++;
    }
    if (r == 0)
        *ret = n;
    return r < 0 ? r : 0;
}

/* Zeroes [off, end) slot by slot, going only through slots that are there. Each step reserves for itself: with many slots the operation may end
 * early for want of memory, having zeroed a prefix; the transaction then still writes a consistent inode. */
static int zero_slots(struct txn *t, uint64_t ino, struct inode *in, uint64_t off, uint64_t end)
{
    bool fresh;
    int r = inode_is_fresh(t->w, ino, &fresh);

    while (r == 0 && off < end) {
        uint64_t slot;
        r = slot_next(t->w, ino, off / SLOT, &slot);
        if (r <= 0 || slot * SLOT >= end)
            return r < 0 ? r : 0;
        if (slot > off / SLOT)
            off = slot * SLOT;
        uint64_t stop = (slot + 1) * SLOT < end ? (slot + 1) * SLOT : end;
        r = ws_reserve(t->w, 2 * TXN_INODES, 4 * SLOT_UNITS * 32);
        if (r == 0)
            r = slot_zero(t, ino, in, slot, (unsigned)(off % SLOT), (unsigned)(stop - slot * SLOT), fresh);
        off = stop;
    }
    return r;
}

int content_zero(struct txn *t, uint64_t ino, struct inode *in, uint64_t off, uint64_t len)
{
    struct key k = key_simple(ino, KEY_BODY);
    uint64_t end = off + len;
    struct view_val val;
    uint8_t body[INLINE_MAX];

    int r = in->size > INLINE_MAX ? content_unfold_body(t, ino, in) : 0;
    if (r >= 0)
        r = data_body(t->w->view, t->w->live, ino, &val);
    if (r == 0)
        return zero_slots(t, ino, in, off, end >= in->size ? CONTENT_END : end);
    if (r < 0)
        return r;
    size_t n = val.v.n < INLINE_MAX ? val.v.n : INLINE_MAX;
    memcpy(body, val.v.p, n);
    view_val_done(&val);
    if (off >= n)
        return 0;
    r = ws_reserve(t->w, 2 * TXN_INODES, INLINE_MAX);
    if (r < 0)
        return r;
    memset(body + off, 0, (end < n ? end : n) - off);
    if (end >= n)
        n = off;
    if (n)
        ws_put(t->w, &k, body, n);
    else
        ws_del(t->w, &k);
    in->units = n ? 1 : 0;
    return 0;
}

/* The bytes of a unit behind the end of the file are zeroed where they lie. */
static int clear_tail(struct workspace *w, const struct run *run, unsigned unit, unsigned tail)
{
    uint8_t bytes[UNIT];
    uint64_t off = (run->unit + unit - run->start) * UNIT + tail;
    unsigned n = UNIT - tail, i = 0;
    int r = live_segment(w);

    if (r == 0)
        r = segment_read_sparse(w->seg, bytes, n, off);
    while (r == 0 && i < n && bytes[i] == 0)
        i++;
    if (r < 0 || i == n)
        return r;
    memset(bytes, 0, n);
    w->seg_dirty = true;
    return segment_write(w->seg, bytes, n, off);
}

int content_clear_tail(struct workspace *w, uint64_t ino, const struct inode *in)
{
    struct key k = key_extent(ino, in->size / SLOT);
    unsigned unit = (unsigned)(in->size % SLOT / UNIT);
    const struct map_entry *x = in->size % UNIT ? map_get(w->live->map, k.b, k.len) : NULL;
    struct slot s;
    int r = 0;

    if (!x || x->tombstone || slot_decode(x->val, x->val_len, &s) < 0)
        return 0;
    for (unsigned i = 0; r == 0 && i < s.count; i++)
        if (s.runs[i].kind == RUN_SEG && unit >= s.runs[i].start && unit < (unsigned)s.runs[i].start + s.runs[i].count)
            r = clear_tail(w, &s.runs[i], unit, (unsigned)(in->size % UNIT));
    return r;
}

int content_clear_tails(struct workspace *w)
{
    struct map_iter it;
    struct inode in;
    uint8_t none = 0;
    int r = 0;

    for (const struct map_entry *e = map_seek(w->live->map, &it, &none, 0); r == 0 && e; e = map_next(&it))
        if (key_kind_of(e->key) == KEY_INODE && !e->tombstone && inode_decode(e->val, e->val_len, &in) == 0 && inode_is_reg(&in))
            r = content_clear_tail(w, key_ino(e->key), &in);
    return r;
}

int content_truncate(struct txn *t, uint64_t ino, struct inode *in, uint64_t new_size)
{
    int r = 0;

    if (new_size < in->size)
        r = content_zero(t, ino, in, new_size, CONTENT_END - new_size);
    else if (in->size <= INLINE_MAX && new_size > INLINE_MAX)
        r = content_unfold_body(t, ino, in);
    if (r >= 0)
        in->size = new_size;
    return r < 0 ? r : 0;
}
