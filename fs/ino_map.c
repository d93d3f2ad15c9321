/* A hash table from inode number to a number: open addressing, at most half full. Inode 0 is the empty slot. */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/side.h"

struct ino_map {
    struct { uint64_t ino, val; } *v;
    size_t size, count;                   /* size: a power of two */
};

enum { SIZE_MIN = 64 };

struct ino_map *ino_map_new(void)
{
    struct ino_map *m = mem_zalloc(sizeof *m);

    if (!m)
        return NULL;
    m->size = SIZE_MIN;
    m->v = mem_zalloc(m->size * sizeof *m->v);
    if (!m->v) {
        free(m);
        return NULL;
    }
    return m;
}

void ino_map_free(struct ino_map *m)
{
    if (m)
        free(m->v);
    free(m);
}

/* The slot that has it, or the empty one where it belongs. */
static size_t slot_of(const struct ino_map *m, uint64_t ino)
{
    size_t i = (size_t)((ino * 0x9e3779b97f4a7c15u) >> 20) & (m->size - 1);

    while (m->v[i].ino && m->v[i].ino != ino)
        i = (i + 1) & (m->size - 1);
    return i;
}

bool ino_map_get(const struct ino_map *m, uint64_t ino, uint64_t *ret)
{
    size_t i = slot_of(m, ino);

    if (!m->v[i].ino)
        return false;
    *ret = m->v[i].val;
    return true;
}

static int grow(struct ino_map *m)
{
    struct ino_map big = { .size = m->size * 2 };

    big.v = mem_zalloc(big.size * sizeof *big.v);
    if (!big.v)
        return -ENOMEM;
    for (size_t i = 0; i < m->size; i++) {
        if (m->v[i].ino)
            big.v[slot_of(&big, m->v[i].ino)] = m->v[i];
    }
    free(m->v);
    m->v = big.v;
    m->size = big.size;
    return 0;
}

int ino_map_put(struct ino_map *m, uint64_t ino, uint64_t val)
{
    if ((m->count + 1) * 2 > m->size) {
        int r = grow(m);
        if (r)
            return r;
    }
    size_t i = slot_of(m, ino);
    m->count += !m->v[i].ino;
    m->v[i].ino = ino;
    m->v[i].val = val;
    return 0;
}
