/* Walks a directory of the host into an entry stream.
 *
 * Every step is an *at() call on a descriptor of the directory above with O_NOFOLLOW, and what was opened is compared with what was
 * looked at, so a name swapped meanwhile is at most reported. Own stack instead of recursion; one descriptor and the sorted names per
 * level. A regular file is opened before its ENTRY is sent, so what cannot be opened is not half there. */
#include "tools/read_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "fs/import.h"

enum { OUT_MAX = 1 << 20, SRC_PATH_MAX = 65535, XATTR_NAMES_MAX = 65536, XATTR_BYTES_MAX = 65536 };
enum { SRC_MASK = STATX_BASIC_STATS };

struct level { int fd; char **names; size_t count, at, path_len; };
struct hard { uint64_t dev, ino; char *path; };

struct walk {
    const struct read_dir_opts *o;
    emit_fn *emit;
    void *arg;
    struct read_report *rep;
    struct buf out, path;
    struct level *levels;
    size_t level_count, level_cap;
    struct hard *hard;                       /* open addressing; path NULL = free */
    size_t hard_count, hard_cap;
    uint8_t *data;                           /* IMPORT_DATA_MAX */
    uint64_t dev;                            /* of the top */
    bool ids_told;
};

/* --- reports --- */

static void warn(struct walk *w, const char *what)
{
    if (w->rep->warn)
        w->rep->warn(w->rep->warn_arg, (const char *)w->path.data, what);
}

static int fail(struct walk *w, int err, const char *what)
{
    char quoted[320];
    const char *path = (const char *)w->path.data;

    log_quote(quoted, sizeof(quoted), path, strlen(path));
    snprintf(w->rep->error, sizeof(w->rep->error), "%s: cannot %s: %s", *path ? quoted : ".", what, strerror(-err));
    return err;
}

static int flush(struct walk *w, size_t keep)
{
    int r = buf_err(&w->out);

    if (r)
        return fail(w, r, "send it");
    if (w->out.len <= keep)
        return 0;
    r = w->emit(w->arg, w->out.data, w->out.len);
    buf_clear(&w->out);
    return r;
}

/* --- hard links --- */

static struct hard *hard_slot(struct hard *v, size_t cap, uint64_t dev, uint64_t ino)
{
    size_t i = (size_t)((ino ^ dev << 32) * 0x9e3779b97f4a7c15ull >> 20) & (cap - 1);

    while (v[i].path && (v[i].ino != ino || v[i].dev != dev))
        i = (i + 1) & (cap - 1);
    return &v[i];
}

static int hard_find(struct walk *w, const struct statx *st, struct hard **ret)
{
    if (w->hard_count * 4 >= w->hard_cap * 3) {
        size_t cap = w->hard_cap ? w->hard_cap * 2 : 64;
        struct hard *v = mem_zalloc(cap * sizeof(*v));
        if (!v)
            return fail(w, -ENOMEM, "remember it");
        for (size_t i = 0; i < w->hard_cap; i++)
            if (w->hard[i].path)
                *hard_slot(v, cap, w->hard[i].dev, w->hard[i].ino) = w->hard[i];
        free(w->hard);
        w->hard = v;
        w->hard_cap = cap;
    }
    *ret = hard_slot(w->hard, w->hard_cap, makedev(st->stx_dev_major, st->stx_dev_minor), st->stx_ino);
    return 0;
}

/* Only what was sent is remembered: a later link to it must find it there. */
static int hard_remember(struct walk *w, struct hard *h, const struct statx *st)
{
    char *path = mem_strdup((const char *)w->path.data);

    if (!path)
        return fail(w, -ENOMEM, "remember it");
    *h = (struct hard){ makedev(st->stx_dev_major, st->stx_dev_minor), st->stx_ino, path };
    w->hard_count++;
    return 0;
}

/* --- one entry --- */

static uint32_t id_of(struct walk *w, uint32_t id)
{
    if (id <= IMPORT_ID_MAX)
        return id;
    w->rep->ids++;
    if (!w->ids_told)
        warn(w, "its owner or group is above 65535 and becomes 65534 (so do others like it)");
    w->ids_told = true;
    return 65534;
}

