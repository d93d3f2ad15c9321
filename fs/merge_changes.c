/* What one side did to the base: its diff, and through its renames where a path of one is in the other. A directory that was renamed takes all below it along, unless a
 * change of its own says otherwise: so the longest prefix that is in the diff decides. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fs/merge_internal.h"

static int change_add(void *arg, const struct diff_entry *e)
{
    struct changes *c = arg;
    struct change *to = LIST_ADD(c);

    if (!to)
        return -ENOMEM;
    *to = (struct change){ .kind = e->kind, .what = e->what, .path = mem_strdup(e->path), .ino_a = e->ino_a, .ino_b = e->ino_b, .a = e->a, .b = e->b };
    if (e->old_path_len)
        to->old = mem_strdup(e->old_path);
    return to->path && (to->old || !e->old_path_len) ? 0 : -ENOMEM;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct change *)a)->path, ((const struct change *)b)->path);
}

static const char *left_name(const struct change *c)
{
    return c->kind == DIFF_RENAMED ? c->old : c->path;
}

static int by_left(const void *a, const void *b)
{
    const struct change *x = *(struct change *const *)a, *y = *(struct change *const *)b;
    int c = strcmp(left_name(x), left_name(y));

    return c ? c : (x->kind == DIFF_DELETED) - (y->kind == DIFF_DELETED);      /* a rename first */
}

int changes_make(struct store *s, struct view *base, struct view *side, struct changes *ret)
{
    struct diff_opts opts = { 0 };
    size_t n = 0;
    int r = verb_diff(s, base, side, &opts, change_add, ret);

    if (!r && !(ret->by_old = mem_alloc((ret->count + 1) * sizeof *ret->by_old)))
        r = -ENOMEM;
    if (r)
        return r;
    if (ret->count)
        qsort(ret->v, ret->count, sizeof *ret->v, by_path);
    for (size_t i = 0; i < ret->count; i++)
        if (ret->v[i].kind == DIFF_DELETED || ret->v[i].kind == DIFF_RENAMED)
            ret->by_old[n++] = &ret->v[i];
    ret->old_count = n;
    if (n)
        qsort(ret->by_old, n, sizeof *ret->by_old, by_left);
    return 0;
}

void changes_fini(struct changes *c)
{
    for (size_t i = 0; i < c->count; i++) {
        free(c->v[i].path);
        free(c->v[i].old);
    }
    free(c->v);
    free(c->by_old);
    *c = (struct changes){ 0 };
}

const struct change *changes_at(const struct changes *c, const char *path, const char *kinds)
{
    size_t lo = 0, hi = c->count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(c->v[mid].path, path) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < c->count && !strcmp(c->v[lo].path, path); lo++)
        if (strchr(kinds, c->v[lo].kind))
            return &c->v[lo];
    return NULL;
}

static const struct change *left_at(const struct changes *c, const char *path)
{
    size_t lo = 0, hi = c->old_count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(left_name(c->by_old[mid]), path) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->old_count && !strcmp(left_name(c->by_old[lo]), path) ? c->by_old[lo] : NULL;
}

/* --- paths --- */

char *path_join(const char *dir, const char *rest)
{
    size_t n = strlen(dir), k = strlen(rest);
    char *p = mem_alloc(n + k + 2);

    if (p) {
        memcpy(p, dir, n);
        if (n && k)
            p[n++] = '/';
        memcpy(p + n, rest, k + 1);
    }
    return p;
}

char *path_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *p = mem_strdup(path);

    if (p)
        p[slash ? slash - path : 0] = 0;
    return p;
}

bool path_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return !n || (!strncmp(path, dir, n) && (!path[n] || path[n] == '/'));
}

/* Replaces the first n bytes of the path. */
static int moved(const char *path, size_t n, const char *to, char **ret)
{
    const char *rest = path + n + (path[n] == '/');

    *ret = path_join(to, rest);
    return *ret ? 1 : -ENOMEM;
}

/* Cuts the last component off; false: it was the last. */
static bool cut(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash)
        *slash = 0;
    return slash != NULL;
}

int changes_forward(const struct changes *c, const char *base_path, char **ret)
{
    char *prefix = mem_strdup(base_path);
    const struct change *e = NULL;

    if (!prefix)
        return -ENOMEM;
    bool more = *prefix != 0;
    while (more && !(e = left_at(c, prefix)))
        more = cut(prefix);
    int r = !e ? moved(base_path, 0, "", ret) : e->kind == DIFF_RENAMED ? moved(base_path, strlen(prefix), e->path, ret) : 0;
    free(prefix);
    return r;
}

int changes_back(const struct changes *c, const char *path, char **ret)
{
    char *prefix = mem_strdup(path);
    const struct change *e = NULL;

    if (!prefix)
        return -ENOMEM;
    bool more = *prefix != 0;
    while (more && !(e = changes_at(c, prefix, strcmp(prefix, path) ? "ART" : "AR")))
        more = cut(prefix);
    int r = !e ? moved(path, 0, "", ret) : e->kind == DIFF_RENAMED ? moved(path, strlen(prefix), e->old, ret) : 0;
    free(prefix);
    return r;
}
