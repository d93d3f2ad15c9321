/* What a file system under test is to the model test: one table of functions. The model, the library and a directory reached by
 * system calls all have one, so the same operation is given to two of them and the results are compared.
 *
 * A place is a tree: workspaces 0..PLACES_WS-1, then snapshots (read-only). Paths are relative, components separated by '/', "" is the
 * root; no symbolic link is followed anywhere (-ELOOP as a parent). Results are 0 or a count, or -errno as the system call would give. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum { PLACES_WS = 4, PLACES_SNAP = 4, PLACES = PLACES_WS + PLACES_SNAP, HANDLES = 6, LIST_BYTES = 16384, VALUE_BYTES = 65536 };
static inline unsigned place_snap(unsigned k) { return PLACES_WS + k; }

/* What compares. times: the model says EXACT (set by utimens) or RECENT (not before the test began). */
enum { TIME_EXACT = 1, TIME_RECENT = 2 };
struct st {
    uint32_t mode, nlink, uid, gid, rdev;
    uint64_t size, ino;                  /* model: ino is its own number; see the checker */
    int64_t mtime_s, atime_s;
    uint32_t mtime_ns, atime_ns;
    uint8_t mtime_rule, atime_rule;      /* model only */
};

enum {
    CAP_WORLD = 1,                       /* snapshots, forks, restore */
    CAP_BIG_XATTR = 2,                   /* values up to 64 KiB */
    CAP_INO = 4,                         /* inode numbers are never reused: compare them */
    CAP_BIG_FILE = 8,                    /* sizes up to 2^63-1 */
};
enum care { CARE_FOLD, CARE_GC, CARE_PACK, CARE_FSCK, CARE_REOPEN, CARE_SCRUB, CARE_COUNT };

typedef int readdir_fn(void *arg, const char *name, uint8_t type);

struct fs_ops {
    const char *name;
    unsigned caps;
    int (*mk)(void *c, unsigned at, const char *path, uint32_t mode, uint32_t rdev, const char *target);
    int (*link)(void *c, unsigned at, const char *from, const char *to);
    int (*unlink)(void *c, unsigned at, const char *path);
    int (*rmdir)(void *c, unsigned at, const char *path);
    int (*rename)(void *c, unsigned at, const char *from, const char *to, unsigned flags);
    int (*stat)(void *c, unsigned at, const char *path, struct st *ret);
    int (*chmod)(void *c, unsigned at, const char *path, uint32_t mode);
    int (*chown)(void *c, unsigned at, const char *path, uint32_t uid, uint32_t gid);
    int (*utimens)(void *c, unsigned at, const char *path, const struct timespec ts[2]);      /* atime, mtime */
    int (*truncate)(void *c, unsigned at, const char *path, uint64_t size);
    int (*read)(void *c, unsigned at, const char *path, uint64_t off, size_t n, uint8_t *dst);
    int64_t (*data)(void *c, unsigned at, const char *path, uint64_t off, int whence);        /* SEEK_DATA, SEEK_HOLE */
    int (*readlink)(void *c, unsigned at, const char *path, char *out, size_t size);          /* length */
    int (*setxattr)(void *c, unsigned at, const char *path, const char *name, const void *v, size_t n, int flags);
    int (*getxattr)(void *c, unsigned at, const char *path, const char *name, void *out, size_t size);
    int (*listxattr)(void *c, unsigned at, const char *path, char *out, size_t size);
    int (*removexattr)(void *c, unsigned at, const char *path, const char *name);
    /* without . and ..; step: at most so many entries per call of the thing below, where it can be chosen */
    int (*readdir)(void *c, unsigned at, const char *path, unsigned step, readdir_fn *fn, void *arg);

    /* Handles: open regular files. create: O_CREAT with this mode if not 0 (must not exist). */
    int (*open)(void *c, unsigned at, const char *path, unsigned h, uint32_t create);
    int (*tmpfile)(void *c, unsigned at, const char *dir, unsigned h, uint32_t mode);
    int (*close)(void *c, unsigned h);
    int (*link_handle)(void *c, unsigned h, const char *to);
    int (*fstat)(void *c, unsigned h, struct st *ret);
    int (*pread)(void *c, unsigned h, uint64_t off, size_t n, uint8_t *dst);
    int (*pwrite)(void *c, unsigned h, uint64_t off, const uint8_t *src, size_t n);
    int (*append)(void *c, unsigned h, const uint8_t *src, size_t n);
    int (*map_write)(void *c, unsigned h, uint64_t off, const uint8_t *src, size_t n);        /* within the size, else -EINVAL */
    int (*ftruncate)(void *c, unsigned h, uint64_t size);
    int (*fallocate)(void *c, unsigned h, int mode, uint64_t off, uint64_t len);
    int (*copy)(void *c, unsigned from, uint64_t from_off, unsigned to, uint64_t to_off, uint64_t len);   /* same place, else -EXDEV */
    int64_t (*seek)(void *c, unsigned h, uint64_t off, int whence);
    int (*fsync)(void *c, unsigned h);

    /* The world; -EBADF if the slot is not (or already) in use. */
    int (*snapshot)(void *c, unsigned ws, unsigned k);
    int (*fork)(void *c, unsigned from_place, unsigned ws);
    int (*restore)(void *c, unsigned ws, unsigned k, const char *path);                       /* path NULL: all */
    int (*drop)(void *c, unsigned place);
    int (*sync)(void *c, unsigned ws);
    int (*care)(void *c, enum care what);

    /* For a report: which step of which operation failed last, in a static buffer. May be NULL. */
    const char *(*why)(void *c);
};
