/* Lines become numbers (equal lines, equal numbers), what is the same at both ends is cut off, and the middle is halved by the
 * bidirectional search of Myers' paper: paths of edit length d are grown from both ends until two meet, and both halves are done in turn.
 * Work is O((N+M)D) and memory O(N+M). When d passes COST_MAX the furthest forward path is taken for the meeting point. */
#include "base/linediff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { COST_MAX = 1024 };

struct work { const uint32_t *a, *b; bool *del, *add; int64_t *v1, *v2; };

/* --- lines to numbers --- */

static int split(const uint8_t *p, size_t n, struct lines *t)
{
    size_t lines = 0, i = 0;

    for (size_t k = 0; k < n; k++)
        lines += p[k] == '\n';
    lines += n && p[n - 1] != '\n';
    if (lines > INT32_MAX)
        return -EFBIG;
    t->v = mem_alloc(lines * sizeof(*t->v));
    t->changed = mem_zalloc(lines);
    if (!t->v || !t->changed)
        return -ENOMEM;
    while (n) {
        const uint8_t *end = memchr(p, '\n', n);
        size_t len = end ? (size_t)(end - p) + 1 : n;
        t->v[i++] = (struct line){ p, len };
        p += len;
        n -= len;
    }
    t->n = lines;
    return 0;
}

struct names { const struct line **slot; uint32_t *number; size_t mask; uint32_t next; };

