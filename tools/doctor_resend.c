/* Whether mounts can outlive snapshotd here: the kernel says it in the first message of a FUSE file system. So one is made that nobody sees. */
#include "tools/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"

/* FUSE_INIT as the kernel sends it: a header of 40 bytes, then major, minor, max_readahead, flags, flags2 (linux/fuse.h). */
enum { OPCODE = 1, FLAGS = 13, FLAGS2 = 14, OP_INIT = 26 };
#define INIT_EXT (1u << 30)
#define HAS_RESEND (1u << 7)              /* of flags2; Linux 6.9 */

static int make(int fs, int fd)
{
    char num[16];

    snprintf(num, sizeof(num), "%d", fd);
    if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "fd", num, 0) || fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "40000", 0) ||
        fsconfig(fs, FSCONFIG_SET_STRING, "user_id", "0", 0) || fsconfig(fs, FSCONFIG_SET_STRING, "group_id", "0", 0) ||
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        return -errno;
    return 0;
}

int doctor_resend(void)
{
    _cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK), fs = fsopen("fuse", FSOPEN_CLOEXEC);
    uint32_t words[8192 / sizeof(uint32_t)] = { 0 };     /* the kernel reads no less at once */
    int r = fd < 0 ? -errno : make(fs, fd);

    if (r)
        return r;
    ssize_t n = read(fd, words, sizeof(words));
    if (n < 0)
        return -errno;
    if (n <= FLAGS2 * (ssize_t)sizeof(*words) || words[OPCODE] != OP_INIT)
        return 0;
    return (words[FLAGS] & INIT_EXT) && (words[FLAGS2] & HAS_RESEND);
}
