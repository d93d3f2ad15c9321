#include "sandbox/egress/durable.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"

#define HALF ".new"     /* behind the name; no name of ours ends so */

int durable_dir(int dir_fd, const char *name)
{
    if (mkdirat(dir_fd, name, 0700) && errno != EEXIST)
        return -errno;
    return disk->open(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
}

static int half_name(const char *name, char half[128])
{
    return snprintf(half, 128, "%s" HALF, name) >= 128 ? -ENAMETOOLONG : 0;
}

int durable_write(int dir_fd, const char *name, const void *p, size_t n)
{
    char half[128];
    int r = half_name(name, half), fd;

    if (r)
        return r;
    fd = disk->open(dir_fd, half, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fd;
    r = io_pwrite_full(fd, p, n, 0);
    if (r) {
        durable_abandon(dir_fd, name, fd);
        return r;
    }
    return fd;
}

int durable_place(int dir_fd, const char *name, int fd)
{
    char half[128];
    int r = half_name(name, half);

    if (!r)
        r = disk->fsync(fd);
    if (!r)
        r = disk->rename(dir_fd, half, name);
    if (r)
        durable_abandon(dir_fd, name, fd);
    else
        close(fd);
    return r;
}

void durable_abandon(int dir_fd, const char *name, int fd)
{
    char half[128];

    close(fd);
    if (!half_name(name, half))
        disk->unlink(dir_fd, half);
}

int durable_put(int dir_fd, const char *name, const void *p, size_t n)
{
    int fd = durable_write(dir_fd, name, p, n), r = fd < 0 ? fd : durable_place(dir_fd, name, fd);

    return r ? r : disk->fsync(dir_fd);
}

int durable_remove(int dir_fd, const char *name)
{
    int r = disk->unlink(dir_fd, name);
    return r ? r : disk->fsync(dir_fd);
}

int durable_get(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_n)
{
    _cleanup_close_ int fd = disk->open(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    struct stat st;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st))
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < 0 || (size_t)st.st_size > max)
        return -EFBIG;
    char *p = mem_alloc((size_t)st.st_size + 1);
    if (!p)
        return -ENOMEM;
    ssize_t n = io_pread_full(fd, p, (size_t)st.st_size, 0);
    if (n < 0) {
        free(p);
        return (int)n;
    }
    p[n] = 0;
    *ret = p;
    *ret_n = (size_t)n;
    return 0;
}

int durable_each(int dir_fd, int (*fn)(void *arg, const char *name), void *arg)
{
    int fd = disk->open(dir_fd, ".", O_RDONLY | O_DIRECTORY, 0), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        r = fd < 0 ? fd : -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    while (!r && (e = readdir(d))) {
        size_t n = strlen(e->d_name);
        if (e->d_name[0] == '.')
            continue;
        if (n > sizeof HALF - 1 && !strcmp(e->d_name + n - (sizeof HALF - 1), HALF))
            disk->unlink(dir_fd, e->d_name);
        else
            r = fn(arg, e->d_name);
    }
    closedir(d);
    return r;
}
