#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/file.h"

static int open_path(int dir, const char *path, uint64_t flags)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC | flags, .resolve = RESOLVE_NO_MAGICLINKS };
    struct statfs fs;
    int fd;

    for (int i = 0; i < 32; i++) {           /* -EAGAIN: names moved while it looked */
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    if (fd < 0)
        return -errno;
    if (!fstatfs(fd, &fs) && fs.f_type == PROC_SUPER_MAGIC) {
        close(fd);
        return -ENOENT;
    }
    return fd;
}

int file_find(int dir, const char *path, bool follow)
{
    return open_path(dir, path, follow ? 0 : O_NOFOLLOW);
}

int file_reopen(int path_fd, int flags, struct stat *ret_st)
{
    char self[64];

    if (fstat(path_fd, ret_st) < 0)
        return -errno;
    if (!S_ISREG(ret_st->st_mode) && !S_ISDIR(ret_st->st_mode))
        return -EINVAL;
    snprintf(self, sizeof self, "/proc/self/fd/%d", path_fd);
    int fd = open(self, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

int file_open_dir(struct file_job *j, struct stat *ret_st)
{
    _cleanup_close_ int path = file_find(AT_FDCWD, j->q.path, true);

    j->step = "open";
    if (path < 0)
        return path;
    if (fstat(path, ret_st) < 0)
        return -errno;
    return S_ISDIR(ret_st->st_mode) ? file_reopen(path, O_RDONLY | O_DIRECTORY, ret_st) : -ENOTDIR;
}

void file_stat_fill(struct file_stat *ret, const struct stat *st)
{
    *ret = (struct file_stat){ .mode = st->st_mode, .uid = st->st_uid, .gid = st->st_gid, .nlink = (uint32_t)st->st_nlink, .size = (uint64_t)st->st_size,
        .ino = st->st_ino, .mtime_s = st->st_mtim.tv_sec, .mtime_ns = (uint32_t)st->st_mtim.tv_nsec };
}

/* One directory below dir, made if it is missing and may be. */
static int step_into(int dir, const char *name, bool parents)
{
    int fd = open_path(dir, name, O_DIRECTORY);

    if (fd != -ENOENT || !parents)
        return fd;
    if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    return open_path(dir, name, O_DIRECTORY);
}

/* The directory of path's last component, seen from dir (or the root, for an absolute one). The last component goes to name. */
static int split(int dir, const char *path, bool parents, int *ret_dir, char name[FILE_NAME_MAX + 1])
{
    int at = open_path(*path == '/' ? AT_FDCWD : dir, *path == '/' ? "/" : ".", O_DIRECTORY);

    name[0] = '\0';
    if (at < 0)
        return at;
    for (const char *p = path;;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (!n)
            break;
        if (n > FILE_NAME_MAX) {
            close(at);
            return -ENAMETOOLONG;
        }
        if (*name) {
            int next = step_into(at, name, parents);
            close(at);
            if (next < 0)
                return next;
            at = next;
        }
        memcpy(name, p, n);
        name[n] = '\0';
        p += n;
    }
    if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) {
        close(at);
        return -EINVAL;
    }
    *ret_dir = at;
    return 0;
}

int file_locate(const char *path, bool follow, bool parents, int *ret_dir, char ret_name[FILE_NAME_MAX + 1])
{
    char target[FILE_PATH_MAX];
    int dir, r = split(AT_FDCWD, path, parents, &dir, ret_name);

    for (int links = 0; !r && follow; links++) {
        ssize_t n = readlinkat(dir, ret_name, target, sizeof target - 1);
        if (n < 0)
            break;                           /* not a symlink, or nothing: this is the place */
        int from = dir;
        target[n] = '\0';
        r = links == FILE_LINKS_MAX ? -ELOOP : n == (ssize_t)sizeof target - 1 ? -ENAMETOOLONG : split(from, target, parents, &dir, ret_name);
        close(from);
    }
    if (!r)
        *ret_dir = dir;
    return r;
}
