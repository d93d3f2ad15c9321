/* The canonical form of one regular file: what its keys in a tree are is decided by its size and content alone.
 *
 *   size <= INLINE_MAX: BODY with trailing zeros removed, if anything is left; no EXTENT
 *   else: per slot a chunk of its bytes with trailing zeros removed, if anything is left; no BODY
 *   units: the sum over these of their length in units, rounded up (a BODY counts 1)
 *
 * Slots that the layer does not mention keep their entries in the parent's tree, which are canonical by induction, and their part of the
 * parent's unit count. So a fold costs what changed.
 */
#include "fs/fold_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/segment.h"

enum { ADOPT_GROW_WORDS = 1024 };

static bool is_inline(const struct inode *in)
{
    return in->size <= INLINE_MAX;
}

static uint32_t trimmed(const uint8_t *p, uint32_t n)
{
    while (n >= 8 && le64(p + n - 8) == 0)
        n -= 8;
    while (n > 0 && p[n - 1] == 0)
        n--;
    return n;
}

static uint64_t units_of(uint32_t len)
{
    return (len + UNIT - 1) / UNIT;
}

int fold_parent_inode(struct fold *f, uint64_t ino, bool *ret_found, struct inode *ret)
{
    struct key k = key_simple(ino, KEY_INODE);
    struct tree_val val = { 0 };
    int r = tree_get(f->store->nodes, &f->root, k.b, k.len, &val);

    if (r < 0)
        return r;
    *ret_found = r > 0;
    if (r > 0)
        r = inode_decode(val.p, val.n, ret);
    tree_val_done(&val);
    return r;
}

/* The extent of the parent's tree: length 0 if there is none. */
static int old_extent(struct fold *f, uint64_t slot, struct fold_extent *ret)
{
    struct key k = key_extent(f->ino, slot);
    struct tree_val val = { 0 };
    int r = tree_get(f->store->nodes, &f->root, k.b, k.len, &val);

    *ret = (struct fold_extent){ .slot = slot };
    if (r <= 0)
        return r;
    r = val.n == EXTENT_BYTES ? 0 : -EUCLEAN;
    if (r == 0) {
        memcpy(ret->addr.b, val.p, ADDR_BYTES);
        ret->len = le32(val.p + ADDR_BYTES);
    }
    tree_val_done(&val);
    return r;
}

