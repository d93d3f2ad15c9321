/* The second half: the workspace becomes the root.
 *
 * The tree of the workspace is hostile: every name in it is opened with openat2() that stays beneath the mount, follows no symlink of any kind and
 * crosses into no other mount, and mounts go onto the descriptor that this gave. Nobody but us has the mount at that time in this namespace. */
#include "sandbox/launcher/husk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

/* A directory of name in dir, as an O_PATH descriptor; it is made if it is missing. */
static int open_component(int dir, const char *name)
{
    struct open_how how = {
        .flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
    };

    int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
    if (fd < 0 && errno == ENOENT) {
        if (mkdirat(dir, name, 0755) && errno != EEXIST)
            return -errno;
        fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
    }
    return fd < 0 ? -errno : fd;
}

/* The directory that path (checked by check_mount_path) names beneath root. */
static int open_target(struct husk *h, int root, const char *path)
{
    _cleanup_close_ int at = fcntl(root, F_DUPFD_CLOEXEC, 10);
    char name[LAUNCH_PATH];

    husk_step(h, "open the mount point %s", path);
    if (at < 0)
        return -errno;
    for (const char *p = path; *p;) {
        size_t n = strcspn(++p, "/");
        snprintf(name, sizeof(name), "%.*s", (int)n, p);
        int next = open_component(at, name);
        if (next < 0) {
            if (next == -ENOTDIR || next == -ELOOP || next == -EXDEV)
                husk_step(h, "%.*s in the workspace is not a real directory, but %s is mounted there: make it one or remove it", (int)(p + n - path), path, path);
            return next;
        }
        close(at);
        at = next;
        p += n;
    }
    return TAKE_FD(at);
}

/* Is fd what START may bring: the root directory of a FUSE mount, whose ids are those of this box? */
static int check_mount(struct husk *h, int fd, const char *what)
{
    struct statx sx;
    struct statfs sf;

    husk_step(h, "check the mount for %s", what);
    /* Not DONT_SYNC: the kernel has made up the root's attributes (owner 0 of the host) until it asked for them once. */
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_UID | STATX_GID, &sx) || fstatfs(fd, &sf))
        return -errno;
    if (!S_ISDIR(sx.stx_mode) || (uint32_t)sf.f_type != FUSE_SUPER_MAGIC || !(sx.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
        husk_step(h, "what was given for %s is not the root of a mount of snapshotd", what);
        return -EINVAL;
    }
    /* Seen from inside: ids beyond the lease are shown as the overflow id. */
    if (sx.stx_uid >= 65534 || sx.stx_gid >= 65534) {
        husk_step(h, "the mount for %s does not have the ids of this sandbox: mount it with its uid_base", what);
        return -EINVAL;
    }
    return 0;
}

/* Attaches at `at`; flags are ours whatever the mount came with. */
static int attach_foreign(struct husk *h, int fd, int at, const char *what, bool read_only)
{
    husk_step(h, "attach %s", what);
    int r = husk_attach(fd, at);
    return r ? r : husk_attr(fd, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0), AT_RECURSIVE);
}

static int attach_own(struct husk *h, int root, int fd, const char *path)
{
    _cleanup_close_ int at = open_target(h, root, path);

    if (at < 0)
        return at;
    husk_step(h, "attach %s", path);
    return husk_attach(fd, at);
}

