/* Marking: what must be kept.
 *
 * Candidates for removal are taken first (segment files, layers with keys), then, in one hold of store->lock, the roots: an iterator over all
 * records (it sees the store as of its making), the loaded views, and the open workspaces with their live layers. Invariants that make this enough:
 *  1. Whoever will write a record that names a base holds the view of that base from before until after the write, and the view was in the
 *     table while the record that led to it was still there (snap_view). So at any moment a base in use is named by a record or loaded.
 *  2. A live layer has no keys and no segment before it is reachable from a record or an open workspace. So what was there before the moment and is
 *     not reachable at it is not a layer about to be used.
 *  3. Chunk references that enter layers later come from states reachable at the moment.
 *  4. Nodes, chunks and folded bases are made under fold_lock only, which the caller holds.
 * A layer that was folded in this process can still be read by those who resolved data in it before; until it is retired its keys exist. So a
 * layer with keys and no owner is garbage only if it was not frozen when the store was opened and is older than that. */
#include "fs/mark.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/key.h"
#include "fs/map.h"
#include "fs/meta.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/tree.h"
#include "fs/view.h"
#include "fs/workspace.h"

/* --- candidates --- */

static int note_segment(void *arg, uint64_t id)
{
    return id_vec_add(arg, id);
}

/* One seek per layer. */
static int note_keyed_layers(struct mark *m)
{
    struct meta_iter *it = meta_iter_new(m->store->meta, CF_LAYER);
    uint8_t next[8] = { 0 };
    int r = 0;

    if (!it)
        return -ENOMEM;
    for (meta_iter_seek(it, next, 8); r == 0 && meta_iter_valid(it); meta_iter_seek(it, next, 8)) {
        size_t n;
        const uint8_t *key = meta_iter_key(it, &n);
        uint64_t id = n >= 8 ? be64(key) : 0;

        if (n < 8 || id == UINT64_MAX)
            r = -EUCLEAN;
        else
            r = id_vec_add(&m->keyed_layers, id);
        put_be64(next, id + 1);
    }
    if (r == 0)
        r = meta_iter_err(it);
    meta_iter_free(it);
    id_vec_sort(&m->keyed_layers);
    return r;
}

/* --- roots --- */

static int take_base(struct mark *m, const uint8_t *p, size_t n)
{
    if (m->base_count == m->base_cap) {
        size_t cap = m->base_cap ? m->base_cap * 2 : 64;
        struct base_rec *bases = mem_realloc(m->bases, cap * sizeof *bases);

        if (!bases)
            return -ENOMEM;
        m->bases = bases;
        m->base_cap = cap;
    }
    return base_decode(p, n, &m->bases[m->base_count]) < 0 ? -EUCLEAN : (m->base_count++, 0);
}

static int take_ws(struct mark *m, const uint8_t *p, size_t n)
{
    struct ws_rec rec;
    int r = ws_rec_decode(p, n, &rec);

    if (r == 0)
        r = id_vec_add(&m->ws_bases, rec.base);
    return r < 0 ? r : id_vec_add(&m->ws_live, rec.live);
}

static int take_snap(struct mark *m, const uint8_t *p, size_t n)
{
    struct snap_rec rec;
    int r = snap_rec_decode(p, n, &rec);

    return r < 0 ? r : id_vec_add(&m->snap_bases, rec.base);
}

static int take_records(struct mark *m, struct meta_iter *it)
{
    int r = 0;

    for (meta_iter_seek(it, "", 0); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, n;
        const uint8_t *key = meta_iter_key(it, &kn), *val = meta_iter_val(it, &n);

        if (kn > 1 && key[0] == 'b')
            r = take_base(m, val, n);
        else if (kn > 1 && key[0] == 'w')
            r = take_ws(m, val, n);
        else if (kn > 1 && key[0] == 's')
            r = take_snap(m, val, n);
    }
    return r < 0 ? r : meta_iter_err(it);
}

/* store->lock is held. */
static int take_tables(struct mark *m)
{
    struct store *s = m->store;
    size_t views = 0, open = 0;

    for (struct view *v = s->views; v; v = v->next)
        views++;
    for (struct workspace *w = s->workspaces; w; w = w->next)
        open++;
    m->views = mem_zalloc(views * sizeof *m->views);
    m->live = mem_zalloc(open * sizeof *m->live);
    if (!m->views || !m->live)
        return -ENOMEM;
    for (struct view *v = s->views; v; v = v->next)
        m->views[m->view_count++] = view_ref(v);
    for (struct workspace *w = s->workspaces; w; w = w->next) {
        pthread_mutex_lock(&w->lock);
        m->live[m->live_count++] = (struct mark_live){ workspace_ref(w), layer_ref(w->live) };
        pthread_mutex_unlock(&w->lock);
    }
    return 0;
}

