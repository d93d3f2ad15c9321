#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <unistd.h>

#define RETRY(expr) ({ __typeof__(expr) _r; do { _r = (expr); } while (_r < 0 && errno == EINTR); _r < 0 ? -errno : _r; })

static int real_open(int dirfd, const char *name, int flags, unsigned mode)
{
    return RETRY(openat(dirfd, name, flags | O_CLOEXEC, mode));
}

static ssize_t real_pread(int fd, void *buf, size_t n, off_t off)
{
    return RETRY(pread(fd, buf, n, off));
}

static ssize_t real_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    return RETRY(pwrite(fd, buf, n, off));
}

static ssize_t real_pwritev(int fd, const struct iovec *iov, int count, off_t off)
{
    return RETRY(pwritev(fd, iov, count, off));
}

static int real_fdatasync(int fd)
{
    return RETRY(fdatasync(fd));
}

static int real_fsync(int fd)
{
    return RETRY(fsync(fd));
}

static int real_punch(int fd, off_t off, off_t len)
{
    int r = RETRY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len));
    return r == -EOPNOTSUPP ? 0 : r;
}

static int real_unlink(int dirfd, const char *name)
{
    return RETRY(unlinkat(dirfd, name, 0));
}

static int real_rename(int dirfd, const char *from, const char *to)
{
    return RETRY(renameat(dirfd, from, dirfd, to));
}

const struct disk_ops disk_real = {
    .open = real_open, .pread = real_pread, .pwrite = real_pwrite, .pwritev = real_pwritev,
    .fdatasync = real_fdatasync, .fsync = real_fsync, .punch = real_punch, .unlink = real_unlink, .rename = real_rename,
};
const struct disk_ops *disk = &disk_real;

ssize_t io_pread_full(int fd, void *buf, size_t n, off_t off)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = disk->pread(fd, (char *)buf + done, n - done, off + (off_t)done);
        if (r < 0)
            return r;
        if (r == 0)
            break;
        done += (size_t)r;
    }
    return (ssize_t)done;
}

int io_pwrite_full(int fd, const void *buf, size_t n, off_t off)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = disk->pwrite(fd, (const char *)buf + done, n - done, off + (off_t)done);
        if (r < 0)
            return (int)r;
        if (r == 0)
            return -EIO;
        done += (size_t)r;
    }
    return 0;
}

int io_read_full(int fd, void *buf, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = RETRY(read(fd, (char *)buf + done, n - done));
        if (r < 0)
            return (int)r;
        if (r == 0)
            return done ? -EPIPE : -ENODATA;
        done += (size_t)r;
    }
    return 0;
}

int io_write_full(int fd, const void *buf, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = RETRY(write(fd, (const char *)buf + done, n - done));
        if (r < 0)
            return (int)r;
        done += (size_t)r;
    }
    return 0;
}
