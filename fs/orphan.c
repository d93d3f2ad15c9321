/* Inodes without links.
 *
 * Such an inode stays in the live layer, with nlink 0, while the kernel refers to it (w->orphans lists them); with the last reference it becomes
 * a tombstone. Nothing reaches it, so states that hold its record are still right; the fold leaves it out, and workspace_open drops it. But
 * an open one must survive the fold of a layer that alone holds its content: ws_carry_orphans copies that into the live layer first.
 */
#include "fs/ws_internal.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "fs/segment.h"
#include "fs/store.h"

/* Gives back the space of the inode's slots in the live layer. Their keys stay: the tombstone of the inode hides them. */
static void release_slots(struct workspace *w, uint64_t ino)
{
    struct key from = key_extent(ino, 0);
    struct map_iter it;
    struct slot s;

    for (const struct map_entry *e = map_seek(w->live->map, &it, from.b, from.len); e && key_ino(e->key) == ino; e = map_next(&it))
        if (key_kind_of(e->key) == KEY_EXTENT && !e->tombstone && slot_decode(e->val, e->val_len, &s) == 0)
            slot_release(w, &s, 0, SLOT_UNITS);
}

/* True if the live layer has this key with a value. */
static bool live_has(struct workspace *w, const struct key *k)
{
    const struct map_entry *e = map_get(w->live->map, k->b, k->len);

    return e && !e->tombstone;
}

void inode_drop(struct workspace *w, uint64_t ino)
{
    struct key k = key_simple(ino, KEY_INODE), body = key_simple(ino, KEY_BODY), symlink = key_simple(ino, KEY_SYMLINK);

    release_slots(w, ino);
    ws_del(w, &k);
    if (live_has(w, &body))
        ws_del(w, &body);
    if (live_has(w, &symlink))
        ws_del(w, &symlink);
    ws_changed(w, false);
}

/* What the kernel knew when the workspace was adopted is in no count. */
static bool is_uncounted(const struct workspace *w, uint64_t ino)
{
    return w->unknown_below && (ino < w->unknown_below || ino >= INO_IMPORT);
}

bool ws_is_known(const struct workspace *w, uint64_t ino)
{
    return nlook_get(w->nlook, ino) || is_uncounted(w, ino);
}

void orphan_add(struct workspace *w, uint64_t ino, const struct inode *in)
{
    /* Without memory for the note it is dropped: an open file without a name loses its content, the tree stays right. */
    if (!ws_is_known(w, ino) || nlook_add(w->orphans, ino, 1) < 0) {
        inode_drop(w, ino);
        return;
    }
    w->orphan_inodes++;
    w->orphan_units += inode_charge(in);
}

void orphan_gone(struct workspace *w, uint64_t ino, const struct inode *in)
{
    uint64_t units = inode_charge(in);

    if (!nlook_get(w->orphans, ino))
        return;
    nlook_sub(w->orphans, ino, 1);
    w->orphan_inodes--;
    w->orphan_units -= units < w->orphan_units ? units : w->orphan_units;
}

void ws_nlookup_add(struct workspace *w, uint64_t ino, uint64_t n)
{
    pthread_mutex_lock(&w->lock);
    if (nlook_add(w->nlook, ino, n) < 0)
        log_warn("workspace=%s ino=%llu step=lookup_count err=ENOMEM", w->rec.id, (unsigned long long)ino);
    pthread_mutex_unlock(&w->lock);
}

static void drop_orphan(struct workspace *w, uint64_t ino)
{
    struct inode in = { 0 };

    if (w->readonly || !nlook_get(w->orphans, ino))
        return;
    if (ws_reserve(w, 4, 0) < 0) {
        log_warn("workspace=%s ino=%llu step=forget err=ENOMEM", w->rec.id, (unsigned long long)ino);
        return;
    }
    ws_get_inode(w, ino, &in);            /* it is in the live layer: nothing is read */
    orphan_gone(w, ino, &in);
    inode_drop(w, ino);
}

/* The kernel forgets an inode with all its lookups at once, the uncounted ones too; with less only a lookup whose answer it could not use. So as much as was counted, or
 * more, is the end. But one that the kernel had queued before the workspace was adopted is of the time before, and says nothing of lookups since. */
static bool is_last(struct workspace *w, uint64_t ino, uint64_t n)
{
    uint64_t known = nlook_get(w->nlook, ino);

    if (!w->settled && is_uncounted(w, ino) && known && n >= known)
        return false;
    return nlook_sub(w->nlook, ino, n) == 0;
}

void ws_forget(struct workspace *w, uint64_t ino, uint64_t n)
{
    ws_lock(w);
    if (is_last(w, ino, n))
        drop_orphan(w, ino);
    ws_unlock(w);
}

void ws_lookups_settled(struct workspace *w)
{
    pthread_mutex_lock(&w->lock);
    w->settled = true;
    pthread_mutex_unlock(&w->lock);
}

/* Not before all that is sent again was taken: the answer to one of these may make it known. */
void ws_unknown(struct workspace *w, uint64_t ino)
{
    ws_lock(w);
    if (w->settled && is_uncounted(w, ino) && !nlook_get(w->nlook, ino))
        drop_orphan(w, ino);
    ws_unlock(w);
}

struct inos { uint64_t *v; size_t count, cap; };

static int inos_add(void *arg, uint64_t ino)
{
    struct inos *l = arg;

    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        uint64_t *v = mem_realloc(l->v, cap * sizeof *v);
        if (!v)
            return -ENOMEM;
        l->v = v;
        l->cap = cap;
    }
    l->v[l->count++] = ino;
    return 0;
}

