/* The common ancestor. Ancestors of both are looked at from the latest back: a snapshot's parents are older than it (seq), so the first one that both reach is the latest. With merges
 * that cross there can be several that no other descends from; the latest of them is taken. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fs/merge_internal.h"
#include "fs/meta.h"
#include "fs/store.h"

struct seen { uint64_t seq; unsigned of; char id[ID_MAX]; };      /* of: bit 0 reached from a, bit 1 from b */
struct front { struct { struct seen *v; size_t count, cap; } heap; struct ino_map *of; };

/* The heap's latest is v[0]. */
static int push(struct front *f, const struct seen *x)
{
    uint64_t have = 0;

    if (ino_map_get(f->of, x->seq, &have) && (have & x->of) == x->of)
        return 0;
    int r = ino_map_put(f->of, x->seq, have | x->of);
    if (r || have)
        return r;                         /* it waits in the heap, or was taken: only older ones come after it */
    if (!LIST_ADD(&f->heap))
        return -ENOMEM;
    size_t i = f->heap.count - 1;
    for (; i && f->heap.v[(i - 1) / 2].seq < x->seq; i = (i - 1) / 2)
        f->heap.v[i] = f->heap.v[(i - 1) / 2];
    f->heap.v[i] = *x;
    return 0;
}

static struct seen pop(struct front *f)
{
    struct seen top = f->heap.v[0], last = f->heap.v[--f->heap.count];
    size_t i = 0;

    for (size_t k; (k = 2 * i + 1) < f->heap.count; i = k) {
        if (k + 1 < f->heap.count && f->heap.v[k + 1].seq > f->heap.v[k].seq)
            k++;
        if (f->heap.v[k].seq <= last.seq)
            break;
        f->heap.v[i] = f->heap.v[k];
    }
    f->heap.v[i] = last;
    return top;
}

/* One that was removed is passed over: what was before it cannot be reached through it. */
static int push_id(struct store *s, struct front *f, const char *id, unsigned of)
{
    struct snap_rec rec;

    if (!id[0])
        return 0;
    int r = snap_rec_get(s->meta, id, &rec);
    if (r)
        return r == -ENOENT ? 0 : r;
    struct seen x = { .seq = rec.seq, .of = of };
    memcpy(x.id, rec.id, sizeof x.id);
    return push(f, &x);
}

int merge_base(struct store *s, const char *snap_a, const char *snap_b, struct snap_rec *ret)
{
    struct front f = { .of = ino_map_new() };
    uint64_t of = 0;
    int r = f.of ? push_id(s, &f, snap_a, 1) : -ENOMEM;

    if (!r)
        r = push_id(s, &f, snap_b, 2);
    while (!r && f.heap.count) {
        struct seen x = pop(&f);
        struct snap_rec rec;
        ino_map_get(f.of, x.seq, &of);
        r = snap_rec_get(s->meta, x.id, &rec);
        if (r == -ENOENT) {
            r = 0;
            continue;
        }
        if (!r && of == 3) {
            *ret = rec;
            r = 1;
            break;
        }
        if (!r)
            r = push_id(s, &f, rec.parent, (unsigned)of);
        for (uint32_t i = 0; !r && i < rec.merged_count; i++)
            r = push_id(s, &f, rec.merged[i], (unsigned)of);
    }
    free(f.heap.v);
    ino_map_free(f.of);
    return r;
}
