/*
 * The difference of two states.
 *
 * Both are folded, so both are trees; tree_diff() gives the changed keys in O(changes). From these:
 *
 * 1. An inode number is the SAME file if both states have it with equal type and birth time; so is the root. Numbers alone do not say so:
 *    two forks use the same numbers for different files.
 * 2. Changed names are collected for directories that are the same. To them come the names of numbers that both states use for different
 *    files: there the name's key may well be equal in both.
 * 3. Such a name in A only, or in B only, of a file that is the same, is a move (rename, or a hard link come or gone). Of another file: it
 *    is deleted or added, and if it is a directory, so are all names below it, each looked at by this same rule.
 * 4. One name in both states for two files that are both not the same as anything: they are compared by their keys, which content decides
 *    alone. Two directories are compared name by name, by rules 3 and 4.
 * 5. Moves of one file are paired to renames, in order of path; what is left over is added or deleted links. A file that is the same and
 *    has other keys is modified, at each name that was not just reported.
 *
 * So a renamed directory is one entry, since the names in it are keys of its number; and what is below it is looked at only if it changed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fs/diff_internal.h"
#include "fs/key.h"
#include "fs/store.h"
#include "fs/view.h"

/* --- what is known of inodes --- */

unsigned inode_what(const struct inode *a, const struct inode *b)
{
    unsigned what = 0;

    if (a->mode != b->mode)
        what |= DIFF_MODE;
    if (a->uid != b->uid || a->gid != b->gid)
        what |= DIFF_OWNER;
    if (a->mtime.sec != b->mtime.sec || a->mtime.ns != b->mtime.ns)
        what |= DIFF_MTIME;
    if (a->rdev != b->rdev || (!inode_is_dir(a) && a->size != b->size))
        what |= DIFF_CONTENT;
    return what;
}

static bool same_file(uint64_t ino, const struct inode *a, const struct inode *b)
{
    return (a->mode & S_IFMT) == (b->mode & S_IFMT) &&
           (ino == INO_ROOT || (a->btime.sec == b->btime.sec && a->btime.ns == b->btime.ns));
}

int diff_item(struct diff *d, uint64_t ino, uint64_t *ret_flags)
{
    struct inode in[2];
    uint64_t flags = 0;

    if (ino_map_get(d->items, ino, ret_flags))
        return 0;
    for (int i = 0; i < 2; i++) {
        int r = side_inode(&d->side[i], ino, &in[i]);
        if (r < 0)
            return r;
        if (r > 0)
            flags |= i ? ITEM_B : ITEM_A;
    }
    if (flags & ITEM_A && flags & ITEM_B && same_file(ino, &in[0], &in[1]))
        flags |= ITEM_SAME;
    *ret_flags = flags;
    return ino_map_put(d->items, ino, flags);
}

/* --- texts and names --- */

int text_cmp(const struct diff *d, struct text x, struct text y)
{
    int c = memcmp(text_of(d, x), text_of(d, y), x.len < y.len ? x.len : y.len);

    return c ? c : (x.len > y.len) - (x.len < y.len);
}

static int text_put(struct diff *d, const char *s, size_t n, struct text *ret)
{
    *ret = (struct text){ .off = d->text.len, .len = (uint32_t)n };
    buf_put(&d->text, s, n);
    buf_put_u8(&d->text, 0);
    return buf_err(&d->text);
}

int diff_path(struct diff *d, bool in_b, uint64_t dir, struct text name, struct text *ret)
{
    char copy[NAME_BYTES_MAX + 1];        /* the name lies in the buffer that grows */
    uint64_t off = d->text.len;

    memcpy(copy, text_of(d, name), name.len);
    int r = side_path(&d->side[in_b], dir, copy, name.len, &d->text);
    if (r)
        return r;
    if (d->text.len - off > UINT32_MAX)
        return -ENAMETOOLONG;
    *ret = (struct text){ .off = off, .len = (uint32_t)(d->text.len - off) };
    buf_put_u8(&d->text, 0);
    return buf_err(&d->text);
}

static int names_add(struct diff *d, struct names *l, bool in_b, const struct side_name *n)
{
    struct name *x = LIST_ADD(l);

    if (!x)
        return -ENOMEM;
    *x = (struct name){ .dir = n->dir, .ino = n->ino, .type = n->type, .in_b = in_b };
    return text_put(d, n->name, n->len, &x->name);
}

