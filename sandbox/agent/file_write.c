/* WRITE: the new content goes to a file of its own beside the old one, which is renamed over it when everything is there.
 *
 * Commits into one directory follow one another: each worker locks a byte, chosen by the directory, of a memory file that only workers have (fcntl locks belong to processes
 * and go with them). Between lock and rename the old file is looked at once more, so of two writers with the same If-Match address one gets -ESTALE, of two with EXCL one
 * -EEXIST, and no APPEND is lost. Programs in the sandbox do not take part in this. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "sandbox/agent/file.h"

struct target { int dir; char name[FILE_NAME_MAX + 1]; };
struct fresh { int dir, fd; char name[64]; };
static uint8_t part[FILE_CHUNK_MAX];

static void fresh_drop(struct fresh *f)
{
    if (f->fd < 0)
        return;
    unlinkat(f->dir, f->name, 0);
    close(f->fd);
    f->fd = -1;
}

static int fresh_make(int dir, struct fresh *ret)
{
    uint64_t r[2];

    if (getrandom(r, sizeof r, 0) != sizeof r)
        return -EIO;
    ret->dir = dir;
    snprintf(ret->name, sizeof ret->name, ".coppice-%016llx%016llx", (unsigned long long)r[0], (unsigned long long)r[1]);
    ret->fd = openat(dir, ret->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return ret->fd < 0 ? -errno : 0;
}

static const char *if_match(const struct file_job *j)
{
    return j->q.extra_count ? j->q.extra[0] : "";
}

/* May what is there be written over? ret_fd: O_PATH of it, -1 if there is nothing. */
static int look(struct file_job *j, const struct target *t, int *ret_fd, struct stat *ret_st)
{
    char address[FILE_ADDRESS_MAX];
    const char *want = if_match(j);
    int fd = file_find(t->dir, t->name, false);

    *ret_fd = -1;
    if (fd == -ENOENT)
        return *want ? -ESTALE : 0;
    if (fd < 0)
        return fd;
    int r = fstat(fd, ret_st) < 0 ? -errno : 0;
    if (!r && !S_ISREG(ret_st->st_mode)) {
        j->step = "type";
        r = S_ISDIR(ret_st->st_mode) ? -EISDIR : -EINVAL;
    }
    if (!r && j->q.flags & FILE_EXCL)
        r = -EEXIST;
    if (!r && faccessat(t->dir, t->name, W_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if (!r && *want && strcmp(want, "*")) {
        struct stat st;
        _cleanup_close_ int content = file_reopen(fd, O_RDONLY, &st);
        r = content < 0 ? content : file_address(content, address);
        if (!r && strcmp(address, want))
            r = -ESTALE;
    }
    if (r)
        close(fd);
    else
        *ret_fd = fd;
    return r;
}

static int receive(struct file_job *j, int fd)
{
    ssize_t n;
    off_t at = 0;

    while ((n = file_chunk_recv(j, part)) > 0) {
        int r = io_pwrite_full(fd, part, (size_t)n, at);
        if (r < 0)
            return r;
        at += n;
    }
    return (int)n;
}

static int lock(struct file_job *j, int dir)
{
    struct stat st;
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };

    if (fstat(dir, &st) < 0)
        return -errno;
    l.l_start = (off_t)((st.st_ino * 0x9e3779b97f4a7c15ull ^ st.st_dev) >> 2);
    while (fcntl(j->lock_fd, F_SETLKW, &l) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* Another new file: the old content, then what came. */
static int append(struct fresh *f, int old)
{
    struct fresh both = { .fd = -1 };
    struct stat st;
    off_t from = 0, to = 0;
    _cleanup_close_ int content = file_reopen(old, O_RDONLY, &st);
    int r = content < 0 ? content : fresh_make(f->dir, &both);

    if (!r)
        r = file_copy_data(content, both.fd, &from, &to);
    from = 0;
    if (!r)
        r = file_copy_data(f->fd, both.fd, &from, &to);
    if (r) {
        fresh_drop(&both);
        return r;
    }
    fresh_drop(f);
    *f = both;
    return 0;
}

/* Mode, owner (as far as the user may give it away) and user.* attributes of the old one; setuid and setgid go, as with any write. */
static int attributes(struct file_job *j, int fd, int old, const struct stat *st)
{
    mode_t mode = old >= 0 ? st->st_mode & 0777 : j->q.mode ? j->q.mode & 0777 : 0644;

    if (old >= 0) {
        struct stat now;
        _cleanup_close_ int content = file_reopen(old, O_RDONLY, &now);
        if (content >= 0)
            file_copy_xattrs(content, fd);
        bool other = st->st_uid != j->user.uid || st->st_gid != j->user.gid;
        if (other && fchown(fd, st->st_uid, st->st_gid) < 0 && fchown(fd, (uid_t)-1, st->st_gid) < 0)
            other = false;                   /* it becomes the user's */
    }
    return fchmod(fd, mode) < 0 ? -errno : 0;
}

static int commit(struct file_job *j, const struct target *t, struct fresh *f)
{
    struct stat st;
    _cleanup_close_ int old = -1;
    int r = lock(j, t->dir);

    j->step = "replace";
    if (!r)
        r = look(j, t, &old, &st);
    if (!r && j->q.flags & FILE_APPEND && old >= 0)
        r = append(f, old);
    if (!r)
        r = attributes(j, f->fd, old, &st);
    if (!r && j->q.extra_count > 1)
        r = file_attrs_set(f->fd, j->q.extra + 1, j->q.extra_count - 1);
    if (!r && syscall(SYS_renameat2, t->dir, f->name, t->dir, t->name, j->q.flags & FILE_EXCL ? 1 /* RENAME_NOREPLACE */ : 0) < 0)
        r = -errno;
    return r;
}

/* Writes that wait in the page cache fail later, and the kernel then knows only that something did (EIO): a file that is larger than what is left had no room. */
static bool no_room(const struct fresh *f)
{
    struct statvfs v;
    struct stat st;

    return f->fd >= 0 && !fstat(f->fd, &st) && !fstatvfs(f->fd, &v) && v.f_frsize && (uint64_t)st.st_size / v.f_frsize >= v.f_bavail;
}

int file_op_write(struct file_job *j)
{
    struct target t;
    struct fresh f = { .fd = -1 };
    struct file_stat s;
    struct stat st;
    int old = -1, r;

    j->step = "path";
    if ((r = file_locate(j->q.path, !(j->q.flags & FILE_NOFOLLOW), j->q.flags & FILE_PARENTS, &t.dir, t.name)) < 0)
        return r == -EINVAL ? -EISDIR : r;
    j->step = "open";
    r = look(j, &t, &old, &st);              /* early, so that a refusal does not cost the body */
    if (old >= 0)
        close(old);
    if (!r && !(r = fresh_make(t.dir, &f))) {
        j->step = "write";
        r = receive(j, f.fd);
    }
    if (!r)
        r = commit(j, &t, &f);
    if (r == -EIO && no_room(&f))
        r = -ENOSPC;
    if (r) {
        fresh_drop(&f);
        return r;
    }
    if (fstat(f.fd, &st) < 0)
        return -errno;
    file_stat_fill(&s, &st);
    if (j->q.flags & FILE_ADDRESS && (r = file_address(f.fd, s.address)))
        return r;
    return file_head(j, &s);
}
