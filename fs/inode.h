/* The inode record: fixed INODE_BYTES on disk, this struct in memory. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <sys/stat.h>

struct itime { int64_t sec; uint32_t ns; };

struct inode {
    uint32_t mode, uid, gid, nlink;       /* ids as stored: 0..65535 by policy of the mount */
    uint32_t rdev;                        /* makedev() form of the kernel's new_encode_dev, devices only */
    uint64_t size;                        /* directories: number of entries; symlinks: length of the target */
    uint64_t units;                       /* 4 KiB units that hold data (st_blocks / 8) */
    struct itime atime, mtime, ctime, btime;
    uint64_t parent, cookie;              /* primary link; root: parent = itself, cookie = 0; none: 0, 0 */
    uint32_t flags;                       /* INODE_XATTRS: it has XATTR keys */
    uint32_t xattr_bytes;                 /* names and values of its XATTR keys; 0 also in records from before this was counted */
};
enum { INODE_BYTES = 104, INODE_XATTRS = 1 };

void inode_encode(const struct inode *in, uint8_t out[INODE_BYTES]);
/* 0, or -EUCLEAN if the bytes are no inode record (length, unknown type bits, nanoseconds >= 1e9). */
int inode_decode(const uint8_t *p, size_t n, struct inode *ret);
static inline bool inode_is_dir(const struct inode *in) { return S_ISDIR(in->mode); }
static inline bool inode_is_reg(const struct inode *in) { return S_ISREG(in->mode); }
/* What an inode counts for in its workspace's quota of bytes, in units: its data; attributes and link target where they are more than
 * CHARGE_FREE bytes together; names, by their directory, at DIR_NAMES to the unit. Depends on the record alone, so that what an operation
 * changes is known from the records before and after it. */
enum { CHARGE_FREE = 256, DIR_NAMES = 16 };
uint64_t inode_charge(const struct inode *in);
