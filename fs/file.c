/* Reading and writing file content.
 *
 * The gate is held for reading over all of a write, so that the live layer, its segment and the form of the file stay the same.
 * A write into slots goes in three steps: plan under the locks (where do the bytes go; what of the first and the last unit must be kept), data
 * without them, and then the slot records and the inode in one transaction. Nobody sees new space before the last step.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "fs/redo.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

enum { WRITE_STEP = 1 << 20, SLOTS_MOST = WRITE_STEP / SLOT + 1, CUTS_MOST = SLOT_UNITS };

static int read_once(struct workspace *w, uint64_t ino, uint64_t off, size_t len, uint8_t *dst, size_t *ret_len, uint64_t *ret_epoch)
{
    struct pieces p = { 0 };
    struct inode in;

    ws_lock(w);
    *ret_epoch = w->reuse_epoch;
    int r = ws_get_inode(w, ino, &in);
    if (r == 0 && !inode_is_reg(&in))
        r = inode_is_dir(&in) ? -EISDIR : -EINVAL;
    if (r == 0) {
        uint64_t left = off < in.size ? in.size - off : 0;
        if (len > left)
            len = left;
        r = data_resolve(w->view, w->live, ino, off, len, &p);
    }
    ws_unlock(w);
    if (r == 0)
        r = data_read(w->store, &p, dst);
    pieces_fini(&p);
    if (r == 0)
        *ret_len = len;
    return r;
}

int ws_read(struct workspace *w, uint64_t ino, uint64_t off, size_t len, uint8_t *dst, size_t *ret_len)
{
    uint64_t epoch;
    int r;

    do {   /* space found above may have been freed and used again meanwhile: rare, and then it is read anew */
        r = read_once(w, ino, off, len, dst, ret_len, &epoch);
    } while (r == 0 && epoch != w->reuse_epoch);
    return r;
}

/* --- inline files --- */

bool inode_kill_priv(struct inode *in)
{
    uint32_t mode = in->mode & ~(uint32_t)S_ISUID;

    if (in->mode & S_IXGRP)
        mode &= ~(uint32_t)S_ISGID;
    bool changed = mode != in->mode;
    in->mode = mode;
    return changed;
}

static int touch_written(struct txn *t, uint64_t ino, struct inode *in, unsigned how)
{
    if (!(how & WS_KEEP_TIMES))
        in->mtime = in->ctime = t->now;
    if (how & WS_KILL_PRIV)
        inode_kill_priv(in);
    return ws_drop_caps(t->w, ino, in);
}

/* 1: can be written in inline form; 0: not. */
static int fits_inline(struct txn *t, uint64_t ino, const struct inode *in, uint64_t end, uint8_t body[INLINE_MAX], size_t *ret_n)
{
    struct view_val val;
    uint64_t slot;

    *ret_n = 0;
    if (end > INLINE_MAX || in->size > INLINE_MAX)
        return 0;
    if (in->size == 0)
        return 1;
    int r = data_body(t->w->view, t->w->live, ino, &val);
    if (r < 0)
        return r;
    if (r == 0)
        return (r = slot_next(t->w, ino, 0, &slot)) < 0 ? r : !r;
    *ret_n = val.v.n < INLINE_MAX ? val.v.n : INLINE_MAX;
    memcpy(body, val.v.p, *ret_n);
    view_val_done(&val);
    return 1;
}

/* 1: written, 0: the content is, or now must be, in slots. */
static int write_inline(struct workspace *w, uint64_t ino, uint64_t off, const uint8_t *src, size_t len, unsigned how)
{
    uint8_t body[INLINE_MAX];
    struct inode *in;
    struct txn t;
    size_t n = 0;

    int r = txn_begin_gated(&t, w, 2 * INLINE_MAX);
    if (r < 0)
        return r;
    r = txn_inode(&t, ino, &in);
    if (r == 0 && !inode_is_reg(in))
        r = inode_is_dir(in) ? -EISDIR : -EINVAL;
    if (r == 0)
        r = fits_inline(&t, ino, in, off + len, body, &n);
    bool moved = false;
    if (r == 0 && in->size && off < SLOT) {
        r = content_unfold_body(&t, ino, in);
        moved = r > 0;
        r = r < 0 ? r : 0;
    } else if (r > 0) {
        struct key k = key_simple(ino, KEY_BODY);
        int q = in->units == 0 && txn_over_quota(&t, 1) ? -EDQUOT : touch_written(&t, ino, in, how);
        if (off > n)
            memset(body + n, 0, off - n);
        memcpy(body + off, src, len);
        if (off + len > n)
            n = off + len;
        if (q == 0)
            ws_put(w, &k, body, n);
        if (n > in->size)
            in->size = n;
        in->units = 1;
        if (q == 0)
            feed_content(w, FEED_WRITE, ino, in, off, off + len, 0, 0, t.now);
        r = q < 0 ? q : 1;
    }
    if (r > 0 || moved)
        txn_commit(&t);
    else
        txn_abort(&t);
    return r;
}

