/* Views: the table, and lookup through the levels.
 *
 * A view changes once in its life, when the fold publishes its root: then rec.root becomes valid, and parent and layer go. Whoever walks
 * the levels holds store->view_lock for reading; the fold takes it for writing. A view's place in the table and its count reaching
 * zero are guarded by store->lock. */
#include "fs/view.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/key.h"
#include "fs/map.h"
#include "fs/store.h"

static struct view *view_find(struct store *s, uint64_t id)
{
    for (struct view *v = s->views; v; v = v->next)
        if (v->rec.id == id)
            return view_ref(v);
    return NULL;
}

/* Takes parent and layer. store->lock is held. */
static int view_make(struct store *s, const struct base_rec *rec, struct view *parent, struct layer *layer, struct view **ret)
{
    struct view *v = mem_zalloc(sizeof *v);

    if (!v)
        return -ENOMEM;
    v->refs = 1;
    v->store = s;
    v->rec = *rec;
    v->parent = parent;
    v->layer = layer;
    v->next = s->views;
    s->views = v;
    *ret = v;
    return 0;
}

/* Drops one reference with store->lock held; returns the view if it was the last and is to be freed, else NULL. */
static struct view *view_drop(struct view *v)
{
    if (--v->refs > 0)
        return NULL;
    for (struct view **p = &v->store->views; *p; p = &(*p)->next) {
        if (*p == v) {
            *p = v->next;
            break;
        }
    }
    return v;
}

static int view_get_locked(struct store *s, uint64_t id, unsigned depth, struct view **ret)
{
    struct view *v = view_find(s, id), *parent = NULL;
    struct layer *layer = NULL;
    struct base_rec rec;
    int r;

    if (v) {
        *ret = v;
        return 0;
    }
    r = base_get(s->meta, id, &rec);
    if (r < 0)
        return r;
    if (rec.layer && depth > 64)
        return -EUCLEAN;
    if (rec.layer)
        r = view_get_locked(s, rec.parent, depth + 1, &parent);
    if (r == 0 && rec.layer)
        r = layer_load(s, rec.layer, &layer);
    if (r == 0)
        r = view_make(s, &rec, parent, layer, ret);
    if (r < 0) {
        layer_unref(layer);
        while (parent) {
            struct view *gone = view_drop(parent);
            parent = gone ? gone->parent : NULL;
            if (gone) {
                layer_unref(gone->layer);
                free(gone);
            }
        }
    }
    return r;
}

int view_get(struct store *s, uint64_t base_id, struct view **ret)
{
    pthread_mutex_lock(&s->lock);
    int r = view_get_locked(s, base_id, 0, ret);
    pthread_mutex_unlock(&s->lock);
    return r;
}

int view_add(struct store *s, const struct base_rec *rec, struct view *parent, struct layer *layer, struct view **ret)
{
    pthread_mutex_lock(&s->lock);
    int r = view_make(s, rec, parent, layer, ret);
    if (r == 0 && parent)
        view_ref(parent);
    if (r == 0 && layer)
        layer_ref(layer);
    if (r == 0)
        (*ret)->fluid = layer != NULL;    /* whoever reads it holds store->lock too */
    pthread_mutex_unlock(&s->lock);
    return r;
}

struct view *view_ref(struct view *v)
{
    v->refs++;
    return v;
}

void view_unref(struct view *v)
{
    while (v) {
        struct store *s = v->store;

        pthread_mutex_lock(&s->lock);
        v = view_drop(v);
        pthread_mutex_unlock(&s->lock);
        if (v) {
            struct view *parent = v->parent;
            layer_unref(v->layer);
            free(v);
            v = parent;
        }
    }
}

int view_depth(struct view *v)
{
    struct store *s = v->store;
    int depth = 0;

    pthread_rwlock_rdlock(&s->view_lock);
    for (; v && v->layer; v = v->parent)
        depth++;
    pthread_rwlock_unlock(&s->view_lock);
    return depth;
}

/* 1 the layer decides and has a value, 0 it decides that there is none, -ENOENT it says nothing. */
static int layer_lookup(struct layer *l, const void *key, size_t key_len, const struct map_entry **ret)
{
    const uint8_t *k = key;

    if (map_count(l->map) == 0)
        return -ENOENT;
    if (key_len > 9 || k[8] != KEY_INODE) {
        struct key ik = key_simple(key_ino(k), KEY_INODE);
        const struct map_entry *ie = map_get(l->map, ik.b, ik.len);
        if (ie && ie->tombstone)
            return 0;
    }
    const struct map_entry *e = map_get(l->map, key, key_len);
    if (!e)
        return -ENOENT;
    *ret = e;
    return !e->tombstone;
}

static int layer_value(struct layer *l, const void *key, size_t key_len, struct view_val *ret)
{
    const struct map_entry *e = NULL;
    int r = layer_lookup(l, key, key_len, &e);

    if (r == 1)
        *ret = (struct view_val){ .v = { .p = e->val, .n = e->val_len }, .source = l };
    return r;
}

int view_get_over(struct view *v, struct layer *live, const void *key, size_t key_len, struct view_val *ret)
{
    int r = live ? layer_value(live, key, key_len, ret) : -ENOENT;

    for (; r == -ENOENT && v->layer; v = v->parent)
        r = layer_value(v->layer, key, key_len, ret);
    if (r != -ENOENT)
        return r;
    ret->source = NULL;
    ret->v = (struct tree_val){ 0 };
    return tree_get(v->store->nodes, &v->rec.root, key, key_len, &ret->v);
}