static int name_cmp(const void *x, const void *y, void *arg)
{
    const struct name *a = x, *b = y;

    if (a->dir != b->dir)
        return a->dir < b->dir ? -1 : 1;
    int c = text_cmp(arg, a->name, b->name);
    return c ? c : a->in_b - b->in_b;
}

/* --- changed keys (rules 1 and 2) --- */

static int changed_name(struct diff *d, bool in_b, const struct node_entry *e)
{
    struct side_name n = { .dir = key_ino(e->key) };

    if (e->key_len <= 17 || e->key_len > 17 + NAME_BYTES_MAX || e->val_len != 9)
        return -EUCLEAN;
    n.ino = le64(e->val);
    n.type = e->val[8];
    n.len = (uint8_t)(e->key_len - 17);
    memcpy(n.name, e->key + 17, n.len);
    return names_add(d, &d->names, in_b, &n);
}

static int changed_key(void *arg, const struct node_entry *a, const struct node_entry *b)
{
    struct diff *d = arg;
    const struct node_entry *e = a ? a : b;
    uint64_t flags;

    if (e->key_len < 9 || key_ino(e->key) == 0)
        return -EUCLEAN;
    uint64_t ino = key_ino(e->key);
    int r = diff_item(d, ino, &flags);
    if (r)
        return r;
    if (d->changed.count == 0 || d->changed.v[d->changed.count - 1] != ino) {
        uint64_t *x = LIST_ADD(&d->changed);
        if (!x)
            return -ENOMEM;
        *x = ino;
    }
    switch (key_kind_of(e->key)) {
    case KEY_BODY: case KEY_SYMLINK: case KEY_EXTENT:
        return ino_map_put(d->items, ino, flags | DIFF_CONTENT);
    case KEY_XATTR:
        return ino_map_put(d->items, ino, flags | DIFF_XATTR);
    case KEY_DIRENT:
        if (flags & ITEM_SAME && a)
            r = changed_name(d, false, a);
        if (!r && flags & ITEM_SAME && b)
            r = changed_name(d, true, b);
        return r;
    default:
        return 0;
    }
}

struct broken { struct diff *d; bool in_b; };

static int broken_name(void *arg, const struct side_name *n)
{
    struct broken *x = arg;
    uint64_t flags;
    int r = diff_item(x->d, n->dir, &flags);

    return r ? r : flags & ITEM_SAME ? names_add(x->d, &x->d->names, x->in_b, n) : 0;
}

static int broken_names(struct diff *d)
{
    for (size_t i = 0; i < d->changed.count; i++) {
        uint64_t ino = d->changed.v[i], flags;
        int r = diff_item(d, ino, &flags);
        if (r)
            return r;
        if (flags & ITEM_SAME || !(flags & ITEM_A) || !(flags & ITEM_B))
            continue;
        for (int b = 0; b < 2; b++) {
            struct broken x = { d, b };
            struct inode in;
            r = side_inode(&d->side[b], ino, &in);
            if (r > 0)
                r = side_links(&d->side[b], ino, &in, broken_name, &x);
            if (r < 0)
                return r;
        }
    }
    return 0;
}

/* --- names (rules 3 and 4) --- */

static int work_add(struct diff *d, uint64_t a, uint64_t b)
{
    struct work *w = LIST_ADD(&d->work);

    if (!w)
        return -ENOMEM;
    *w = (struct work){ a, b };
    return 0;
}

static int name_alone(struct diff *d, const struct name *n)
{
    struct text path;
    uint64_t flags;
    int r = diff_item(d, n->ino, &flags);

    if (!r)
        r = diff_path(d, n->in_b, n->dir, n->name, &path);
    if (r)
        return r;
    if (flags & ITEM_SAME) {
        struct move *m = LIST_ADD(&d->moves);
        if (!m)
            return -ENOMEM;
        *m = (struct move){ .ino = n->ino, .path = path, .in_b = n->in_b };
        return 0;
    }
    r = diff_out(d, n->in_b ? DIFF_ADDED : DIFF_DELETED, 0, path, (struct text){ 0 }, n->in_b ? 0 : n->ino, n->in_b ? n->ino : 0);
    return r || n->type != DT_DIR ? r : n->in_b ? work_add(d, 0, n->ino) : work_add(d, n->ino, 0);
}

