#include "fs/inode.h"

#include <errno.h>

#include "base/wire.h"
#include "fs/limits.h"

static void put_time(uint8_t *p, const struct itime *t)
{
    put_le64(p, (uint64_t)t->sec);
    put_le32(p + 8, t->ns);
}

static struct itime get_time(struct reader *r)
{
    struct itime t;

    t.sec = (int64_t)get_u64(r);
    t.ns = get_u32(r);
    if (t.ns >= 1000000000)
        r->bad = true;
    return t;
}

void inode_encode(const struct inode *in, uint8_t out[INODE_BYTES])
{
    put_le32(out, in->mode);
    put_le16(out + 4, (uint16_t)in->uid);
    put_le16(out + 6, (uint16_t)in->gid);
    put_le32(out + 8, in->nlink);
    put_le32(out + 12, in->rdev);
    put_le64(out + 16, in->size);
    put_le64(out + 24, in->units);
    put_time(out + 32, &in->atime);
    put_time(out + 44, &in->mtime);
    put_time(out + 56, &in->ctime);
    put_time(out + 68, &in->btime);
    put_le64(out + 80, in->parent);
    put_le64(out + 88, in->cookie);
    put_le32(out + 96, in->flags);
    put_le32(out + 100, in->xattr_bytes);
}

int inode_decode(const uint8_t *p, size_t n, struct inode *ret)
{
    struct reader r = reader_of(p, n);
    struct inode in;

    if (n != INODE_BYTES)
        return -EUCLEAN;
    in.mode = get_u32(&r);
    in.uid = get_u16(&r);
    in.gid = get_u16(&r);
    in.nlink = get_u32(&r);
    in.rdev = get_u32(&r);
    in.size = get_u64(&r);
    in.units = get_u64(&r);
    in.atime = get_time(&r);
    in.mtime = get_time(&r);
    in.ctime = get_time(&r);
    in.btime = get_time(&r);
    in.parent = get_u64(&r);
    in.cookie = get_u64(&r);
    in.flags = get_u32(&r);
    in.xattr_bytes = get_u32(&r);
    if (in.flags & ~(uint32_t)INODE_XATTRS || (in.xattr_bytes && !in.flags) || r.bad || in.mode & ~(S_IFMT | 07777u) || in.size > INT64_MAX)
        return -EUCLEAN;
    switch (in.mode & S_IFMT) {
    case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFIFO: case S_IFSOCK: case S_IFCHR: case S_IFBLK:
        break;
    default:
        return -EUCLEAN;
    }
    *ret = in;
    return 0;
}

uint64_t inode_charge(const struct inode *in)
{
    uint64_t more = in->xattr_bytes + (S_ISLNK(in->mode) ? in->size : 0), units = in->units;

    if (more > CHARGE_FREE)
        units += (more + UNIT - 1) / UNIT;
    if (inode_is_dir(in))
        units += in->size / DIR_NAMES + (in->size % DIR_NAMES != 0);
    return units;
}