int view_get_key(struct view *v, const void *key, size_t key_len, struct view_val *ret)
{
    return view_get_over(v, NULL, key, key_len, ret);
}

/* --- ordered iteration over merged levels --- */

enum { SOURCES_MAX = 64 };

struct source {
    struct layer *layer;                  /* NULL: the tree */
    struct map_iter it;
    const uint8_t *key, *val;             /* key NULL: exhausted */
    size_t key_len, val_len;
    bool tombstone;
};

struct merge {
    struct source src[SOURCES_MAX];       /* top level first, the tree last */
    unsigned count;
    struct tree_cursor cur;
    uint64_t hide_ino;                    /* this inode is hidden ... */
    unsigned hide_from;                   /* ... in the sources from here on down */
};

static void source_take_entry(struct source *s, const struct map_entry *e)
{
    s->key = e ? e->key : NULL;
    if (e) {
        s->key_len = e->key_len;
        s->val = e->val;
        s->val_len = e->val_len;
        s->tombstone = e->tombstone;
    }
}

/* result is what the cursor call gave. */
static int source_take_cursor(struct source *s, struct tree_cursor *cur, int result)
{
    s->key = NULL;
    if (result > 0) {
        const struct node_entry *e = tree_cursor_entry(cur);
        s->key = e->key;
        s->key_len = e->key_len;
        s->val = e->val;
        s->val_len = e->val_len;
    }
    return result < 0 ? result : 0;
}

static int source_next(struct merge *m, struct source *s)
{
    if (!s->layer)
        return source_take_cursor(s, &m->cur, tree_cursor_next(&m->cur));
    source_take_entry(s, map_next(&s->it));
    return 0;
}

static int merge_start(struct merge *m, struct view *v, struct layer *extra, const void *from, size_t from_len)
{
    struct view *base = v;
    uint8_t none = 0;

    m->count = 0;
    m->hide_ino = 0;
    if (extra)
        m->src[m->count++].layer = extra;
    for (; base && base->layer; base = base->parent) {
        if (m->count == SOURCES_MAX - 1)
            return -EUCLEAN;
        m->src[m->count++].layer = base->layer;
    }
    for (unsigned i = m->count; i-- > 0;) {
        struct source *s = &m->src[i];
        source_take_entry(s, map_seek(s->layer->map, &s->it, from ? from : &none, from_len));
        if (from_len > 9 || (from_len == 9 && ((const uint8_t *)from)[8] != KEY_INODE)) {
            struct key ik = key_simple(key_ino(from), KEY_INODE);
            const struct map_entry *ie = map_get(s->layer->map, ik.b, ik.len);
            if (ie && ie->tombstone) {
                m->hide_ino = key_ino(from);
                m->hide_from = i;
            }
        }
    }
    if (!base)
        return 0;
    struct source *s = &m->src[m->count++];
    s->layer = NULL;
    s->tombstone = false;
    tree_cursor_init(&m->cur, base->store->nodes, &base->rec.root);
    return source_take_cursor(s, &m->cur, tree_cursor_seek(&m->cur, from ? from : &none, from_len));
}

/* The source with the least key, topmost of equals; NULL at the end. */
static struct source *merge_least(struct merge *m)
{
    struct source *best = NULL;

    for (unsigned i = 0; i < m->count; i++) {
        struct source *s = &m->src[i];
        if (s->key && (!best || key_cmp(s->key, s->key_len, best->key, best->key_len) < 0))
            best = s;
    }
    return best;
}

/* Advances every source that stands on the key of best (which comes last: others compare with its bytes). */
static int merge_advance(struct merge *m, struct source *best)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < m->count; i++) {
        struct source *s = &m->src[i];
        if (s != best && s->key && key_cmp(s->key, s->key_len, best->key, best->key_len) == 0)
            r = source_next(m, s);
    }
    return r == 0 ? source_next(m, best) : r;
}

/* At the record of an inode: the topmost tombstone of it hides the rest of that level and of those below, also where a level above has made
 * the inode again (a restore). */
static void merge_hide(struct merge *m, const struct source *best)
{
    for (unsigned i = (unsigned)(best - m->src); i < m->count; i++) {
        const struct source *s = &m->src[i];
        if (s->key && s->tombstone && key_cmp(s->key, s->key_len, best->key, best->key_len) == 0) {
            m->hide_ino = key_ino(best->key);
            m->hide_from = i;
            return;
        }
    }
}

static bool merge_hidden(const struct merge *m, const struct source *s)
{
    return m->hide_ino && key_ino(s->key) == m->hide_ino && (unsigned)(s - m->src) >= m->hide_from;
}

int view_each(struct view *v, struct layer *extra, const void *from, size_t from_len, const void *to, size_t to_len, view_each_fn *fn, void *arg)
{
    struct merge m;
    struct source *s;

    m.cur = (struct tree_cursor){ 0 };
    int r = merge_start(&m, v, extra, from, from_len);
    while (r == 0 && (s = merge_least(&m))) {
        if (to && key_cmp(s->key, s->key_len, to, to_len) >= 0)
            break;
        if (s->key_len == 9 && s->key[8] == KEY_INODE)
            merge_hide(&m, s);
        if (!s->tombstone && !merge_hidden(&m, s))
            r = fn(arg, s->key, s->key_len, s->val, s->val_len, s->layer);
        if (r == 0)
            r = merge_advance(&m, s);
    }
    tree_cursor_fini(&m.cur);
    return r;
}
