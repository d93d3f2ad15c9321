#include "sandbox/launcher/ids.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cleanup.h"

int ids_init(struct ids *ids, const char *dir)
{
    *ids = (struct ids){ .fd = -1 };
    if (mkdir(dir, 0700) && errno != EEXIST)
        return -errno;
    _cleanup_close_ int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (at < 0)
        return -errno;
    ids->fd = openat(at, "ids", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ids->fd < 0)
        return -errno;
    /* Launchers of several stores begin at different places, so that they seldom meet. */
    ids->next = (uint32_t)((clock_mono_ns() >> 10) * 2654435761u ^ (uint32_t)getpid() * 40503u) % IDS_BLOCKS;
    return 0;
}

void ids_fini(struct ids *ids)
{
    if (ids->fd >= 0)
        close(ids->fd);
    ids->fd = -1;
}

static int lock_byte(int fd, uint32_t block, short type)
{
    struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = block, .l_len = 1 };

    return fcntl(fd, F_OFD_SETLK, &fl) ? -errno : 0;
}

int ids_lease(struct ids *ids, uint32_t *ret_block)
{
    for (uint32_t n = 0; n < IDS_BLOCKS; n++) {
        uint32_t b = (ids->next + n) % IDS_BLOCKS;
        if (ids->leased[b / 8] >> (b % 8) & 1)
            continue;
        int r = lock_byte(ids->fd, b, F_WRLCK);
        if (r == -EAGAIN || r == -EACCES)
            continue;                     /* another store's */
        if (r)
            return r;
        ids->leased[b / 8] |= (uint8_t)(1u << (b % 8));
        ids->next = (b + 1) % IDS_BLOCKS;
        *ret_block = b;
        return 0;
    }
    return -EDQUOT;
}

void ids_release(struct ids *ids, uint32_t block)
{
    ids->leased[block / 8] &= (uint8_t)~(1u << (block % 8));
    lock_byte(ids->fd, block, F_UNLCK);
}
