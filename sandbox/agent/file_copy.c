/* COPY: a file, a symlink, a FIFO, or (RECURSIVE) a tree, with modes, times and user.* attributes; extents are shared where the file system can. Sockets and devices in a tree
 * are left out. What is made is the user's; setuid and setgid go. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/file.h"

struct copy { int from; struct stat own; };      /* the top; the directory that is made, which is not copied into itself */

/* The number of a directory's descriptor travels as a pointer: 0 is none. */
static void *fd_own(int fd) { return (void *)(intptr_t)(fd + 1); }
static int own_fd(void *own) { return (int)(intptr_t)own - 1; }

static void times_set(int fd, const struct stat *st)
{
    struct timespec t[2] = { st->st_atim, st->st_mtim };

    if (futimens(fd, t) < 0)
        return;                              /* a time is not worth the copy */
}

static int copy_file(int dir, const char *name, int to, const char *to_name)
{
    struct stat st;
    off_t from_off = 0, to_off = 0;
    _cleanup_close_ int path = file_find(dir, name, false);
    _cleanup_close_ int from = path < 0 ? path : file_reopen(path, O_RDONLY, &st);

    if (from < 0)
        return from;
    if (!S_ISREG(st.st_mode))
        return -EAGAIN;                      /* it has become something else */
    _cleanup_close_ int fd = openat(to, to_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = file_copy_data(from, fd, &from_off, &to_off);
    if (r)
        return r;
    file_copy_xattrs(from, fd);
    if (fchmod(fd, st.st_mode & 0777) < 0)
        return -errno;
    times_set(fd, &st);
    return 0;
}

static int copy_link(int dir, const char *name, const struct stat *st, int to, const char *to_name)
{
    char target[FILE_PATH_MAX];
    struct timespec t[2] = { st->st_atim, st->st_mtim };
    ssize_t n = readlinkat(dir, name, target, sizeof target - 1);

    if (n < 0)
        return -errno;
    target[n] = '\0';
    if (symlinkat(target, to, to_name) < 0)
        return -errno;
    return utimensat(to, to_name, t, AT_SYMLINK_NOFOLLOW) < 0 && errno != EOPNOTSUPP ? -errno : 0;
}

/* What is no directory. */
static int copy_one(int dir, const char *name, const struct stat *st, int to, const char *to_name)
{
    if (S_ISREG(st->st_mode))
        return copy_file(dir, name, to, to_name);
    if (S_ISLNK(st->st_mode))
        return copy_link(dir, name, st, to, to_name);
    if (!S_ISFIFO(st->st_mode))
        return -EINVAL;
    struct timespec t[2] = { st->st_atim, st->st_mtim };
    return mkfifoat(to, to_name, st->st_mode & 0777) < 0 || utimensat(to, to_name, t, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

/* 0700 until everything is in it. */
static int dir_make(int to, const char *name)
{
    if (mkdirat(to, name, 0700) < 0)
        return -errno;
    int fd = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void dir_finish(int from, int fd)
{
    struct stat st;

    file_copy_xattrs(from, fd);
    if (!fstat(from, &st) && !fchmod(fd, st.st_mode & 01777))
        times_set(fd, &st);
}

static int entry(void *arg, struct file_at *at)
{
    struct copy *c = arg;
    int to = own_fd(at->parent);

    if (!S_ISDIR(at->st.st_mode)) {
        int r = copy_one(at->dir, at->name, &at->st, to, at->name);
        return r == -EINVAL && (S_ISSOCK(at->st.st_mode) || S_ISCHR(at->st.st_mode) || S_ISBLK(at->st.st_mode)) ? 0 : r;
    }
    if (at->st.st_dev == c->own.st_dev && at->st.st_ino == c->own.st_ino)
        return 1;
    int fd = dir_make(to, at->name);
    if (fd < 0)
        return fd;
    *at->ret_own = fd_own(fd);
    return 0;
}

static int leave(void *arg, const char *path, void *own)
{
    const struct copy *c = arg;
    _cleanup_close_ int fd = own_fd(own);
    _cleanup_close_ int from = openat(c->from, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (from >= 0)
        dir_finish(from, fd);
    return 0;
}

static int copy_tree(int dir, const char *name, int to, const char *to_name)
{
    struct copy c = { 0 };
    _cleanup_close_ int from = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (from < 0)
        return -errno;
    _cleanup_close_ int fd = dir_make(to, to_name);
    if (fd < 0)
        return fd;
    c.from = from;
    if (fstat(fd, &c.own) < 0)
        return -errno;
    int r = file_walk(from, UINT32_MAX, fd_own(fd), entry, leave, &c);
    if (!r)
        dir_finish(from, fd);
    return r;
}

int file_op_copy(struct file_job *j)
{
    char from_name[FILE_NAME_MAX + 1], to_name[FILE_NAME_MAX + 1];
    _cleanup_close_ int from = -1, to = -1;
    struct stat st;
    int r = file_locate(j->q.path, !(j->q.flags & FILE_NOFOLLOW), false, &from, from_name);

    j->step = "source";
    if (r < 0)
        return r;
    if (fstatat(from, from_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode) && !(j->q.flags & FILE_RECURSIVE))
        return -EISDIR;
    j->step = "destination";
    if ((r = *j->q.path2 ? file_locate(j->q.path2, false, j->q.flags & FILE_PARENTS, &to, to_name) : -ENOENT) < 0)
        return r;
    struct stat old;
    if (!fstatat(to, to_name, &old, AT_SYMLINK_NOFOLLOW)) {
        if (old.st_dev == st.st_dev && old.st_ino == st.st_ino)
            return -EINVAL;                  /* onto itself */
        if (!(j->q.flags & FILE_REPLACE))
            return -EEXIST;
        if ((r = file_remove_at(to, to_name)))
            return r;
    }
    j->step = "copy";
    r = S_ISDIR(st.st_mode) ? copy_tree(from, from_name, to, to_name) : copy_one(from, from_name, &st, to, to_name);
    if (r)
        return r;
    struct file_stat s;
    if (fstatat(to, to_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    file_stat_fill(&s, &st);
    return file_head(j, &s);
}
