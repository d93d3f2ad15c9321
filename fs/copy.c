/* copy_file_range: whole units are shared, the rest is copied.
 *
 * Sharable are chunks (the copy's slot record names them), space of the live layer (both records are marked shared, so neither overwrites it
 * in place) and holes. Content of a layer that is frozen and not folded yet is copied: a layer never refers to another's segment.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

enum { COPY_STEP = 1 << 20 };

static int copy_bytes(struct workspace *w, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off, size_t len, unsigned how, size_t *ret_len)
{
    _cleanup_free_ uint8_t *buf = mem_alloc(len);

    if (!buf)
        return -ENOMEM;
    int r = ws_read(w, from, from_off, len, buf, ret_len);
    return r == 0 && *ret_len ? ws_write(w, to, to_off, buf, *ret_len, how) : r;
}

/* Marks units [first, first + n) of the source's live slot as shared. */
static int share_source(struct workspace *w, uint64_t ino, uint64_t slot, unsigned first, unsigned n)
{
    struct key k = key_extent(ino, slot);
    struct slot s;

    const struct map_entry *e = map_get(w->live->map, k.b, k.len);
    if (!e || e->tombstone || slot_decode(e->val, e->val_len, &s) < 0)
        return -EUCLEAN;
    struct slot old = s;
    for (unsigned i = 0; i < old.count; i++) {
        struct run r = old.runs[i];
        unsigned start = r.start > first ? r.start : first, end = r.start + r.count < (int)(first + n) ? (unsigned)(r.start + r.count) : first + n;
        if (r.kind != RUN_SEG || r.shared || start >= end)
            continue;
        r.unit += start - r.start;
        r.start = (uint8_t)start;
        r.count = (uint8_t)(end - start);
        slot_share(w, &r);
        slot_set(&s, &r);
    }
    slot_store(w, ino, slot, &s);
    return 0;
}

/* The run for what a piece says, or false if it cannot be shared. */
static bool run_of_piece(struct workspace *w, const struct piece *p, struct run *ret)
{
    *ret = (struct run){ .kind = RUN_ZERO, .unit = p->off / UNIT, .chunk = p->chunk };
    switch (p->kind) {
    case PIECE_ZERO:
        ret->unit = 0;
        return true;
    case PIECE_CHUNK:
        ret->kind = RUN_CHUNK;
        return p->off % UNIT == 0;
    case PIECE_SEG:
        ret->kind = RUN_SEG;
        ret->shared = true;
        return p->layer == w->live && p->off % UNIT == 0;
    default:
        return false;
    }
}

/* One step: whole units, within one slot of the source and of the target. 1 done, 0 not sharable. */
static int share_units(struct txn *t, uint64_t from, uint64_t from_off, uint64_t to, struct inode *in, uint64_t to_off, unsigned units, bool fresh)
{
    struct pieces p = { 0 };
    struct slot s;
    unsigned at = (unsigned)(to_off % SLOT / UNIT);
    int r = data_resolve(t->w->view, t->w->live, from, from_off, (uint64_t)units * UNIT, &p);
    struct run run;

    for (size_t i = 0; r == 0 && i < p.count; i++)
        if (!run_of_piece(t->w, &p.v[i], &run) || p.v[i].len % UNIT)
            r = 1;
    if (r != 0) {
        pieces_fini(&p);
        return r < 0 ? r : 0;
    }
    if (map_get(t->w->live->map, key_extent(from, from_off / SLOT).b, 17))
        r = share_source(t->w, from, from_off / SLOT, (unsigned)(from_off % SLOT / UNIT), units);
    if (r == 0 || r == -EUCLEAN)
        r = slot_load(t->w, to, to_off / SLOT, fresh, &s);
    if (r == 0) {
        struct slot old = s;
        unsigned first = at, before = slot_units(&s), after;
        for (size_t i = 0; i < p.count; i++) {
            run_of_piece(t->w, &p.v[i], &run);
            run.start = (uint8_t)at;
            run.count = (uint8_t)(p.v[i].len / UNIT);
            slot_set(&s, &run);
            at += run.count;
        }
        after = slot_units(&s);
        if (after > before && txn_over_quota(t, after - before)) {
            r = -EDQUOT;
        } else {
            slot_release(t->w, &old, first, at);
            slot_store(t->w, to, to_off / SLOT, &s);
            in->units += after;
            in->units -= before < in->units ? before : in->units;
        }
    }
    pieces_fini(&p);
    return r < 0 ? r : 1;
}