static uint64_t hash(const struct line *l)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < l->n; i++)
        h = (h ^ l->p[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static uint32_t number_of(struct names *t, const struct line *l)
{
    size_t i = hash(l) & t->mask;

    while (t->slot[i] && (t->slot[i]->n != l->n || memcmp(t->slot[i]->p, l->p, l->n)))
        i = (i + 1) & t->mask;
    if (!t->slot[i]) {
        t->slot[i] = l;
        t->number[i] = t->next++;
    }
    return t->number[i];
}

static int number_all(const struct lines *a, const struct lines *b, uint32_t *na, uint32_t *nb)
{
    size_t size = 16;

    while (size < 2 * (a->n + b->n))
        size *= 2;
    struct names t = { mem_zalloc(size * sizeof(*t.slot)), mem_alloc(size * sizeof(*t.number)), size - 1, 0 };
    int r = t.slot && t.number ? 0 : -ENOMEM;
    for (size_t i = 0; !r && i < a->n; i++)
        na[i] = number_of(&t, &a->v[i]);
    for (size_t i = 0; !r && i < b->n; i++)
        nb[i] = number_of(&t, &b->v[i]);
    free(t.slot);
    free(t.number);
    return r;
}

/* --- the search --- */

/* One end's paths of length d: diagonals from -d to d, without those that left the rectangle. */
struct front { int64_t *v, lo, hi; };

/* Where the path of length d on diagonal k begins its snake. */
static int64_t step(const struct front *f, int64_t off, int64_t d, int64_t k)
{
    if (k == -d || (k != d && f->v[off + k - 1] < f->v[off + k + 1]))
        return f->v[off + k + 1];
    return f->v[off + k - 1] + 1;
}

/* A point through which a shortest path goes, strictly inside; false: nothing is common. Both ends differ: n, m > 0. */
static bool meet(struct work *w, size_t a0, int64_t n, size_t b0, int64_t m, int64_t *ret_x, int64_t *ret_y)
{
    const uint32_t *a = w->a + a0, *b = w->b + b0;
    int64_t max = (n + m + 1) / 2, off = max + 1, len = 2 * max + 3, delta = n - m;
    struct front fw = { w->v1, 0, 0 }, bw = { w->v2, 0, 0 };
    bool odd = delta & 1;

    for (int64_t i = 0; i < len; i++)
        fw.v[i] = bw.v[i] = -1;
    fw.v[off + 1] = bw.v[off + 1] = 0;
    for (int64_t d = 0; d <= max; d++) {
        int64_t best = 0;
        for (int64_t k = -d + fw.lo; k <= d - fw.hi; k += 2) {
            int64_t x = step(&fw, off, d, k), y = x - k;
            while (x < n && y < m && a[x] == b[y])
                x++, y++;
            fw.v[off + k] = x;
            if (x > n) {
                fw.hi += 2;
            } else if (y > m) {
                fw.lo += 2;
            } else {
                int64_t other = off + delta - k;
                if (odd && other >= 0 && other < len && bw.v[other] != -1 && x >= n - bw.v[other]) {
                    *ret_x = x, *ret_y = y;
                    return true;
                }
                if (x + y > best && x + y < n + m)
                    best = x + y, *ret_x = x, *ret_y = y;
            }
        }
        if (d > COST_MAX && best)
            return true;
        for (int64_t k = -d + bw.lo; k <= d - bw.hi; k += 2) {
            int64_t x = step(&bw, off, d, k), y = x - k;
            while (x < n && y < m && a[n - x - 1] == b[m - y - 1])
                x++, y++;
            bw.v[off + k] = x;
            if (x > n) {
                bw.hi += 2;
            } else if (y > m) {
                bw.lo += 2;
            } else {
                int64_t other = off + delta - k;
                if (!odd && other >= 0 && other < len && fw.v[other] != -1 && fw.v[other] >= n - x) {
                    *ret_x = fw.v[other], *ret_y = *ret_x - (other - off);
                    return true;
                }
            }
        }
    }
    return false;
}

/* Recursion halves the edit length, or at the cost limit takes off at least one line: that arm is the loop. */
static void compare(struct work *w, size_t a0, size_t a1, size_t b0, size_t b1)
{
    for (;;) {
        int64_t x = 0, y = 0;
        while (a0 < a1 && b0 < b1 && w->a[a0] == w->b[b0])
            a0++, b0++;
        while (a0 < a1 && b0 < b1 && w->a[a1 - 1] == w->b[b1 - 1])
            a1--, b1--;
        if (a0 == a1 || b0 == b1 || !meet(w, a0, (int64_t)(a1 - a0), b0, (int64_t)(b1 - b0), &x, &y))
            break;
        compare(w, a0, a0 + (size_t)x, b0, b0 + (size_t)y);
        a0 += (size_t)x;
        b0 += (size_t)y;
    }
    if (a1 > a0)
        memset(w->del + a0, 1, a1 - a0);
    if (b1 > b0)
        memset(w->add + b0, 1, b1 - b0);
}

static int run(struct linediff *d)
{
    size_t span = d->a.n + d->b.n + 8;
    uint32_t *na = mem_alloc(d->a.n * sizeof(*na)), *nb = mem_alloc(d->b.n * sizeof(*nb));
    struct work w = { na, nb, d->a.changed, d->b.changed, mem_alloc(span * sizeof(int64_t)), mem_alloc(span * sizeof(int64_t)) };
    int r = na && nb && w.v1 && w.v2 ? number_all(&d->a, &d->b, na, nb) : -ENOMEM;

    if (!r)
        compare(&w, 0, d->a.n, 0, d->b.n);
    free(na);
    free(nb);
    free(w.v1);
    free(w.v2);
    return r;
}

int linediff_make(const void *a, size_t a_n, const void *b, size_t b_n, struct linediff *ret)
{
    struct linediff d = { 0 };
    int r = split(a, a_n, &d.a);

    if (!r)
        r = split(b, b_n, &d.b);
    if (!r)
        r = run(&d);
    if (r) {
        linediff_fini(&d);
        return r;
    }
    for (size_t i = 0; i < d.a.n; i++) {
        d.deleted += d.a.changed[i];
        d.same_bytes += d.a.changed[i] ? 0 : d.a.v[i].n;
    }
    for (size_t i = 0; i < d.b.n; i++)
        d.added += d.b.changed[i];
    *ret = d;
    return 0;
}

void linediff_fini(struct linediff *d)
{
    free(d->a.v);
    free(d->a.changed);
    free(d->b.v);
    free(d->b.changed);
    *d = (struct linediff){ 0 };
}

bool linediff_is_binary(const void *p, size_t n)
{
    return n && memchr(p, 0, n < 8000 ? n : 8000);
}
