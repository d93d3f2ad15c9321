/* The mounts of a store: what is mounted, where its client said it put it, and waiting until the kernel has let go.
 *
 * An entry lives from mount_new() until on_gone; whoever works with its `mount` counts as a user, and on_gone waits for users. A user must
 * drop that count before it closes its descriptor in the mount: closing the last one makes the kernel end the mount, which waits for
 * on_gone. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <jansson.h>
#include "fs/fuse_mount.h"
#include "fs/object.h"
#include "snapshotd/holding.h"

struct store; struct workspace;

struct mount_entry {
    struct mount_entry *next;
    struct mounts *table;
    uint64_t id;                          /* never used twice by this daemon */
    struct mount *mount;
    char object[ID_MAX];                  /* id of the workspace or snapshot */
    bool snapshot, ro, uring;
    bool held;                            /* it outlives this process */
    char *dir;                            /* as its client named it; NULL: never attached to a path we know */
    bool attached, foreign;               /* foreign: in another mount namespace than ours */
    pid_t pid;                            /* the client */
    uint64_t dev;
    int64_t since;                        /* unix seconds */
    unsigned users, refs;
    bool gone;
};

struct mounts {
    struct holding *holding;              /* set before the first mount; lives longer */
    pthread_mutex_t lock;                 /* guards the list and all entries; leaf */
    pthread_cond_t changed;
    struct mount_entry *list;
    struct fuse_pool *pool;               /* made with the first mount */
    uint64_t next_id;
    unsigned count;
    bool stopping;
};

void mounts_init(struct mounts *t, struct holding *h);
/* What a mount is of. w: referenced by the mount itself. */
struct mount_request {
    struct workspace *w;
    const char *object;
    bool snapshot;
    const char *dir;
    pid_t pid;
    bool foreign;
    struct mount_opts opts;
};
/* A detached mount, in the table. 0, *ret_id and *ret_fd; -EBUSY: this workspace is mounted; -ESHUTDOWN; -errno of mount_new(). */
int mounts_add(struct mounts *t, const struct mount_request *q, uint64_t *ret_id, int *ret_fd);
/* The client attached it, or could not (then it is cut). */
void mounts_attached(struct mounts *t, uint64_t id, bool ok);
/* Waits until mount id is gone: 0; -ETIMEDOUT; -ESHUTDOWN. An unknown id is gone. */
int mounts_wait_gone(struct mounts *t, uint64_t id, unsigned timeout_ms);
/* The entries as JSON, for one object (id) or all (NULL). */
json_t *mounts_json(struct mounts *t, const char *object);
unsigned mounts_count(struct mounts *t);
/* Where an object is mounted: an owned path, or NULL. */
char *mounts_dir(struct mounts *t, const char *object);

/* What the kernel holds dirty of a mounted workspace, brought in. fds: descriptors given by the client, one of them perhaps in this
 * mount. The mount stays in use until mounts_flush_end(), which must follow also on errors. 0 (also: not mounted); -EXDEV: mounted where
 * this process cannot reach it; -errno of the flush. */
struct flushing { struct mounts *table; struct mount_entry *e; int dir_fd; uint64_t flush_ns; };
int mounts_flush_begin(struct mounts *t, const char *object, const int *fds, unsigned fd_count, struct flushing *ret);
void mounts_flush_end(struct flushing *f);

/* At the end: flushes, unmounts lazily, cuts what stays, waits for all, and ends the pool. False: some mount did not end in time (the pool
 * stays). */
bool mounts_close(struct mounts *t, unsigned timeout_ms);
/* --- mounts_adopt.c --- */
/* Takes over the mounts of the daemon before, and serves them. What cannot be taken over ends: its programs see ENOTCONN. -errno: none was touched, for want of memory or
 * threads: another daemon may do better. */
struct adopted { unsigned count, failed; uint64_t open_ns, start_ns; };
int mounts_adopt(struct mounts *t, struct store *s, struct adopted *ret);
/* Before another daemon takes over: all mounts are held still for good, and all that was done is durable. */
void mounts_rest(struct mounts *t);
