/*
 * Restoring paths: from what is to be done to keys of the live layer.
 *
 * want: all keys of the nodes, and their names. have: the keys that stand, or would stand again, under the same numbers and names. What is in
 * both with equal values is left alone; so restoring what has not changed writes nothing.
 *
 * "Would stand again": a number may be unused because its INODE key is a tombstone in the live layer. Putting a record over the tombstone
 * uncovers its other keys in this layer and below. So `have` is taken from the layer and the view as they are, tombstone or not.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/restore_internal.h"

static int item_add(struct graft *g, struct items *l, const struct key *k, const void *val, size_t n, bool below, bool live)
{
    struct item *x = LIST_ADD(l);

    if (!x)
        return -ENOMEM;
    *x = (struct item){ .below = below, .live = live };
    int r = text_add(g, k->b, k->len, &x->key);
    return r ? r : text_add(g, val, n, &x->val);
}

/* --- want --- */

static int want_slot(struct graft *g, const struct key *k, const struct node_entry *e)
{
    struct slot s = { .count = 0 };
    struct run run = { .kind = RUN_CHUNK };
    struct buf b = BUF_INIT;

    uint32_t len = e->val_len == EXTENT_BYTES ? le32(e->val + ADDR_BYTES) : 0;
    if (len == 0 || len > SLOT)
        return -EUCLEAN;
    run.count = (uint8_t)((len + UNIT - 1) / UNIT);
    memcpy(run.chunk.b, e->val, ADDR_BYTES);
    s.runs[s.count++] = run;
    if (run.count < SLOT_UNITS)
        s.runs[s.count++] = (struct run){ .kind = RUN_ZERO, .start = run.count, .count = (uint8_t)(SLOT_UNITS - run.count) };
    slot_encode(&s, &b);
    int r = buf_err(&b) ? -ENOMEM : item_add(g, &g->want, k, b.data, b.len, false, false);
    buf_fini(&b);
    return r;
}

struct copy { struct graft *g; uint64_t dst; };

static int want_key(void *arg, const struct node_entry *e)
{
    struct copy *x = arg;
    struct key k = { .len = e->key_len };

    memcpy(k.b, e->key, e->key_len);
    put_be64(k.b, x->dst);
    return e->key[8] == KEY_EXTENT ? want_slot(x->g, &k, e) : item_add(x->g, &x->g->want, &k, e->val, e->val_len, false, false);
}

static int want_node(struct graft *g, const struct gnode *n)
{
    const struct made *primary = &g->made.v[n->primary];
    struct key k = key_simple(n->dst, KEY_INODE);
    struct copy x = { g, n->dst };
    uint8_t bytes[INODE_BYTES];
    struct inode in = n->in;

    in.parent = ref_ino(g, primary->dir);
    in.cookie = primary->cookie;
    in.nlink = inode_is_dir(&in) ? 2 + n->subdirs : n->names;
    if (inode_is_dir(&in))
        in.size = n->entries;
    inode_encode(&in, bytes);
    int r = item_add(g, &g->want, &k, bytes, sizeof bytes, false, false);
    if (!r)
        r = side_keys(&g->snap, n->src, KEY_BODY, KEY_XATTR, want_key, &x);
    return r ? r : side_keys(&g->snap, n->src, KEY_EXTENT, KEY_EXTENT, want_key, &x);
}

static void dirent_encode(uint64_t ino, uint8_t type, uint8_t out[9])
{
    put_le64(out, ino);
    out[8] = type;
}

static int want_name(struct graft *g, size_t i)
{
    const struct made *m = &g->made.v[i];
    const struct gnode *n = &g->nodes.v[m->child];
    uint64_t dir = ref_ino(g, m->dir);
    struct key k = key_dirent(dir, m->cookie, bytes_of(g, m->name), m->name.len), link = key_link(n->dst, dir, m->cookie);
    uint8_t val[9];

    dirent_encode(n->dst, IFTODT(n->in.mode), val);
    int r = item_add(g, &g->want, &k, val, sizeof val, false, false);
    return r || n->primary == i ? r : item_add(g, &g->want, &link, "", 0, false, false);
}

/* --- have --- */

struct enumerate { struct graft *g; bool alive; };

/* 1 if a BODY below the live layer is not the content, because a layer above it says slots. */
static int body_hidden(struct workspace *w, uint64_t ino)
{
    struct key slot = key_extent(ino, 0);
    struct view_val val;

    if (map_get(w->live->map, slot.b, slot.len))
        return 1;
    int r = data_body(w->view, NULL, ino, &val);
    if (r > 0)
        view_val_done(&val);
    return r < 0 ? r : !r;
}

