/* Checks a whole store: its records against each other, the trees and layers they stand for, and the index of chunks against the segment files.
 * Contents are not read (scrub does that). What nobody refers to is no problem: gc removes it.
 *
 * All records are read through one iterator, so they are a state that the store really had. fold_lock is held throughout: trees, chunks and frozen
 * layers do not change. Live layers do; each key of theirs is right at any time. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/wire.h"
#include "fs/addr_set.h"
#include "fs/chunk.h"
#include "fs/inode.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"

struct base_item { struct base_rec rec; const char *label; };          /* label: NULL while nobody is known to refer to it */
struct ws_item { char id[ID_MAX], name[OBJECT_NAME_MAX + 1]; uint64_t base, live; };
struct snap_item { char id[ID_MAX], ws_id[ID_MAX], name[OBJECT_NAME_MAX + 1]; uint64_t base; };
struct name_item { char ws_id[ID_MAX], name[OBJECT_NAME_MAX + 1], id[ID_MAX]; };
struct items { uint8_t *v; size_t count, cap; };

struct fsck {
    struct store *store;
    int (*fn)(void *arg, const struct problem *p);
    void *arg;
    uint64_t checked;
    struct items bases, ws, snaps, names;  /* of the structs above; all but names in order of id */
    struct addr_set chunks;                /* known good */
    const char *label;                     /* of the tree being checked */
};

static void *item_new(struct items *x, size_t size)
{
    if (x->count == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 64;
        uint8_t *v = mem_realloc(x->v, cap * size);

        if (!v)
            return NULL;
        x->v = v;
        x->cap = cap;
    }
    return memset(x->v + x->count++ * size, 0, size);
}

static int report(struct fsck *f, const char *where, const char *what)
{
    return f->fn(f->arg, &(struct problem){ where, what });
}

/* --- reading the records --- */

static int read_base(struct fsck *f, const uint8_t *p, size_t n)
{
    struct base_rec rec;

    if (base_decode(p, n, &rec) < 0)
        return report(f, "records", "a base record is malformed");
    struct base_item *x = item_new(&f->bases, sizeof *x);
    if (!x)
        return -ENOMEM;
    x->rec = rec;
    return 0;
}

static int read_ws(struct fsck *f, const uint8_t *p, size_t n)
{
    struct ws_rec rec;

    if (ws_rec_decode(p, n, &rec) < 0)
        return report(f, "records", "a workspace record is malformed");
    struct ws_item *x = item_new(&f->ws, sizeof *x);
    if (!x)
        return -ENOMEM;
    memcpy(x->id, rec.id, sizeof x->id);
    memcpy(x->name, rec.name, sizeof x->name);
    x->base = rec.base;
    x->live = rec.live;
    return 0;
}

static int read_snap(struct fsck *f, const uint8_t *p, size_t n)
{
    struct snap_rec rec;

    if (snap_rec_decode(p, n, &rec) < 0)
        return report(f, "records", "a snapshot record is malformed");
    struct snap_item *x = item_new(&f->snaps, sizeof *x);
    if (!x)
        return -ENOMEM;
    memcpy(x->id, rec.id, sizeof x->id);
    memcpy(x->ws_id, rec.ws_id, sizeof x->ws_id);
    memcpy(x->name, rec.name, sizeof x->name);
    x->base = rec.base;
    return 0;
}

static int read_name(struct fsck *f, const uint8_t *key, size_t key_len, const uint8_t *p, size_t n)
{
    const uint8_t *nul = memchr(key, 0, key_len), *name = nul ? nul + 1 : key + 1;
    size_t ws_len = nul ? (size_t)(nul - key - 1) : 0, name_len = (size_t)(key + key_len - name);
    struct name_item *x;

    if (ws_len >= ID_MAX || name_len > OBJECT_NAME_MAX || n >= ID_MAX || (key[0] == 'm') != (nul != NULL))
        return report(f, "records", "a name record is malformed");
    x = item_new(&f->names, sizeof *x);
    if (!x)
        return -ENOMEM;
    memcpy(x->ws_id, key + 1, ws_len);
    memcpy(x->name, name, name_len);
    memcpy(x->id, p, n);
    return 0;
}