static int extent_add(struct fold_file *file, const struct fold_extent *x)
{
    if (file->count == file->cap) {
        size_t cap = file->cap ? 2 * file->cap : 64;
        struct fold_extent *v = mem_realloc(file->v, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        file->v = v;
        file->cap = cap;
    }
    file->v[file->count++] = *x;
    return 0;
}

/* --- which places of the layer's segment became chunks --- */

static int adopted_room(struct fold *f, uint64_t end)
{
    size_t words = end / 64 + 1;
    uint64_t *v;

    if (words <= f->adopted_words)
        return 0;
    words = words < 2 * f->adopted_words ? 2 * f->adopted_words : words + ADOPT_GROW_WORDS;
    v = mem_realloc(f->adopted, words * sizeof *v);
    if (!v)
        return -ENOMEM;
    memset(v + f->adopted_words, 0, (words - f->adopted_words) * sizeof *v);
    f->adopted = v;
    f->adopted_words = words;
    return 0;
}

static bool adopted_any(const struct fold *f, uint64_t unit, uint64_t n)
{
    for (; n > 0 && unit / 64 < f->adopted_words; unit++, n--)
        if (f->adopted[unit / 64] >> unit % 64 & 1)
            return true;
    return false;
}

static int adopt(struct fold *f, const struct chunk_loc *loc)
{
    uint64_t unit = loc->off / UNIT, end = (loc->off + loc->stored_len + UNIT - 1) / UNIT;
    int r = adopted_room(f, end);

    for (; r == 0 && unit < end; unit++)
        f->adopted[unit / 64] |= 1ull << unit % 64;
    return r;
}

/* --- chunks --- */

/* Their bytes first, their index entries then; nodes that refer to them come later in the same log. */
static int chunks_flush(struct fold *f)
{
    int r = chunk_put_sync(f->store->chunks);

    if (r < 0)
        return r;
    r = meta_write(f->store->meta, f->chunks, false);
    chunk_put_done(f->store->chunks, r == 0);
    f->chunks_tried = r < 0;
    if (r == 0)
        batch_clear(f->chunks);
    return r;
}

/* True if the n bytes of the slot lie in one piece in the layer's segment, and no other chunk has a part of it. */
static bool find_in_place(struct fold *f, const struct slot *s, uint32_t n, struct chunk_place *ret)
{
    const struct run *run = &s->runs[0];

    if (s->count == 0 || run->kind != RUN_SEG || (uint32_t)run->count * UNIT < n || adopted_any(f, run->unit, units_of(n)))
        return false;
    *ret = (struct chunk_place){ .in_place = true, .seg = f->layer->id, .off = run->unit * UNIT };
    return true;
}

static int put_chunk(struct fold *f, const struct slot *s, uint32_t n, struct fold_extent *x)
{
    struct chunk_place place = { 0 };
    struct chunk_loc loc;
    int r;

    if (batch_bytes(f->chunks) > 4 << 20) {
        r = chunks_flush(f);
        if (r < 0)
            return r;
    }
    find_in_place(f, s, n, &place);
    r = chunk_put_at(f->store->chunks, f->chunks, f->bytes, n, &place, &x->addr, &loc);
    if (r < 0)
        return r;
    x->len = n;
    /* Also where an equal slot, or a fold that was broken off, has put it there: the place must outlive the layer. */
    return loc.seg == f->layer->id ? adopt(f, &loc) : 0;
}

static int read_content(struct fold *f, uint64_t off, uint32_t len)
{
    struct pieces p = { 0 };
    int r = data_resolve(f->view, NULL, f->ino, off, len, &p);

    if (r == 0)
        r = data_read(f->store, &p, f->bytes);
    pieces_fini(&p);
    return r;
}

/* A slot that is one whole chunk of elsewhere needs no reading. */
static bool is_whole_chunk(struct fold *f, const struct slot *s, uint32_t len, struct fold_extent *x)
{
    const struct run *run = &s->runs[0];
    struct chunk_loc loc;

    if (s->count == 0 || s->count > 2 || run->kind != RUN_CHUNK || run->unit != 0 || (s->count == 2 && s->runs[1].kind != RUN_ZERO) ||
        chunk_stat(f->store->chunks, &run->chunk, &loc) < 0 || loc.raw_len > (uint32_t)run->count * UNIT || loc.raw_len > len)
        return false;
    x->addr = run->chunk;
    x->len = loc.raw_len;
    return true;
}

/* Assembles the slot; e is its entry in the layer, NULL if its content comes from a BODY. */
static int fold_slot(struct fold *f, const struct inode *in, uint64_t slot, const struct map_entry *e, struct fold_extent *x)
{
    uint64_t start = slot * SLOT, left = start < in->size ? in->size - start : 0;
    uint32_t len = left < SLOT ? (uint32_t)left : SLOT;
    struct slot s = { .count = 0 };
    int r = 0;

    *x = (struct fold_extent){ .slot = slot };
    if (f->cancel && *f->cancel)
        return -ECANCELED;
    if (e && !e->tombstone)
        r = slot_decode(e->val, e->val_len, &s);
    if (r < 0 || len == 0 || is_whole_chunk(f, &s, len, x))
        return r;
    r = read_content(f, start, len);
    if (r < 0)
        return r;
    len = trimmed(f->bytes, len);
    return len ? put_chunk(f, &s, len, x) : 0;
}

/* --- the file --- */

struct changes { const struct map_entry *body, *first; };   /* entries of the layer; first: of the extents */

static struct changes find_changes(struct fold *f)
{
    struct key bk = key_simple(f->ino, KEY_BODY), ek = key_extent(f->ino, 0);
    struct changes c = { .body = map_get(f->layer->map, bk.b, bk.len) };
    struct map_iter it;
    const struct map_entry *e = map_seek(f->layer->map, &it, ek.b, ek.len);

    if (e && key_ino(e->key) == f->ino)
        c.first = e;
    return c;
}

static int del_old_extents(struct fold *f)
{
    struct key from = key_extent(f->ino, 0);
    struct tree_cursor cur;
    int r;

    tree_cursor_init(&cur, f->store->nodes, &f->root);
    for (r = tree_cursor_seek(&cur, from.b, from.len); r > 0; r = tree_cursor_next(&cur)) {
        const struct node_entry *e = tree_cursor_entry(&cur);
        struct fold_extent x = { .del = true };

        if (e->key_len != from.len || key_ino(e->key) != f->ino)
            break;
        x.slot = key_number(e->key);
        r = extent_add(&f->file, &x);
        if (r < 0)
            break;
    }
    tree_cursor_fini(&cur);
    return r < 0 ? r : 0;
}

static int make_inline(struct fold *f, const struct inode *in, bool parent_found, uint64_t *ret_units)
{
    int r = in->size ? read_content(f, 0, (uint32_t)in->size) : 0;

    if (r < 0)
        return r;
    f->file.body_len = trimmed(f->bytes, (uint32_t)in->size);
    f->file.put_body = f->file.body_len > 0;
    f->file.del_body = !f->file.put_body && parent_found;
    memcpy(f->file.body, f->bytes, f->file.body_len);
    *ret_units = f->file.put_body;
    return parent_found ? del_old_extents(f) : 0;
}

/* One slot: the change to the tree, and to the units. */
static int change_slot(struct fold *f, const struct inode *in, uint64_t slot, const struct map_entry *e, bool old_slots, uint64_t *units)
{
    struct fold_extent old = { 0 }, x;
    int r = old_slots ? old_extent(f, slot, &old) : 0;

    if (r == 0)
        r = fold_slot(f, in, slot, e, &x);
    if (r < 0)
        return r;
    *units += units_of(x.len);
    *units -= units_of(old.len) < *units ? units_of(old.len) : *units;
    if (x.len == old.len && (x.len == 0 || addr_eq(&x.addr, &old.addr)))
        return 0;
    x.del = x.len == 0;
    return extent_add(&f->file, &x);
}

static int make_slots(struct fold *f, const struct inode *in, const struct changes *c, const struct inode *parent, uint64_t *ret_units)
{
    bool old_slots = parent && !is_inline(parent);
    bool zero_first = (c->body || (parent && !old_slots)) && !(c->first && key_number(c->first->key) == 0);
    uint64_t units = old_slots ? parent->units : 0;
    struct key ek = key_extent(f->ino, 0);
    struct map_iter it;
    const struct map_entry *e = map_seek(f->layer->map, &it, ek.b, ek.len);
    int r = zero_first ? change_slot(f, in, 0, NULL, old_slots, &units) : 0;

    f->file.del_body = parent && !old_slots;
    for (; r == 0 && e && key_ino(e->key) == f->ino; e = map_next(&it))
        r = change_slot(f, in, key_number(e->key), e, old_slots, &units);
    *ret_units = units;
    return r;
}

static int note_fix(struct fold *f, uint64_t recorded, uint64_t units)
{
    if (recorded == units)
        return 0;
    if (f->fix_count == f->fix_cap) {
        size_t cap = f->fix_cap ? 2 * f->fix_cap : 64;
        struct unit_fix *v = mem_realloc(f->fixes, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        f->fixes = v;
        f->fix_cap = cap;
    }
    f->fixes[f->fix_count++] = (struct unit_fix){ f->ino, (int64_t)(units - recorded) };
    return 0;
}

int fold_file(struct fold *f, const struct inode *in, bool in_layer, const struct inode *parent)
{
    struct changes c = find_changes(f);
    struct inode out = *in;
    int r = 0;

    f->file.count = 0;
    f->file.put_body = f->file.del_body = false;
    if (c.body || c.first || !parent || is_inline(parent) != is_inline(in))
        r = is_inline(in) ? make_inline(f, in, parent != NULL, &out.units) : make_slots(f, in, &c, parent, &out.units);
    else
        out.units = parent->units;
    if (r < 0)
        return r;
    f->file.put_inode = in_layer || out.units != in->units;
    f->units += (int64_t)(inode_charge(&out) - (parent ? inode_charge(parent) : 0));
    inode_encode(&out, f->file.inode);
    return note_fix(f, in->units, out.units);
}
