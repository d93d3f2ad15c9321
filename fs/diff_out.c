/* The entries of a diff: of files that are the same in both states, the choice of what is asked for, and their order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fs/diff_internal.h"
#include "fs/limits.h"

bool diff_reported(const struct diff *d, unsigned what, bool is_dir)
{
    return what & ~(unsigned)DIFF_MTIME || (what & DIFF_MTIME && d->opts->times && !is_dir);
}

/* The path is that of the argument or below it. */
static bool path_in(const char *path, size_t len, const char *arg)
{
    arg += strspn(arg, "/");
    size_t n = strlen(arg);
    while (n > 0 && arg[n - 1] == '/')
        n--;
    if (n == 0 || (n == 1 && arg[0] == '.'))
        return true;
    return len >= n && !memcmp(path, arg, n) && (len == n || path[n] == '/');
}

static bool path_wanted(const struct diff *d, struct text path)
{
    for (unsigned i = 0; i < d->opts->path_count; i++) {
        if (path_in(text_of(d, path), path.len, d->opts->paths[i]))
            return true;
    }
    return d->opts->path_count == 0;
}

int diff_out(struct diff *d, enum diff_kind kind, unsigned what, struct text path, struct text old, uint64_t a, uint64_t b)
{
    if (!path_wanted(d, path) && !(kind == DIFF_RENAMED && path_wanted(d, old)))
        return 0;
    struct out *o = LIST_ADD(&d->outs);
    if (!o)
        return -ENOMEM;
    *o = (struct out){ .kind = kind, .what = what, .path = path, .old = old, .a = a, .b = b };
    return 0;
}

/* --- files that are the same --- */

static int move_cmp(const void *x, const void *y, void *arg)
{
    const struct move *a = x, *b = y;

    if (a->ino != b->ino)
        return a->ino < b->ino ? -1 : 1;
    return a->in_b != b->in_b ? a->in_b - b->in_b : text_cmp(arg, a->path, b->path);
}

/* What has changed of it, by its records and by the keys that were seen. */
static int same_what(struct diff *d, uint64_t ino, unsigned *ret, bool *ret_dir)
{
    struct inode a, b;
    uint64_t flags;

    int r = diff_item(d, ino, &flags);
    if (!r)
        r = side_inode(&d->side[0], ino, &a);
    if (r > 0)
        r = side_inode(&d->side[1], ino, &b);
    if (r <= 0)
        return r ? r : -EUCLEAN;
    *ret = inode_what(&a, &b) | (unsigned)(flags & (DIFF_CONTENT | DIFF_XATTR));
    *ret_dir = inode_is_dir(&a);
    return 0;
}

/* m[0..n): all moves of one file. */
static int moves_of_one(struct diff *d, const struct move *m, size_t n)
{
    struct text none = { 0 };
    unsigned what = 0;
    size_t gone = 0;
    bool dir = false;
    int r = same_what(d, m->ino, &what, &dir);

    if (!r && dir)
        what &= ~(unsigned)DIFF_MTIME;
    while (gone < n && !m[gone].in_b)
        gone++;
    for (size_t i = 0; !r && (i < gone || gone + i < n); i++) {
        if (i < gone && gone + i < n)
            r = diff_out(d, DIFF_RENAMED, what, m[gone + i].path, m[i].path, m->ino, m->ino);
        else if (i < gone)
            r = diff_out(d, DIFF_DELETED, 0, m[i].path, none, m->ino, 0);
        else
            r = diff_out(d, DIFF_ADDED, 0, m[gone + i].path, none, 0, m->ino);
    }
    return r;
}

/* True if this name has been reported as a move already. */
static bool move_known(const struct diff *d, const struct move *key)
{
    size_t lo = 0, hi = d->moves.count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = move_cmp(&d->moves.v[mid], key, (void *)(uintptr_t)d);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

struct modified { struct diff *d; unsigned what; };

static int modified_name(void *arg, const struct side_name *n)
{
    struct modified *x = arg;
    struct diff *d = x->d;
    struct text name, none = { 0 };
    struct move key = { .ino = n->ino, .in_b = true };

    name = (struct text){ .off = d->text.len, .len = n->len };
    buf_put(&d->text, n->name, n->len);
    if (buf_err(&d->text))
        return -ENOMEM;
    int r = diff_path(d, true, n->dir, name, &key.path);
    if (r)
        return r;
    if (move_known(d, &key))
        return 0;
    return diff_out(d, DIFF_MODIFIED, x->what, key.path, none, n->ino, n->ino);
}

static int modified_one(struct diff *d, uint64_t ino)
{
    struct modified x = { .d = d };
    struct text dot, none = { 0 };
    struct inode in;
    uint64_t flags;
    bool dir;

    int r = diff_item(d, ino, &flags);
    if (r || !(flags & ITEM_SAME))
        return r;
    r = same_what(d, ino, &x.what, &dir);
    if (r || !diff_reported(d, x.what, dir))
        return r;
    if (dir)
        x.what &= ~(unsigned)DIFF_MTIME;
    if (ino == INO_ROOT) {
        dot = (struct text){ .off = d->text.len, .len = 1 };
        buf_put(&d->text, ".", 2);
        return buf_err(&d->text) ? -ENOMEM : diff_out(d, DIFF_MODIFIED, x.what, dot, none, ino, ino);
    }
    r = side_inode(&d->side[1], ino, &in);
    return r <= 0 ? r : side_links(&d->side[1], ino, &in, modified_name, &x);
}

int diff_same_files(struct diff *d)
{
    struct move *m = d->moves.v;
    int r = 0;

    if (d->moves.count)
        qsort_r(m, d->moves.count, sizeof *m, move_cmp, d);
    for (size_t i = 0, n; !r && i < d->moves.count; i += n) {
        for (n = 1; i + n < d->moves.count && m[i + n].ino == m[i].ino; n++)
            ;
        r = moves_of_one(d, m + i, n);
    }
    for (size_t i = 0; !r && i < d->changed.count; i++)
        r = modified_one(d, d->changed.v[i]);
    return r;
}

/* --- output --- */

static int out_cmp(const void *x, const void *y, void *arg)
{
    const struct out *a = x, *b = y;
    int c = text_cmp(arg, a->path, b->path);

    if (c)
        return c;
    return a->kind == b->kind ? 0 : a->kind == DIFF_DELETED ? -1 : b->kind == DIFF_DELETED ? 1 : (int)a->kind - (int)b->kind;
}

int diff_emit(struct diff *d, int (*fn)(void *arg, const struct diff_entry *e), void *arg)
{
    int r = 0;

    if (d->outs.count)
        qsort_r(d->outs.v, d->outs.count, sizeof *d->outs.v, out_cmp, d);
    for (size_t i = 0; !r && i < d->outs.count; i++) {
        const struct out *o = &d->outs.v[i];
        struct diff_entry e = { .kind = o->kind, .what = o->what, .path = text_of(d, o->path), .path_len = o->path.len, .ino_a = o->a, .ino_b = o->b };
        if (o->kind == DIFF_RENAMED) {
            e.old_path = text_of(d, o->old);
            e.old_path_len = o->old.len;
        }
        if (o->a && (r = side_inode(&d->side[0], o->a, &e.a)) <= 0)
            return r ? r : -EUCLEAN;
        if (o->b && (r = side_inode(&d->side[1], o->b, &e.b)) <= 0)
            return r ? r : -EUCLEAN;
        r = fn(arg, &e);
    }
    return r;
}