static int have_below(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct enumerate *x = arg;
    struct key k = { .len = (uint16_t)key_len };

    if (map_get(x->g->w->live->map, key, key_len))
        return 0;
    memcpy(k.b, key, key_len);
    int r = item_add(x->g, &x->g->have, &k, val, val_len, !source, false);
    if (r || key_kind_of(key) != KEY_BODY)
        return r;
    r = body_hidden(x->g->w, key_ino(key));
    x->g->have.v[x->g->have.count - 1].hidden = r > 0;
    return r < 0 ? r : 0;
}

static int have_node(struct graft *g, const struct gnode *n)
{
    struct workspace *w = g->w;
    struct key from = key_simple(n->dst, 0), to = key_simple(n->dst, 0xff);
    struct enumerate x = { .g = g };
    struct map_iter it;
    uint64_t at;

    x.alive = ino_map_get(g->gone_of, n->dst, &at);
    int r = view_each(w->view, NULL, from.b, from.len, to.b, to.len, have_below, &x);
    for (const struct map_entry *e = map_seek(w->live->map, &it, from.b, from.len); !r && e && key_ino(e->key) == n->dst; e = map_next(&it)) {
        struct key k = { .len = e->key_len };
        if (e->tombstone)
            continue;
        memcpy(k.b, e->key, e->key_len);
        r = item_add(g, &g->have, &k, e->val, e->val_len, false, x.alive && key_kind_of(e->key) == KEY_EXTENT);
    }
    return r;
}

static int have_removed(struct graft *g, const struct removed *x)
{
    struct key k = key_dirent(x->dir, x->cookie, bytes_of(g, x->name), x->name.len);
    uint8_t val[9];
    uint64_t at;

    if (!x->top && ino_map_get(g->gone_of, x->dir, &at) && g->gone.v[at].kept)
        return 0;                         /* among the directory's own keys already */
    dirent_encode(x->ino, x->type, val);
    return item_add(g, &g->have, &k, val, sizeof val, false, false);
}

/* --- what is to be written --- */

static int item_cmp(const void *x, const void *y, void *arg)
{
    const struct item *a = x, *b = y;
    const struct graft *g = arg;

    return key_cmp(bytes_of(g, a->key), a->key.len, bytes_of(g, b->key), b->key.len);
}

/* The slot record of one whole chunk, as want_slot() makes it, says what this value of a tree says. */
static bool same_chunk(const struct graft *g, const struct item *want, const struct item *have)
{
    struct slot s;

    return have->val.len == EXTENT_BYTES && slot_decode(bytes_of(g, want->val), want->val.len, &s) == 0 &&
           !memcmp(s.runs[0].chunk.b, bytes_of(g, have->val), ADDR_BYTES);
}

static bool same_value(const struct graft *g, const struct item *want, const struct item *have)
{
    if (have->hidden)
        return false;
    if (have->below && bytes_of(g, have->key)[8] == KEY_EXTENT)
        return same_chunk(g, want, have);
    return want->val.len == have->val.len && !memcmp(bytes_of(g, want->val), bytes_of(g, have->val), want->val.len);
}

static int op_add(struct graft *g, struct text key, struct text val, bool del, bool release)
{
    struct op *o = LIST_ADD(&g->ops);

    if (!o)
        return -ENOMEM;
    *o = (struct op){ .key = key, .val = val, .del = del, .release = release };
    return 0;
}

/* Two new names in one directory that hash alike were given one cookie: it would take an attacker to make such. */
static bool cookies_clash(const struct graft *g)
{
    for (size_t i = 1; i < g->want.count; i++) {
        const uint8_t *a = bytes_of(g, g->want.v[i - 1].key), *b = bytes_of(g, g->want.v[i].key);
        if (a[8] == KEY_DIRENT && !memcmp(a, b, 17))
            return true;
    }
    return false;
}

static int merge_items(struct graft *g)
{
    struct items *want = &g->want, *have = &g->have;
    size_t i = 0, k = 0;
    int r = 0;

    if (want->count)
        qsort_r(want->v, want->count, sizeof *want->v, item_cmp, g);
    if (have->count)
        qsort_r(have->v, have->count, sizeof *have->v, item_cmp, g);
    if (cookies_clash(g))
        return -ENOSPC;
    while (!r && (i < want->count || k < have->count)) {
        const struct item *a = i < want->count ? &want->v[i] : NULL, *b = k < have->count ? &have->v[k] : NULL;
        int c = !a ? 1 : !b ? -1 : item_cmp(a, b, g);
        if (c > 0)
            r = op_add(g, b->key, (struct text){ 0 }, true, b->live);
        else if (c < 0 || !same_value(g, a, b))
            r = op_add(g, a->key, a->val, false, c == 0 && b->live);
        i += c <= 0;
        k += c >= 0;
    }
    return r;
}