/* --- slots --- */

struct cut {                              /* units [start, start + count) of the slot go to this place */
    uint8_t start, count;
    bool fresh;
    uint64_t unit;
};

struct part {                             /* what of one slot is written */
    uint64_t slot;
    uint32_t from, to;
    unsigned count;
    struct cut cuts[CUTS_MOST];
    struct slot now;                      /* the record when the write is published */
};

struct plan {
    struct workspace *w;
    uint64_t ino;
    const uint8_t *src;
    size_t len;
    bool fresh_inode;
    unsigned count;
    struct part parts[SLOTS_MOST];
    struct segment *seg;
    uint8_t head[UNIT], tail[UNIT];       /* kept bytes of a first unit before, of a last unit after the write */
    struct pieces head_pieces, tail_pieces;
    struct redo *redo;                    /* the log that knows of it, in `place`, until it is published */
    int place;
    unsigned new_units, more_units;       /* to be written to new space; of these, where there was nothing */
};

static bool unit_is_owned(const struct slot *s, unsigned unit, uint64_t *ret_at)
{
    for (unsigned i = 0; i < s->count; i++) {
        const struct run *r = &s->runs[i];
        if (unit >= r->start && unit < (unsigned)r->start + r->count) {
            *ret_at = r->unit + (unit - r->start);
            return r->kind == RUN_SEG && !r->shared;
        }
    }
    return false;
}

static bool unit_is_zero(const struct slot *s, unsigned unit)
{
    for (unsigned i = 0; i < s->count; i++)
        if (unit >= s->runs[i].start && unit < (unsigned)s->runs[i].start + s->runs[i].count)
            return s->runs[i].kind == RUN_ZERO;
    return true;
}

static void part_add(struct part *p, unsigned unit, uint64_t at, bool fresh)
{
    struct cut *last = p->count ? &p->cuts[p->count - 1] : NULL;

    if (last && last->fresh == fresh && last->start + last->count == (int)unit && last->unit + last->count == at)
        last->count++;
    else
        p->cuts[p->count++] = (struct cut){ .start = (uint8_t)unit, .count = 1, .fresh = fresh, .unit = at };
}

static int plan_part(struct plan *pl, struct part *p)
{
    unsigned first = p->from / UNIT, end = (p->to + UNIT - 1) / UNIT;
    struct slot s;
    uint64_t at, base;
    int r = slot_load(pl->w, pl->ino, p->slot, pl->fresh_inode, &s);

    p->count = 0;
    for (unsigned u = first; r == 0 && u < end;) {
        if (unit_is_owned(&s, u, &at)) {
            part_add(p, u++, at, false);
            continue;
        }
        unsigned n = 1;
        while (u + n < end && !unit_is_owned(&s, u + n, &at))
            n++;
        r = alloc_units(pl->w, pl->ino, p->slot, u, n, &base);
        for (unsigned i = 0; r == 0 && i < n; i++)
            part_add(p, u + i, base + i, true);
        for (unsigned i = 0; i < n; i++)
            pl->more_units += unit_is_zero(&s, u + i);
        pl->new_units += n;
        u += n;
    }
    return r;
}

