/* The FUSE face: mounts of workspaces served by one pool of threads over all /dev/fuse descriptors. Only fuse_*.c see libfuse. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
struct workspace; struct fuse_pool; struct mount;

/* How requests come: over /dev/fuse, or by io_uring (Linux 6.14, fuse.enable_uring). AUTO is classic: see docs/architecture.md 7.4. */
enum mount_transport { TRANSPORT_AUTO, TRANSPORT_CLASSIC, TRANSPORT_URING };

struct mount_opts {
    enum mount_transport transport;
    bool ro, suid, dev, noexec;           /* defaults: nosuid, nodev */
    bool no_allow_other;
    bool snapdir;                         /* .snap in the root; for workspaces only */
    uint32_t uid_base;                    /* added to ids shown, subtracted from ids stored */
    uint32_t max_background;              /* 0 = default */
    char source[128];                     /* shown as the device in mountinfo */
};
/* workers 0: default (4); at least 2. More are added for a time when all are stuck. */
int fuse_pool_new(unsigned workers, struct fuse_pool **ret);
void fuse_pool_free(struct fuse_pool *p);                 /* all mounts must be gone */
/* Makes a detached mount (fsmount) of the workspace, served at once; the caller attaches *ret_mountfd with move_mount(2) in its own
 * namespace. Takes a reference on w; one mount per workspace (-EBUSY). on_gone is called from a pool thread after the kernel has let go
 * of the mount and the workspace was committed; the mount must not be used after. -ENODEV: no /dev/fuse; -EPERM: no right to mount;
 * -EOPNOTSUPP: TRANSPORT_URING cannot be had here, fuse_uring_probe() says why. */
int mount_new(struct fuse_pool *p, struct workspace *w, const struct mount_opts *o, void (*on_gone)(void *arg, struct mount *m), void *arg,
              struct mount **ret, int *ret_mountfd);
uint64_t mount_dev(const struct mount *m);                /* st_dev of the file system */
enum mount_transport mount_transport(const struct mount *m);   /* CLASSIC or URING */
struct workspace *mount_workspace(const struct mount *m);      /* borrowed */
/* Whether a mount by io_uring can be had now: NULL, or why not. set: turns fuse.enable_uring on if it is off. */
const char *fuse_uring_probe(bool set);
/* Brings what the kernel holds dirty into the workspace: syncfs on a directory of the mount given as a descriptor opened by the caller
 * (O_PATH will do), then waits until every WRITE that was queued by then was handled. Never call from a pool thread. 0 or -errno. */
int mount_flush(struct mount *m, int dirfd);
/* Holds the mount still: when it returns no request is being done and none is taken from the kernel until mount_release, so that what a
 * program did in order is not split the wrong way round by a freeze. Callers wait meanwhile. Requests that only wait for the disk
 * (FSYNC) do not count. Bounded: after half a second a stuck request is left alone. Holds nest. Not from a pool thread, and not around
 * mount_flush. */
void mount_hold(struct mount *m);
void mount_release(struct mount *m);
/* The mount of a workspace with a reference, or NULL; for those who have only the workspace. Takes w->lock for a moment. */
struct mount *mount_of(struct workspace *w);
void mount_put(struct mount *m);          /* NULL is fine */
/* Tells the kernel that things changed under it (restore). Errors of single notifications are normal. A notification may wait for requests of
 * the mount, so it is sent from within mount_tell (base/errand.h says why), which waits for fn. Not from a pool thread (but fuse_seek.c). */
void mount_tell(struct mount *m, void (*fn)(void *arg, struct mount *m), void *arg);
/* Contents, attributes and listing. But with the writeback cache the kernel believes its own size and times of a regular file as long
 * as it has the inode, so a new size is not seen before mount_inval_entry of all its names, and by those who have it open not at all:
 * give such a file another inode number. -ENOENT: the kernel has no such inode. */
int mount_inval_inode(struct mount *m, uint64_t ino);
void mount_inval_entry(struct mount *m, uint64_t parent, const char *name, uint32_t name_len);
/* Cuts the connection: programs see ENOTCONN; on_gone follows. */
void mount_abort(struct mount *m);
struct mount_stats { uint64_t requests, by_opcode[64]; };
void mount_stats(struct mount *m, struct mount_stats *ret);
const char *fuse_message_name(unsigned opcode);           /* "LOOKUP"; "OTHER" for what is never sent to us */

/* --- mounts that outlive the process (fuse_adopt.c) ---
 * Whoever else holds the device's descriptor keeps the mount: requests wait, and who takes the descriptor asks the kernel for all that were
 * not answered. A dead process's mounts can be adopted by any other with CAP_SYS_ADMIN. */
/* What the new one must know beside mount_opts. */
struct mount_state { uint64_t dev; uint32_t minor; bool second_root; };
/* The descriptor to give away (borrowed), or -1: nobody can take over this mount (io_uring; a kernel without FUSE_NOTIFY_RESEND). */
int mount_device(const struct mount *m, struct mount_state *ret);
/* The mount behind a descriptor (taken) whose server is gone. Nothing is served before mount_start(), which must follow; then on_gone may
 * come. o->transport does not matter. Takes a reference on w. 0, -EBUSY, -ENOMEM. */
int mount_adopt(struct fuse_pool *p, struct workspace *w, const struct mount_opts *o, const struct mount_state *s, int fd,
                void (*on_gone)(void *arg, struct mount *m), void *arg, struct mount **ret);
void mount_start(struct mount *m);
/* Then: what the process before had changed by itself and perhaps not told the kernel. Not for snapshots. */
void mount_retell(struct mount *m);
