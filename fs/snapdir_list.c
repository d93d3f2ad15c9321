/* The names in .snap. Finding them takes a look at all snapshots of the store, and a listing comes in many requests: so the list is kept, and made anew when a listing begins after some snapshot
 * of the store was made, renamed or removed. An entry's cookie is its seq: it means the same in each list, so a listing that is under way when the list is made anew goes on where it was. */
#include "fs/snapdir_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "fs/meta.h"
#include "fs/store.h"

struct collect { const char *ws_id; struct snap_list *l; };

static int collect(void *arg, const struct snap_rec *rec)
{
    struct collect *c = arg;
    struct snap_list *l = c->l;

    if (strcmp(rec->ws_id, c->ws_id))
        return 0;
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct snap_name *v = mem_realloc(l->v, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        l->v = v;
        l->cap = cap;
    }
    struct snap_name *n = &l->v[l->count++];
    n->seq = rec->seq;
    strcpy(n->name, rec->name[0] ? rec->name : rec->id);
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    uint64_t x = ((const struct snap_name *)a)->seq, y = ((const struct snap_name *)b)->seq;

    return x < y ? -1 : x > y;
}

void snap_list_unref(struct snap_list *l)
{
    if (!l || --l->refs)
        return;
    free(l->v);
    free(l);
}

static int list_make(struct snapdir *d, struct snap_list **ret)
{
    struct snap_list *l = mem_zalloc(sizeof *l);
    struct collect c = { d->ws_id, l };
    int r;

    if (!l)
        return -ENOMEM;
    l->refs = 1;
    l->as_of = meta_snaps(d->store->meta);
    r = snap_rec_each(d->store->meta, collect, &c);
    if (r) {
        snap_list_unref(l);
        return r;
    }
    if (l->count)
        qsort(l->v, l->count, sizeof *l->v, by_seq);
    *ret = l;
    return 0;
}

/* A reference on the list; the one that is there if it will do. */
static int list_get(struct snapdir *d, bool fresh, struct snap_list **ret)
{
    struct snap_list *l;
    int r;

    pthread_mutex_lock(&d->lock);
    l = d->list;
    if (l && (!fresh || l->as_of == meta_snaps(d->store->meta)))
        l->refs++;
    else
        l = NULL;
    pthread_mutex_unlock(&d->lock);
    if (l) {
        *ret = l;
        return 0;
    }
    r = list_make(d, &l);
    if (r)
        return r;
    pthread_mutex_lock(&d->lock);
    snap_list_unref(d->list);
    d->list = l;
    l->refs++;
    pthread_mutex_unlock(&d->lock);
    *ret = l;
    return 0;
}

int snapdir_each(struct snapdir *d, bool fresh, uint64_t after, snapdir_each_fn *fn, void *arg)
{
    struct snap_list *l;
    size_t low = 0, high;
    int r = list_get(d, fresh, &l);

    if (r)
        return r;
    high = l->count;
    while (low < high) {                  /* the first above */
        size_t mid = low + (high - low) / 2;

        if (l->v[mid].seq > after)
            high = mid;
        else
            low = mid + 1;
    }
    for (; !r && low < l->count; low++)
        r = fn(arg, l->v[low].name, l->v[low].seq);
    pthread_mutex_lock(&d->lock);
    snap_list_unref(l);
    pthread_mutex_unlock(&d->lock);
    return r;
}

int64_t snapdir_changed(struct snapdir *d)
{
    struct timespec now;
    int64_t t;

    clock_real(&now);
    pthread_mutex_lock(&d->lock);
    if (d->seen != meta_snaps(d->store->meta)) {
        d->seen = meta_snaps(d->store->meta);
        d->changed = now.tv_sec;
    }
    t = d->changed;
    pthread_mutex_unlock(&d->lock);
    return t;
}