static struct inode inode_of(struct walk *w, const struct statx *st)
{
    return (struct inode){ .mode = st->stx_mode, .uid = id_of(w, st->stx_uid), .gid = id_of(w, st->stx_gid), .size = st->stx_size,
                           .mtime = { st->stx_mtime.tv_sec, st->stx_mtime.tv_nsec } };
}

static bool xattr_wanted(const char *name, uint32_t mode)
{
    return !strncmp(name, "user.", 5) || !strcmp(name, "security.capability") || !strcmp(name, "system.posix_acl_access") ||
           (S_ISDIR(mode) && !strcmp(name, "system.posix_acl_default"));
}

static int put_xattrs(struct walk *w, int fd, uint32_t mode)
{
    _cleanup_free_ char *list = NULL;
    _cleanup_free_ uint8_t *val = NULL;
    ssize_t n = flistxattr(fd, NULL, 0);

    if (n <= 0)
        return 0;                            /* none, or the filesystem has none */
    list = mem_alloc(XATTR_NAMES_MAX);
    val = mem_alloc(XATTR_BYTES_MAX);
    if (!list || !val)
        return fail(w, -ENOMEM, "read its extended attributes");
    n = flistxattr(fd, list, XATTR_NAMES_MAX);
    for (const char *name = list; n > 0 && name < list + n; name += strlen(name) + 1) {
        if (!xattr_wanted(name, mode)) {
            w->rep->attributes++;
            continue;
        }
        ssize_t len = fgetxattr(fd, name, val, XATTR_BYTES_MAX);
        if (len < 0) {
            w->rep->attributes++;
            if (errno != ENODATA && strcmp(name, "security.capability"))
                warn(w, "an extended attribute could not be read");
            continue;
        }
        import_put_xattr(&w->out, name, val, (uint32_t)len);
        int r = flush(w, OUT_MAX);
        if (r)
            return r;
    }
    return 0;
}

static int put_range(struct walk *w, int fd, uint64_t at, uint64_t end)
{
    while (at < end) {
        size_t want = end - at < IMPORT_DATA_MAX ? (size_t)(end - at) : IMPORT_DATA_MAX;
        ssize_t n = pread(fd, w->data, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(w, -errno, "read it");
        if (n == 0)
            return 0;                        /* became shorter: noticed by put_content() */
        import_put_content(&w->out, at, w->data, (size_t)n);
        w->rep->bytes += (uint64_t)n;
        at += (uint64_t)n;
        int r = flush(w, OUT_MAX);
        if (r)
            return r;
    }
    return 0;
}

static int put_content(struct walk *w, int fd, const struct statx *before)
{
    uint64_t at = 0, size = before->stx_size;
    struct statx now;
    int r = 0;

    while (!r && at < size) {
        off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;
        if (data < 0 && errno == ENXIO)
            break;
        if (data < 0)                        /* no such seek here: all of it */
            data = (off_t)at;
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole <= data || (uint64_t)hole > size)
            hole = (off_t)size;
        r = put_range(w, fd, (uint64_t)data, (uint64_t)hole);
        at = (uint64_t)hole;
    }
    if (!r && (statx(fd, "", AT_EMPTY_PATH, SRC_MASK, &now) < 0 || now.stx_size != size ||
               now.stx_mtime.tv_sec != before->stx_mtime.tv_sec || now.stx_mtime.tv_nsec != before->stx_mtime.tv_nsec)) {
        w->rep->changed++;
        warn(w, "changed while it was read");
    }
    return r;
}

static bool same_file(const struct statx *a, const struct statx *b)
{
    return a->stx_ino == b->stx_ino && a->stx_dev_major == b->stx_dev_major && a->stx_dev_minor == b->stx_dev_minor &&
           (a->stx_mode & S_IFMT) == (b->stx_mode & S_IFMT);
}

