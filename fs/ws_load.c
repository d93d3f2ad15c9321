/* A workspace from the disk: its live layer, the space in use, its counters.
 *
 * After a crash that nobody outlived, inodes without links are dropped, as nobody can have them open. With a redo log the layer is first made what it was (adopt.c), they
 * are kept, and no space that any state on the disk may refer to is used again before the next commit: what the database gives back after a kill may not be on the disk
 * yet, so even what it does not refer to may be what a power loss brings back.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/redo.h"
#include "fs/segment.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

/* Units that the live layer refers to. */
static int claim_slots(struct workspace *w, struct space *space)
{
    struct map_iter it;
    uint8_t none = 0;
    uint64_t dead = 0;
    int r = 0;

    for (const struct map_entry *e = map_seek(w->live->map, &it, &none, 0); r == 0 && e; e = map_next(&it)) {
        struct slot s;
        if (key_kind_of(e->key) == KEY_INODE && e->tombstone)
            dead = key_ino(e->key);
        if (key_kind_of(e->key) != KEY_EXTENT || e->tombstone || key_ino(e->key) == dead)
            continue;
        r = slot_decode(e->val, e->val_len, &s);
        for (unsigned i = 0; r == 0 && i < s.count; i++)
            if (s.runs[i].kind == RUN_SEG)
                r = space_claim(space, s.runs[i].unit, s.runs[i].count);
    }
    return r;
}

