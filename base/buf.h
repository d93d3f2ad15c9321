/* A growable byte buffer. Errors are sticky: append what you like, look at buf_err() once. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data;
    size_t len, cap;
    int err;              /* 0 or -ENOMEM; once set, appends do nothing */
};

#define BUF_INIT ((struct buf){0})
void buf_fini(struct buf *b);                     /* frees and zeroes; NULL is fine */
void buf_clear(struct buf *b);                    /* length and error to 0, memory kept */
/* Makes room for n more bytes and returns where they go (length is advanced), or NULL (error set). */
uint8_t *buf_extend(struct buf *b, size_t n);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);      /* little-endian, as all of the formats */
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_str(struct buf *b, const char *s);   /* u16 length, bytes; NULL as empty; longer than 65535 sets -ENOMEM */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* no NUL is counted */
int buf_err(const struct buf *b);