/* 0 and a descriptor of the very file in st; 1: it went or became another, told; negative: cannot. *st is read anew from it. */
static int open_same(struct walk *w, int dirfd, const char *name, int flags, struct statx *st, int *ret)
{
    struct statx now;
    int fd = openat(dirfd, name, flags | O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_NOATIME);

    if (fd < 0 && errno == EPERM)            /* O_NOATIME is the owner's */
        fd = openat(dirfd, name, flags | O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT && errno != ELOOP && errno != ENOTDIR && errno != ENXIO)
        return fail(w, -errno, "open it");
    if (fd >= 0 && statx(fd, "", AT_EMPTY_PATH, SRC_MASK, &now) == 0 && same_file(&now, st)) {
        *st = now;
        *ret = fd;
        return 0;
    }
    if (fd >= 0)
        close(fd);
    w->rep->vanished++;
    warn(w, "vanished or was replaced while it was read");
    return 1;
}

static int entry_done(struct walk *w)
{
    w->rep->entries++;
    return flush(w, OUT_MAX);
}

static int put_file(struct walk *w, int dirfd, const char *name, struct statx *st)
{
    _cleanup_close_ int fd = -1;
    struct hard *h = NULL;
    int r = 0;

    if (st->stx_nlink > 1) {
        r = hard_find(w, st, &h);
        if (r)
            return r;
        if (h->path) {
            import_put_link(&w->out, (const char *)w->path.data, h->path);
            return entry_done(w);
        }
    }
    if (S_ISREG(st->stx_mode)) {
        r = open_same(w, dirfd, name, 0, st, &fd);
        if (r)
            return r < 0 ? r : 0;
    }
    struct inode in = inode_of(w, st);
    import_put_entry(&w->out, (const char *)w->path.data, &in, NULL);
    if (h)
        r = hard_remember(w, h, st);
    if (!r && fd >= 0)
        r = put_xattrs(w, fd, st->stx_mode);
    if (!r && fd >= 0)
        r = put_content(w, fd, st);
    return r ? r : entry_done(w);
}

static int put_symlink(struct walk *w, int dirfd, const char *name, const struct statx *st)
{
    char target[4097];
    ssize_t n = readlinkat(dirfd, name, target, sizeof(target));

    if (n < 0 && (errno == ENOENT || errno == EINVAL)) {
        w->rep->vanished++;
        warn(w, "vanished or was replaced while it was read");
        return 0;
    }
    if (n <= 0 || n == sizeof(target))
        return fail(w, n < 0 ? -errno : -ENAMETOOLONG, "read the symbolic link");
    target[n] = 0;
    struct inode in = inode_of(w, st);
    import_put_entry(&w->out, (const char *)w->path.data, &in, target);
    return entry_done(w);
}

/* --- directories --- */

static int name_cmp(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void level_fini(struct level *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->names[i]);
    free(l->names);
    close(l->fd);
}

static int read_names(struct walk *w, struct level *l)
{
    int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    size_t cap = 0;
    int r = 0;

    if (!d) {
        r = fail(w, -errno, "list it");
        if (fd >= 0)
            close(fd);
        return r;
    }
    rewinddir(d);
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            r = errno ? fail(w, -errno, "list it") : 0;
            break;
        }
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (l->count == cap) {
            cap = cap ? cap * 2 : 32;
            char **v = mem_realloc(l->names, cap * sizeof(*v));
            if (!v) {
                r = fail(w, -ENOMEM, "list it");
                break;
            }
            l->names = v;
        }
        l->names[l->count] = mem_strdup(e->d_name);
        if (!l->names[l->count]) {
            r = fail(w, -ENOMEM, "list it");
            break;
        }
        l->count++;
    }
    closedir(d);
    if (l->count)
        qsort(l->names, l->count, sizeof(*l->names), name_cmp);
    return r;
}

/* Sends the directory fd (taken) as an entry, and puts it on the stack. */
static int dir_push(struct walk *w, int fd, const struct statx *st)
{
    if (w->level_count == w->level_cap) {
        size_t cap = w->level_cap ? w->level_cap * 2 : 16;
        struct level *v = mem_realloc(w->levels, cap * sizeof(*v));
        if (!v) {
            close(fd);
            return fail(w, -ENOMEM, "enter it");
        }
        w->levels = v;
        w->level_cap = cap;
    }
    struct level *l = &w->levels[w->level_count++];
    *l = (struct level){ .fd = fd, .path_len = w->path.len - 1 };
    struct inode in = inode_of(w, st);
    import_put_entry(&w->out, (const char *)w->path.data, &in, NULL);
    int r = put_xattrs(w, fd, st->stx_mode);
    if (!r)
        r = entry_done(w);
    return r ? r : read_names(w, l);
}