static int take_roots(struct mark *m)
{
    struct store *s = m->store;
    struct meta_iter *it;
    int r;

    pthread_mutex_lock(&s->lock);
    it = meta_iter_new(s->meta, CF_OBJECT);
    r = it ? take_tables(m) : -ENOMEM;
    pthread_mutex_unlock(&s->lock);
    if (r == 0)
        r = take_records(m, it);
    meta_iter_free(it);
    return r;
}

/* --- trees and layers --- */

static int enter_node(void *arg, const struct addr *a)
{
    struct mark *m = arg;

    return addr_set_add(&m->nodes, a, NULL);
}

static int mark_node(void *arg, const struct addr *a, uint8_t level, const struct node *n)
{
    struct mark *m = arg;
    struct addr chunk;

    for (uint32_t i = 0; level == 0 && i < n->count; i++) {
        const struct node_entry *e = &n->entries[i];

        if (e->key_len < 9 || key_kind_of(e->key) != KEY_EXTENT)
            continue;
        if (e->val_len != EXTENT_BYTES)
            return -EUCLEAN;
        memcpy(chunk.b, e->val, ADDR_BYTES);
        int r = addr_set_add(&m->chunks, &chunk, NULL);
        if (r < 0)
            return r;
    }
    return 1;
}

static int mark_tree(struct mark *m, const struct addr *root)
{
    return addr_is_zero(root) ? 0 : tree_walk(m->store->nodes, root, enter_node, mark_node, m);
}

static int mark_slot(struct mark *m, const uint8_t *p, size_t n)
{
    struct slot s;
    int r = slot_decode(p, n, &s);

    for (unsigned i = 0; r >= 0 && i < s.count; i++) {
        if (s.runs[i].kind == RUN_CHUNK)
            r = addr_set_add(&m->chunks, &s.runs[i].chunk, NULL);
    }
    return r < 0 ? r : 0;
}

static int mark_map(struct mark *m, const struct map *map)
{
    struct map_iter it;
    int r = 0;

    for (const struct map_entry *e = map_seek(map, &it, "", 0); r == 0 && e; e = map_next(&it)) {
        if (!e->tombstone && e->key_len >= 9 && key_kind_of(e->key) == KEY_EXTENT)
            r = mark_slot(m, e->val, e->val_len);
    }
    return r;
}

/* A layer that is not loaded. Key: layer (8) and key; value: tag (0 put) and bytes. */
static int mark_stored_layer(struct mark *m, uint64_t layer)
{
    struct meta_iter *it = meta_iter_new(m->store->meta, CF_LAYER);
    uint8_t prefix[8];
    int r = 0;

    if (!it)
        return -ENOMEM;
    put_be64(prefix, layer);
    for (meta_iter_seek(it, prefix, 8); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, n;
        const uint8_t *key = meta_iter_key(it, &kn), *val = meta_iter_val(it, &n);

        if (kn < 8 || memcmp(key, prefix, 8) != 0)
            break;
        if (kn >= 8 + 9 && key_kind_of(key + 8) == KEY_EXTENT && n > 1 && val[0] == 0)
            r = mark_slot(m, val + 1, n - 1);
    }
    if (r == 0)
        r = meta_iter_err(it);
    meta_iter_free(it);
    return r;
}

/* --- all --- */

static const struct base_rec *find_base(const struct mark *m, uint64_t id)
{
    size_t lo = 0, hi = m->base_count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (m->bases[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < m->base_count && m->bases[lo].id == id ? &m->bases[lo] : NULL;
}

/* The base and what stands under it. A view that is loaded has been seen before (used_bases is sorted up to then by the caller). */
static int mark_base(struct mark *m, const struct id_vec *done, uint64_t id)
{
    for (int depth = 0; !id_vec_has(done, id); depth++) {
        const struct base_rec *b = find_base(m, id);
        int r;

        if (!b || depth > 64) {
            log_error("gc base=%llu err=EUCLEAN what=\"a record names it and it is not there\"", (unsigned long long)id);
            return -EUCLEAN;
        }
        r = id_vec_add(&m->used_bases, id);
        if (r < 0 || !b->layer)
            return r < 0 ? r : mark_tree(m, &b->root);
        r = id_vec_add(&m->used_layers, b->layer);
        if (r == 0)
            r = mark_stored_layer(m, b->layer);
        if (r < 0)
            return r;
        id = b->parent;
    }
    return 0;
}

static int mark_views(struct mark *m)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < m->view_count; i++) {
        struct view *v = m->views[i];      /* fold_lock is held: it does not change */

        r = id_vec_add(&m->used_bases, v->rec.id);
        if (r == 0 && v->layer)
            r = id_vec_add(&m->used_layers, v->layer->id);
        if (r == 0)
            r = v->layer ? mark_map(m, v->layer->map) : mark_tree(m, &v->rec.root);
    }
    return r;
}

