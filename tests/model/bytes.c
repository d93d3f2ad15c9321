#include "tests/model/bytes.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cpage { unsigned refs; uint8_t b[BYTES_PAGE]; };

void *xalloc(size_t n) {
    void *p = calloc(1, n ? n : 1);
    if (!p) { fputs("out of memory\n", stderr); abort(); }
    return p;
}

void *xrealloc(void *p, size_t n) {
    p = realloc(p, n ? n : 1);
    if (!p) { fputs("out of memory\n", stderr); abort(); }
    return p;
}

char *xstrdup(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(xalloc(n), s, n);
}

static void page_unref(struct cpage *p) {
    if (!--p->refs) free(p);
}

void bytes_fini(struct bytes *c) {
    for (size_t i = 0; i < c->count; i++) page_unref(c->v[i].page);
    free(c->v);
    *c = (struct bytes){0};
}

struct bytes bytes_clone(const struct bytes *c) {
    struct bytes r = *c;
    r.cap = c->count;
    r.v = xalloc(c->count * sizeof *r.v);
    for (size_t i = 0; i < c->count; i++) {
        r.v[i] = c->v[i];
        r.v[i].page->refs++;
    }
    return r;
}

/* First position whose index >= index. */
static size_t find(const struct bytes *c, uint64_t index) {
    size_t lo = 0, hi = c->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c->v[mid].index < index) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

void bytes_read(const struct bytes *c, uint64_t off, size_t len, uint8_t *dst) {
    memset(dst, 0, len);
    if (!len) return;
    for (size_t i = find(c, off / BYTES_PAGE); i < c->count; i++) {
        uint64_t start = c->v[i].index * BYTES_PAGE, from = off > start ? off : start;
        if (start >= off + len) break;
        uint64_t to = off + len < start + BYTES_PAGE ? off + len : start + BYTES_PAGE;
        memcpy(dst + (from - off), c->v[i].page->b + (from - start), to - from);
    }
}

/* The page at position i, private to this content. */
static uint8_t *own(struct bytes *c, size_t i) {
    struct cpage *p = c->v[i].page;
    if (p->refs > 1) {
        struct cpage *q = xalloc(sizeof *q);
        memcpy(q->b, p->b, BYTES_PAGE);
        q->refs = 1;
        p->refs--;
        c->v[i].page = p = q;
    }
    return p->b;
}

void bytes_write(struct bytes *c, uint64_t off, const uint8_t *src, size_t len) {
    if (!len) return;
    for (uint64_t at = off; at < off + len;) {
        uint64_t index = at / BYTES_PAGE, in = at % BYTES_PAGE, n = BYTES_PAGE - in;
        if (n > off + len - at) n = off + len - at;
        size_t i = find(c, index);
        if (i == c->count || c->v[i].index != index) {
            if (c->count == c->cap) {
                c->cap = c->cap ? c->cap * 2 : 4;
                c->v = xrealloc(c->v, c->cap * sizeof *c->v);
            }
            memmove(c->v + i + 1, c->v + i, (c->count - i) * sizeof *c->v);
            c->count++;
            c->v[i].index = index;
            c->v[i].page = xalloc(sizeof *c->v[i].page);
            c->v[i].page->refs = 1;
        }
        memcpy(own(c, i) + in, src + (at - off), n);
        at += n;
    }
    if (off + len > c->size) c->size = off + len;
}

void bytes_zero(struct bytes *c, uint64_t off, uint64_t len) {
    uint64_t end = len > UINT64_MAX - off ? UINT64_MAX : off + len;
    size_t i = find(c, off / BYTES_PAGE);
    while (i < c->count) {
        uint64_t start = c->v[i].index * BYTES_PAGE, last = start + BYTES_PAGE;
        if (start >= end) break;
        if (start >= off && last <= end) {
            page_unref(c->v[i].page);
            memmove(c->v + i, c->v + i + 1, (c->count - i - 1) * sizeof *c->v);
            c->count--;
            continue;
        }
        uint64_t from = off > start ? off : start, to = end < last ? end : last;
        if (from < to) memset(own(c, i) + (from - start), 0, to - from);
        i++;
    }
}

void bytes_truncate(struct bytes *c, uint64_t size) {
    if (size < c->size) bytes_zero(c, size, UINT64_MAX - size);
    c->size = size;
}

uint64_t bytes_next(const struct bytes *c, uint64_t off) {
    for (size_t i = find(c, off / BYTES_PAGE); i < c->count; i++) {
        uint64_t start = c->v[i].index * BYTES_PAGE;
        for (uint64_t k = off > start ? off - start : 0; k < BYTES_PAGE; k++)
            if (c->v[i].page->b[k]) return start + k;
    }
    return UINT64_MAX;
}
