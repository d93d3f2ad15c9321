/* Bytes of one file in the model: sparse, in pages shared between clones. Test code: out of memory ends the program. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { BYTES_PAGE = 4096 };
struct cpage;
struct bytes {
    uint64_t size;
    struct { uint64_t index; struct cpage *page; } *v;   /* ascending; what is absent is zero */
    size_t count, cap;
};

void bytes_fini(struct bytes *c);
struct bytes bytes_clone(const struct bytes *c);
/* Bytes past the size read as zero, so that callers may look at whole sectors. */
void bytes_read(const struct bytes *c, uint64_t off, size_t len, uint8_t *dst);
void bytes_write(struct bytes *c, uint64_t off, const uint8_t *src, size_t len);   /* extends the size */
void bytes_zero(struct bytes *c, uint64_t off, uint64_t len);                      /* keeps the size */
void bytes_truncate(struct bytes *c, uint64_t size);
/* Offset >= off of the first byte that is not zero, or UINT64_MAX. */
uint64_t bytes_next(const struct bytes *c, uint64_t off);

void *xalloc(size_t n);                                   /* zeroed */
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