static int mark_live_layers(struct mark *m)
{
    struct id_vec loaded = { 0 };
    int r = 0;

    for (size_t i = 0; r == 0 && i < m->live_count; i++) {
        r = id_vec_add(&m->used_layers, m->live[i].layer->id);
        if (r == 0)
            r = id_vec_add(&loaded, m->live[i].layer->id);
        if (r < 0)
            break;
        pthread_mutex_lock(&m->live[i].ws->lock);
        r = mark_map(m, m->live[i].layer->map);
        pthread_mutex_unlock(&m->live[i].ws->lock);
    }
    id_vec_sort(&loaded);
    for (size_t i = 0; r == 0 && i < m->ws_live.count; i++) {
        r = id_vec_add(&m->used_layers, m->ws_live.v[i]);
        if (r == 0 && !id_vec_has(&loaded, m->ws_live.v[i]))
            r = mark_stored_layer(m, m->ws_live.v[i]);
    }
    id_vec_fini(&loaded);
    return r;
}

static int mark_named(struct mark *m, struct id_vec *named, const struct id_vec *loaded)
{
    int r = 0;

    id_vec_sort(named);
    for (size_t i = 0; r == 0 && i < named->count; i++)
        r = mark_base(m, loaded, named->v[i]);
    return r;
}

static int mark_roots(struct mark *m)
{
    struct id_vec loaded = { 0 };
    int r = mark_views(m);

    for (size_t i = 0; r == 0 && i < m->view_count; i++)
        r = id_vec_add(&loaded, m->views[i]->rec.id);
    id_vec_sort(&loaded);
    if (r == 0)
        r = mark_named(m, &m->ws_bases, &loaded);
    if (r == 0)
        r = mark_named(m, &m->snap_bases, &loaded);
    id_vec_fini(&loaded);
    if (r == 0)
        r = mark_live_layers(m);
    id_vec_sort(&m->used_bases);
    id_vec_sort(&m->used_layers);
    return r;
}

int mark_all(struct store *s, struct mark *m)
{
    int r;

    *m = (struct mark){ .store = s, .nodes = ADDR_SET(0), .chunks = ADDR_SET(0) };
    r = segments_each(s->segments, note_segment, &m->segments);
    id_vec_sort(&m->segments);
    if (r == 0)
        r = note_keyed_layers(m);
    if (r == 0)
        r = take_roots(m);
    if (r == 0)
        r = mark_roots(m);
    if (r < 0)
        mark_fini(m);
    return r;
}

void mark_unpin(struct mark *m)
{
    for (size_t i = 0; i < m->view_count; i++)
        view_unref(m->views[i]);
    for (size_t i = 0; i < m->live_count; i++) {
        layer_unref(m->live[i].layer);
        workspace_unref(m->live[i].ws);
    }
    m->view_count = m->live_count = 0;
    addr_set_fini(&m->nodes);
    addr_set_fini(&m->chunks);
}

void mark_fini(struct mark *m)
{
    mark_unpin(m);
    free(m->views);
    free(m->live);
    free(m->bases);
    id_vec_fini(&m->segments);
    id_vec_fini(&m->keyed_layers);
    id_vec_fini(&m->ws_bases);
    id_vec_fini(&m->snap_bases);
    id_vec_fini(&m->ws_live);
    id_vec_fini(&m->used_bases);
    id_vec_fini(&m->used_layers);
    *m = (struct mark){ 0 };
}

static int cmp_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

bool mark_layer_is_garbage(const struct mark *m, uint64_t layer)
{
    const struct store *s = m->store;

    if (id_vec_has(&m->used_layers, layer) || layer >= s->opened_at)
        return false;
    return !s->frozen_at_open_count || !bsearch(&layer, s->frozen_at_open, s->frozen_at_open_count, sizeof layer, cmp_id);
}

bool mark_segment_is_busy(const struct mark *m, uint64_t seg)
{
    if (!id_vec_has(&m->segments, seg) || id_vec_has(&m->used_layers, seg))
        return true;
    return id_vec_has(&m->keyed_layers, seg) && !mark_layer_is_garbage(m, seg);
}