/* 1 if the keys of two inodes differ within these kinds, 0 if not. */
static int keys_differ(struct diff *d, uint64_t a, uint64_t b, uint8_t first, uint8_t last)
{
    struct tree_cursor cur[2];
    uint64_t ino[2] = { a, b };
    int r = 0;

    for (int i = 0; i < 2; i++)
        tree_cursor_init(&cur[i], d->side[i].c, &d->side[i].root);
    for (bool begun = false; !r; begun = true) {
        const struct node_entry *e[2] = { NULL, NULL };
        for (int i = 0; i < 2 && r >= 0; i++) {
            struct key k = key_simple(ino[i], first);
            r = begun ? tree_cursor_next(&cur[i]) : tree_cursor_seek(&cur[i], k.b, k.len);
            if (r == 1)
                e[i] = tree_cursor_entry(&cur[i]);
            if (e[i] && (e[i]->key_len < 9 || key_ino(e[i]->key) != ino[i] || e[i]->key[8] > last))
                e[i] = NULL;
        }
        if (r < 0)
            break;
        if (!e[0] && !e[1]) {
            r = 0;
            break;
        }
        r = !e[0] || !e[1] || e[0]->val_len != e[1]->val_len || memcmp(e[0]->val, e[1]->val, e[0]->val_len) ||
            key_cmp(e[0]->key + 8, e[0]->key_len - 8u, e[1]->key + 8, e[1]->key_len - 8u);
    }
    for (int i = 0; i < 2; i++)
        tree_cursor_fini(&cur[i]);
    return r;
}

/* DIFF_* of two different files, or negative. */
static int compare_files(struct diff *d, uint64_t ino_a, const struct inode *a, uint64_t ino_b, const struct inode *b)
{
    unsigned what = inode_what(a, b);
    int r = 0;

    if (!inode_is_dir(a) && !(what & DIFF_CONTENT)) {
        r = keys_differ(d, ino_a, ino_b, KEY_BODY, KEY_SYMLINK);
        if (r == 0)
            r = keys_differ(d, ino_a, ino_b, KEY_EXTENT, KEY_EXTENT);
        if (r > 0)
            what |= DIFF_CONTENT;
    }
    if (r >= 0)
        r = keys_differ(d, ino_a, ino_b, KEY_XATTR, KEY_XATTR);
    if (r > 0)
        what |= DIFF_XATTR;
    return r < 0 ? r : (int)what;
}

/* Two files that are not the same, under one name. */
static int name_replaced(struct diff *d, const struct name *na, const struct name *nb)
{
    struct text path, none = { 0 };
    struct inode a, b;

    int r = side_inode(&d->side[0], na->ino, &a);
    if (r > 0)
        r = side_inode(&d->side[1], nb->ino, &b);
    if (r <= 0)
        return r ? r : -EUCLEAN;
    r = diff_path(d, true, nb->dir, nb->name, &path);
    if (r)
        return r;
    if ((a.mode & S_IFMT) != (b.mode & S_IFMT)) {
        r = diff_out(d, DIFF_TYPE, 0, path, none, na->ino, nb->ino);
        if (!r && inode_is_dir(&a))
            r = work_add(d, na->ino, 0);
        return !r && inode_is_dir(&b) ? work_add(d, 0, nb->ino) : r;
    }
    r = compare_files(d, na->ino, &a, nb->ino, &b);
    if (r < 0)
        return r;
    unsigned what = (unsigned)r & ~(inode_is_dir(&a) ? DIFF_MTIME : 0u);
    r = diff_reported(d, what, inode_is_dir(&a)) ? diff_out(d, DIFF_MODIFIED, what, path, none, na->ino, nb->ino) : 0;
    return !r && inode_is_dir(&a) ? work_add(d, na->ino, nb->ino) : r;
}

