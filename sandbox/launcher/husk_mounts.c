/* The first half of a husk's mounts: everything that does not depend on the workspace.
 *
 * The stage is a small tmpfs of our own that becomes the root; on it wait /proc with its masks and /dev. Nothing here is looked up in a tree that a
 * workload could have touched. The host's tree is let go before the husk is ready; only the host's /usr is kept, as a detached copy, read-only. */
#include "sandbox/launcher/husk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/launcher/bundle.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

int husk_fs(const char *type, unsigned attrs, const char *const *options)
{
    _cleanup_close_ int fs = fsopen(type, FSOPEN_CLOEXEC);

    if (fs < 0)
        return -errno;
    for (; options && *options; options++) {
        char key[64];
        const char *eq = strchr(*options, '=');
        snprintf(key, sizeof(key), "%.*s", eq ? (int)(eq - *options) : (int)sizeof(key) - 1, *options);
        if (fsconfig(fs, eq ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, eq ? eq + 1 : NULL, 0))
            return -errno;
    }
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        return -errno;
    int fd = fsmount(fs, FSMOUNT_CLOEXEC, attrs);
    return fd < 0 ? -errno : fd;
}

int husk_attach(int mount_fd, int at_fd)
{
    return move_mount(mount_fd, "", at_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) ? -errno : 0;
}

int husk_attr(int mount_fd, unsigned set, unsigned flags)
{
    struct mount_attr a = { .attr_set = set, .propagation = MS_PRIVATE };

    return mount_setattr(mount_fd, "", AT_EMPTY_PATH | flags, &a, sizeof(a)) ? -errno : 0;
}

