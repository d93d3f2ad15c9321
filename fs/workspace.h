/* An open workspace: live layer over a view, and every operation on its tree. All functions are thread-safe.
 * Results 0 or -errno as the system call would give it. `ino` are inode numbers. Permission checks are the kernel's (default_permissions). */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "fs/inode.h"
#include "fs/object.h"
#include "fs/view.h"

struct store; struct mount; struct nlook; struct redo; struct feed;

struct workspace {
    struct workspace *next;               /* store->workspaces */
    _Atomic int refs;                     /* under store->lock when it may reach 0 */
    struct store *store;
    struct ws_rec rec;                    /* under lock: next_ino, counters, base, live */
    bool readonly;                        /* a mounted snapshot: no live layer */

    pthread_rwlock_t gate;                /* see docs/architecture.md 5 */
    pthread_mutex_t lock;                 /* live layer, view pointer, lookup counts, rec */
    struct view *view;
    struct layer *live;                   /* NULL if readonly */
    struct space *space;                  /* of the live segment */
    struct segment *seg;                  /* live segment, NULL until first data */
    struct nlook *nlook;                  /* kernel lookup counts */
    struct redo *redo;                    /* NULL: none. Changed under commit_lock and lock */
    uint64_t unknown_below;               /* adopted: of inodes numbered below, and of imported ones, the kernel may know more than nlook says */
    bool settled;                         /* of them: see ws_lookups_settled */
    struct nlook *orphans;                /* inodes without links that the kernel still refers to */
    uint64_t orphan_inodes, orphan_units; /* of these: what they count for in the quotas. Not in rec: no state that is kept has them */
    bool times_only;                      /* nothing but file times changed since the last commit */
    struct resv { uint64_t ino, slot, unit; uint32_t cap; } resv[64];   /* space set aside for slots being filled; forgotten at will */
    bool rec_dirty;                       /* counters changed since the last commit */
    bool seg_dirty;                       /* data was written to the live segment since its last sync */
    bool commit_failed;                   /* the last one */
    bool fold_due;                        /* the view under it is to be queued once its record is durable */
    _Atomic uint64_t synced_ns;           /* time that syncs of file data took, in all */
    _Atomic uint64_t reuse_epoch;         /* grows when released units become free again: a read across that is done anew */
    int broken;                           /* 0, or read-only from now on: -EIO a sync failed; -ENOENT it was removed */

    pthread_mutex_t commit_lock;          /* one commit at a time; outside gate */
    uint64_t commit_started, commit_finished;   /* sequence numbers; started under lock, finished under commit_lock */
    int commit_result;                    /* of commit_finished; under commit_lock */
    pthread_cond_t frozen;                /* with lock: a freeze made the live layer empty */
    struct batch *pending;                /* changes taken out of the map and not yet durable */
    uint64_t dirty_since_ns;              /* monotonic, 0 = clean */
    _Atomic int64_t kernel_ns;            /* the latest time of a file that the kernel gave by its own clock; set by the FUSE face */
    struct mount *mount;                  /* set by the FUSE face, for invalidation; under lock */
    uint64_t feed_seq;                    /* what the redo log said of the change journal when the workspace was adopted */
    struct feed *feed;                    /* the change journal, NULL while it is off; under lock and changed with commit_lock too */
};

/* Open by id, from the table or the disk (its live layer is loaded; inodes without links are dropped). 0 and a reference. */
int workspace_open(struct store *s, const char *id, struct workspace **ret);
/* A read-only workspace over a view (a snapshot); not in the table. Takes a reference on the view. */
int workspace_open_view(struct store *s, struct view *v, struct workspace **ret);
struct workspace *workspace_ref(struct workspace *w);
/* On the last one: commits, leaves the table, frees. */
void workspace_unref(struct workspace *w);

/* --- outliving the daemon (redo.h) --- */
/* From now on what changes goes to a redo log too, made if there is none; commits what is dirty. 0 or -errno: no log. */
int workspace_log(struct workspace *w);
void workspace_unlog(struct workspace *w);       /* at unmount: no log from now on. Nothing if there is none */
int workspace_log_fd(struct workspace *w);       /* the log's memfd (stays the workspace's), or -1 */
/* Opens a workspace that a daemon before had mounted and makes it what it was when that ended: from the disk and the log, which goes on being its log. r: taken, also on
 * errors. Inodes without links are kept, and what the kernel knows counts as not known. To be done before the store's background begins
 * (store_options.late) and before anybody else opens it: -EBUSY. -ENOENT; -EUCLEAN: log and disk do not fit; -errno. */
