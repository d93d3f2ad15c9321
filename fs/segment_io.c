/* What is done with a segment's file: transfers, syncs, holes, names. */
#include "fs/segment_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "fs/limits.h"

uint64_t segment_id(const struct segment *g)
{
    return g->id;
}

static ssize_t read_some(struct segment *g, void *buf, size_t n, uint64_t off)
{
    ssize_t r;
    int fd;

    if (off > INT64_MAX - n)
        return -EIO;
    fd = segment_pin(g);
    if (fd < 0)
        return fd;
    r = io_pread_full(fd, buf, n, (off_t)off);
    segment_unpin(g);
    return r;
}

int segment_read(struct segment *g, void *buf, size_t n, uint64_t off)
{
    ssize_t r = read_some(g, buf, n, off);

    if (r < 0)
        return (int)r;
    return (size_t)r == n ? 0 : -EIO;
}

int segment_read_sparse(struct segment *g, void *buf, size_t n, uint64_t off)
{
    ssize_t r = read_some(g, buf, n, off);

    if (r < 0)
        return (int)r;
    memset((uint8_t *)buf + r, 0, n - (size_t)r);
    return 0;
}

int segment_write(struct segment *g, const void *buf, size_t n, uint64_t off)
{
    struct iovec iov = { .iov_base = (void *)buf, .iov_len = n };

    return segment_writev(g, &iov, 1, off);
}

int segment_writev(struct segment *g, const struct iovec *const_iov, int count, uint64_t off)
{
    struct iovec *iov = (struct iovec *)const_iov;
    int fd, r = 0;

    if (atomic_load(&g->broken))
        return -EIO;
    fd = segment_pin(g);
    if (fd < 0)
        return fd;
    atomic_store(&g->dirty, true);
    while (count > 0) {
        ssize_t n;

        if (iov->iov_len == 0) {
            iov++, count--;
            continue;
        }
        if (off > (uint64_t)INT64_MAX - iov->iov_len) {
            r = -EFBIG;
            break;
        }
        n = disk->pwritev(fd, iov, count, (off_t)off);
        if (n <= 0) {
            r = n < 0 ? (int)n : -EIO;
            break;
        }
        off += (uint64_t)n;
        while (count > 0 && (size_t)n >= iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++, count--;
        }
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    segment_unpin(g);
    return r;
}

/* `dirty` is taken back before the sync: a write that comes during it sets it again. */
static int sync_locked(struct segment *g)
{
    int fd, r = 0;

    if (atomic_load(&g->broken))
        return -EIO;
    fd = segment_pin(g);
    if (fd < 0)
        return fd;
    if (atomic_exchange(&g->dirty, false))
        r = disk->fdatasync(fd);
    if (r == 0 && atomic_load(&g->unnamed)) {
        r = disk->fsync(g->all->dirfd);
        if (r == 0)
            atomic_store(&g->unnamed, false);
    }
    if (r < 0)
        atomic_store(&g->broken, true);
    segment_unpin(g);
    return r;
}

int segment_sync(struct segment *g)
{
    int r;

    pthread_mutex_lock(&g->sync_lock);
    r = sync_locked(g);
    pthread_mutex_unlock(&g->sync_lock);
    return r;
}

void segment_unsynced(struct segment *g)
{
    atomic_store(&g->dirty, true);
    atomic_store(&g->unnamed, true);
}

bool segment_is_broken(const struct segment *g)
{
    return atomic_load(&g->broken);
}

int segment_punch(struct segment *g, uint64_t off, uint64_t len)
{
    int fd, r;

    if (off % UNIT || len % UNIT || off > INT64_MAX || len > INT64_MAX - off)
        return -EINVAL;
    if (len == 0)
        return 0;
    fd = segment_pin(g);
    if (fd < 0)
        return fd;
    r = disk->punch(fd, (off_t)off, (off_t)len);
    segment_unpin(g);
    return r;
}

static bool stat_of(struct segment *g, struct stat *ret)
{
    int fd = segment_pin(g);
    bool ok;

    if (fd < 0)
        return false;
    ok = fstat(fd, ret) == 0;
    segment_unpin(g);
    return ok;
}

uint64_t segment_size(struct segment *g)
{
    struct stat st;

    return stat_of(g, &st) ? (uint64_t)st.st_size : 0;
}

uint64_t segment_allocated(struct segment *g)
{
    struct stat st;

    return stat_of(g, &st) ? (uint64_t)st.st_blocks * 512 : 0;
}

int segment_remove(struct segments *s, uint64_t id)
{
    struct segment *g = segment_find(s, id);
    char name[SEGMENT_NAME_SIZE];
    int r;

    segment_name(id, name);
    r = disk->unlink(s->dirfd, name);
    if (r == -ENOENT)
        r = 0;
    if (g) {
        if (r == 0)
            segment_forget(g);
        segment_unref(g);
    }
    return r;
}

static bool parse_name(const char *name, uint64_t *ret)
{
    uint64_t id = 0;

    for (int i = 0; i < SEGMENT_NAME_SIZE - 1; i++) {
        char c = name[i];

        if (c >= '0' && c <= '9')
            id = id << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            id = id << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret = id;
    return name[SEGMENT_NAME_SIZE - 1] == '\0';
}

int segments_each(struct segments *s, int (*fn)(void *arg, uint64_t id), void *arg)
{
    int fd = disk->open(s->dirfd, ".", O_RDONLY | O_DIRECTORY, 0), r = 0;
    DIR *dir;

    if (fd < 0)
        return fd;
    dir = fdopendir(fd);
    if (!dir) {
        r = -errno;
        close(fd);
        return r;
    }
    while (r == 0) {
        uint64_t id;
        struct dirent *d;

        errno = 0;
        d = readdir(dir);
        if (!d) {
            r = -errno;
            break;
        }
        if (parse_name(d->d_name, &id))
            r = fn(arg, id);
    }
    closedir(dir);
    return r;
}
