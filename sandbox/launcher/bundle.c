#include "sandbox/launcher/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "sandbox/launcher/husk.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
enum { ROOTS_MAX = 4 << 20, ATTRS = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

static int append(int to, int from, off_t max)
{
    char chunk[65536];
    off_t off = 0;
    ssize_t n;

    while ((n = io_pread_full(from, chunk, sizeof(chunk), off)) > 0) {
        off += n;
        int r = off > max ? -EFBIG : io_write_full(to, chunk, (size_t)n);
        if (r)
            return r;
    }
    return n < 0 ? (int)n : 0;
}

static int check_ca(int fd)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----\n";
    char head[sizeof(begin) - 1];
    struct stat st;

    if (fstat(fd, &st) || st.st_size > EGRESS_PEM_MAX || io_pread_full(fd, head, sizeof(head), 0) != (ssize_t)sizeof(head))
        return -EBADMSG;
    return memcmp(head, begin, sizeof(head)) ? -EBADMSG : 0;
}

static int make_mount(void)
{
    static const char *const options[] = { "size=8m", "nr_inodes=4", "mode=0755", NULL };

    return husk_fs("tmpfs", ATTRS, options);
}

static int make_file(int mount)
{
    int fd = openat(mount, BUNDLE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0444);

    return fd < 0 || fchmod(fd, 0444) ? -errno : fd;      /* whatever the mask is */
}

/* The file system itself, so that no right over a mount of it helps. */
static int make_read_only(int mount)
{
    _cleanup_close_ int fs = fspick(mount, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);

    return fs < 0 || fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) || fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) ? -errno : 0;
}

int bundle_make(int ca_fd, int roots_fd)
{
    int r = check_ca(ca_fd);
    _cleanup_close_ int mount = r ? r : make_mount();
    _cleanup_close_ int fd = mount < 0 ? mount : make_file(mount);

    if (fd < 0)
        return fd;
    r = append(fd, ca_fd, EGRESS_PEM_MAX);
    if (!r)
        r = io_write_full(fd, "\n", 1);
    if (!r)
        r = append(fd, roots_fd, ROOTS_MAX);
    close_p(&fd);
    fd = -1;
    if (!r)
        r = make_read_only(mount);
    return r ? r : TAKE_FD(mount);
}

static int detach_file(int mount)
{
    _cleanup_close_ int fd = open_tree(mount, BUNDLE_NAME, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW);

    if (fd < 0)
        return -errno;
    int r = husk_attr(fd, MOUNT_ATTR_RDONLY | ATTRS, 0);
    return r ? r : TAKE_FD(fd);
}

int bundle_copy(int bundle_fd)
{
    _cleanup_close_ int from = openat(bundle_fd, BUNDLE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    _cleanup_close_ int mount = from < 0 ? -errno : make_mount();
    _cleanup_close_ int to = mount < 0 ? mount : make_file(mount);

    if (to < 0)
        return to;
    int r = append(to, from, ROOTS_MAX + EGRESS_PEM_MAX + 1);
    close_p(&to);
    to = -1;
    if (!r)
        r = make_read_only(mount);
    return r ? r : TAKE_FD(mount);
}

int bundle_clone(int bundle_fd)
{
    int fd = detach_file(bundle_fd);

    return fd == -EINVAL ? bundle_copy(bundle_fd) : fd;
}
