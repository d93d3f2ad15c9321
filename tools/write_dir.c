#include "tools/write_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/io.h"
#include "base/wire.h"
#include "fs/import.h"

enum { PATH_BYTES = 65536 };

static int fail(struct write_dir *w, int err, const char *path, const char *what)
{
    char quoted[300];

    log_quote(quoted, sizeof(quoted), path, strlen(path));
    snprintf(w->error, sizeof(w->error), "%s%s%s: %s", quoted, *path ? ": " : "", what, strerror(-err));
    return err;
}

void write_dir_init(struct write_dir *w, int root)
{
    *w = (struct write_dir){ .root = root, .file = -1 };
}

void write_dir_fini(struct write_dir *w)
{
    close_p(&w->file);
    w->file = -1;
}

/* The directory that `path` is in, made if it is missing, and its last component. A descriptor (owned) or -errno. */
static int parent_of(struct write_dir *w, char *path, char **ret_name)
{
    int at = fcntl(w->root, F_DUPFD_CLOEXEC, 3);
    char *p = path;

    for (char *slash; at >= 0 && (slash = strchr(p, '/')); p = slash + 1) {
        *slash = 0;
        bool bad = !*p || !strcmp(p, ".") || !strcmp(p, "..");
        int next = bad ? -1 : openat(at, p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (!bad && next < 0 && errno == ENOENT && !mkdirat(at, p, 0755))
            next = openat(at, p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int err = bad ? EINVAL : errno;
        close(at);
        at = next < 0 ? -err : next;
        *slash = '/';
    }
    if (at == -1)
        at = -errno;
    if (at >= 0 && (!*p || !strcmp(p, ".") || !strcmp(p, ".."))) {
        close(at);
        return -EINVAL;
    }
    *ret_name = p;
    return at;
}

/* What may be replaced goes. */
static int clear(int dir, const char *name)
{
    return unlinkat(dir, name, 0) && errno != ENOENT ? -errno : 0;
}

static int make_dir(int dir, const char *name, uint32_t mode)
{
    /* Who is not root must still be able to fill it. */
    uint32_t m = (mode & 0777) | (geteuid() ? 0700 : 0);

    if (mkdirat(dir, name, m) && errno != EEXIST)
        return -errno;
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 || fchmod(fd, m) ? -errno : 0;
}

static int make_file(struct write_dir *w, int dir, const char *name, uint32_t mode, uint64_t size, const struct timespec *mtime)
{
    const struct timespec times[2] = { *mtime, *mtime };
    int r = clear(dir, name);

    if (r)
        return r;
    w->file = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (w->file < 0)
        return -errno;
    w->file_size = size;
    if (size && ftruncate(w->file, (off_t)size))
        return -errno;
    return fchmod(w->file, mode & 0777) || futimens(w->file, times) ? -errno : 0;
}

static int place(struct write_dir *w, int dir, const char *name, uint32_t mode, uint64_t size, const struct timespec *mtime, const char *target)
{
    int r;

    switch (mode & S_IFMT) {
    case S_IFDIR:
        return make_dir(dir, name, mode);
    case S_IFREG:
        return make_file(w, dir, name, mode, size, mtime);
    case S_IFLNK:
        r = clear(dir, name);
        return r ? r : symlinkat(target, dir, name) ? -errno : 0;
    case S_IFIFO:
        r = clear(dir, name);
        return r ? r : mkfifoat(dir, name, mode & 0777) ? -errno : 0;
    }
    w->skipped++;                         /* sockets and devices mean nothing here */
    return 0;
}

static int on_entry(struct write_dir *w, struct reader *r, char *path, char *target)
{
    uint32_t mode;
    struct timespec mtime;

    get_str(r, path, PATH_BYTES);
    mode = get_u32(r);
    get_u32(r);
    get_u32(r);
    get_u32(r);
    mtime.tv_sec = (time_t)get_u64(r);
    mtime.tv_nsec = get_u32(r);
    uint64_t size = get_u64(r);
    get_str(r, target, PATH_BYTES);
    if (r->bad || reader_left(r) || size > INT64_MAX || mtime.tv_nsec > 999999999)
        return fail(w, -EBADMSG, "", "the stream is malformed");
    w->entries++;
    if (!*path)
        return 0;                         /* the top: it is there already */
    char *name;
    _cleanup_close_ int dir = parent_of(w, path, &name);
    int err = dir < 0 ? dir : place(w, dir, name, mode, size, &mtime, target);
    return err ? fail(w, err, path, "cannot write it") : 0;
}

static int on_link(struct write_dir *w, struct reader *r, char *path, char *existing)
{
    char *name, *old_name;

    get_str(r, path, PATH_BYTES);
    get_str(r, existing, PATH_BYTES);
    if (r->bad || reader_left(r))
        return fail(w, -EBADMSG, "", "the stream is malformed");
    w->entries++;
    _cleanup_close_ int dir = parent_of(w, path, &name);
    _cleanup_close_ int old = dir < 0 ? dir : parent_of(w, existing, &old_name);
    int err = old < 0 ? old : clear(dir, name);
    if (!err && linkat(old, old_name, dir, name, 0))
        err = -errno;
    return err ? fail(w, err, path, "cannot link it") : 0;
}

static int on_data(struct write_dir *w, struct reader *r)
{
    uint64_t off = get_u64(r), end;
    size_t n = reader_left(r);

    if (r->bad || w->file < 0 || __builtin_add_overflow(off, n, &end) || end > w->file_size)
        return fail(w, -EBADMSG, "", "the stream is malformed");
    w->bytes += n;
    int err = io_pwrite_full(w->file, r->p, n, (off_t)off);
    return err ? fail(w, err, "", "cannot write") : 0;
}

static int on_frame(struct write_dir *w, const uint8_t *p, size_t n)
{
    struct reader r = reader_of(p, n);
    uint8_t type = get_u8(&r);

    if (type == IMPORT_DATA)
        return on_data(w, &r);
    if (type == IMPORT_XATTR || type == IMPORT_END)
        return 0;
    if (type != IMPORT_ENTRY && type != IMPORT_LINK)
        return fail(w, -EBADMSG, "", "the stream is malformed");
    _cleanup_free_ char *a = malloc(PATH_BYTES), *b = malloc(PATH_BYTES);
    if (!a || !b)
        return fail(w, -ENOMEM, "", "cannot go on");
    write_dir_fini(w);                    /* the file before is complete */
    return type == IMPORT_ENTRY ? on_entry(w, &r, a, b) : on_link(w, &r, a, b);
}

int write_dir_frames(void *arg, const void *p, size_t n)
{
    struct write_dir *w = arg;
    const uint8_t *at = p;
    int r = 0;

    while (!r && n >= 4) {
        uint32_t len = le32(at);
        if (len > n - 4)
            return fail(w, -EBADMSG, "", "the stream is malformed");
        r = on_frame(w, at + 4, len);
        at += 4 + (size_t)len;
        n -= 4 + (size_t)len;
    }
    return r;
}
