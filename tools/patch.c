#include "tools/patch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/linediff.h"
#include "tools/text.h"

enum { CONTEXT = 3 };

static bool tracked(const struct side *s)
{
    return s->there && (S_ISREG(s->mode) || S_ISLNK(s->mode));
}

/* git knows two modes of files; others are shown as they are only where that is the change. */
static uint32_t git_mode(uint32_t mode)
{
    return S_ISLNK(mode) ? 0120000 : mode & 0100 ? 0100755 : 0100644;
}

/* "a/PATH", quoted as a whole if need be. */
static void put_name(struct buf *out, const char *prefix, const char *path, size_t n)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;

    buf_put(&b, prefix, strlen(prefix));
    buf_put(&b, path, n);
    if (buf_err(&b))
        out->err = buf_err(&b);
    else
        text_quote(out, b.data, b.len);
}

static void put_plain(struct buf *out, const char *what, const char *path, size_t n)
{
    buf_put(out, what, strlen(what));
    text_quote(out, path, n);
    buf_put_u8(out, '\n');
}

/* "--- a/PATH": a name with a space gets a tab behind it, so that patch(1) sees its end. */
static void put_file_line(struct buf *out, const char *mark, const char *prefix, bool there, const char *path, size_t n)
{
    buf_put(out, mark, 4);
    if (there)
        put_name(out, prefix, path, n);
    else
        buf_put(out, "/dev/null", 9);
    if (there && memchr(path, ' ', n) && !text_is_odd(path, n))
        buf_put_u8(out, '\t');
    buf_put_u8(out, '\n');
}

/* --- hunks --- */

static void put_line(struct buf *out, char mark, const struct line *l)
{
    buf_put_u8(out, (uint8_t)mark);
    buf_put(out, l->p, l->n);
    if (!l->n || l->p[l->n - 1] != '\n') {
        static const char none[] = "\n\\ No newline at end of file\n";
        buf_put(out, none, sizeof(none) - 1);
    }
}

/* "12", "12,3", "11,0": one line is not counted, and an empty range stands after the line before. */
static void put_range(struct buf *out, char mark, size_t from, size_t count)
{
    buf_printf(out, "%c%zu", mark, count ? from + 1 : from);
    if (count != 1)
        buf_printf(out, ",%zu", count);
}

struct span { size_t a0, a1, b0, b1; };

/* From (i, j) to the next change; false: none. i and j stand on lines that correspond. */
static bool next_change(const struct linediff *d, size_t i, size_t j, struct span *ret)
{
    while (i < d->a.n && j < d->b.n && !d->a.changed[i] && !d->b.changed[j])
        i++, j++;
    if (i == d->a.n && j == d->b.n)
        return false;
    *ret = (struct span){ i, i, j, j };
    while (ret->a1 < d->a.n && d->a.changed[ret->a1])
        ret->a1++;
    while (ret->b1 < d->b.n && d->b.changed[ret->b1])
        ret->b1++;
    return true;
}

static void put_hunk(struct buf *out, const struct linediff *d, const struct span *first, const struct span *last)
{
    size_t before = first->a0 < CONTEXT ? first->a0 : CONTEXT;
    size_t after = d->a.n - last->a1 < CONTEXT ? d->a.n - last->a1 : CONTEXT;
    struct span h = { first->a0 - before, last->a1 + after, first->b0 - before, last->b1 + after };

    buf_put(out, "@@ ", 3);
    put_range(out, '-', h.a0, h.a1 - h.a0);
    buf_put_u8(out, ' ');
    put_range(out, '+', h.b0, h.b1 - h.b0);
    buf_put(out, " @@\n", 4);
    for (size_t i = h.a0, j = h.b0; i < h.a1 || j < h.b1;) {
        if (i < h.a1 && d->a.changed[i])
            put_line(out, '-', &d->a.v[i++]);
        else if (j < h.b1 && d->b.changed[j])
            put_line(out, '+', &d->b.v[j++]);
        else
            put_line(out, ' ', &d->a.v[i++]), j++;
    }
}

