/* Restoring paths: writing what was found into the live layer. Room is reserved first; after that nothing can fail. */
#include <errno.h>

#include "base/alloc.h"
#include "fs/restore_internal.h"

static int within_quota(const struct graft *g)
{
    const struct workspace *w = g->w;
    const struct ws_rec *rec = &w->rec;

    if (g->inodes > 0 && rec->quota_inodes && rec->inodes + w->orphan_inodes + (uint64_t)g->inodes > rec->quota_inodes)
        return -EDQUOT;
    if (g->units > 0 && rec->quota_bytes && ws_charged(w) + (uint64_t)g->units > rec->quota_bytes / UNIT)
        return -EDQUOT;
    return 0;
}

static void release_slot(struct workspace *w, const struct key *k)
{
    const struct map_entry *e = map_get(w->live->map, k->b, k->len);
    struct slot s;

    if (e && !e->tombstone && slot_decode(e->val, e->val_len, &s) == 0)
        slot_release(w, &s, 0, SLOT_UNITS);
}

static void drop_dead(struct workspace *w, const struct gone *x)
{
    struct key k = key_simple(x->ino, KEY_INODE);
    uint8_t bytes[INODE_BYTES];
    struct inode in = x->in;

    in.nlink = 0;
    in.parent = in.cookie = 0;
    inode_encode(&in, bytes);
    ws_put(w, &k, bytes, sizeof bytes);
    orphan_add(w, x->ino, &in);
}

static uint64_t add_signed(uint64_t n, int64_t by)
{
    return by < 0 && n < (uint64_t)-by ? 0 : n + (uint64_t)by;
}

int graft_apply(struct graft *g)
{
    struct workspace *w = g->w;
    size_t bytes = 0, dead = 0;
    int r = within_quota(g);

    for (size_t i = 0; i < g->ops.count; i++)
        bytes += g->ops.v[i].val.len;
    for (size_t i = 0; i < g->gone.count; i++)
        dead += g->gone.v[i].dead && !g->gone.v[i].kept;
    if (!r && g->ops.count + 4 * dead > UINT32_MAX / 1024)
        r = -ENOMEM;
    if (!r)
        r = ws_reserve(w, (unsigned)(g->ops.count + 4 * dead), bytes);
    if (r)
        return r;
    for (size_t i = 0; i < g->ops.count; i++) {
        const struct op *o = &g->ops.v[i];
        struct key k = { .len = (uint16_t)o->key.len };
        memcpy(k.b, bytes_of(g, o->key), o->key.len);
        if (o->release)
            release_slot(w, &k);
        if (o->del)
            ws_del(w, &k);
        else
            ws_put(w, &k, bytes_of(g, o->val), o->val.len);
    }
    for (size_t i = 0; i < g->gone.count; i++) {
        if (g->gone.v[i].dead && !g->gone.v[i].kept)
            drop_dead(w, &g->gone.v[i]);
    }
    if (g->ops.count || dead) {
        w->rec.next_ino = g->next_ino;
        w->rec.inodes = add_signed(w->rec.inodes, g->inodes);
        w->rec.units = add_signed(w->rec.units, g->units);
        w->rec_dirty = true;
        ws_changed(w, false);
    }
    return w->broken;
}

static int stale_add(struct graft *g, struct stales *out, uint64_t ino, struct text name)
{
    struct stale *x = LIST_ADD(out);

    if (!x)
        return -ENOMEM;
    *x = (struct stale){ .ino = ino, .name = name };
    return 0;
}

/* Before it is applied, so that nothing can fail after. */
int graft_stales(struct graft *g, struct stales *out)
{
    uint64_t last = 0;
    int r = 0;

    for (size_t i = 0; !r && i < g->ops.count; i++) {
        const uint8_t *key = bytes_of(g, g->ops.v[i].key);
        if (key_ino(key) != last)
            r = stale_add(g, out, last = key_ino(key), (struct text){ 0 });
        if (!r && key_kind_of(key) == KEY_DIRENT)
            r = stale_add(g, out, last, (struct text){ .off = g->ops.v[i].key.off + 17, .len = g->ops.v[i].key.len - 17 });
    }
    for (size_t i = 0; !r && i < g->gone.count; i++) {
        if (g->gone.v[i].dead && !g->gone.v[i].kept)
            r = stale_add(g, out, g->gone.v[i].ino, (struct text){ 0 });
    }
    return r;
}
