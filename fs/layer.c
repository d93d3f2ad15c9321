/* Layers: their keys on disk, loading, and retirement.
 *
 * A layer that was folded is not needed by anyone who comes later, only by readers that resolved data in its segment before. When the last
 * of them is gone its keys are deleted and everything in its segment that did not become a chunk is punched out. A crash before that
 * leaves garbage only, which gc finds. */
#include "fs/view.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/key.h"
#include "fs/map.h"
#include "fs/meta.h"
#include "fs/segment.h"
#include "fs/store.h"

enum { TAG_PUT = 0, TAG_TOMBSTONE = 1 };

struct layer *layer_new(struct store *s, uint64_t id)
{
    struct layer *l = mem_zalloc(sizeof *l);

    if (!l)
        return NULL;
    l->map = map_new();
    if (!l->map) {
        free(l);
        return NULL;
    }
    l->refs = 1;
    l->id = id;
    l->store = s;
    return l;
}

static int layer_load_keys(struct layer *l)
{
    struct meta_iter *it = meta_iter_new(l->store->meta, CF_LAYER);
    uint8_t prefix[8];
    int r = 0;

    if (!it)
        return -ENOMEM;
    put_be64(prefix, l->id);
    for (meta_iter_seek(it, prefix, 8); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, vn;
        const uint8_t *k = meta_iter_key(it, &kn), *v = meta_iter_val(it, &vn);
        if (kn < 8 || memcmp(k, prefix, 8))
            break;
        if (!key_valid(k + 8, kn - 8) || vn < 1 || v[0] > TAG_TOMBSTONE)
            r = -EUCLEAN;
        else
            r = map_load(l->map, k + 8, kn - 8, v[0] == TAG_PUT ? v + 1 : NULL, vn - 1);
    }
    if (r == 0)
        r = meta_iter_err(it);
    meta_iter_free(it);
    return r;
}

int layer_load(struct store *s, uint64_t id, struct layer **ret)
{
    struct layer *l = layer_new(s, id);

    if (!l)
        return -ENOMEM;
    int r = layer_load_keys(l);
    if (r < 0) {
        log_error("layer=%llu step=load err=%s", (unsigned long long)id, errno_name(r));
        layer_unref(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct layer *layer_ref(struct layer *l)
{
    l->refs++;
    return l;
}

static int punch_rest(struct layer *l, struct segment *seg)
{
    uint64_t at = 0, size = segment_size(seg);
    int r = 0;

    for (size_t i = 0; r == 0 && i < l->adopted_count; i++) {
        uint64_t from = l->adopted[i].off & ~(uint64_t)(UNIT - 1);
        if (from > at)
            r = segment_punch(seg, at, from - at);
        at = (l->adopted[i].off + l->adopted[i].len + UNIT - 1) & ~(uint64_t)(UNIT - 1);
    }
    if (r == 0 && size > at)
        r = segment_punch(seg, at, ((size + UNIT - 1) & ~(uint64_t)(UNIT - 1)) - at);
    return r;
}

static void layer_retire(struct layer *l)
{
    struct batch *b = batch_new();
    struct segment *seg;
    int r = b ? 0 : -ENOMEM;

    if (b) {
        layer_batch_delete_all(b, l->id);
        r = meta_write(l->store->meta, b, false);
        batch_free(b);
    }
    if (r == 0 && l->adopted_count == 0) {
        r = segment_remove(l->store->segments, l->id);
    } else if (r == 0 && (r = segment_get(l->store->segments, l->id, false, &seg)) == 0) {
        r = punch_rest(l, seg);
        segment_unref(seg);
    }
    if (r < 0 && r != -ENOENT)
        log_warn("layer=%llu step=retire err=%s what=\"space is freed by the next gc\"", (unsigned long long)l->id, errno_name(r));
}

void layer_unref(struct layer *l)
{
    if (!l || --l->refs > 0)
        return;
    if (l->folded)
        layer_retire(l);
    map_free(l->map);
    free(l->adopted);
    free(l);
}

void layer_batch_put(struct batch *b, uint64_t layer_id, const void *key, size_t key_len, const void *val, size_t val_len, bool tombstone)
{
    uint8_t k[8 + KEY_MAX], v[1 + XATTR_VALUE_MAX];

    put_be64(k, layer_id);
    memcpy(k + 8, key, key_len);
    v[0] = tombstone ? TAG_TOMBSTONE : TAG_PUT;
    if (!tombstone && val_len)
        memcpy(v + 1, val, val_len);
    batch_put(b, CF_LAYER, k, 8 + key_len, v, tombstone ? 1 : 1 + val_len);
}

void layer_batch_delete_all(struct batch *b, uint64_t layer_id)
{
    uint8_t from[8], to[8];

    put_be64(from, layer_id);
    put_be64(to, layer_id + 1);
    batch_delete_range(b, CF_LAYER, from, 8, to, 8);
}