static int op_key(struct graft *g, const struct key *k, const void *val, size_t n)
{
    struct text key, text = { 0 };
    int r = text_add(g, k->b, k->len, &key);

    if (!r && val)
        r = text_add(g, val, n, &text);
    return r ? r : op_add(g, key, text, !val, false);
}

static int op_inode(struct graft *g, uint64_t ino, const struct inode *in)
{
    struct key k = key_simple(ino, KEY_INODE);
    uint8_t bytes[INODE_BYTES];

    inode_encode(in, bytes);
    return op_key(g, &k, bytes, sizeof bytes);
}

/* --- those that lose some of their names --- */

static int removed_cmp(const void *x, const void *y)
{
    const struct removed *a = x, *b = y;

    if (a->ino != b->ino)
        return a->ino < b->ino ? -1 : 1;
    if (a->dir != b->dir)
        return a->dir < b->dir ? -1 : 1;
    return (a->cookie > b->cookie) - (a->cookie < b->cookie);
}

static bool is_removed(const struct graft *g, uint64_t ino, uint64_t dir, uint64_t cookie)
{
    struct removed key = { .ino = ino, .dir = dir, .cookie = cookie };

    return bsearch(&key, g->removed.v, g->removed.count, sizeof key, removed_cmp);
}

struct survivor { struct graft *g; struct inode in; bool primary; };

static int survivor_link(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct survivor *x = arg;
    struct key k = { .len = (uint16_t)key_len };

    if (key_len != 25)
        return -EUCLEAN;
    bool removed = is_removed(x->g, key_ino(key), key_number(key), be64(key + 17));
    if (!removed && x->primary)
        return 0;
    if (!removed) {
        x->in.parent = key_number(key);
        x->in.cookie = be64(key + 17);
        x->primary = true;
    }
    memcpy(k.b, key, key_len);
    return op_key(x->g, &k, NULL, 0);
}

static int survive(struct graft *g, const struct gone *gone)
{
    struct survivor x = { .g = g, .in = gone->in };
    struct key from = key_simple(gone->ino, KEY_LINK), to = key_simple(gone->ino, KEY_LINK + 1);

    x.primary = !is_removed(g, gone->ino, gone->in.parent, gone->in.cookie);
    int r = ws_each(g->w, &from, &to, survivor_link, &x);
    if (r || !x.primary)
        return r ? r : -EUCLEAN;
    x.in.nlink -= gone->names;
    x.in.ctime = g->now;
    return op_inode(g, gone->ino, &x.in);
}

/* True if a name in this directory changes; the first n of ops are sorted. */
static bool dir_changes(const struct graft *g, uint64_t dir, size_t n)
{
    struct key k = key_simple(dir, KEY_DIRENT);
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (key_cmp(bytes_of(g, g->ops.v[mid].key), g->ops.v[mid].key.len, k.b, k.len) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && g->ops.v[lo].key.len > k.len && !memcmp(bytes_of(g, g->ops.v[lo].key), k.b, k.len);
}

int graft_keys(struct graft *g)
{
    int r = 0;

    g->now = itime_now();
    for (size_t i = 0; !r && i < g->nodes.count; i++) {
        r = want_node(g, &g->nodes.v[i]);
        if (!r && g->nodes.v[i].keep)
            r = have_node(g, &g->nodes.v[i]);
        g->inodes++;
        g->units += (int64_t)inode_charge(&g->nodes.v[i].in);
    }
    for (size_t i = 0; !r && i < g->made.count; i++)
        r = want_name(g, i);
    for (size_t i = 0; !r && i < g->removed.count; i++)
        r = have_removed(g, &g->removed.v[i]);
    if (!r)
        r = merge_items(g);
    size_t sorted = g->ops.count;
    if (!r && g->removed.count)
        qsort(g->removed.v, g->removed.count, sizeof *g->removed.v, removed_cmp);
    for (size_t i = 0; !r && i < g->gone.count; i++) {
        struct gone *x = &g->gone.v[i];
        if (x->dead) {
            g->inodes--;
            g->units -= (int64_t)inode_charge(&x->in);
        } else {
            r = survive(g, x);
        }
    }
    for (size_t i = 0; !r && i < g->parents.count; i++) {
        struct parent *p = &g->parents.v[i];
        if (!dir_changes(g, p->ino, sorted))
            continue;
        g->units -= (int64_t)inode_charge(&p->in);
        p->in.size += (uint64_t)p->entries;
        g->units += (int64_t)inode_charge(&p->in);
        p->in.nlink += (uint32_t)p->subdirs;
        p->in.mtime = p->in.ctime = g->now;
        r = op_inode(g, p->ino, &p->in);
    }
    return r;
}
