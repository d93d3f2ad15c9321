#include "base/buf.h"
#include "base/alloc.h"
#include "base/wire.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_fini(struct buf *b)
{
    if (!b)
        return;
    free(b->data);
    *b = BUF_INIT;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->err = 0;
}

uint8_t *buf_extend(struct buf *b, size_t n)
{
    size_t need;

    if (b->err)
        return NULL;
    if (__builtin_add_overflow(b->len, n, &need)) {
        b->err = -ENOMEM;
        return NULL;
    }
    if (need > b->cap || !b->data) {
        size_t cap = b->cap * 2 > need ? b->cap * 2 : need;
        if (cap < 64)
            cap = 64;
        uint8_t *data = mem_realloc(b->data, cap);
        if (!data) {
            b->err = -ENOMEM;
            return NULL;
        }
        b->data = data;
        b->cap = cap;
    }
    uint8_t *at = b->data + b->len;
    b->len = need;
    return at;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    uint8_t *at = buf_extend(b, n);
    if (at && n)
        memcpy(at, p, n);
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    buf_put(b, &v, 1);
}

void buf_put_u16(struct buf *b, uint16_t v)
{
    uint8_t *at = buf_extend(b, 2);
    if (at)
        put_le16(at, v);
}

void buf_put_u32(struct buf *b, uint32_t v)
{
    uint8_t *at = buf_extend(b, 4);
    if (at)
        put_le32(at, v);
}

void buf_put_u64(struct buf *b, uint64_t v)
{
    uint8_t *at = buf_extend(b, 8);
    if (at)
        put_le64(at, v);
}

void buf_put_str(struct buf *b, const char *s)
{
    size_t n = s ? strlen(s) : 0;
    if (n > UINT16_MAX) {
        b->err = -ENOMEM;
        return;
    }
    buf_put_u16(b, (uint16_t)n);
    buf_put(b, s, n);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || !buf_extend(b, (size_t)n + 1)) {
        b->err = -ENOMEM;
        return;
    }
    b->len -= 1;
    va_start(ap, fmt);
    vsnprintf((char *)b->data + b->len - n, (size_t)n + 1, fmt, ap);
    va_end(ap);
}

int buf_err(const struct buf *b)
{
    return b->err;
}
