/* Operations on one name: STAT, MKDIR, CHMOD, MOVE. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/file.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

static int head_of(struct file_job *j, int path_fd)
{
    struct file_stat s;
    struct stat st;

    if (fstat(path_fd, &st) < 0)
        return -errno;
    file_stat_fill(&s, &st);
    if (j->q.flags & FILE_ADDRESS && S_ISREG(st.st_mode)) {
        _cleanup_close_ int fd = file_reopen(path_fd, O_RDONLY, &st);
        int r = fd < 0 ? fd : file_address(fd, s.address);
        if (r < 0)
            return r;
    }
    return file_head(j, &s);
}

static int head_of_name(struct file_job *j, int dir, const char *name)
{
    _cleanup_close_ int fd = file_find(dir, name, false);

    return fd < 0 ? fd : head_of(j, fd);
}

int file_op_stat(struct file_job *j)
{
    _cleanup_close_ int fd = file_find(AT_FDCWD, j->q.path, !(j->q.flags & FILE_NOFOLLOW));

    j->step = "stat";
    return fd < 0 ? fd : head_of(j, fd);
}

/* With PARENTS, and without EXCL, a directory that is there is fine. */
int file_op_mkdir(struct file_job *j)
{
    char name[FILE_NAME_MAX + 1];
    _cleanup_close_ int dir = -1;
    bool parents = j->q.flags & FILE_PARENTS;

    j->step = "mkdir";
    if (parents && !(j->q.flags & FILE_EXCL)) {
        struct stat st;
        _cleanup_close_ int there = file_find(AT_FDCWD, j->q.path, true);
        if (there >= 0 && !fstat(there, &st))
            return S_ISDIR(st.st_mode) ? head_of(j, there) : -EEXIST;
    }
    int r = file_locate(j->q.path, false, parents, &dir, name);
    if (r < 0)
        return r == -EINVAL ? -EEXIST : r;
    if (mkdirat(dir, name, j->q.mode ? j->q.mode & 01777 : 0755) < 0)
        return -errno;
    return head_of_name(j, dir, name);
}

/* By way of /proc/self/fd: the kernel has no chmod of an O_PATH descriptor before 6.6. A symlink has no mode. */
int file_op_chmod(struct file_job *j)
{
    char self[64];
    struct stat st;
    _cleanup_close_ int fd = file_find(AT_FDCWD, j->q.path, !(j->q.flags & FILE_NOFOLLOW));

    j->step = "chmod";
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return -EINVAL;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    return chmod(self, j->q.mode & 01777) < 0 ? -errno : head_of(j, fd);
}

int file_op_move(struct file_job *j)
{
    char from_name[FILE_NAME_MAX + 1], to_name[FILE_NAME_MAX + 1];
    _cleanup_close_ int from = -1, to = -1;

    j->step = "source";
    int r = file_locate(j->q.path, false, false, &from, from_name);
    if (r < 0)
        return r;
    j->step = "destination";
    if ((r = *j->q.path2 ? file_locate(j->q.path2, false, j->q.flags & FILE_PARENTS, &to, to_name) : -ENOENT) < 0)
        return r;
    j->step = "move";
    if (syscall(SYS_renameat2, from, from_name, to, to_name, j->q.flags & FILE_REPLACE ? 0 : RENAME_NOREPLACE) < 0)
        return -errno;
    return head_of_name(j, to, to_name);
}