/* Shares as much from the start of the range as can be; *ret_len bytes. The last unit of the source may be shared whole if nothing of the target
 * lies behind it. */
static int share_range(struct workspace *w, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off, uint64_t len, unsigned how,
                       uint64_t *ret_len)
{
    struct inode *src, *dst;
    struct txn t;
    bool fresh;
    int r = txn_begin(&t, w, 16 * SLOT_UNITS * 32);

    *ret_len = 0;
    if (r < 0)
        return r;
    r = txn_inode(&t, from, &src);
    if (r == 0)
        r = txn_inode(&t, to, &dst);
    if (r == 0)
        r = inode_is_fresh(w, to, &fresh);
    if (r == 0 && dst->size)
        r = content_unfold_body(&t, to, dst);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    for (r = 0; r >= 0 && *ret_len < len;) {
        uint64_t a = from_off + *ret_len, b = to_off + *ret_len, n = len - *ret_len;
        if (n > SLOT - a % SLOT)
            n = SLOT - a % SLOT;
        if (n > SLOT - b % SLOT)
            n = SLOT - b % SLOT;
        bool tail = n % UNIT && a + n == src->size && b + n >= dst->size;
        uint64_t units = tail ? (n + UNIT - 1) / UNIT : n / UNIT;
        if (units == 0 || (r = ws_reserve(w, 2 * TXN_INODES, 16 * SLOT_UNITS * 32)) < 0)
            break;
        r = share_units(&t, from, a, to, dst, b, (unsigned)units, fresh);
        if (r <= 0)
            break;
        *ret_len += tail ? n : units * UNIT;
    }
    if (to_off + *ret_len > dst->size && *ret_len)
        dst->size = to_off + *ret_len;
    if (*ret_len && !(how & WS_KEEP_TIMES))
        dst->mtime = dst->ctime = t.now;
    if (*ret_len)
        feed_content(w, FEED_CLONE, to, dst, to_off, to_off + *ret_len, 0, from, t.now);
    txn_commit(&t);
    return r < 0 && *ret_len == 0 ? r : 0;
}

static int copy_len(struct workspace *w, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off, uint64_t *len)
{
    struct inode a, b;
    int r = ws_getattr(w, from, &a);

    if (r == 0)
        r = ws_getattr(w, to, &b);
    if (r < 0)
        return r;
    if (!inode_is_reg(&a) || !inode_is_reg(&b))
        return inode_is_dir(&a) || inode_is_dir(&b) ? -EISDIR : -EINVAL;
    if (from_off >= a.size)
        *len = 0;
    else if (*len > a.size - from_off)
        *len = a.size - from_off;
    if (to_off > FILE_SIZE_MAX - *len)
        return -EFBIG;
    return from == to && from_off < to_off + *len && to_off < from_off + *len && *len ? -EINVAL : 0;
}

int ws_copy(struct workspace *w, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off, uint64_t len, unsigned how, uint64_t *ret_len)
{
    uint64_t done = 0, part;
    int r = copy_len(w, from, from_off, to, to_off, &len);
    bool aligned = from_off % UNIT == 0 && to_off % UNIT == 0;

    while (r == 0 && done < len) {
        part = 0;
        if (aligned)
            r = share_range(w, from, from_off + done, to, to_off + done, len - done, how, &part);
        if (r == 0 && part == 0) {
            size_t n = len - done < COPY_STEP ? len - done : COPY_STEP - (from_off + done) % UNIT;
            r = copy_bytes(w, from, from_off + done, to, to_off + done, n, how, &n);
            part = r == 0 ? n : 0;         /* read, but not written: not copied */
        }
        if (r == 0 && part == 0)
            break;
        done += part;
    }
    if (r < 0 && done == 0)
        return r;
    *ret_len = done;
    return 0;
}