static int attach_shm(struct husk *h, const struct launch_limits *l)
{
    uint64_t bytes = l->tmp_bytes ? l->tmp_bytes : l->memory_bytes / 2;
    char size[40], inodes[40];
    const char *const options[] = { size, inodes, "mode=1777", NULL };

    husk_step(h, "mount /dev/shm");
    snprintf(size, sizeof(size), "size=%llu", (unsigned long long)bytes);
    snprintf(inodes, sizeof(inodes), "nr_inodes=%llu", (unsigned long long)(bytes / 4096 < 1024 ? 1024 : bytes / 4096));
    _cleanup_close_ int fd = husk_fs("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, options);
    return fd < 0 ? fd : husk_attach(fd, h->shm_at);
}

static int attach_mounts(struct husk *h, const struct launch_packet *p, int root_fd, const int *fds)
{
    for (unsigned i = 0; i < p->mount_count; i++) {
        const char *path = p->mounts[i].path;
        int r = check_mount(h, fds[i], path);
        _cleanup_close_ int at = r ? -1 : open_target(h, root_fd, path);
        if (!r)
            r = at < 0 ? at : attach_foreign(h, fds[i], at, path, p->mounts[i].read_only);
        if (r)
            return r;
    }
    return 0;
}

static const char *const bundle_paths[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem" };

void husk_look_for_certificates(struct husk *h)
{
    for (unsigned i = 0; i < sizeof(bundle_paths) / sizeof(bundle_paths[0]); i++)
        if (!access(bundle_paths[i], F_OK))
            h->host_bundles |= 1u << i;
}

/* Where programs look for the world's certificates: there they find the bundle, if the tree has a regular file in that place. What a workload can make of these names (a symlink,
 * a directory, nothing) only keeps it from that: the environment names the bundle too. Each look costs a start some requests to snapshotd, so in a tree of the
 * template host only those places are looked at that the host has: its programs know no other. */
static int attach_bundle(struct husk *h, int root_fd, bool like_host)
{
    struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };
    struct stat st;
    int r = 0;

    for (unsigned i = 0; !r && h->bundle >= 0 && i < sizeof(bundle_paths) / sizeof(bundle_paths[0]); i++) {
        if (like_host && !(h->host_bundles & 1u << i))
            continue;
        husk_step(h, "attach the bundle of certificates at %s", bundle_paths[i]);
        _cleanup_close_ int at = (int)syscall(SYS_openat2, root_fd, bundle_paths[i] + 1, &how, sizeof(how));
        if (at < 0 || fstat(at, &st) || !S_ISREG(st.st_mode))
            continue;
        _cleanup_close_ int fd = husk_clone(h->bundle, "", AT_EMPTY_PATH);
        r = fd < 0 ? fd : husk_attach(fd, at);
    }
    return r;
}

/* Is / the workspace, is there nothing above it, and are we in it? */
static int check_root(struct husk *h, int root_fd)
{
    static const char *const paths[] = { "/", ".", "..", "/.." };
    struct statx want, have;

    husk_step(h, "check that the old root is gone");
    if (statx(root_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO | STATX_MNT_ID, &want))
        return -errno;
    for (unsigned i = 0; i < 4; i++) {
        if (statx(AT_FDCWD, paths[i], AT_STATX_DONT_SYNC, STATX_INO | STATX_MNT_ID, &have))
            return -errno;
        if (have.stx_ino != want.stx_ino || have.stx_mnt_id != want.stx_mnt_id)
            return -ESTALE;
    }
    return 0;
}

int husk_root(struct husk *h, const struct launch_packet *p, int root_fd, const int *mount_fds)
{
    int r = check_mount(h, root_fd, "/");

    if (r)
        return r;
    husk_step(h, "open the stage");
    _cleanup_close_ int at = openat(h->stage, "root", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    r = at < 0 ? -errno : attach_foreign(h, root_fd, at, "/", false);
    if (!r)
        r = attach_own(h, root_fd, h->proc, "/proc");
    if (!r)
        r = attach_own(h, root_fd, h->dev, "/dev");
    if (!r)
        r = attach_shm(h, &p->limits);
    if (!r && (p->flags & LAUNCH_HOST_USR))
        r = attach_own(h, root_fd, h->usr, "/usr");
    if (!r)
        r = attach_bundle(h, root_fd, p->flags & LAUNCH_HOST_USR);
    if (!r)
        r = attach_mounts(h, p, root_fd, mount_fds);
    if (r)
        return r;
    husk_step(h, "change the root");
    r = husk_pivot(root_fd);
    return r ? r : check_root(h, root_fd);
}