/* Bytes of the first and last unit that the write does not cover, where these units move to new space. */
static int plan_kept(struct plan *pl)
{
    struct part *a = &pl->parts[0], *b = &pl->parts[pl->count - 1];
    uint64_t start = a->slot * SLOT + a->from, end = b->slot * SLOT + b->to;
    int r = 0;

    if (start % UNIT && a->cuts[0].fresh)
        r = data_resolve(pl->w->view, pl->w->live, pl->ino, start - start % UNIT, start % UNIT, &pl->head_pieces);
    if (r == 0 && end % UNIT && b->cuts[b->count - 1].fresh)
        r = data_resolve(pl->w->view, pl->w->live, pl->ino, end, UNIT - end % UNIT, &pl->tail_pieces);
    return r;
}

static int plan_make(struct plan *pl, uint64_t off, size_t len)
{
    struct workspace *w = pl->w;
    int r = ws_lock_change(w, false);

    if (r < 0)
        return r;
    r = inode_is_fresh(w, pl->ino, &pl->fresh_inode);
    if (r == 0)
        r = live_segment(w);
    while (r == 0 && len) {
        struct part *p = &pl->parts[pl->count++];
        p->slot = off / SLOT;
        p->from = (uint32_t)(off % SLOT);
        p->to = len < SLOT - p->from ? p->from + (uint32_t)len : SLOT;
        off += p->to - p->from;
        len -= p->to - p->from;
        r = plan_part(pl, p);
    }
    if (r == 0 && pl->more_units && w->rec.quota_bytes && ws_charged(w) + pl->more_units > w->rec.quota_bytes / UNIT)
        r = -EDQUOT;
    if (r == 0)
        r = plan_kept(pl);
    if (r == 0) {
        pl->seg = segment_ref(w->seg);
        w->seg_dirty = true;
        pl->redo = w->redo;
        pl->place = w->redo ? redo_writing(w->redo, pl->ino) : -1;
    }
    ws_unlock(w);
    return r;
}

static int write_cut(struct plan *pl, const struct part *p, const struct cut *c, const uint8_t *src)
{
    uint32_t start = c->start * UNIT, end = start + c->count * UNIT;
    uint32_t from = p->from > start ? p->from : start, to = p->to < end ? p->to : end;
    struct iovec iov[3];
    int n = 0;

    if (c->fresh && from > start)
        iov[n++] = (struct iovec){ pl->head, from - start };
    iov[n++] = (struct iovec){ (void *)(src + (from - p->from)), to - from };
    if (c->fresh && to < end)
        iov[n++] = (struct iovec){ pl->tail, end - to };
    return segment_writev(pl->seg, iov, n, c->unit * UNIT + (c->fresh ? 0 : from - start));
}

static int plan_write(struct plan *pl)
{
    const uint8_t *src = pl->src;
    int r = data_read(pl->w->store, &pl->head_pieces, pl->head);

    if (r == 0)
        r = data_read(pl->w->store, &pl->tail_pieces, pl->tail);
    for (unsigned i = 0; r == 0 && i < pl->count; i++) {
        struct part *p = &pl->parts[i];
        for (unsigned j = 0; r == 0 && j < p->count; j++)
            r = write_cut(pl, p, &p->cuts[j], src);
        src += p->to - p->from;
    }
    return r;
}

static void publish_part(struct plan *pl, struct inode *in, struct part *p)
{
    unsigned before = slot_units(&p->now);
    bool changed = false;

    for (unsigned i = 0; i < p->count; i++) {
        const struct cut *c = &p->cuts[i];
        if (!c->fresh)
            continue;
        slot_release(pl->w, &p->now, c->start, c->start + c->count);
        slot_set(&p->now, &(struct run){ .kind = RUN_SEG, .start = c->start, .count = c->count, .unit = c->unit });
        changed = true;
    }
    if (!changed)
        return;
    slot_store(pl->w, pl->ino, p->slot, &p->now);
    in->units += slot_units(&p->now) - before;
}

/* Units that publishing will add. Exact here only: between the plan and now other writes were published. */
static uint64_t growth(const struct plan *pl)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < pl->count; i++) {
        const struct part *p = &pl->parts[i];
        for (unsigned j = 0; j < p->count; j++)
            for (unsigned u = 0; p->cuts[j].fresh && u < p->cuts[j].count; u++)
                n += unit_is_zero(&p->now, p->cuts[j].start + u);
    }
    return n;
}

/* ws.lock is held. */
static void plan_ended(struct plan *pl)
{
    if (pl->redo && pl->redo == pl->w->redo)
        redo_written(pl->redo, pl->place);
}