/* Inodes of the live layer that had lost their last link when the daemon ended. */
static int find_unlinked(struct workspace *w)
{
    struct map_iter it;
    uint8_t none = 0;
    struct inode in;

    for (const struct map_entry *e = map_seek(w->live->map, &it, &none, 0); e; e = map_next(&it)) {
        if (key_kind_of(e->key) != KEY_INODE || e->tombstone)
            continue;
        if (inode_decode(e->val, e->val_len, &in) < 0)
            return -EUCLEAN;
        if (in.nlink == 0 && nlook_add(w->orphans, key_ino(e->key), 1) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int drop_one(void *arg, uint64_t ino)
{
    struct workspace *w = arg;

    if (ws_reserve(w, 64, 0) < 0)
        return -ENOMEM;
    inode_drop(w, ino);
    return 0;
}

/* What the view has of an inode with names; zeros if nothing. */
static int inode_below(struct workspace *w, uint64_t ino, struct inode *ret)
{
    struct key k = key_simple(ino, KEY_INODE);
    struct view_val val;
    int r = view_get_key(w->view, k.b, k.len, &val);

    *ret = (struct inode){ 0 };
    if (r <= 0)
        return r;
    r = inode_decode(val.v.p, val.v.n, ret);
    view_val_done(&val);
    return r;
}

/* One inode that the live layer says something of: what it adds to the counts of the view. A file's own count is of the view as it was then. */
static int count_one(struct workspace *w, const struct map_entry *e, struct inode *in, uint64_t *units, uint64_t *inodes)
{
    uint64_t ino = key_ino(e->key);
    struct inode below;
    int r = inode_below(w, ino, &below);

    *in = (struct inode){ 0 };
    if (r == 0 && !e->tombstone)
        r = inode_decode(e->val, e->val_len, in);
    if (r == 0 && in->nlink && inode_is_reg(in) && below.nlink && below.units != in->units)
        r = content_units(w, ino, &in->units);
    if (r < 0)
        return r;
    *units += (in->nlink ? inode_charge(in) : 0) - (below.nlink ? inode_charge(&below) : 0);
    *inodes += (uint64_t)(in->nlink != 0) - (uint64_t)(below.nlink != 0);
    return 0;
}

int ws_count_anew(struct workspace *w)
{
    struct map_iter it;
    struct inode in, old;
    uint8_t none = 0, bytes[INODE_BYTES];
    int r = 0;

    pthread_rwlock_rdlock(&w->store->view_lock);
    uint64_t units = w->view->rec.units, inodes = w->view->rec.inodes;
    for (const struct map_entry *e = map_seek(w->live->map, &it, &none, 0); r == 0 && e; e = map_next(&it)) {
        if (key_kind_of(e->key) != KEY_INODE)
            continue;
        r = count_one(w, e, &in, &units, &inodes);
        if (r < 0 || e->tombstone || inode_decode(e->val, e->val_len, &old) < 0 || old.units == in.units)
            continue;
        struct key k = key_simple(key_ino(e->key), KEY_INODE);
        inode_encode(&in, bytes);
        r = ws_reserve(w, 1, 0);
        if (r == 0) {
            ws_put(w, &k, bytes, INODE_BYTES);
            map_seek(w->live->map, &it, k.b, k.len);
        }
    }
    pthread_rwlock_unlock(&w->store->view_lock);
    if (r < 0 && r != -ENOMEM) {          /* damage: what the record says has to do */
        log_warn("workspace=%s step=count err=%s", w->rec.id, errno_name(r));
        return 0;
    }
    if (r == 0 && (w->rec.units != units || w->rec.inodes != inodes)) {
        w->rec.units = units;
        w->rec.inodes = inodes;
        w->rec_dirty = true;
    }
    return r;
}

/* Of a log: all of the segment counts as in use until the next commit, but for what the live layer refers to, which stays so. */
static int claim_all(struct workspace *w)
{
    struct space *used = space_new();
    int r = used ? claim_slots(w, used) : -ENOMEM;

    if (r == 0)
        r = space_claim(w->space, 0, ((w->seg ? segment_size(w->seg) : 0) + UNIT - 1) / UNIT);
    if (r == 0)
        r = claim_slots(w, w->space);
    if (r == 0)
        space_release_unused(w->space, used);
    space_free(used);
    return r;
}

static int drop_unlinked(struct workspace *w)
{
    int r = find_unlinked(w);

    if (r == 0)
        r = nlook_each(w->orphans, drop_one, w);
    nlook_free(w->orphans);
    w->orphans = nlook_new();
    return r == 0 && !w->orphans ? -ENOMEM : r;
}

/* Those of layers that are frozen and not folded: they are not in the live layer, and the fold would leave them out. */
static int find_unlinked_below(struct workspace *w)
{
    struct map_iter it;
    struct inode in;
    uint8_t none = 0;

    for (struct view *v = w->view; v->layer; v = v->parent) {
        for (const struct map_entry *e = map_seek(v->layer->map, &it, &none, 0); e; e = map_next(&it)) {
            uint64_t ino = key_ino(e->key);
            if (key_kind_of(e->key) != KEY_INODE || e->tombstone || inode_decode(e->val, e->val_len, &in) < 0 || in.nlink)
                continue;
            if (ws_get_inode(w, ino, &in) < 0 || in.nlink || nlook_get(w->orphans, ino))
                continue;
            if (nlook_add(w->orphans, ino, 1) < 0)
                return -ENOMEM;
        }
    }
    return 0;
}

static int charge_orphan(void *arg, uint64_t ino)
{
    struct workspace *w = arg;
    struct inode in;
    int r = ws_get_inode(w, ino, &in);

    if (r == 0) {
        w->orphan_inodes++;
        w->orphan_units += inode_charge(&in);
    }
    return r;
}

static int keep_unlinked(struct workspace *w)
{
    pthread_rwlock_rdlock(&w->store->view_lock);
    int r = find_unlinked(w);
    if (r == 0)
        r = find_unlinked_below(w);
    if (r == 0)
        r = nlook_each(w->orphans, charge_orphan, w);
    pthread_rwlock_unlock(&w->store->view_lock);
    return r;
}

static int load_plain(struct workspace *w)
{
    int r = claim_slots(w, w->space);

    if (r == 0)
        r = drop_unlinked(w);
    return r ? r : content_clear_tails(w);
}

static int clear_tail(void *arg, uint64_t ino)
{
    struct workspace *w = arg;
    struct inode in;
    int r = ws_get_inode(w, ino, &in);

    return r == -ENOENT || (r == 0 && !inode_is_reg(&in)) ? 0 : r < 0 ? r : content_clear_tail(w, ino, &in);
}

/* Only what was being written can have more than it should: what was written is in the log. */
static int clear_tails_logged(struct workspace *w, struct redo *redo)
{
    bool all;
    int r = redo_each_writing(redo, clear_tail, w, &all);

    if (r == 0 && all)
        r = content_clear_tails(w);
    if (r == 0)
        redo_writing_reset(redo);
    return r;
}

/* Nothing of it may be in the log but what was: it is attached last. What counting anew puts is found again each time. */
static int load_logged(struct workspace *w, struct redo *redo)
{
    int r = redo_replay(w, redo);

    if (r == 0)
        r = claim_all(w);
    if (r == 0)
        r = keep_unlinked(w);
    if (r == 0)
        r = clear_tails_logged(w, redo);
    if (r < 0)
        return r;
    w->broken = redo_is_broken(redo) ? -EIO : w->broken;
    w->unknown_below = w->rec.next_ino;
    w->seg_dirty = w->seg != NULL;
    w->times_only = false;
    w->rec_dirty = true;
    w->dirty_since_ns = clock_mono_ns();
    return 0;
}

int workspace_load(struct store *s, const char *id, struct redo *redo, struct workspace **ret)
{
    struct workspace *w;
    struct ws_rec rec;
    struct view *v;
    int r = ws_rec_get(s->meta, id, &rec);

    if (r == 0)
        r = view_get(s, rec.base, &v);
    if (r == 0)
        r = workspace_make(s, v, false, &w);
    if (r < 0)
        return r;
    w->rec = rec;
    r = layer_load(s, rec.live, &w->live);
    if (r == 0)
        r = redo ? load_logged(w, redo) : load_plain(w);
    if (r == 0)
        r = ws_count_anew(w);
    if (r < 0) {
        workspace_free(w);
        return r;
    }
    *ret = w;
    return 0;
}
