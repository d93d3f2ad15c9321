/* What statfs says: the workspace's quota where it has one, else the disk under the store. */
#include <errno.h>
#include <sys/statvfs.h>

#include "fs/limits.h"
#include "fs/store.h"
#include "fs/workspace.h"

int ws_statfs(struct workspace *w, struct ws_statfs *ret)
{
    struct statvfs v;

    if (fstatvfs(w->store->dirfd, &v) < 0)
        return -errno;
    pthread_mutex_lock(&w->lock);
    struct ws_rec rec = w->rec;
    pthread_mutex_unlock(&w->lock);

    uint64_t used = rec.units * UNIT, disk_free = (uint64_t)v.f_bavail * v.f_frsize;
    ret->bytes_total = rec.quota_bytes ? rec.quota_bytes : (uint64_t)v.f_blocks * v.f_frsize;
    ret->bytes_free = disk_free;
    if (rec.quota_bytes) {
        uint64_t left = rec.quota_bytes > used ? rec.quota_bytes - used : 0;
        ret->bytes_free = left < disk_free ? left : disk_free;
    }
    ret->inodes_total = rec.quota_inodes ? rec.quota_inodes : rec.inodes + UINT32_MAX;
    ret->inodes_free = ret->inodes_total > rec.inodes ? ret->inodes_total - rec.inodes : 0;
    return 0;
}
