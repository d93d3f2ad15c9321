/* Kernel lookup counts: an open-addressing table from inode number to count, 16 bytes a slot, at most 3/4 full, shrunk when nearly empty. */
#include "fs/ws_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"

struct slot_count {
    uint64_t ino, n;                      /* ino 0: free */
};

struct nlook {
    struct slot_count *v;
    size_t count, mask;
};

enum { FIRST = 16 };

struct nlook *nlook_new(void)
{
    struct nlook *n = mem_zalloc(sizeof *n);

    if (n && !(n->v = mem_zalloc(FIRST * sizeof *n->v))) {
        free(n);
        return NULL;
    }
    if (n)
        n->mask = FIRST - 1;
    return n;
}

void nlook_free(struct nlook *n)
{
    if (!n)
        return;
    free(n->v);
    free(n);
}

static size_t home(const struct nlook *n, uint64_t ino)
{
    return (size_t)((ino * 0x9e3779b97f4a7c15ull) >> 20) & n->mask;
}

static struct slot_count *find(const struct nlook *n, uint64_t ino)
{
    size_t i = home(n, ino);

    while (n->v[i].ino && n->v[i].ino != ino)
        i = (i + 1) & n->mask;
    return &n->v[i];
}

static int resize(struct nlook *n, size_t slots)
{
    struct nlook bigger = { .v = mem_zalloc(slots * sizeof *n->v), .count = n->count, .mask = slots - 1 };

    if (!bigger.v)
        return -ENOMEM;
    for (size_t i = 0; i <= n->mask; i++)
        if (n->v[i].ino)
            *find(&bigger, n->v[i].ino) = n->v[i];
    free(n->v);
    *n = bigger;
    return 0;
}

int nlook_add(struct nlook *n, uint64_t ino, uint64_t by)
{
    if ((n->count + 1) * 4 > (n->mask + 1) * 3 && resize(n, (n->mask + 1) * 2) < 0)
        return -ENOMEM;
    struct slot_count *s = find(n, ino);
    if (!s->ino) {
        s->ino = ino;
        n->count++;
    }
    s->n += by;
    return 0;
}

uint64_t nlook_get(const struct nlook *n, uint64_t ino)
{
    const struct slot_count *s = find(n, ino);

    return s->ino ? s->n : 0;
}

/* Closes the gap at i: entries behind it that could have stood there move up. */
static void remove_at(struct nlook *n, size_t i)
{
    for (size_t j = (i + 1) & n->mask; n->v[j].ino; j = (j + 1) & n->mask) {
        size_t h = home(n, n->v[j].ino);
        if (((j - h) & n->mask) >= ((j - i) & n->mask)) {
            n->v[i] = n->v[j];
            i = j;
        }
    }
    n->v[i] = (struct slot_count){ 0 };
    n->count--;
}

uint64_t nlook_sub(struct nlook *n, uint64_t ino, uint64_t by)
{
    struct slot_count *s = find(n, ino);

    if (!s->ino)
        return 0;
    if (s->n > by)
        return s->n -= by;
    remove_at(n, (size_t)(s - n->v));
    if (n->mask >= FIRST * 4 && n->count * 8 < n->mask)
        (void)!resize(n, (n->mask + 1) / 2);   /* without memory it stays large */
    return 0;
}

int nlook_each(const struct nlook *n, int (*fn)(void *arg, uint64_t ino), void *arg)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i <= n->mask; i++)
        if (n->v[i].ino)
            r = fn(arg, n->v[i].ino);
    return r;
}