/* A few at a time: others may want the lock. */
void ws_forget_all(struct workspace *w)
{
    struct inos l = { 0 };

    ws_lock(w);
    struct nlook *none = nlook_new();
    if (none) {
        nlook_free(w->nlook);
        w->nlook = none;
    }
    w->unknown_below = 0;
    if (!none || nlook_each(w->orphans, inos_add, &l) < 0)
        log_warn("workspace=%s step=forget_all err=ENOMEM what=\"inodes without links are kept until it is closed\"", w->rec.id);
    ws_unlock(w);
    for (size_t i = 0; i < l.count; i++)
        ws_forget(w, l.v[i], UINT64_MAX);
    free(l.v);
}

/* --- carrying --- */

struct keys {
    struct key *v;
    size_t count, cap;
};

static int keys_collect(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct keys *ks = arg;

    if (ks->count == ks->cap) {
        size_t cap = ks->cap ? ks->cap * 2 : 16;
        struct key *v = mem_realloc(ks->v, cap * sizeof *v);
        if (!v)
            return -ENOMEM;
        ks->v = v;
        ks->cap = cap;
    }
    struct key *k = &ks->v[ks->count++];
    k->len = (uint16_t)key_len;
    memcpy(k->b, key, key_len);
    return 0;
}

static int carry_value(struct workspace *w, const struct key *k)
{
    struct view_val val;
    int r = key_kind_of(k->b) == KEY_BODY ? data_body(w->view, w->live, key_ino(k->b), &val) : ws_get(w, k, &val);

    if (r <= 0)
        return r;
    if (val.source != w->live) {
        uint8_t *copy = mem_dup(val.v.p, val.v.n);
        r = copy ? ws_reserve(w, 1, val.v.n) : -ENOMEM;
        if (r == 0)
            ws_put(w, k, copy, val.v.n);
        free(copy);
    } else {
        r = 0;
    }
    view_val_done(&val);
    return r;
}

/* True if the live layer alone says what is in the slot. */
static bool slot_is_live(struct workspace *w, const struct key *k)
{
    const struct map_entry *e = map_get(w->live->map, k->b, k->len);
    struct slot s;

    if (!e || e->tombstone || slot_decode(e->val, e->val_len, &s) < 0)
        return false;
    for (unsigned i = 0; i < s.count; i++)
        if (s.runs[i].kind == RUN_BELOW)
            return false;
    return true;
}

/* The slot's record: what has data stands at `unit` and on; for holes nothing is kept, so the file counts for what it did. */
static void space_release_holes(struct workspace *w, const struct slot *was, struct slot *ret, uint64_t unit)
{
    for (unsigned i = 0; i < was->count; i++) {
        const struct run *r = &was->runs[i];
        bool hole = r->kind == RUN_ZERO;

        slot_set(ret, &(struct run){ .kind = hole ? RUN_ZERO : RUN_SEG, .start = r->start, .count = r->count, .unit = hole ? 0 : unit + r->start });
        if (hole)
            space_release(w->space, unit + r->start, r->count);
    }
}

/* Writes the slot into the live segment. */
static int carry_slot(struct workspace *w, const struct key *k)
{
    if (slot_is_live(w, k))
        return 0;
    struct slot was;
    struct pieces p = { 0 };
    struct slot s = { .count = 0 };
    struct buf enc = BUF_INIT;
    uint64_t unit, ino = key_ino(k->b), slot = key_number(k->b);
    _cleanup_free_ uint8_t *bytes = mem_alloc(SLOT);

    int r = bytes ? slot_load(w, ino, slot, false, &was) : -ENOMEM;
    if (r == 0)
        r = data_resolve(w->view, w->live, ino, slot * SLOT, SLOT, &p);
    if (r == 0)
        r = data_read(w->store, &p, bytes);
    if (r == 0)
        r = live_segment(w);
    if (r == 0)
        r = space_alloc(w->space, SLOT_UNITS, &unit);
    if (r == 0)
        r = segment_write(w->seg, bytes, SLOT, unit * UNIT);
    if (r == 0) {
        w->seg_dirty = true;
        space_release_holes(w, &was, &s, unit);
        slot_encode(&s, &enc);
        r = buf_err(&enc);
    }
    if (r == 0 && (r = ws_reserve(w, 1, enc.len)) == 0)
        ws_put(w, k, enc.data, enc.len);
    buf_fini(&enc);
    pieces_fini(&p);
    return r;
}

int orphan_carry(struct workspace *w, uint64_t ino)
{
    struct key from = key_simple(ino, KEY_INODE), to = key_simple(ino + 1, KEY_INODE);
    struct keys ks = { 0 };
    int r = ws_each(w, &from, &to, keys_collect, &ks);

    for (size_t i = 0; r == 0 && i < ks.count; i++) {
        if (key_kind_of(ks.v[i].b) == KEY_EXTENT)
            r = carry_slot(w, &ks.v[i]);
        else
            r = carry_value(w, &ks.v[i]);
    }
    free(ks.v);
    return r;
}

static int carry_one(void *arg, uint64_t ino)
{
    return orphan_carry(arg, ino);
}

static bool stands_on(const struct workspace *w, const struct view *v)
{
    for (const struct view *u = w->view; u; u = u->parent)
        if (u == v)
            return true;
    return false;
}

int ws_carry_orphans(struct workspace *w, struct view *v)
{
    int r = 0;

    if (w->readonly)
        return 0;
    pthread_rwlock_rdlock(&w->gate);
    ws_lock(w);
    if (stands_on(w, v))
        r = nlook_each(w->orphans, carry_one, w);
    ws_unlock(w);
    pthread_rwlock_unlock(&w->gate);
    return r;
}
