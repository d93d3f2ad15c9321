/* Where the bytes of a file are, over the levels of a workspace or view.
 *
 * At each level a file's slot 0 may be given by a BODY (the file is in inline form there), by a slot record, or not at all; other slots by a
 * slot record or not at all. A slot record's BELOW runs, and silence, pass the question on to the next level. A tombstone of BODY says that
 * bodies further down do not count. Resolution happens under the locks and yields pieces that hold references; reading needs no lock. */
#include "fs/view.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/chunk.h"
#include "fs/key.h"
#include "fs/map.h"
#include "fs/segment.h"
#include "fs/store.h"

struct range {
    uint64_t ino, slot;
    uint32_t from, to;                    /* bytes within the slot */
};

void pieces_fini(struct pieces *p)
{
    for (size_t i = 0; i < p->count; i++) {
        layer_unref(p->v[i].layer);
        free(p->v[i].mem);
    }
    free(p->v);
    *p = (struct pieces){ 0 };
}

/* Appends; takes layer and mem on success only. */
static int piece_add(struct pieces *out, const struct piece *p)
{
    struct piece *last = out->count ? &out->v[out->count - 1] : NULL;

    if (last && p->kind == PIECE_ZERO && last->kind == PIECE_ZERO && (uint64_t)last->len + p->len <= UINT32_MAX) {
        last->len += p->len;
        return 0;
    }
    if (out->count == out->cap) {
        size_t cap = out->cap ? out->cap * 2 : 8;
        struct piece *v = mem_realloc(out->v, cap * sizeof *v);
        if (!v)
            return -ENOMEM;
        out->v = v;
        out->cap = cap;
    }
    out->v[out->count++] = *p;
    return 0;
}

static int add_zero(struct pieces *out, uint32_t len)
{
    return len ? piece_add(out, &(struct piece){ .kind = PIECE_ZERO, .len = len }) : 0;
}

static int add_seg(struct pieces *out, struct layer *l, uint64_t off, uint32_t len)
{
    struct piece p = { .kind = PIECE_SEG, .len = len, .off = off, .layer = layer_ref(l) };
    int r = piece_add(out, &p);

    if (r < 0)
        layer_unref(l);
    return r;
}

static int add_chunk(struct pieces *out, const struct addr *a, uint64_t off, uint32_t len)
{
    return piece_add(out, &(struct piece){ .kind = PIECE_CHUNK, .len = len, .off = off, .chunk = *a });
}

static int add_body(struct pieces *out, const struct range *g, const uint8_t *body, size_t n)
{
    uint32_t end = g->to < n ? g->to : (uint32_t)n, len = end > g->from ? end - g->from : 0;
    int r = 0;

    if (len) {
        struct piece p = { .kind = PIECE_MEM, .len = len, .mem = mem_dup(body + g->from, len) };
        r = p.mem ? piece_add(out, &p) : -ENOMEM;
        if (r < 0)
            free(p.mem);
    }
    return r < 0 ? r : add_zero(out, g->to - g->from - len);
}

static int resolve_tree(struct view *base, const struct range *g, bool body_hidden, struct pieces *out)
{
    struct node_cache *c = base->store->nodes;
    struct tree_val val = { 0 };
    int r = 0;

    if (g->slot == 0 && !body_hidden) {
        struct key bk = key_simple(g->ino, KEY_BODY);
        r = tree_get(c, &base->rec.root, bk.b, bk.len, &val);
        if (r > 0)
            r = add_body(out, g, val.p, val.n);
        else if (r == 0)
            r = -ENODATA;
        tree_val_done(&val);
        if (r != -ENODATA)
            return r;
    }
    struct key ek = key_extent(g->ino, g->slot);
    r = tree_get(c, &base->rec.root, ek.b, ek.len, &val);
    if (r == 0)
        return add_zero(out, g->to - g->from);
    if (r < 0)
        return r;
    struct addr a;
    if (val.n != EXTENT_BYTES)
        r = -EUCLEAN;
    else {
        memcpy(a.b, val.p, ADDR_BYTES);
        r = add_chunk(out, &a, g->from, g->to - g->from);
    }
    tree_val_done(&val);
    return r;
}

static int resolve_from(struct view *v, struct layer *live, const struct range *g, bool body_hidden, struct pieces *out);

static int resolve_runs(const struct slot *s, struct layer *l, struct view *below, const struct range *g, bool body_hidden, struct pieces *out)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < s->count; i++) {
        const struct run *run = &s->runs[i];
        uint32_t start = run->start * UNIT, end = start + run->count * UNIT;
        uint32_t from = g->from > start ? g->from : start, to = g->to < end ? g->to : end;
        if (from >= to)
            continue;
        struct range part = { g->ino, g->slot, from, to };
        switch (run->kind) {
        case RUN_SEG:
            r = add_seg(out, l, run->unit * UNIT + (from - start), to - from);
            break;
        case RUN_CHUNK:
            r = add_chunk(out, &run->chunk, run->unit * UNIT + (from - start), to - from);
            break;
        case RUN_BELOW:
            r = resolve_from(below, NULL, &part, body_hidden, out);
            break;
        default:
            r = add_zero(out, to - from);
        }
    }
    return r;
}

