/* The request and the stat record of file operations (file_proto.h), both ends. */
#include "sandbox/file_proto.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { FLAGS_ALL = FILE_NOFOLLOW | FILE_PARENTS | FILE_RECURSIVE | FILE_EXCL | FILE_APPEND | FILE_ADDRESS | FILE_REPLACE | FILE_ATTRS };

void file_request_put(struct buf *b, const struct file_request *q)
{
    buf_put_u8(b, q->op);
    buf_put_u32(b, q->flags);
    buf_put_u32(b, q->mode);
    buf_put_u64(b, q->off);
    buf_put_u64(b, q->len);
    buf_put_u32(b, q->depth);
    buf_put_str(b, q->path);
    buf_put_str(b, q->path2);
    if (q->extra_count > FILE_EXTRA_MAX) {
        b->err = -ENOMEM;
        return;
    }
    buf_put_u16(b, (uint16_t)q->extra_count);
    for (unsigned i = 0; i < q->extra_count; i++)
        buf_put_str(b, q->extra[i]);
}

/* Checked before anything is allocated: the size of the block of strings, or bad. */
static size_t extra_size(struct reader r, unsigned count, struct reader *end)
{
    size_t bytes = (size_t)count * sizeof(char *);

    for (unsigned i = 0; i < count && !r.bad; i++) {
        size_t n = get_u16(&r);
        const uint8_t *p = get_bytes(&r, n);
        if (p && memchr(p, 0, n))
            r.bad = true;
        bytes += n + 1;
    }
    *end = r;
    return bytes;
}

static int extra_get(struct reader *r, struct file_request *q)
{
    unsigned count = get_u16(r);
    struct reader end;

    if (r->bad || count > FILE_EXTRA_MAX)
        return -EBADMSG;
    size_t bytes = extra_size(*r, count, &end);
    if (end.bad)
        return -EBADMSG;
    if (count) {
        q->extra = mem_alloc(bytes);
        if (!q->extra)
            return -ENOMEM;
        char *at = (char *)(q->extra + count);
        for (unsigned i = 0; i < count; i++) {
            size_t n = get_u16(r);
            memcpy(at, get_bytes(r, n), n);
            at[n] = '\0';
            q->extra[i] = at;
            at += n + 1;
        }
    }
    q->extra_count = count;
    *r = end;
    return 0;
}

int file_request_get(struct reader *r, struct file_request *ret)
{
    ret->extra = NULL;
    ret->extra_count = 0;
    ret->op = get_u8(r);
    ret->flags = get_u32(r);
    ret->mode = get_u32(r);
    ret->off = get_u64(r);
    ret->len = get_u64(r);
    ret->depth = get_u32(r);
    get_str(r, ret->path, sizeof ret->path);
    get_str(r, ret->path2, sizeof ret->path2);
    if (r->bad || ret->op < FILE_STAT || ret->op > FILE_ENTRY || ret->flags & ~(uint32_t)FLAGS_ALL || ret->depth > FILE_DEPTH_MAX)
        return -EBADMSG;
    return extra_get(r, ret);
}

void file_request_fini(struct file_request *q)
{
    if (!q)
        return;
    free(q->extra);
    q->extra = NULL;
    q->extra_count = 0;
}

void file_stat_put(struct buf *b, const struct file_stat *s)
{
    buf_put_u32(b, s->mode);
    buf_put_u32(b, s->uid);
    buf_put_u32(b, s->gid);
    buf_put_u32(b, s->nlink);
    buf_put_u64(b, s->size);
    buf_put_u64(b, s->ino);
    buf_put_u64(b, (uint64_t)s->mtime_s);
    buf_put_u32(b, s->mtime_ns);
    buf_put_str(b, s->address);
}

void file_stat_get(struct reader *r, struct file_stat *ret)
{
    ret->mode = get_u32(r);
    ret->uid = get_u32(r);
    ret->gid = get_u32(r);
    ret->nlink = get_u32(r);
    ret->size = get_u64(r);
    ret->ino = get_u64(r);
    ret->mtime_s = (int64_t)get_u64(r);
    ret->mtime_ns = get_u32(r);
    get_str(r, ret->address, sizeof ret->address);
    for (const char *p = ret->address; *p; p++)      /* it goes into an HTTP header */
        if (!strchr("0123456789abcdefs-", *p))
            r->bad = true;
    if (ret->mtime_ns >= 1000000000)
        r->bad = true;
}
