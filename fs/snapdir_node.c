/* Nodes of .snap: (snapshot, inode) to a number and back, with the kernel's references. Chained tables that grow and shrink with what the kernel remembers. */
#include "fs/snapdir_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"

enum { FIRST = 64 };

int snap_nodes_init(struct snapdir *d)
{
    d->by_node = mem_zalloc(FIRST * sizeof *d->by_node);
    d->by_key = mem_zalloc(FIRST * sizeof *d->by_key);
    d->mask = FIRST - 1;
    return d->by_node && d->by_key ? 0 : -ENOMEM;
}

void snap_nodes_fini(struct snapdir *d)
{
    for (size_t i = 0; d->by_node && i <= d->mask; i++)
        while (d->by_node[i]) {
            struct snap_node *n = d->by_node[i];
            d->by_node[i] = n->next_node;
            free(n);
        }
    free(d->by_node);
    free(d->by_key);
}

static size_t home_of_key(const struct snapdir *d, uint64_t seq, uint64_t ino)
{
    return (size_t)(((ino + seq * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull) >> 24) & d->mask;
}

static size_t home_of_node(const struct snapdir *d, uint64_t node)
{
    return (size_t)node & d->mask;        /* given out one after the other */
}

static void put(struct snapdir *d, struct snap_node *n)
{
    struct snap_node **a = &d->by_node[home_of_node(d, n->node)], **b = &d->by_key[home_of_key(d, n->sn->seq, n->ino)];

    n->next_node = *a;
    *a = n;
    n->next_key = *b;
    *b = n;
}

/* Without memory the chains get longer. */
static void resize(struct snapdir *d, size_t buckets)
{
    struct snap_node **old = d->by_node, **by_node = mem_zalloc(buckets * sizeof *by_node), **by_key = mem_zalloc(buckets * sizeof *by_key);
    size_t mask = d->mask;

    if (!by_node || !by_key) {
        free(by_node);
        free(by_key);
        return;
    }
    free(d->by_key);
    d->by_node = by_node;
    d->by_key = by_key;
    d->mask = buckets - 1;
    for (size_t i = 0; i <= mask; i++)
        while (old[i]) {
            struct snap_node *n = old[i];
            old[i] = n->next_node;
            put(d, n);
        }
    free(old);
}

struct snap_node *snap_node_find(struct snapdir *d, uint64_t node)
{
    struct snap_node *n = d->by_node[home_of_node(d, node)];

    while (n && n->node != node)
        n = n->next_node;
    return n;
}

static struct snap_node *find_key(struct snapdir *d, const struct snap *sn, uint64_t ino)
{
    struct snap_node *n = d->by_key[home_of_key(d, sn->seq, ino)];

    while (n && (n->sn != sn || n->ino != ino))
        n = n->next_key;
    return n;
}

uint64_t snapdir_look(struct snapdir *d, struct snap *sn, uint64_t ino)
{
    struct snap_node *n;
    uint64_t node = 0;

    pthread_mutex_lock(&d->lock);
    n = find_key(d, sn, ino);
    if (!n && (n = mem_zalloc(sizeof *n))) {
        n->sn = sn;
        n->ino = ino;
        n->node = d->next_node++;
        sn->refs++;
        if (d->count++ > d->mask)
            resize(d, (d->mask + 1) * 2);
        put(d, n);
    }
    if (n) {
        n->lookups++;
        node = n->node;
    }
    pthread_mutex_unlock(&d->lock);
    return node;
}

/* Takes it out of both tables. */
static void cut(struct snapdir *d, struct snap_node *n)
{
    struct snap_node **a = &d->by_node[home_of_node(d, n->node)], **b = &d->by_key[home_of_key(d, n->sn->seq, n->ino)];

    while (*a != n)
        a = &(*a)->next_node;
    *a = n->next_node;
    while (*b != n)
        b = &(*b)->next_key;
    *b = n->next_key;
    d->count--;
    if (d->mask >= FIRST * 4 && d->count * 8 < d->mask)
        resize(d, (d->mask + 1) / 2);
}

void snapdir_forget(struct snapdir *d, uint64_t node, uint64_t by)
{
    struct snap_node *n;
    struct snap *gone = NULL;

    pthread_mutex_lock(&d->lock);
    n = snap_node_find(d, node);
    if (n && n->lookups > by) {
        n->lookups -= by;
    } else if (n) {
        cut(d, n);
        gone = snap_unref(d, n->sn);
        free(n);
    }
    pthread_mutex_unlock(&d->lock);
    snap_free(gone);
}

/* Numbers that a workspace gave itself are small: with the snapshot's number above them they are distinct for certain. Those that an import made of paths have 62 bits that look random, and
 * stay so: two of them may come out the same in two snapshots about as often as two paths in one. */
uint64_t snap_st_ino(uint64_t seq, uint64_t ino)
{
    const uint64_t imported = 1ull << 62;

    if (ino < 1ull << 40 && seq < 1ull << 22)
        return SNAPDIR_BIT | seq << 40 | ino;
    return SNAPDIR_BIT | imported | ((ino ^ seq * 0x9e3779b97f4a7c15ull) & (imported - 1));
}
