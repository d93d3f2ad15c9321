/* A tree as an entry stream: what import.c reads, and what the command turns into a tar.
 *
 * Walks depth first with its own stack; a directory's names are read at once and sorted, so memory is that of the directories on the way
 * down, and one path per file that has several links (until all of them were met). */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/import.h"
#include "fs/limits.h"
#include "fs/store.h"
#include "fs/workspace.h"

enum { OUT_MAX = 1 << 20, PATH_MAX_ = 65535, HASH_MIN = 64 };

struct dir {
    struct name { uint64_t ino; char *s; } *names;
    size_t count, cap, at;
    size_t path_len;
};

/* Open addressing; slots are never freed, a file whose links were all met keeps its slot with path NULL. */
struct links {
    struct link { uint64_t ino; uint32_t left; char *path; } *v;
    size_t count, cap;
};

struct export {
    struct workspace *w;
    int fd;
    struct buf out, path, list, val;
    uint8_t *data;                           /* IMPORT_DATA_MAX */
    struct dir *dirs;
    size_t dir_count, dir_cap;
    struct links links;
    uint64_t entries, bytes;
    export_progress_fn *progress;
    void *arg;
};

static int flush(struct export *x, size_t keep)
{
    int r = buf_err(&x->out);

    if (r || x->out.len <= keep)
        return r;
    r = io_write_full(x->fd, x->out.data, x->out.len);
    buf_clear(&x->out);
    if (!r && x->progress)
        x->progress(x->arg, x->entries, x->bytes);
    return r;
}

/* --- hard links --- */

static struct link *links_slot(struct link *v, size_t cap, uint64_t ino)
{
    size_t i = (size_t)(ino * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);

    while (v[i].ino && v[i].ino != ino)
        i = (i + 1) & (cap - 1);
    return &v[i];
}

static int links_grow(struct links *l)
{
    size_t cap = l->cap ? l->cap * 2 : HASH_MIN;
    struct link *v = mem_zalloc(cap * sizeof(*v));

    if (!v)
        return -ENOMEM;
    for (size_t i = 0; i < l->cap; i++)
        if (l->v[i].ino)
            *links_slot(v, cap, l->v[i].ino) = l->v[i];
    free(l->v);
    l->v = v;
    l->cap = cap;
    return 0;
}

/* 1: met before, *ret_path is where (owned by the caller if it was the last one); 0: the first time, remembered. */
static int links_meet(struct links *l, uint64_t ino, uint32_t nlink, const char *path, const char **ret_path, char **ret_owned)
{
    if (l->count * 4 >= l->cap * 3) {
        int r = links_grow(l);
        if (r)
            return r;
    }
    struct link *s = links_slot(l->v, l->cap, ino);
    if (s->ino && s->path) {
        *ret_path = s->path;
        if (--s->left == 0)
            *ret_owned = TAKE_PTR(s->path);
        return 1;
    }
    if (!s->ino)
        l->count++;
    *s = (struct link){ .ino = ino, .left = nlink - 1, .path = mem_strdup(path) };
    return s->path ? 0 : -ENOMEM;
}

/* --- one entry --- */

static int put_xattrs(struct export *x, uint64_t ino)
{
    size_t n = 0, len;
    int r = ws_listxattr(x->w, ino, NULL, 0, &n);

    if (r || n == 0)
        return r == -EOPNOTSUPP ? 0 : r;
    buf_clear(&x->list);
    char *list = (char *)buf_extend(&x->list, n);
    if (!list)
        return -ENOMEM;
    r = ws_listxattr(x->w, ino, list, n, &n);
    for (const char *name = list; !r && name < list + n; name += strlen(name) + 1) {
        buf_clear(&x->val);
        uint8_t *val = buf_extend(&x->val, XATTR_VALUE_MAX);
        if (!val)
            return -ENOMEM;
        r = ws_getxattr(x->w, ino, name, val, XATTR_VALUE_MAX, &len);
        if (!r) {
            import_put_xattr(&x->out, name, val, (uint32_t)len);
            r = flush(x, OUT_MAX);
        }
    }
    return r;
}

static int put_data(struct export *x, uint64_t ino, uint64_t size)
{
    uint64_t at = 0;

    while (at < size) {
        uint64_t hole;
        size_t n;
        int r = ws_lseek(x->w, ino, at, SEEK_DATA, &at);
        if (r == -ENXIO)
            return 0;
        if (!r)
            r = ws_lseek(x->w, ino, at, SEEK_HOLE, &hole);
        if (r)
            return r;
        at -= at % IMPORT_UNIT;
        while (at < hole) {
            /* Pieces end at multiples of the largest frame, so that the frames depend on the content alone. */
            uint64_t end = (at / IMPORT_DATA_MAX + 1) * IMPORT_DATA_MAX;
            if (end > hole)
                end = hole;
            r = ws_read(x->w, ino, at, (size_t)(end - at), x->data, &n);
            if (r)
                return r;
            if (n == 0)
                return 0;
            import_put_content(&x->out, at, x->data, n);
            x->bytes += n;
            at += n;
            r = flush(x, OUT_MAX);
            if (r)
                return r;
        }
    }
    return 0;
}

