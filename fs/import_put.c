/* Writers of the entry stream. Linked by the store and by the command's readers: needs libc and base only. */
#include "fs/import.h"

#include <string.h>

#include "base/buf.h"
#include "base/wire.h"

/* The length goes in when the body is known. */
static size_t frame_begin(struct buf *b, uint8_t type)
{
    size_t at = b->len;

    buf_put_u32(b, 0);
    buf_put_u8(b, type);
    return at;
}

static void frame_end(struct buf *b, size_t at)
{
    if (!buf_err(b))
        put_le32(b->data + at, (uint32_t)(b->len - at - 4));
}

void import_put_entry(struct buf *b, const char *path, const struct inode *in, const char *target)
{
    size_t at = frame_begin(b, IMPORT_ENTRY);
    bool dev = S_ISCHR(in->mode) || S_ISBLK(in->mode);

    buf_put_str(b, path);
    buf_put_u32(b, in->mode);
    buf_put_u32(b, in->uid);
    buf_put_u32(b, in->gid);
    buf_put_u32(b, dev ? in->rdev : 0);
    buf_put_u64(b, (uint64_t)in->mtime.sec);
    buf_put_u32(b, in->mtime.ns);
    buf_put_u64(b, inode_is_reg(in) ? in->size : 0);
    buf_put_str(b, S_ISLNK(in->mode) ? target : NULL);
    frame_end(b, at);
}

void import_put_data(struct buf *b, uint64_t off, const void *p, uint32_t n)
{
    size_t at = frame_begin(b, IMPORT_DATA);

    buf_put_u64(b, off);
    buf_put(b, p, n);
    frame_end(b, at);
}

static bool is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

void import_put_content(struct buf *b, uint64_t off, const void *p, size_t n)
{
    const uint8_t *q = p;
    size_t at = 0, run = 0;                  /* run: bytes before `at` that are not sent yet */

    while (at < n) {
        size_t unit = IMPORT_UNIT - (size_t)((off + at) % IMPORT_UNIT);
        if (unit > n - at)
            unit = n - at;
        bool zero = is_zero(q + at, unit);
        if (run && (zero || run + unit > IMPORT_DATA_MAX)) {
            import_put_data(b, off + at - run, q + at - run, (uint32_t)run);
            run = 0;
        }
        at += unit;
        if (!zero)
            run += unit;
    }
    if (run)
        import_put_data(b, off + at - run, q + at - run, (uint32_t)run);
}

void import_put_xattr(struct buf *b, const char *name, const void *val, uint32_t n)
{
    size_t at = frame_begin(b, IMPORT_XATTR);

    buf_put_str(b, name);
    buf_put(b, val, n);
    frame_end(b, at);
}

void import_put_link(struct buf *b, const char *path, const char *existing)
{
    size_t at = frame_begin(b, IMPORT_LINK);

    buf_put_str(b, path);
    buf_put_str(b, existing);
    frame_end(b, at);
}

void import_put_end(struct buf *b, uint64_t entries)
{
    size_t at = frame_begin(b, IMPORT_END);

    buf_put_u64(b, entries);
    frame_end(b, at);
}
