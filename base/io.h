/* The disk seam: every file operation of the store's own files goes through `disk`, so that tests can make the n-th one
 * fail, come short, or be recorded. Results: >= 0, or -errno; EINTR never comes out. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct disk_ops {
    int (*open)(int dirfd, const char *name, int flags, unsigned mode);   /* O_CLOEXEC is added */
    ssize_t (*pread)(int fd, void *buf, size_t n, off_t off);
    ssize_t (*pwrite)(int fd, const void *buf, size_t n, off_t off);
    ssize_t (*pwritev)(int fd, const struct iovec *iov, int count, off_t off);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*punch)(int fd, off_t off, off_t len);                           /* keep size; EOPNOTSUPP is success */
    int (*unlink)(int dirfd, const char *name);
    int (*rename)(int dirfd, const char *from, const char *to);
};
extern const struct disk_ops disk_real;
extern const struct disk_ops *disk;            /* = &disk_real; tests replace it before threads start */

/* All n bytes, repeating short transfers. read: the number of bytes there are (less than n only at end of file). */
ssize_t io_pread_full(int fd, void *buf, size_t n, off_t off);
int io_pwrite_full(int fd, const void *buf, size_t n, off_t off);
/* Plain descriptors (sockets, pipes): all of it, or -errno; read_full: -EPIPE if the end comes early, 0-length end gives -ENODATA. */
int io_read_full(int fd, void *buf, size_t n);
int io_write_full(int fd, const void *buf, size_t n);
