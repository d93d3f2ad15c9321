/* fallocate(2) and lseek(2)'s SEEK_DATA and SEEK_HOLE. Space is not reserved ahead: a promise that copy-on-write could not keep. */
#include <errno.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fs/ws_internal.h"

/* Units in [off, end) that hold no data. Goes through the slots that are there only. */
static int holes_in(struct workspace *w, uint64_t ino, uint64_t off, uint64_t end, uint64_t *ret)
{
    uint64_t first = off / UNIT, last = (end + UNIT - 1) / UNIT, slot = off / SLOT;
    struct view_val body;
    struct slot s;
    int r = data_body(w->view, w->live, ino, &body);

    *ret = last - first;
    if (r > 0) {
        view_val_done(&body);
        *ret -= first == 0;
        slot = slot ? slot : 1;           /* the first has nothing else */
        r = 0;
    }
    while (r == 0 && (r = slot_next(w, ino, slot, &slot)) > 0 && slot < (last + SLOT_UNITS - 1) / SLOT_UNITS) {
        r = slot_load(w, ino, slot, false, &s);
        for (unsigned i = 0; r == 0 && i < s.count; i++) {
            uint64_t a = slot * SLOT_UNITS + s.runs[i].start, b = a + s.runs[i].count;
            a = a < first ? first : a;
            b = b > last ? last : b;
            *ret -= s.runs[i].kind != RUN_ZERO && a < b ? b - a : 0;
        }
        slot++;
    }
    return r < 0 ? r : 0;
}

static int fallocate_checked(struct txn *t, uint64_t ino, int mode, uint64_t off, uint64_t len, unsigned how)
{
    struct inode *in;
    int r = txn_inode(t, ino, &in);

    if (r < 0)
        return r;
    if (!inode_is_reg(in))
        return inode_is_dir(in) ? -EISDIR : -ENODEV;
    uint64_t size = in->size, end = off + len;
    struct workspace *w = t->w;
    uint64_t need = 0;
    if (!(mode & FALLOC_FL_PUNCH_HOLE) && w->rec.quota_bytes)
        r = holes_in(w, ino, off, end, &need);
    if (r == 0 && need && txn_over_quota(t, need))
        r = -EDQUOT;
    if (r < 0)
        return r;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && off < size)
        r = content_zero(t, ino, in, off, (end < size ? end : size) - off);
    if (r == 0 && !(mode & FALLOC_FL_KEEP_SIZE) && end > size)
        r = content_truncate(t, ino, in, end);
    if (r < 0)
        return r;
    if (!(how & WS_KEEP_TIMES))
        in->mtime = in->ctime = t->now;
    feed_content(w, FEED_WRITE, ino, in, off, end, mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) ? FEED_ZEROED : 0, 0, t->now);
    return 0;
}

int ws_fallocate(struct workspace *w, uint64_t ino, int mode, uint64_t off, uint64_t len, unsigned how)
{
    struct txn t;

    if (len == 0 || mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return len ? -EOPNOTSUPP : -EINVAL;
    if ((mode & FALLOC_FL_PUNCH_HOLE && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)))
        return -EOPNOTSUPP;
    if (len > FILE_SIZE_MAX || off > FILE_SIZE_MAX - len)
        return -EFBIG;
    int r = txn_begin(&t, w, INLINE_MAX);
    if (r < 0)
        return r;
    r = fallocate_checked(&t, ino, mode, off, len, how);
    if (t.count)
        txn_commit(&t);
    else
        txn_abort(&t);
    return r;
}

/* From off on, the first byte that is data (or not); *ret = limit if there is none before limit. One slot. Holes begin on units: what is zero
 * behind the end of a body or of its last written byte is data. */
static int seek_in_slot(struct workspace *w, uint64_t ino, uint64_t off, uint64_t limit, bool want_data, uint64_t *ret)
{
    struct pieces p = { 0 };
    int r = data_resolve(w->view, w->live, ino, off, limit - off, &p);

    *ret = limit;
    for (size_t i = 0; r == 0 && i < p.count; i++) {
        uint64_t start = off, end = off + p.v[i].len;
        if (p.v[i].kind == PIECE_ZERO && i > 0)
            start = (start + UNIT - 1) / UNIT * UNIT;
        if ((p.v[i].kind != PIECE_ZERO) == want_data && start < end) {
            *ret = start;
            break;
        }
        off = end;
    }
    pieces_fini(&p);
    return r;
}

static uint64_t slot_end(uint64_t off, uint64_t size)
{
    uint64_t end = off - off % SLOT + SLOT;

    return end < size ? end : size;
}

static int seek_data(struct workspace *w, uint64_t ino, uint64_t off, uint64_t size, uint64_t *ret)
{
    while (off < size) {
        uint64_t found, slot, limit = slot_end(off, size);
        int r = seek_in_slot(w, ino, off, limit, true, &found);
        if (r < 0)
            return r;
        if (found < limit) {
            *ret = found;
            return 0;
        }
        r = slot_next(w, ino, limit / SLOT, &slot);
        if (r <= 0)
            return r < 0 ? r : -ENXIO;
        off = slot * SLOT > limit ? slot * SLOT : limit;
    }
    return -ENXIO;
}

static int seek_hole(struct workspace *w, uint64_t ino, uint64_t off, uint64_t size, uint64_t *ret)
{
    while (off < size) {
        uint64_t limit = slot_end(off, size);
        int r = seek_in_slot(w, ino, off, limit, false, ret);
        if (r < 0 || *ret < limit)
            return r;
        off = limit;
    }
    *ret = size;
    return 0;
}

int ws_lseek(struct workspace *w, uint64_t ino, uint64_t off, int whence, uint64_t *ret_off)
{
    struct inode in;

    ws_lock(w);
    int r = ws_get_inode(w, ino, &in);
    if (r == 0 && off >= in.size)
        r = -ENXIO;
    if (r == 0 && whence == SEEK_DATA)
        r = seek_data(w, ino, off, in.size, ret_off);
    else if (r == 0 && whence == SEEK_HOLE)
        r = seek_hole(w, ino, off, in.size, ret_off);
    else if (r == 0)
        r = -EINVAL;
    ws_unlock(w);
    return r;
}
