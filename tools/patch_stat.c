/* --stat: rows and their scaling as git has them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/linediff.h"
#include "tools/patch.h"
#include "tools/text.h"

static bool tracked(const struct side *s)
{
    return s->there && (S_ISREG(s->mode) || S_ISLNK(s->mode));
}

/* "dir/{old => new}/rest", or "old => new". */
static void put_rename(struct buf *out, const char *a, size_t an, const char *b, size_t bn)
{
    size_t pre = 0, suf = 0, k = 0;

    if (text_is_odd(a, an) || text_is_odd(b, bn)) {
        text_quote(out, a, an);
        buf_put(out, " => ", 4);
        text_quote(out, b, bn);
        return;
    }
    for (; k < an && k < bn && a[k] == b[k]; k++)
        if (a[k] == '/')
            pre = k + 1;
    /* The slash that ends the common start may also begin the common end. */
    size_t floor = pre ? pre - 1 : 0;
    for (k = 1; an - floor >= k && bn - floor >= k && a[an - k] == b[bn - k]; k++)
        if (a[an - k] == '/')
            suf = k;
    size_t am = an > pre + suf ? an - pre - suf : 0, bm = bn > pre + suf ? bn - pre - suf : 0;
    buf_put(out, a, pre);
    if (pre || suf)
        buf_put_u8(out, '{');
    buf_put(out, a + pre, am);
    buf_put(out, " => ", 4);
    buf_put(out, b + pre, bm);
    if (pre || suf)
        buf_put_u8(out, '}');
    buf_put(out, a + an - suf, suf);
}

static char *row_name(const struct patch_entry *e)
{
    struct buf b = BUF_INIT;

    if (e->old_path_len)
        put_rename(&b, e->old_path, e->old_path_len, e->path, e->path_len);
    else
        text_quote(&b, e->path, e->path_len);
    buf_put_u8(&b, 0);
    if (!buf_err(&b))
        return (char *)b.data;
    buf_fini(&b);
    return NULL;
}

static int count(const struct patch_entry *e, struct stat_row *row)
{
    struct linediff d;
    bool a = tracked(&e->a), b = tracked(&e->b);

    if (!e->content)
        return 0;
    row->binary = e->too_large || (a && linediff_is_binary(e->a.p, e->a.n)) || (b && linediff_is_binary(e->b.p, e->b.n));
    row->a_size = a ? e->a.size : 0;
    row->b_size = b ? e->b.size : 0;
    if (row->binary)
        return 0;
    int r =
        linediff_make(a && e->a.p ? (const void *)e->a.p : "", a ? e->a.n : 0, b && e->b.p ? (const void *)e->b.p : "", b ? e->b.n : 0, &d);
    if (r)
        return r;
    row->added = d.added;
    row->deleted = d.deleted;
    linediff_fini(&d);
    return 0;
}

int stat_add(struct stat_table *t, const struct patch_entry *e)
{
    struct stat_row row = { 0 };

    if (!tracked(&e->a) && !tracked(&e->b))
        return 0;
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        struct stat_row *v = mem_realloc(t->v, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        t->v = v;
        t->cap = cap;
    }
    int r = count(e, &row);
    if (!r && !(row.name = row_name(e)))
        r = -ENOMEM;
    if (!r)
        t->v[t->n++] = row;
    return r;
}

void stat_fini(struct stat_table *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->v[i].name);
    free(t->v);
    *t = (struct stat_table){ 0 };
}

static unsigned digits(size_t v)
{
    unsigned n = 1;
    while (v /= 10)
        n++;
    return n;
}

/* At least one mark for any change. */
static size_t scale(size_t v, size_t width, size_t max)
{
    return v ? 1 + v * (width - 1) / max : 0;
}

static void put_marks(FILE *out, const struct stat_row *row, size_t graph, size_t max)
{
    size_t add = row->added, del = row->deleted;

    if (graph <= max) {
        size_t total = scale(add + del, graph, max);
        if (total < 2 && add && del)
            total = 2;
        if (add < del) {
            add = scale(add, graph, max);
            del = total - add;
        } else {
            del = scale(del, graph, max);
            add = total - del;
        }
    }
    while (add--)
        fputc('+', out);
    while (del--)
        fputc('-', out);
}

/* A name that is too long loses its beginning, at a slash if there is one. */
static void put_name(FILE *out, const char *name, size_t width)
{
    size_t n = strlen(name);

    if (n <= width) {
        fprintf(out, " %-*s |", (int)width, name);
        return;
    }
    const char *tail = name + (n - (width > 3 ? width - 3 : 1)), *slash = strchr(tail, '/');
    fprintf(out, " ...%-*s |", (int)(width > 3 ? width - 3 : 1), slash ? slash : tail);
}

static void put_summary(FILE *out, const struct stat_table *t)
{
    size_t add = 0, del = 0;

    if (!t->n)
        return;
    for (size_t i = 0; i < t->n; i++) {
        add += t->v[i].added;
        del += t->v[i].deleted;
    }
    fprintf(out, " %zu file%s changed", t->n, t->n == 1 ? "" : "s");
    if (add || !del)
        fprintf(out, ", %zu insertion%s(+)", add, add == 1 ? "" : "s");
    if (del || !add)
        fprintf(out, ", %zu deletion%s(-)", del, del == 1 ? "" : "s");
    fputc('\n', out);
}

void stat_print(const struct stat_table *t, unsigned width, FILE *out)
{
    size_t name = 0, max = 0, number, graph;

    for (size_t i = 0; i < t->n; i++) {
        size_t change = t->v[i].added + t->v[i].deleted, n = strlen(t->v[i].name);
        name = n > name ? n : name;
        max = change > max ? change : max;
    }
    number = digits(max);
    for (size_t i = 0; i < t->n; i++)
        if (t->v[i].binary && number < 3)
            number = 3;           /* "Bin" */
    graph = max;
    width = width < 16 + 6 + number ? (unsigned)(16 + 6 + number) : width;
    if (name + number + 6 + graph > width) {
        size_t part = width * 3 / 8 > number + 6 + 6 ? width * 3 / 8 - number - 6 : 6;
        if (graph > part)
            graph = part;
        if (name > width - number - 6 - graph)
            name = width - number - 6 - graph;
        else
            graph = width - number - 6 - name;
    }
    for (size_t i = 0; i < t->n; i++) {
        const struct stat_row *row = &t->v[i];
        put_name(out, row->name, name);
        if (row->binary) {
            fprintf(out, " %*s %llu -> %llu bytes\n", (int)number, "Bin", (unsigned long long)row->a_size, (unsigned long long)row->b_size);
            continue;
        }
        fprintf(out, " %*zu%s", (int)number, row->added + row->deleted, row->added + row->deleted ? " " : "");
        put_marks(out, row, graph ? graph : 1, max ? max : 1);
        fputc('\n', out);
    }
    put_summary(out, t);
}
