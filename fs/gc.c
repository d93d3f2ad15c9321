/* Garbage collection: mark (mark.c), then delete what is not marked, outermost first: base records, layers, nodes, chunks and space. A crash in between
 * leaves garbage that the next run finds. fold_lock is held while anything is marked or swept, and taken anew for each round of packing. */
#include <errno.h>

#include "base/cleanup.h"
#include "fs/chunk.h"
#include "fs/mark.h"
#include "fs/meta.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"

enum { BATCH_BYTES = 1 << 20 };
#define PACK_ROUND_BYTES (64ull << 20)

DEFINE_CLEANUP(struct batch *, batch_free)

struct gc {
    struct store *store;
    struct mark mark;
    struct batch *b;
    bool dry;
    struct gc_report rep;
};

static int flush(struct gc *g, bool all)
{
    int r = 0;

    if (!g->dry && (all || batch_bytes(g->b) > BATCH_BYTES))
        r = meta_write(g->store->meta, g->b, all);
    if (g->dry || all || batch_bytes(g->b) > BATCH_BYTES)
        batch_clear(g->b);
    return r;
}

static int sweep_bases(struct gc *g)
{
    for (size_t i = 0; i < g->mark.base_count; i++) {
        if (id_vec_has(&g->mark.used_bases, g->mark.bases[i].id))
            continue;
        g->rep.bases++;
        base_delete(g->b, g->mark.bases[i].id);
    }
    return flush(g, false);
}

static int sweep_layers(struct gc *g)
{
    for (size_t i = 0; i < g->mark.keyed_layers.count; i++) {
        if (!mark_layer_is_garbage(&g->mark, g->mark.keyed_layers.v[i]))
            continue;
        g->rep.layers++;
        layer_batch_delete_all(g->b, g->mark.keyed_layers.v[i]);
    }
    return flush(g, true);
}

static int sweep_nodes(struct gc *g)
{
    struct meta_iter *it = meta_iter_new(g->store->meta, CF_NODE);
    int r = 0;

    if (!it)
        return -ENOMEM;
    for (meta_iter_seek(it, "", 0); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, n;
        const uint8_t *key = meta_iter_key(it, &kn);
        struct addr a;

        if (kn == ADDR_BYTES) {
            memcpy(a.b, key, ADDR_BYTES);
            if (addr_set_has(&g->mark.nodes, &a))
                continue;
        }
        meta_iter_val(it, &n);
        g->rep.nodes++;
        g->rep.node_bytes += n;
        batch_delete(g->b, CF_NODE, key, kn);
        r = flush(g, false);
    }
    if (r == 0)
        r = meta_iter_err(it);
    meta_iter_free(it);
    return r < 0 ? r : flush(g, true);
}

static bool keep_chunk(void *arg, const struct addr *a)
{
    const struct gc *g = arg;

    return addr_set_has(&g->mark.chunks, a);
}

static bool skip_segment(void *arg, uint64_t seg)
{
    const struct gc *g = arg;

    return mark_segment_is_busy(&g->mark, seg);
}

static int sweep(struct gc *g)
{
    struct sweep_stats st = { 0 };
    int r = sweep_bases(g);

    if (r == 0)
        r = sweep_layers(g);
    if (r == 0)
        r = sweep_nodes(g);
    if (r == 0)
        r = chunk_sweep(g->store->chunks, keep_chunk, skip_segment, g, g->dry, &st);
    g->rep.chunks = st.chunks;
    g->rep.chunk_bytes = st.chunk_bytes;
    return r;
}

/* Layers that were busy when marked stay so for skip_segment(), others cannot become so: the lock may go between rounds. */
static int pack_all(struct gc *g)
{
    struct pack_stats st = { .more = true };
    int r = 0;

    while (r == 0 && st.more) {
        st = (struct pack_stats){ 0 };
        pthread_mutex_lock(&g->store->fold_lock);
        r = chunk_pack(g->store->chunks, PACK_ROUND_BYTES, skip_segment, g, &st);
        pthread_mutex_unlock(&g->store->fold_lock);
        g->rep.packed_chunks += st.chunks;
        g->rep.packed_in += st.bytes_in;
        g->rep.packed_out += st.bytes_out;
    }
    return r;
}

int verb_gc(struct store *s, bool dry_run, bool pack, struct gc_report *ret)
{
    _cleanup_(batch_free_p) struct batch *b = batch_new();
    struct gc g = { .store = s, .b = b, .dry = dry_run };
    int r;

    if (!b)
        return -ENOMEM;
    pthread_mutex_lock(&s->fold_lock);
    r = mark_all(s, &g.mark);
    if (r == 0)
        r = sweep(&g);
    pthread_mutex_unlock(&s->fold_lock);
    if (r == 0 && pack && !dry_run) {
        mark_unpin(&g.mark);
        r = pack_all(&g);
    }
    mark_fini(&g.mark);
    if (r == 0)
        *ret = g.rep;
    return r;
}