int workspace_adopt(struct store *s, const char *id, struct redo *r, struct workspace **ret);
/* A request that the kernel sends again, as the first daemon may have done it without answering. True: it was done; *ret_ino: the inode that it made, or 0. For those that
 * cannot be done twice: MKNOD MKDIR SYMLINK LINK CREATE TMPFILE UNLINK RMDIR RENAME RENAME2 SETXATTR REMOVEXATTR. */
bool redo_applied(struct workspace *w, uint64_t unique, uint32_t opcode, uint64_t *ret_ino);
/* Of an adopted workspace: everything that the kernel had queued when it was adopted has been taken (a read gave EAGAIN). Before, a FORGET may be older
 * than a lookup that was answered after it. */
void ws_lookups_settled(struct workspace *w);
/* The kernel says that it has no such inode (mount_inval_inode): one without links is dropped then, if it was kept only as the kernel might have known it since before a takeover. */
void ws_unknown(struct workspace *w, uint64_t ino);
/* Of an adopted workspace, once its mount is there: what the daemon before has changed by itself and had perhaps not told the kernel (name NULL: the inode). Then ws_told(),
 * also if there was nothing. fn may wait for requests of the mount. Non-zero of fn stops. */
int ws_untold(struct workspace *w, int (*fn)(void *arg, uint64_t ino, const char *name, uint32_t len), void *arg);
void ws_told(struct workspace *w);
/* The kernel has let go of everything (unmount). */
void ws_forget_all(struct workspace *w);

/* Durable: everything that was done before this call. Concurrent calls share one commit. 0, -EIO, -ENOSPC; -ENOENT: the workspace was removed. */
int workspace_commit(struct workspace *w);
/* Freezes the present state into a view and returns it with a reference (for a clean workspace: the view it has). The base record is
 * durable. extra->fn may add records to the same atomic batch (a snapshot record, forks) and change parent_snap in rec: the workspace's
 * record, which is written and kept with it. It runs with the workspace's locks held: it must only fill the batch. Waits while
 * FROZEN_MAX layers are unfolded. *ret_held_ns: how long mutations were held back (may be NULL). */
/* mark: NULL, or called with ws.lock held at the very moment whose state v is: for the change journal. v NULL: it did not come to be after all. */
struct freeze_extra {
    int (*fn)(struct freeze_extra *self, struct batch *b, const struct view *v, struct ws_rec *rec);
    void (*mark)(struct freeze_extra *self, struct workspace *w, const struct view *v);
};
int workspace_freeze(struct workspace *w, struct freeze_extra *extra, struct view **ret, uint64_t *ret_held_ns);
/* Puts another state under the workspace: live layer dropped (after a freeze by the caller if it is to be kept), view replaced. Durable. */
int workspace_replace(struct workspace *w, struct view *v, const char *snap_id);

struct ws_cred { uint32_t uid, gid, umask; };
int ws_getattr(struct workspace *w, uint64_t ino, struct inode *ret);
int ws_lookup(struct workspace *w, uint64_t parent, const char *name, uint64_t *ret_ino, struct inode *ret);   /* name "." and ".." too */
/* Kernel references: an inode without links lives while its count is above 0. */
void ws_nlookup_add(struct workspace *w, uint64_t ino, uint64_t n);
void ws_forget(struct workspace *w, uint64_t ino, uint64_t n);

/* Any type by mode (regular, directory, symlink with target, FIFO, socket, device with rdev). Applies default ACL or umask, BSD group on setgid directories.
 * want_ino: 0, or a wished inode number (import): the next free one is taken. -EEXIST, -ENOTDIR, -ENOENT, -ENAMETOOLONG, -EMLINK, -EDQUOT, -ENOSPC, -EROFS.
 * Adds one kernel lookup if nlookup. */
int ws_create(struct workspace *w, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev, const char *target,
              const struct ws_cred *cred, uint64_t want_ino, bool nlookup, uint64_t *ret_ino, struct inode *ret);
