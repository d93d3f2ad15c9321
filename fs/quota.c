/* What statfs says: the workspace's quota where it has one, else the disk under the store. What counts for it: fs/inode.h, inode_charge. */
#include <errno.h>
#include <sys/statvfs.h>

#include "fs/limits.h"
#include "fs/store.h"
#include "fs/ws_internal.h"

int ws_statfs(struct workspace *w, struct ws_statfs *ret)
{
    struct statvfs v;

    if (fstatvfs(w->store->dirfd, &v) < 0)
        return -errno;
    pthread_mutex_lock(&w->lock);
    struct ws_rec rec = w->rec;
    uint64_t units = ws_charged(w), inodes = rec.inodes + w->orphan_inodes;
    pthread_mutex_unlock(&w->lock);

    uint64_t disk_free = (uint64_t)v.f_bavail * v.f_frsize;
    ret->bytes_total = rec.quota_bytes ? rec.quota_bytes : (uint64_t)v.f_blocks * v.f_frsize;
    ret->bytes_free = ret->bytes_avail = disk_free;
    if (rec.quota_bytes) {
        uint64_t quota = rec.quota_bytes / UNIT;
        ret->bytes_free = quota > units ? (quota - units) * UNIT : 0;
        ret->bytes_avail = ret->bytes_free < disk_free ? ret->bytes_free : disk_free;
    }
    ret->inodes_total = rec.quota_inodes ? rec.quota_inodes : inodes + UINT32_MAX;
    ret->inodes_free = ret->inodes_total > inodes ? ret->inodes_total - inodes : 0;
    return 0;
}