static int plan_publish(struct plan *pl, uint64_t end, unsigned how)
{
    struct inode *in;
    struct txn t;
    int r = txn_begin_gated(&t, pl->w, SLOTS_MOST * SLOT_UNITS * 32);

    if (r < 0)
        return r;
    r = txn_inode(&t, pl->ino, &in);
    for (unsigned i = 0; r == 0 && i < pl->count; i++)
        r = slot_load(pl->w, pl->ino, pl->parts[i].slot, pl->fresh_inode, &pl->parts[i].now);
    if (r == 0 && pl->w->rec.quota_bytes && txn_over_quota(&t, growth(pl)))
        r = -EDQUOT;
    if (r == 0)
        r = touch_written(&t, pl->ino, in, how);
    if (r < 0) {
        txn_abort(&t);
        return r;
    }
    pl->w->seg_dirty = true;              /* again: a commit since the plan has synced without these bytes */
    for (unsigned i = 0; i < pl->count; i++)
        publish_part(pl, in, &pl->parts[i]);
    t.times_only = end <= in->size && pl->new_units == 0 && t.e[0].old.mode == in->mode && t.e[0].old.flags == in->flags;
    if (end > in->size)
        in->size = end;
    feed_content(pl->w, FEED_WRITE, pl->ino, in, end - pl->len, end, 0, 0, t.now);
    plan_ended(pl);
    txn_commit(&t);
    return 0;
}

/* A write that failed may have put bytes in place behind the end of the file: it must not grow over them. */
static void undo_tail(struct plan *pl)
{
    struct workspace *w = pl->w;
    uint64_t ino = pl->ino;
    struct inode in;

    if (ws_lock_change(w, false) < 0)
        return;
    int r = ws_get_inode(w, ino, &in);
    if (r == 0)
        r = content_clear_tail(w, ino, &in);
    if (r == 0)
        plan_ended(pl);
    ws_unlock(w);
    if (r < 0)
        log_warn("workspace=%s ino=%llu step=undo_write err=%s", w->rec.id, (unsigned long long)ino, errno_name(r));
}

static int write_slots(struct workspace *w, uint64_t ino, uint64_t off, const uint8_t *src, size_t len, unsigned how)
{
    _cleanup_free_ struct plan *pl = mem_alloc(sizeof *pl);

    if (!pl)
        return -ENOMEM;
    pl->w = w;
    pl->ino = ino;
    pl->src = src;
    pl->len = len;
    pl->count = pl->new_units = pl->more_units = 0;
    pl->seg = NULL;
    pl->head_pieces = pl->tail_pieces = (struct pieces){ 0 };
    memset(pl->head, 0, UNIT);
    memset(pl->tail, 0, UNIT);

    int r = plan_make(pl, off, len);
    if (r == 0)
        r = plan_write(pl);
    if (r == 0)
        r = plan_publish(pl, off + len, how);
    if (r < 0 && pl->seg)
        undo_tail(pl);
    segment_unref(pl->seg);
    pieces_fini(&pl->head_pieces);
    pieces_fini(&pl->tail_pieces);
    return r;
}

static int write_all(struct workspace *w, uint64_t ino, uint64_t off, const uint8_t *src, size_t len, unsigned how)
{
    int r = 0;

    if (len > FILE_SIZE_MAX || off > FILE_SIZE_MAX - len)
        return -EFBIG;
    while (r == 0 && len) {
        size_t n = len < WRITE_STEP - off % WRITE_STEP ? len : WRITE_STEP - off % WRITE_STEP;
        r = ws_lock_change(w, true);      /* waits for room before the gate: a freeze, which makes it, needs the gate */
        if (r < 0)
            return r;
        ws_unlock(w);
        pthread_rwlock_rdlock(&w->gate);
        r = write_inline(w, ino, off, src, n, how);
        if (r == 0)
            r = write_slots(w, ino, off, src, n, how);
        else if (r > 0)
            r = 0;
        pthread_rwlock_unlock(&w->gate);
        off += n;
        src += n;
        len -= n;
    }
    return r;
}

int ws_write(struct workspace *w, uint64_t ino, uint64_t off, const uint8_t *src, size_t len, unsigned how)
{
    return write_all(w, ino, off, src, len, how);
}
