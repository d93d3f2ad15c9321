#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "sandbox/agent/file.h"

enum { WALK_PATH_MAX = 65535 };
/* names: of the directory, sorted, in one block; what is left of them. */
struct level { int fd; struct buf bytes; uint32_t *names; size_t count, at, path_len; void *own; };
struct walk { struct level *levels; unsigned depth, cap; struct buf path; };

static const struct level *comparing;        /* qsort has no argument */

static int compare(const void *a, const void *b)
{
    return strcmp((const char *)comparing->bytes.data + *(const uint32_t *)a, (const char *)comparing->bytes.data + *(const uint32_t *)b);
}

static int names_read(struct level *l)
{
    int fd = openat(l->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct buf at = BUF_INIT;
    struct dirent *e;
    int r = 0;

    if (!d) {
        r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    while (errno = 0, (e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        uint32_t here = (uint32_t)l->bytes.len;
        buf_put(&l->bytes, e->d_name, strlen(e->d_name) + 1);
        buf_put(&at, &here, sizeof here);
        if (l->bytes.len > UINT32_MAX)
            l->bytes.err = -ENOMEM;
    }
    r = errno ? -errno : l->bytes.err ? l->bytes.err : at.err;
    closedir(d);
    l->names = (uint32_t *)(void *)at.data;
    l->count = at.len / sizeof *l->names;
    comparing = l;
    if (l->count)
        qsort(l->names, l->count, sizeof *l->names, compare);
    return r;
}

static void level_fini(struct level *l)
{
    close(l->fd);
    buf_fini(&l->bytes);
    free(l->names);
}

/* takes fd */
static int push(struct walk *w, int fd, void *own)
{
    struct level l = { .fd = fd, .own = own, .path_len = w->path.len };
    int r = names_read(&l);

    if (!r && w->depth == w->cap) {
        unsigned cap = w->cap ? w->cap * 2 : 16;
        struct level *p = mem_realloc(w->levels, cap * sizeof *p);
        if (p) {
            w->levels = p;
            w->cap = cap;
        } else {
            r = -ENOMEM;
        }
    }
    if (r) {
        level_fini(&l);
        return r;
    }
    w->levels[w->depth++] = l;
    return 0;
}

static int path_set(struct walk *w, size_t len, const char *name)
{
    w->path.len = len;
    if (len)
        buf_put_u8(&w->path, '/');
    buf_put(&w->path, name, strlen(name) + 1);
    if (buf_err(&w->path))
        return -ENOMEM;
    w->path.len--;
    return w->path.len > WALK_PATH_MAX ? -ENAMETOOLONG : 0;
}

static int visit(struct walk *w, unsigned depth_max, file_walk_entry *entry, void *arg)
{
    struct level *l = &w->levels[w->depth - 1];
    const char *name = (const char *)l->bytes.data + l->names[l->at++];
    struct file_at at = { .dir = l->fd, .name = name, .depth = w->depth, .parent = l->own };
    void *own = NULL;
    int r = path_set(w, l->path_len, name);

    if (r)
        return r;
    at.path = (const char *)w->path.data;
    at.ret_own = &own;
    if (fstatat(l->fd, name, &at.st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno; /* gone meanwhile */
    r = entry(arg, &at);
    if (r || !S_ISDIR(at.st.st_mode) || w->depth >= depth_max)
        return r > 0 ? 0 : r;
    int fd = openat(l->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
    return push(w, fd, own);
}

int file_walk(int top, unsigned depth_max, void *top_own, file_walk_entry *entry, file_walk_leave *leave, void *arg)
{
    struct walk w = { 0 };
    int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = fd < 0 ? -errno : push(&w, fd, top_own);

    while (!r && w.depth) {
        struct level *l = &w.levels[w.depth - 1];
        if (l->at < l->count) {
            r = visit(&w, depth_max, entry, arg);
            continue;
        }
        if (w.depth > 1 && leave) {
            w.path.len = l->path_len;
            w.path.data[w.path.len] = '\0';
            r = leave(arg, (const char *)w.path.data, l->own);
        }
        level_fini(l);
        w.depth--;
    }
    while (w.depth)
        level_fini(&w.levels[--w.depth]);
    free(w.levels);
    buf_fini(&w.path);
    return r;
}