static void put_hunks(struct buf *out, const struct linediff *d)
{
    struct span first, last, next;
    bool more = next_change(d, 0, 0, &first);

    while (more) {
        last = first;
        while ((more = next_change(d, last.a1, last.b1, &next)) && next.a0 - last.a1 <= 2 * CONTEXT)
            last = next;
        put_hunk(out, d, &first, &last);
        first = next;
    }
}

/* --- one file --- */

static bool is_binary(const struct side *s)
{
    return s->there && linediff_is_binary(s->p, s->n);
}

static void put_similarity(struct buf *out, const struct patch_entry *e, const struct linediff *d)
{
    uint64_t most = e->a.size > e->b.size ? e->a.size : e->b.size, percent = 100;

    if (e->content && d)
        percent = most ? d->same_bytes * 100 / most : 100;
    else if (e->content)
        percent = 0;
    if (e->content && percent > 99)
        percent = 99;
    buf_printf(out, "similarity index %llu%%\n", (unsigned long long)percent);
    put_plain(out, "rename from ", e->old_path, e->old_path_len);
    put_plain(out, "rename to ", e->path, e->path_len);
}

static void put_modes(struct buf *out, const struct side *a, const struct side *b)
{
    uint32_t ma = git_mode(a->mode), mb = git_mode(b->mode);

    if (!a->there) {
        buf_printf(out, "new file mode %06o\n", mb);
    } else if (!b->there) {
        buf_printf(out, "deleted file mode %06o\n", ma);
    } else if (a->mode != b->mode) {
        if (ma == mb)
            ma = a->mode, mb = b->mode;
        buf_printf(out, "old mode %06o\nnew mode %06o\n", ma, mb);
    }
}

static int put_file(const struct patch_entry *e, const struct side *a, const struct side *b, struct buf *out)
{
    const char *old = e->old_path_len ? e->old_path : e->path;
    size_t old_len = e->old_path_len ? e->old_path_len : e->path_len;
    bool opaque = e->too_large || is_binary(a) || is_binary(b);
    struct linediff d = { 0 };
    int r = 0;

    if (e->content && !opaque && (r = linediff_make(a->p ? (const void *)a->p : "", a->n, b->p ? (const void *)b->p : "", b->n, &d)))
        return r;
    buf_put(out, "diff --git ", 11);
    put_name(out, "a/", old, old_len);
    buf_put_u8(out, ' ');
    put_name(out, "b/", e->path, e->path_len);
    buf_put_u8(out, '\n');
    put_modes(out, a, b);
    if (e->old_path_len)
        put_similarity(out, e, opaque ? NULL : &d);
    if (e->content && opaque) {
        buf_put(out, "Binary files ", 13);
        if (a->there)
            put_name(out, "a/", old, old_len);
        else
            buf_put(out, "/dev/null", 9);
        buf_put(out, " and ", 5);
        if (b->there)
            put_name(out, "b/", e->path, e->path_len);
        else
            buf_put(out, "/dev/null", 9);
        buf_put(out, " differ\n", 8);
    } else if (e->content && (d.added || d.deleted)) {
        put_file_line(out, "--- ", "a/", a->there, old, old_len);
        put_file_line(out, "+++ ", "b/", b->there, e->path, e->path_len);
        put_hunks(out, &d);
    }
    linediff_fini(&d);
    return buf_err(out);
}

int patch_write(const struct patch_entry *e, struct buf *out)
{
    static const struct side none = { 0 };
    const struct side *a = tracked(&e->a) ? &e->a : &none, *b = tracked(&e->b) ? &e->b : &none;

    if (!a->there && !b->there)
        return 0;
    if (a->there && b->there && S_ISLNK(a->mode) != S_ISLNK(b->mode)) {
        /* Another type is a removal and an addition. */
        int r = put_file(e, a, &none, out);
        return r ? r : put_file(e, &none, b, out);
    }
    if (a->there && b->there && !e->content && !e->old_path_len && a->mode == b->mode)
        return 0;             /* owner, times, attributes: not in a patch */
    return put_file(e, a, b, out);
}