static int read_record(struct fsck *f, const uint8_t *key, size_t kn, const uint8_t *val, size_t n)
{
    f->checked++;
    switch (kn > 1 ? key[0] : 0) {
    case 'b':
        return read_base(f, val, n);
    case 'w':
        return read_ws(f, val, n);
    case 's':
        return read_snap(f, val, n);
    case 'n': case 'm':
        return read_name(f, key, kn, val, n);
    default:
        return kn == 1 && key[0] == 'c' && n == 8 ? 0 : report(f, "records", "there is a record of no known kind");
    }
}

static int read_records(struct fsck *f)
{
    struct meta_iter *it = meta_iter_new(f->store->meta, CF_OBJECT);
    int r = 0;

    if (!it)
        return -ENOMEM;
    for (meta_iter_seek(it, "", 0); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, n;
        const uint8_t *key = meta_iter_key(it, &kn), *val = meta_iter_val(it, &n);

        r = read_record(f, key, kn, val, n);
    }
    if (r == 0 && meta_iter_err(it) < 0)
        r = report(f, "records", "the database cannot be read further");
    meta_iter_free(it);
    return r;
}

/* --- records against each other --- */

static struct base_item *find_base(struct fsck *f, uint64_t id)
{
    struct base_item *v = (struct base_item *)(void *)f->bases.v;
    size_t lo = 0, hi = f->bases.count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (v[mid].rec.id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < f->bases.count && v[lo].rec.id == id ? &v[lo] : NULL;
}

/* By id, which is what both structs begin with. */
static const void *find_object(const struct items *x, size_t size, const char *id)
{
    size_t lo = 0, hi = x->count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp((const char *)x->v + mid * size, id);

        if (c == 0)
            return x->v + mid * size;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

/* Says of the base and those under it who refers to them. */
static int use_base(struct fsck *f, uint64_t id, const char *label)
{
    for (int depth = 0; depth < 64; depth++) {
        struct base_item *b = find_base(f, id);

        if (!b)
            return report(f, label, depth ? "the state that it stands on is missing" : "its state is missing");
        if (b->label)
            return 0;
        b->label = label;
        if (!b->rec.layer)
            return 0;
        id = b->rec.parent;
    }
    return report(f, label, "its states stand on each other in a circle");
}

static int check_objects(struct fsck *f)
{
    const struct ws_item *ws = (const void *)f->ws.v;
    const struct snap_item *snaps = (const void *)f->snaps.v;
    int r = 0;

    for (size_t i = 0; r == 0 && i < f->snaps.count; i++)
        r = use_base(f, snaps[i].base, snaps[i].id);
    for (size_t i = 0; r == 0 && i < f->ws.count; i++)
        r = use_base(f, ws[i].base, ws[i].name);
    return r;
}

static int cmp_name(const void *pa, const void *pb)
{
    const struct name_item *a = pa, *b = pb;
    int c = strcmp(a->ws_id, b->ws_id);

    return c ? c : strcmp(a->name, b->name);
}

static bool has_name(const struct fsck *f, const char *ws_id, const char *name, const char *id)
{
    struct name_item want = { 0 };
    const struct name_item *got;

    snprintf(want.ws_id, sizeof want.ws_id, "%s", ws_id);
    snprintf(want.name, sizeof want.name, "%s", name);
    got = f->names.count ? bsearch(&want, f->names.v, f->names.count, sizeof want, cmp_name) : NULL;
    return got && !strcmp(got->id, id);
}

static int check_names(struct fsck *f)
{
    struct name_item *names = (struct name_item *)(void *)f->names.v;
    const struct ws_item *ws = (const void *)f->ws.v;
    const struct snap_item *snaps = (const void *)f->snaps.v;
    int r = 0;

    if (f->names.count)
        qsort(names, f->names.count, sizeof *names, cmp_name);
    for (size_t i = 0; r == 0 && i < f->names.count; i++) {
        const struct name_item *n = &names[i];
        const struct ws_item *w = n->ws_id[0] ? NULL : find_object(&f->ws, sizeof *w, n->id);
        const struct snap_item *s = n->ws_id[0] ? find_object(&f->snaps, sizeof *s, n->id) : NULL;

        if (!(w && !strcmp(w->name, n->name)) && !(s && !strcmp(s->name, n->name) && !strcmp(s->ws_id, n->ws_id)))
            r = report(f, n->name, "the name points to nothing that has it");
    }
    for (size_t i = 0; r == 0 && i < f->ws.count; i++) {
        if (!has_name(f, "", ws[i].name, ws[i].id))
            r = report(f, ws[i].id, "the workspace cannot be found by its name");
    }
    for (size_t i = 0; r == 0 && i < f->snaps.count; i++) {
        if (snaps[i].name[0] && !has_name(f, snaps[i].ws_id, snaps[i].name, snaps[i].id))
            r = report(f, snaps[i].id, "the snapshot cannot be found by its name");
    }
    return r;
}

/* --- layers --- */

static int check_run(struct fsck *f, uint64_t layer, const struct run *run, bool *have_segment)
{
    struct segment *seg;
    struct chunk_loc loc;
    int r;

    if (run->kind == RUN_CHUNK && !addr_set_has(&f->chunks, &run->chunk)) {
        r = chunk_stat(f->store->chunks, &run->chunk, &loc);
        return r == -ENOENT || r == -EIO ? report(f, f->label, "a changed file shares a piece of content that is missing") : r;
    }
    if (run->kind != RUN_SEG || *have_segment)
        return 0;
    r = segment_get(f->store->segments, layer, false, &seg);
    if (r == -ENOENT)
        return report(f, f->label, "the file with its changed contents is missing from data/");
    if (r == 0)
        segment_unref(seg);
    *have_segment = true;
    return r;
}

static int check_layer_value(struct fsck *f, uint64_t layer, const uint8_t *key, const uint8_t *val, size_t n, bool *have_segment)
{
    struct inode in;
    struct slot s;
    int r = 0;

    switch (key_kind_of(key)) {
    case KEY_INODE:
        return inode_decode(val, n, &in) < 0 ? report(f, f->label, "a changed inode is malformed") : 0;
    case KEY_DIRENT:
        return n != 9 ? report(f, f->label, "a changed directory entry is malformed") : 0;
    case KEY_EXTENT:
        if (slot_decode(val, n, &s) < 0)
            return report(f, f->label, "a changed extent is malformed");
        for (unsigned i = 0; r == 0 && i < s.count; i++)
            r = check_run(f, layer, &s.runs[i], have_segment);
        return r;
    default:
        return 0;
    }
}

/* Key: layer (8), key; value: tag (0 put, 1 tombstone), bytes. */
static int check_layer(struct fsck *f, uint64_t layer, const char *label)
{
    struct meta_iter *it = meta_iter_new(f->store->meta, CF_LAYER);
    bool have_segment = false;
    uint8_t prefix[8];
    int r = 0;

    if (!it)
        return -ENOMEM;
    f->label = label;
    put_be64(prefix, layer);
    for (meta_iter_seek(it, prefix, 8); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, n;
        const uint8_t *key = meta_iter_key(it, &kn), *val = meta_iter_val(it, &n);

        if (kn < 8 || memcmp(key, prefix, 8) != 0)
            break;
        f->checked++;
        if (!key_valid(key + 8, kn - 8) || n < 1 || val[0] > 1 || (val[0] == 1 && n != 1))
            r = report(f, label, "a changed key is malformed");
        else if (val[0] == 0)
            r = check_layer_value(f, layer, key + 8, val + 1, n - 1, &have_segment);
    }
    if (r == 0 && meta_iter_err(it) < 0)
        r = report(f, label, "its changes cannot be read from the database");
    meta_iter_free(it);
    return r;
}

/* --- trees --- */

static int tree_problem(void *arg, const struct problem *p)
{
    struct fsck *f = arg;
    struct buf where = BUF_INIT;
    int r;

    buf_printf(&where, "%s:%s", f->label, p->where);
    buf_put_u8(&where, 0);
    r = buf_err(&where) ? -ENOMEM : report(f, (const char *)where.data, p->what);
    buf_fini(&where);
    return r;
}

static int check_tree(struct fsck *f, const struct base_item *b)
{
    struct base_rec counts = { 0 };
    int r = 0;

    f->label = b->label;
    if (!addr_is_zero(&b->rec.root))      /* else what a new workspace stands on: its root directory is in its live layer */
        r = tree_check_with(f->store, &b->rec.root, &f->chunks, tree_problem, f, &counts);
    f->checked += counts.inodes;
    if (r == -EUCLEAN)                    /* told */
        return 0;
    if (r == 0 && counts.inodes != b->rec.inodes)
        r = report(f, b->label, "its number of inodes is not what its record says");
    if (r == 0 && counts.units != b->rec.units && counts.data_units != b->rec.units)
        r = report(f, b->label, "its size is not what its record says");
    if (r == 0 && counts.next_ino > b->rec.next_ino)
        r = report(f, b->label, "it has an inode number that its record would give away again");
    return r;
}

static int check_states(struct fsck *f)
{
    const struct base_item *bases = (const void *)f->bases.v;
    const struct ws_item *ws = (const void *)f->ws.v;
    struct addr_set seen = ADDR_SET(0);
    int r = 0;

    for (size_t i = 0; r == 0 && i < f->bases.count; i++) {
        const struct base_item *b = &bases[i];

        if (!b->label)
            continue;
        if (b->rec.layer) {
            r = check_layer(f, b->rec.layer, b->label);
            continue;
        }
        if (!addr_is_zero(&b->rec.root)) {
            r = addr_set_add(&seen, &b->rec.root, NULL);
            if (r == 0)
                continue;                 /* an equal state was checked */
        }
        if (r >= 0)
            r = check_tree(f, b);
    }
    addr_set_fini(&seen);
    for (size_t i = 0; r == 0 && i < f->ws.count; i++)
        r = check_layer(f, ws[i].live, ws[i].name);
    return r;
}

/* --- chunks --- */

struct seg_size { uint64_t id, size; bool known, present; };

static int look_up_segment(struct fsck *f, uint64_t id, struct seg_size *last)
{
    struct segment *seg;
    int r;

    if (last->known && last->id == id)
        return 0;
    r = segment_get(f->store->segments, id, false, &seg);
    if (r < 0 && r != -ENOENT)
        return r;
    *last = (struct seg_size){ .id = id, .known = true, .present = r == 0 };
    if (r == 0) {
        last->size = segment_size(seg);
        segment_unref(seg);
    }
    return 0;
}

/* Layout of the value: struct chunk_loc in order, little-endian. */
static int check_chunk_entry(struct fsck *f, const uint8_t *key, size_t kn, const uint8_t *val, size_t n, struct seg_size *last)
{
    char hex[2 * ADDR_BYTES + 1];
    struct addr a;
    int r;

    if (kn != ADDR_BYTES || n != CHUNK_LOC_BYTES)
        return report(f, "chunks", "an entry of the index is malformed");
    memcpy(a.b, key, ADDR_BYTES);
    addr_hex(&a, hex);
    uint64_t seg = le64(val), off = le64(val + 8), len = le32(val + 16), raw = le32(val + 20);
    if (!len || !raw || raw > SLOT || len > raw || off > UINT64_MAX - len)
        return report(f, hex, "its entry in the index is malformed");
    r = look_up_segment(f, seg, last);
    if (r < 0)
        return r;
    if (!last->present)
        return report(f, hex, "the file that holds the chunk is missing from data/");
    return last->size && off + len > last->size ? report(f, hex, "the file that holds the chunk is too short") : 0;
}

static int check_chunks(struct fsck *f)
{
    struct meta_iter *it = meta_iter_new(f->store->meta, CF_CHUNK);
    struct seg_size last = { 0 };
    int r = 0;

    if (!it)
        return -ENOMEM;
    for (meta_iter_seek(it, "", 0); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, n;
        const uint8_t *key = meta_iter_key(it, &kn), *val = meta_iter_val(it, &n);

        f->checked++;
        r = check_chunk_entry(f, key, kn, val, n, &last);
    }
    if (r == 0 && meta_iter_err(it) < 0)
        r = report(f, "chunks", "the index cannot be read further");
    meta_iter_free(it);
    return r;
}

int verb_fsck(struct store *s, int (*fn)(void *arg, const struct problem *p), void *arg, uint64_t *ret_checked)
{
    struct fsck f = { .store = s, .fn = fn, .arg = arg, .chunks = ADDR_SET(sizeof(uint32_t)) };
    int r;

    pthread_mutex_lock(&s->fold_lock);
    r = read_records(&f);
    if (r == 0)
        r = check_objects(&f);
    if (r == 0)
        r = check_names(&f);
    if (r == 0)
        r = check_states(&f);
    if (r == 0)
        r = check_chunks(&f);
    pthread_mutex_unlock(&s->fold_lock);
    free(f.bases.v);
    free(f.ws.v);
    free(f.snaps.v);
    free(f.names.v);
    addr_set_fini(&f.chunks);
    if (r == 0)
        *ret_checked = f.checked;
    return r;
}