/* One name of both states. */
static int name_both(struct diff *d, const struct name *a, const struct name *b)
{
    uint64_t fa, fb;
    int r = diff_item(d, a->ino, &fa);

    if (!r)
        r = diff_item(d, b->ino, &fb);
    if (r)
        return r;
    if (a->ino == b->ino && fa & ITEM_SAME)
        return 0;
    if (!(fa & ITEM_SAME) && !(fb & ITEM_SAME))
        return name_replaced(d, a, b);
    r = name_alone(d, a);
    return r ? r : name_alone(d, b);
}

/* Sorted by directory, name and side. */
static int names_merge(struct diff *d, const struct names *l)
{
    int r = 0;

    for (size_t i = 0; !r && i < l->count; i++) {
        const struct name *x = &l->v[i], *y = i + 1 < l->count ? &l->v[i + 1] : NULL;
        if (y && !name_cmp(x, y, d))
            continue;                     /* found by its changed key and by its inode */
        if (y && x->dir == y->dir && !text_cmp(d, x->name, y->name)) {
            while (i + 2 < l->count && !name_cmp(y, y + 1, d)) {
                y++;
                i++;
            }
            r = name_both(d, x, y);
            i++;
        } else {
            r = name_alone(d, x);
        }
    }
    return r;
}

struct collect { struct diff *d; struct names *l; bool in_b; };

static int collect_name(void *arg, const struct side_name *n)
{
    struct collect *x = arg;

    return names_add(x->d, x->l, x->in_b, n);
}

static int pair_cmp(const void *x, const void *y, void *arg)
{
    const struct name *a = x, *b = y;
    int c = text_cmp(arg, a->name, b->name);

    return c ? c : a->in_b - b->in_b;
}

/* All names of two directories that stand for each other, or of one that stands for nothing. */
static int work_do(struct diff *d, struct work w)
{
    struct names l = { 0 };
    int r = 0;

    for (int b = 0; !r && b < 2; b++) {
        struct collect x = { d, &l, b };
        if (b ? w.b : w.a)
            r = side_entries(&d->side[b], b ? w.b : w.a, collect_name, &x);
    }
    if (!r && l.count)
        qsort_r(l.v, l.count, sizeof *l.v, pair_cmp, d);
    for (size_t i = 0; !r && i < l.count; i++) {
        if (i + 1 < l.count && l.v[i].in_b != l.v[i + 1].in_b && !text_cmp(d, l.v[i].name, l.v[i + 1].name)) {
            r = name_both(d, &l.v[i], &l.v[i + 1]);
            i++;
        } else {
            r = name_alone(d, &l.v[i]);
        }
    }
    free(l.v);
    return r;
}

/* --- all of it --- */

static int diff_run(struct diff *d)
{
    int r = tree_diff(d->side[0].c, &d->side[0].root, &d->side[1].root, changed_key, d);

    if (!r)
        r = broken_names(d);
    if (!r && d->names.count)
        qsort_r(d->names.v, d->names.count, sizeof *d->names.v, name_cmp, d);
    if (!r)
        r = names_merge(d, &d->names);
    while (!r && d->work.count)
        r = work_do(d, d->work.v[--d->work.count]);
    return r ? r : diff_same_files(d);
}

static void diff_fini(struct diff *d)
{
    side_fini(&d->side[0]);
    side_fini(&d->side[1]);
    ino_map_free(d->items);
    buf_fini(&d->text);
    free(d->changed.v);
    free(d->names.v);
    free(d->moves.v);
    free(d->work.v);
    free(d->outs.v);
}

int verb_diff(struct store *s, struct view *a, struct view *b, const struct diff_opts *o, int (*fn)(void *arg, const struct diff_entry *e), void *arg)
{
    static const struct diff_opts none;
    struct diff d = { .opts = o ? o : &none };
    struct addr root[2];

    int r = view_fold_now(s, a, &root[0]);
    if (!r)
        r = view_fold_now(s, b, &root[1]);
    if (r)
        return r;
    for (int i = 0; i < 2; i++)
        side_init(&d.side[i], s->nodes, &root[i]);
    d.items = ino_map_new();
    buf_put_u8(&d.text, 0);               /* so that there is always something to point to */
    r = d.items && !buf_err(&d.text) ? diff_run(&d) : -ENOMEM;
    if (!r)
        r = diff_emit(&d, fn, arg);
    diff_fini(&d);
    return r;
}