static bool is_mount(struct walk *w, const struct statx *st)
{
    if (st->stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return st->stx_attributes & STATX_ATTR_MOUNT_ROOT;
    return makedev(st->stx_dev_major, st->stx_dev_minor) != w->dev;
}

static int put_dir(struct walk *w, int dirfd, const char *name, struct statx *st)
{
    int fd;

    if (is_mount(w, st) && !w->o->cross_mounts) {
        struct inode in = inode_of(w, st);
        w->rep->mounts++;
        warn(w, "a mount: made as an empty directory");
        import_put_entry(&w->out, (const char *)w->path.data, &in, NULL);
        return entry_done(w);
    }
    int r = open_same(w, dirfd, name, O_DIRECTORY, st, &fd);
    if (r)
        return r < 0 ? r : 0;
    return dir_push(w, fd, st);
}

static int put_one(struct walk *w, int dirfd, const char *name)
{
    struct statx st;

    if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, SRC_MASK, &st) < 0) {
        if (errno != ENOENT)
            return fail(w, -errno, "look at it");
        w->rep->vanished++;
        warn(w, "vanished while the directory was read");
        return 0;
    }
    switch (st.stx_mode & S_IFMT) {
    case S_IFREG: case S_IFIFO: case S_IFSOCK:
        return put_file(w, dirfd, name, &st);
    case S_IFLNK:
        return put_symlink(w, dirfd, name, &st);
    case S_IFDIR:
        return put_dir(w, dirfd, name, &st);
    }
    w->rep->devices++;
    warn(w, "a device: skipped");
    return 0;
}

static int walk_all(struct walk *w)
{
    int r = 0;

    while (!r && w->level_count > 0) {
        struct level *l = &w->levels[w->level_count - 1];
        if (l->at == l->count) {
            level_fini(l);
            w->level_count--;
            continue;
        }
        const char *name = l->names[l->at++];
        w->path.len = l->path_len;
        if (l->path_len)
            buf_put_u8(&w->path, '/');
        buf_put(&w->path, name, strlen(name) + 1);
        if (buf_err(&w->path)) {
            snprintf(w->rep->error, sizeof(w->rep->error), "out of memory");
            return -ENOMEM;
        }
        r = w->path.len - 1 > SRC_PATH_MAX ? fail(w, -ENAMETOOLONG, "name it") : put_one(w, l->fd, name);
    }
    return r;
}

/* A level keeps a descriptor: deep trees need more than the usual 1024. */
static void raise_fd_limit(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

int read_dir(int dirfd, const struct read_dir_opts *o, emit_fn *emit, void *arg, struct read_report *rep)
{
    struct walk w = { .o = o, .emit = emit, .arg = arg, .rep = rep };
    struct statx st;

    raise_fd_limit();
    buf_put_u8(&w.path, 0);
    w.data = mem_alloc(IMPORT_DATA_MAX);
    int r = w.data && !buf_err(&w.path) ? 0 : -ENOMEM;
    int fd = r ? -1 : openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r)
        snprintf(rep->error, sizeof(rep->error), "out of memory");
    else if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, SRC_MASK, &st) < 0)
        r = fail(&w, -errno, "open it");
    if (!r) {
        w.dev = makedev(st.stx_dev_major, st.stx_dev_minor);
        r = dir_push(&w, fd, &st);
    } else if (fd >= 0) {
        close(fd);
    }
    if (!r)
        r = walk_all(&w);
    if (!r) {
        import_put_end(&w.out, rep->entries);
        r = flush(&w, 0);
    }
    while (w.level_count > 0)
        level_fini(&w.levels[--w.level_count]);
    free(w.levels);
    for (size_t i = 0; i < w.hard_cap; i++)
        free(w.hard[i].path);
    free(w.hard);
    free(w.data);
    buf_fini(&w.out);
    buf_fini(&w.path);
    return r;
}
