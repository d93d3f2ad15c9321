#include "base/entry_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

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

void entry_put(struct buf *b, const struct entry *e)
{
    size_t at = frame_begin(b, IMPORT_ENTRY);
    bool dev = S_ISCHR(e->mode) || S_ISBLK(e->mode);

    buf_put_str(b, e->path);
    buf_put_u32(b, e->mode);
    buf_put_u32(b, e->uid);
    buf_put_u32(b, e->gid);
    buf_put_u32(b, dev ? e->rdev : 0);
    buf_put_u64(b, (uint64_t)e->mtime_s);
    buf_put_u32(b, e->mtime_ns);
    buf_put_u64(b, S_ISREG(e->mode) ? e->size : 0);
    buf_put_str(b, S_ISLNK(e->mode) ? e->target : NULL);
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

bool entry_path_ok(struct entry_text path, bool may_be_top)
{
    size_t at = 0;

    if (!path.n)
        return may_be_top;
    while (at <= path.n) {
        const char *p = path.p + at, *slash = memchr(p, '/', path.n - at);
        size_t n = slash ? (size_t)(slash - p) : path.n - at;
        if (n == 0 || n > 255 || (n <= 2 && !memcmp(p, "..", n)))
            return false;
        at += n + 1;
    }
    return true;
}

static struct entry_text text_get(struct reader *r)
{
    struct entry_text t = { "", get_u16(r) };
    const uint8_t *p = get_bytes(r, t.n);

    if (p && memchr(p, 0, t.n))
        r->bad = true;
    if (r->bad)
        t.n = 0;
    else if (t.n)
        t.p = (const char *)p;
    return t;
}

static void entry_get(struct reader *r, struct entry_frame *f)
{
    f->path = text_get(r);
    f->mode = get_u32(r);
    f->uid = get_u32(r);
    f->gid = get_u32(r);
    f->rdev = get_u32(r);
    f->mtime_s = (int64_t)get_u64(r);
    f->mtime_ns = get_u32(r);
    f->size = get_u64(r);
    f->other = text_get(r);
    bool dev = S_ISCHR(f->mode) || S_ISBLK(f->mode), link = S_ISLNK(f->mode);
    if (!dev && !link && !S_ISREG(f->mode) && !S_ISDIR(f->mode) && !S_ISFIFO(f->mode) && !S_ISSOCK(f->mode))
        r->bad = true;
    if (f->mode & ~(uint32_t)(S_IFMT | 07777) || f->uid > IMPORT_ID_MAX || f->gid > IMPORT_ID_MAX || f->mtime_ns >= 1000000000 || f->size > INT64_MAX)
        r->bad = true;
    if ((f->size && !S_ISREG(f->mode)) || (f->rdev && !dev) || (f->other.n != 0) != link || (!f->path.n && !S_ISDIR(f->mode)) || !entry_path_ok(f->path, true))
        r->bad = true;
}

static void rest_get(struct reader *r, struct entry_frame *f)
{
    f->n = reader_left(r);
    f->bytes = get_bytes(r, f->n);
}

int entry_frame_get(const uint8_t *p, size_t n, struct entry_frame *ret)
{
    struct entry_frame f = { 0 };
    struct reader r = reader_of(p, n);

    if (n > IMPORT_FRAME_MAX)
        return -EBADMSG;
    f.type = get_u8(&r);
    switch (f.type) {
    case IMPORT_ENTRY: entry_get(&r, &f); break;
    case IMPORT_DATA:
        f.size = get_u64(&r);
        rest_get(&r, &f);
        if (f.n == 0 || f.n > IMPORT_DATA_MAX || f.size > (uint64_t)INT64_MAX - f.n)
            r.bad = true;
        break;
    case IMPORT_XATTR:
        f.path = text_get(&r);
        rest_get(&r, &f);
        if (f.path.n == 0 || f.path.n > 255 || f.n > 65536)
            r.bad = true;
        break;
    case IMPORT_LINK:
        f.path = text_get(&r);
        f.other = text_get(&r);
        if (!entry_path_ok(f.path, false) || !entry_path_ok(f.other, false))
            r.bad = true;
        break;
    case IMPORT_END: f.size = get_u64(&r); break;
    default: r.bad = true;
    }
    if (r.bad || reader_left(&r))
        return -EBADMSG;
    *ret = f;
    return 0;
}