/* The inode was deleted in this layer; one above has made it again (a restore). Nothing from here on down counts. */
static bool is_deleted(const struct layer *l, uint64_t ino)
{
    struct key k = key_simple(ino, KEY_INODE);
    const struct map_entry *e = map_get(l->map, k.b, k.len);

    return e && e->tombstone;
}

static int resolve_layer(struct layer *l, struct view *below, const struct range *g, bool body_hidden, struct pieces *out)
{
    struct key ek = key_extent(g->ino, g->slot);
    struct slot s;

    if (is_deleted(l, g->ino))
        return add_zero(out, g->to - g->from);
    if (g->slot == 0) {
        struct key bk = key_simple(g->ino, KEY_BODY);
        const struct map_entry *b = map_get(l->map, bk.b, bk.len);
        if (b && !b->tombstone && !body_hidden)
            return add_body(out, g, b->val, b->val_len);
        if (b)
            body_hidden = true;
    }
    const struct map_entry *e = map_get(l->map, ek.b, ek.len);
    if (!e)
        return resolve_from(below, NULL, g, body_hidden, out);
    if (e->tombstone)
        return add_zero(out, g->to - g->from);
    if (slot_decode(e->val, e->val_len, &s) < 0)
        return -EUCLEAN;
    return resolve_runs(&s, l, below, g, body_hidden, out);
}

/* Recursion is as deep as there are unfolded layers: FROZEN_MAX + 1. */
static int resolve_from(struct view *v, struct layer *live, const struct range *g, bool body_hidden, struct pieces *out)
{
    if (live)
        return resolve_layer(live, v, g, body_hidden, out);
    if (!v)
        return add_zero(out, g->to - g->from);
    if (v->layer)
        return resolve_layer(v->layer, v->parent, g, body_hidden, out);
    return resolve_tree(v, g, body_hidden, out);
}

int data_resolve(struct view *v, struct layer *live, uint64_t ino, uint64_t off, uint64_t len, struct pieces *out)
{
    int r = 0;

    while (r == 0 && len) {
        struct range g = { .ino = ino, .slot = off / SLOT, .from = (uint32_t)(off % SLOT) };
        g.to = len < SLOT - g.from ? g.from + (uint32_t)len : SLOT;
        r = resolve_from(v, live, &g, false, out);
        off += g.to - g.from;
        len -= g.to - g.from;
    }
    return r;
}

/* 1 it is the BODY in *ret, 0 it is something else, -ENOENT the layer does not say. */
static int layer_body(struct layer *l, uint64_t ino, struct view_val *ret)
{
    struct key bk = key_simple(ino, KEY_BODY), ek = key_extent(ino, 0);
    const struct map_entry *b = map_get(l->map, bk.b, bk.len);

    if (is_deleted(l, ino))
        return 0;
    if (b && !b->tombstone) {
        *ret = (struct view_val){ .v = { .p = b->val, .n = b->val_len }, .source = l };
        return 1;
    }
    return b || map_get(l->map, ek.b, ek.len) ? 0 : -ENOENT;
}

int data_body(struct view *v, struct layer *live, uint64_t ino, struct view_val *ret)
{
    struct key bk = key_simple(ino, KEY_BODY);
    int r = live ? layer_body(live, ino, ret) : -ENOENT;

    for (; r == -ENOENT && v->layer; v = v->parent)
        r = layer_body(v->layer, ino, ret);
    if (r != -ENOENT)
        return r;
    *ret = (struct view_val){ 0 };
    return tree_get(v->store->nodes, &v->rec.root, bk.b, bk.len, &ret->v);
}

static int read_seg(struct store *s, const struct piece *p, uint8_t *dst)
{
    struct segment *seg;
    int r = segment_get(s->segments, p->layer->id, false, &seg);

    if (r < 0)
        return -EIO;
    r = segment_read_sparse(seg, dst, p->len, p->off);
    segment_unref(seg);
    return r;
}

static int read_chunk(struct store *s, const struct piece *p, uint8_t *dst)
{
    struct chunk_data d;
    int r = chunk_get(s->chunks, &p->chunk, &d);

    if (r < 0)
        return r;
    uint32_t have = d.n > p->off ? d.n - (uint32_t)p->off : 0;
    if (have > p->len)
        have = p->len;
    if (have)
        memcpy(dst, d.p + p->off, have);
    memset(dst + have, 0, p->len - have);
    chunk_data_done(&d);
    return 0;
}

int data_read(struct store *s, const struct pieces *p, uint8_t *dst)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < p->count; i++) {
        const struct piece *q = &p->v[i];
        if (q->kind == PIECE_ZERO)
            memset(dst, 0, q->len);
        else if (q->kind == PIECE_MEM)
            memcpy(dst, q->mem, q->len);
        else
            r = q->kind == PIECE_SEG ? read_seg(s, q, dst) : read_chunk(s, q, dst);
        dst += q->len;
    }
    return r;
}
