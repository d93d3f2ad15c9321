/* Small files that are there whole or as they were: written beside, synced, renamed, and the directory synced. Through the disk seam of base/io.h. */
#pragma once
#include <stddef.h>

/* Opens (and makes, 0700) a directory below dir_fd. A descriptor or -errno. */
int durable_dir(int dir_fd, const char *name);
/* name is replaced by p[0..n), 0600. 0: it is on the disk; -errno: the old file is still what is read. One writer of a name at a time. */
int durable_put(int dir_fd, const char *name, const void *p, size_t n);
/* durable_put() in its steps, for many files at once: written beside (the writing to the disk has begun); synced and renamed, or taken back (both close fd). Then the directory is to be synced. */
int durable_write(int dir_fd, const char *name, const void *p, size_t n);     /* a descriptor or -errno */
int durable_place(int dir_fd, const char *name, int fd);                      /* 0 or -errno: taken back */
void durable_abandon(int dir_fd, const char *name, int fd);
/* Gone for good when it returns 0. -ENOENT. */
int durable_remove(int dir_fd, const char *name);
/* All of it, NUL-terminated, owned; -EFBIG above max; -ENOENT. */
int durable_get(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_n);
/* Each file of the directory (what durable_put left half-made is removed). fn returns 0 to go on. 0, fn's, or -errno. */
int durable_each(int dir_fd, int (*fn)(void *arg, const char *name), void *arg);
