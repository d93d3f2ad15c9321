/* Fixed-width numbers in bytes, and a reader over foreign bytes that never reads past its end. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <string.h>

static inline uint16_t le16(const void *p) { const uint8_t *b = p; return (uint16_t)(b[0] | b[1] << 8); }
static inline uint32_t le32(const void *p) { const uint8_t *b = p; return b[0] | b[1] << 8 | b[2] << 16 | (uint32_t)b[3] << 24; }
static inline uint64_t le64(const void *p) { return le32(p) | (uint64_t)le32((const uint8_t *)p + 4) << 32; }
static inline uint64_t be64(const void *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
static inline void put_le16(void *p, uint16_t v) { uint8_t *b = p; b[0] = (uint8_t)v; b[1] = (uint8_t)(v >> 8); }
static inline void put_le32(void *p, uint32_t v) { put_le16(p, (uint16_t)v); put_le16((uint8_t *)p + 2, (uint16_t)(v >> 16)); }
static inline void put_le64(void *p, uint64_t v) { put_le32(p, (uint32_t)v); put_le32((uint8_t *)p + 4, (uint32_t)(v >> 32)); }
static inline void put_be64(void *p, uint64_t v) { v = __builtin_bswap64(v); memcpy(p, &v, 8); }

/* Reader: `bad` is sticky; after it every get returns 0 / NULL. Check it once at the end. */
struct reader {
    const uint8_t *p, *end;
    bool bad;
};
static inline struct reader reader_of(const void *p, size_t n) { return (struct reader){ p, (const uint8_t *)p + n, false }; }
static inline size_t reader_left(const struct reader *r) { return (size_t)(r->end - r->p); }
/* n bytes in place, or NULL and bad. */
static inline const uint8_t *get_bytes(struct reader *r, size_t n) {
    if (r->bad || reader_left(r) < n) { r->bad = true; return NULL; }
    const uint8_t *q = r->p; r->p += n; return q;
}
static inline uint8_t get_u8(struct reader *r) { const uint8_t *q = get_bytes(r, 1); return q ? *q : 0; }
static inline uint16_t get_u16(struct reader *r) { const uint8_t *q = get_bytes(r, 2); return q ? le16(q) : 0; }
static inline uint32_t get_u32(struct reader *r) { const uint8_t *q = get_bytes(r, 4); return q ? le32(q) : 0; }
static inline uint64_t get_u64(struct reader *r) { const uint8_t *q = get_bytes(r, 8); return q ? le64(q) : 0; }
/* A string written by buf_put_str(), copied into out (NUL added). Bad if it does not fit or holds a NUL. */
void get_str(struct reader *r, char *out, size_t out_size);