int husk_pivot(int root_fd)
{
    if (fchdir(root_fd) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
        return -errno;
    return 0;
}

int husk_clone(int at, const char *path, unsigned flags)
{
    int fd = open_tree(at, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW | flags);
    return fd < 0 ? -errno : fd;
}

/* --- /proc --- */

/* Covered, because they show the host or act on it. What this kernel does not have is passed over. */
static const char *const masked[] = {
    "acpi", "asound", "bus", "config.gz", "diskstats", "driver", "fs", "interrupts", "iomem", "ioports", "irq", "kallsyms", "kcore", "key-users", "keys",
    "kmsg", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "mdstat", "modules", "mtrr", "partitions", "pressure", "sched_debug", "scsi", "slabinfo", "swaps",
    "sysrq-trigger", "timer_list", "timer_stats", "vmallocinfo",
};

static int mask_init(struct husk *h)
{
    static const char *const options[] = { "size=4096", "nr_inodes=4", "mode=0755", NULL };

    husk_step(h, "mount the masks");
    h->mask = husk_fs("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, options);
    if (h->mask < 0)
        return h->mask;
    /* A regular file by mknod: one open for writing would keep the mount from becoming read-only. */
    if (mknodat(h->mask, "file", S_IFREG | 0444, 0) || mkdirat(h->mask, "dir", 0555))
        return -errno;
    return husk_attr(h->mask, MOUNT_ATTR_RDONLY, 0);
}

/* An empty object of ours over one of /proc; what is put there is the one that we made. */
static int mask_one(struct husk *h, const char *name)
{
    struct stat at, made, have;

    husk_step(h, "mask /proc/%s", name);
    _cleanup_close_ int target = openat(h->proc, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (target < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(target, &at))
        return -errno;
    const char *object = S_ISDIR(at.st_mode) ? "dir" : "file";
    if (S_ISLNK(at.st_mode))
        return -EINVAL;
    _cleanup_close_ int fd = husk_clone(h->mask, object, 0);
    if (fd < 0)
        return fd;
    if (fstatat(h->mask, object, &made, AT_SYMLINK_NOFOLLOW) || fstat(fd, &have))
        return -errno;
    if (made.st_dev != have.st_dev || made.st_ino != have.st_ino)
        return -ESTALE;
    return husk_attach(fd, target);
}

static int proc_init(struct husk *h, int at)
{
    int r = 0;

    husk_step(h, "attach /proc");
    r = husk_attach(h->proc, at);
    for (unsigned i = 0; !r && i < sizeof(masked) / sizeof(masked[0]); i++)
        r = mask_one(h, masked[i]);
    if (r)
        return r;
    husk_step(h, "make /proc/sys read-only");
    _cleanup_close_ int sys = husk_clone(h->proc, "sys", 0), target = openat(h->proc, "sys", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (sys < 0 || target < 0)
        return sys < 0 ? sys : -errno;
    r = husk_attr(sys, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
    return r ? r : husk_attach(sys, target);
}

/* --- /dev --- */

enum { NODES = 6 };
static const struct { const char *name; unsigned major, minor; } nodes[NODES] = {
    { "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
};
static const char *const links[][2] = {
    { "fd", "/proc/self/fd" }, { "stdin", "/proc/self/fd/0" }, { "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" }, { "ptmx", "pts/ptmx" },
};

/* A detached mount of one of the host's device nodes, if it is that device. */
static int clone_node(struct husk *h, unsigned i)
{
    char path[32];
    struct stat st;

    husk_step(h, "take the host's /dev/%s", nodes[i].name);
    snprintf(path, sizeof(path), "/dev/%s", nodes[i].name);
    _cleanup_close_ int fd = husk_clone(AT_FDCWD, path, 0);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st))
        return -errno;
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(nodes[i].major, nodes[i].minor))
        return -ENODEV;
    int r = husk_attr(fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0);
    return r ? r : TAKE_FD(fd);
}

static int stage_dir(struct husk *h, const char *name);

/* The bundle of certificates came as a mount of a file, or of a directory with a copy. */
static int bundle_attach(struct husk *h)
{
    struct stat st;

    if (h->plan->bundle_fd < 0)
        return 0;
    husk_step(h, "attach " EGRESS_BUNDLE_PATH);
    if (fstat(h->plan->bundle_fd, &st))
        return -errno;
    if (S_ISDIR(st.st_mode)) {
        _cleanup_close_ int at = stage_dir(h, "bundle");
        int r = at < 0 ? at : husk_attach(h->plan->bundle_fd, at);
        h->bundle = r ? r : husk_clone(h->plan->bundle_fd, BUNDLE_NAME, 0);
    } else {
        h->bundle = fcntl(h->plan->bundle_fd, F_DUPFD_CLOEXEC, 3);
    }
    if (h->bundle < 0)
        return h->bundle;
    _cleanup_close_ int fd = openat(h->dev, strrchr(EGRESS_BUNDLE_PATH, '/') + 1, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    int r = fd < 0 ? -errno : husk_attr(h->bundle, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
    return r ? r : husk_attach(h->bundle, fd);
}

static int dev_fill(struct husk *h, int node_fds[NODES])
{
    int r = 0;

    for (unsigned i = 0; !r && i < NODES; i++) {
        husk_step(h, "attach /dev/%s", nodes[i].name);
        _cleanup_close_ int fd = openat(h->dev, nodes[i].name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        r = fd < 0 ? -errno : husk_attach(node_fds[i], fd);
    }
    for (unsigned i = 0; !r && i < sizeof(links) / sizeof(links[0]); i++)
        r = symlinkat(links[i][1], h->dev, links[i][0]) ? -errno : 0;
    return r ? r : bundle_attach(h);
}

static int dev_init(struct husk *h, int at, int node_fds[NODES])
{
    static const char *const options[] = { "size=65536", "nr_inodes=32", "mode=0755", NULL };
    static const char *const pts_options[] = { "newinstance", "ptmxmode=0666", "mode=0620", "max=64", NULL };

    husk_step(h, "mount /dev");
    h->dev = husk_fs("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, options);
    int r = h->dev < 0 ? h->dev : husk_attach(h->dev, at);
    if (!r)
        r = dev_fill(h, node_fds);
    if (r)
        return r;
    husk_step(h, "mount /dev/pts");
    if (mkdirat(h->dev, "pts", 0755) || mkdirat(h->dev, "shm", 01777))
        return -errno;
    _cleanup_close_ int pts = husk_fs("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, pts_options);
    _cleanup_close_ int pts_at = openat(h->dev, "pts", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    h->shm_at = openat(h->dev, "shm", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (pts < 0 || pts_at < 0 || h->shm_at < 0)
        return pts < 0 ? pts : -errno;
    r = husk_attach(pts, pts_at);
    return r ? r : husk_attr(h->dev, MOUNT_ATTR_RDONLY, 0);
}

/* --- together --- */

/* What needs the host's tree: /proc (the kernel gives a new one only to those who see a whole one), the nodes, /usr. */
static int take_from_host(struct husk *h, int node_fds[NODES])
{
    static const char *const options[] = { "hidepid=invisible", "gid=65533" /* CONFINE_AGENT_ID sees all */, NULL };
    struct mount_attr private = { .propagation = MS_PRIVATE };
    int r;

    husk_step(h, "make mounts private");
    if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)))
        return -errno;
    husk_step(h, "mount /proc");
    h->proc = husk_fs("proc", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, options);
    if (h->proc < 0)
        return h->proc;
    for (unsigned i = 0; i < NODES; i++)
        if ((node_fds[i] = clone_node(h, i)) < 0)
            return node_fds[i];
    husk_look_for_certificates(h);
    husk_step(h, "take the host's /usr");
    h->usr = husk_clone(AT_FDCWD, "/usr", AT_RECURSIVE);
    if (h->usr < 0)
        return h->usr;
    r = husk_attr(h->usr, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, AT_RECURSIVE);
    return r;
}

static int stage_dir(struct husk *h, const char *name)
{
    if (mkdirat(h->stage, name, 0755))
        return -errno;
    int fd = openat(h->stage, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int stage_init(struct husk *h)
{
    static const char *const options[] = { "size=4096", "nr_inodes=8", "mode=0755", NULL };

    husk_step(h, "mount the stage");
    h->stage = husk_fs("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, options);
    if (h->stage < 0)
        return h->stage;
    _cleanup_close_ int host_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = host_root < 0 ? -errno : husk_attach(h->stage, host_root);
    if (r)
        return r;
    husk_step(h, "let the host's tree go");
    return husk_pivot(h->stage);
}

int husk_mounts(struct husk *h)
{
    int node_fds[NODES] = { -1, -1, -1, -1, -1, -1 };
    int r = take_from_host(h, node_fds);

    if (!r)
        r = stage_init(h);
    if (!r)
        r = mask_init(h);
    _cleanup_close_ int proc_at = r ? -1 : stage_dir(h, "proc"), dev_at = r ? -1 : stage_dir(h, "dev"), root_at = r ? -1 : stage_dir(h, "root");
    if (!r && (proc_at < 0 || dev_at < 0 || root_at < 0))
        r = -ENOSPC;
    if (!r)
        r = proc_init(h, proc_at);
    if (!r)
        r = dev_init(h, dev_at, node_fds);
    for (unsigned i = 0; i < NODES; i++)
        if (node_fds[i] >= 0)
            close(node_fds[i]);
    return r;
}