static int put_entry(struct export *x, uint64_t ino, const char *path, struct inode *in)
{
    char target[SYMLINK_MAX + 1] = "";
    int r = ws_getattr(x->w, ino, in);

    if (r)
        return r;
    x->entries++;
    if (!inode_is_dir(in) && in->nlink > 1) {
        _cleanup_free_ char *owned = NULL;
        const char *first;
        r = links_meet(&x->links, ino, in->nlink, path, &first, &owned);
        if (r == 1) {
            import_put_link(&x->out, path, first);
            return flush(x, OUT_MAX);
        }
        if (r)
            return r;
    }
    if (S_ISLNK(in->mode)) {
        size_t n;
        r = ws_readlink(x->w, ino, target, SYMLINK_MAX, &n);
        if (r)
            return r;
        target[n] = 0;
    }
    import_put_entry(&x->out, path, in, target);
    r = put_xattrs(x, ino);
    if (!r && inode_is_reg(in))
        r = put_data(x, ino, in->size);
    return r ? r : flush(x, OUT_MAX);
}

/* --- the walk --- */

static int add_name(void *arg, const struct ws_dirent *d, const struct inode *in)
{
    struct dir *dir = arg;

    if (dir->count == dir->cap) {
        size_t cap = dir->cap ? dir->cap * 2 : 16;
        struct name *v = mem_realloc(dir->names, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        dir->names = v;
        dir->cap = cap;
    }
    char *s = mem_dup(d->name, d->name_len + 1);
    if (!s)
        return -ENOMEM;
    dir->names[dir->count++] = (struct name){ .ino = d->ino, .s = s };
    return 0;
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->s, ((const struct name *)b)->s);
}

static void dir_fini(struct dir *d)
{
    for (size_t i = 0; i < d->count; i++)
        free(d->names[i].s);
    free(d->names);
}

static int dir_push(struct export *x, uint64_t ino, size_t path_len)
{
    if (x->dir_count == x->dir_cap) {
        size_t cap = x->dir_cap ? x->dir_cap * 2 : 16;
        struct dir *v = mem_realloc(x->dirs, cap * sizeof(*v));
        if (!v)
            return -ENOMEM;
        x->dirs = v;
        x->dir_cap = cap;
    }
    struct dir *d = &x->dirs[x->dir_count++];
    *d = (struct dir){ .path_len = path_len };
    int r = ws_readdir(x->w, ino, 0, false, add_name, d);
    if (r < 0)
        return r;
    if (d->count)
        qsort(d->names, d->count, sizeof(*d->names), name_cmp);
    return 0;
}

static int walk(struct export *x, uint64_t top)
{
    struct inode in;
    int r = put_entry(x, top, "", &in);

    if (!r)
        r = inode_is_dir(&in) ? dir_push(x, top, 0) : -ENOTDIR;
    while (!r && x->dir_count > 0) {
        struct dir *d = &x->dirs[x->dir_count - 1];
        if (d->at == d->count) {
            dir_fini(d);
            x->dir_count--;
            continue;
        }
        struct name *e = &d->names[d->at++];
        x->path.len = d->path_len;
        if (d->path_len)
            buf_put_u8(&x->path, '/');
        buf_put(&x->path, e->s, strlen(e->s) + 1);
        r = buf_err(&x->path);
        if (!r && x->path.len - 1 > PATH_MAX_)
            r = -ENAMETOOLONG;
        if (!r)
            r = put_entry(x, e->ino, (const char *)x->path.data, &in);
        if (!r && inode_is_dir(&in))
            r = dir_push(x, e->ino, x->path.len - 1);
    }
    return r;
}

int export_stream(struct store *s, struct view *v, const char *path, int fd, export_progress_fn *progress, void *arg)
{
    struct export x = { .fd = fd, .progress = progress, .arg = arg };
    struct inode in;
    uint64_t top;
    int r = workspace_open_view(s, v, &x.w);

    if (r)
        return r;
    x.data = mem_alloc(IMPORT_DATA_MAX);
    r = x.data ? ws_path(x.w, path ? path : "", &top, &in) : -ENOMEM;
    if (!r && !inode_is_dir(&in))
        r = -ENOTDIR;
    if (!r)
        r = walk(&x, top);
    if (!r) {
        import_put_end(&x.out, x.entries);
        r = flush(&x, 0);
    }
    while (x.dir_count > 0)
        dir_fini(&x.dirs[--x.dir_count]);
    free(x.dirs);
    for (size_t i = 0; i < x.links.cap; i++)
        free(x.links.v[i].path);
    free(x.links.v);
    free(x.data);
    buf_fini(&x.out);
    buf_fini(&x.path);
    buf_fini(&x.list);
    buf_fini(&x.val);
    workspace_unref(x.w);
    return r;
}