int ws_tmpfile(struct workspace *w, uint64_t parent, uint32_t mode, const struct ws_cred *cred, uint64_t *ret_ino, struct inode *ret);
int ws_link(struct workspace *w, uint64_t ino, uint64_t parent, const char *name, struct inode *ret);
int ws_unlink(struct workspace *w, uint64_t parent, const char *name);
int ws_rmdir(struct workspace *w, uint64_t parent, const char *name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT. */
int ws_rename(struct workspace *w, uint64_t from_dir, const char *from, uint64_t to_dir, const char *to, unsigned flags);
int ws_readlink(struct workspace *w, uint64_t ino, char *out, size_t out_size, size_t *ret_len);    /* at most SYMLINK_MAX, no NUL */

/* fn runs with the workspace locked: it must not call ws_* itself. Entries after cookie `after` (0: from the start; . and .. are the caller's, 1 and 2), in cookie order. fn non-zero stops (positive = full). */
struct ws_dirent { const char *name; uint32_t name_len; uint64_t ino, cookie; uint8_t type; };      /* type: DT_*; name is NUL-terminated */
typedef int ws_readdir_fn(void *arg, const struct ws_dirent *d, const struct inode *in);            /* in: NULL unless plus */
int ws_readdir(struct workspace *w, uint64_t ino, uint64_t after, bool plus, ws_readdir_fn *fn, void *arg);

enum { WSA_MODE = 1, WSA_UID = 2, WSA_GID = 4, WSA_SIZE = 8, WSA_ATIME = 16, WSA_MTIME = 32, WSA_CTIME = 64, WSA_ATIME_NOW = 128, WSA_MTIME_NOW = 256,
       WSA_KILL_PRIV = 512 /* clear setuid/setgid as a write would */, WSA_BTIME = 1024 /* import only */,
       WSA_KILL_SGID = 2048 /* beside it: setgid even where the group may not execute */ };
int ws_setattr(struct workspace *w, uint64_t ino, unsigned valid, const struct inode *in, struct inode *ret);

/* *ret_len bytes read, short only at the end of the file. */
int ws_read(struct workspace *w, uint64_t ino, uint64_t off, size_t len, uint8_t *dst, size_t *ret_len);
/* how: WS_KILL_PRIV clears setuid/setgid. WS_KEEP_TIMES leaves the times alone: of what the kernel asks for it keeps them itself, shows its own and sets them
 * later (writeback cache), so with ours a file's times would change when the kernel forgets it. */
enum { WS_KILL_PRIV = 1, WS_KEEP_TIMES = 2 };
int ws_write(struct workspace *w, uint64_t ino, uint64_t off, const uint8_t *src, size_t len, unsigned how);
/* This and ws_copy leave setuid and setgid: before them the caller does what is due by ws_setattr(WSA_KILL_PRIV). how: 0 or WS_KEEP_TIMES. */
int ws_fallocate(struct workspace *w, uint64_t ino, int mode, uint64_t off, uint64_t len, unsigned how);
int ws_lseek(struct workspace *w, uint64_t ino, uint64_t off, int whence, uint64_t *ret_off);       /* SEEK_DATA, SEEK_HOLE */
int ws_copy(struct workspace *w, uint64_t from, uint64_t from_off, uint64_t to, uint64_t to_off, uint64_t len, unsigned how, uint64_t *ret_len);
int ws_getxattr(struct workspace *w, uint64_t ino, const char *name, uint8_t *out, size_t out_size, size_t *ret_len); /* -ENODATA, -ERANGE; size 0 asks */
int ws_setxattr(struct workspace *w, uint64_t ino, const char *name, const uint8_t *val, size_t len, int flags, bool kill_sgid);
int ws_listxattr(struct workspace *w, uint64_t ino, char *out, size_t out_size, size_t *ret_len);
int ws_removexattr(struct workspace *w, uint64_t ino, const char *name);
int ws_fsync(struct workspace *w, uint64_t ino, bool datasync);
/* bytes_avail: bytes_free, or what the disk has left if that is less. */
struct ws_statfs { uint64_t bytes_total, bytes_free, bytes_avail, inodes_total, inodes_free; };
int ws_statfs(struct workspace *w, struct ws_statfs *ret);
/* Resolves a path by components from the root, no symlink followed ("" and "/" = root; ".." refused -EINVAL). */
int ws_path(struct workspace *w, const char *path, uint64_t *ret_ino, struct inode *ret);
