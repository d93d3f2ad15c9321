/* What the fuse_*.c share: the pool, a mount, a worker, and the request that a worker serves. Nobody else includes this. */
#pragma once
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "fs/fuse_mount.h"
#include "fs/workspace.h"

enum {
    FUSE_WORKERS_DEFAULT = 4, FUSE_WORKERS_MAX = 32,
    FUSE_PAYLOAD = 1 << 20,               /* max_write, max_pages * 4096, and the largest reply */
    FUSE_HEADROOM = 4096,                 /* headers and short arguments in front of a payload */
    FUSE_MINOR = 41,                      /* the protocol that we speak: 7.41 */
    FUSE_ID_MAX = 65535,                  /* ids in the store */
};
#define UNIQUE_RESENT (1ull << 63)        /* in a request's number: its reader went away before it answered */
#define FUSE_FOREVER 3e9                  /* timeouts: a century */

/* Not in the headers of Linux 6.1. */
enum { OP_SYNCFS = 50, OP_TMPFILE = 51, OP_STATX = 52, OP_COPY_FILE_RANGE_64 = 53 };

struct ring_ent; struct mount_ring; struct rings;     /* fuse_ring.h */
struct snapdir; struct snap;                          /* snapdir.h */
struct sync_waiter { struct sync_waiter *next; uint64_t unique; };

struct mount {
    struct fuse_pool *pool;
    struct workspace *ws;                 /* owned reference */
    struct mount_opts opts;
    struct snapdir *snapdir;              /* NULL: there is no .snap */
    int fd;                               /* /dev/fuse */
    uint64_t dev;
    void (*on_gone)(void *arg, struct mount *m);
    void *arg;

    _Atomic unsigned refs;                /* threads serving it + (armed) + API calls under way; at 0 it goes to pool->gone */
    _Atomic unsigned serving;             /* threads serving it */
    _Atomic bool armed;                   /* epoll will tell one thread of the next request */
    _Atomic bool dead;                    /* the kernel has let go */
    _Atomic unsigned held;                /* mount_hold()s in force */
    _Atomic unsigned watched;             /* threads that wait for requests to end */
    _Atomic bool inited;                  /* INIT was answered */
    bool second_root;                     /* ROOT_NODE is what was mounted; set by mount_new */
    bool resend;                          /* the kernel can send requests again; set by INIT, or adopted */
    _Atomic bool unsettled;               /* adopted, and what is sent again was not all taken yet */
    uint32_t minor;                       /* of the protocol, as agreed */
    struct mount_ring *ring;              /* NULL: classic. Made before INIT, and then for good */
    _Atomic bool ring_on;                 /* INIT agreed on it */
    _Atomic uint64_t background;          /* READs, and WRITEs from the kernel's cache, taken so far */

    pthread_mutex_t flush_lock;           /* one mount_flush at a time; outermost */
    pthread_mutex_t sync_lock;            /* the three below; innermost but pool->lock */
    bool syncing;                         /* a worker is in, or on the way to, ws_fsync */
    struct sync_waiter *sync_waiters;     /* FSYNCs to answer after the next commit */
    struct mount *next_sync;              /* pool->sync_queue; under pool->lock */
    struct mount *next_gone;              /* pool->gone; under pool->lock */
    struct mount *next_resting;           /* pool->resting or pool->rested; under pool->lock */
    bool resting;                         /* it is in one of these; under pool->lock */

    _Atomic uint64_t requests, by_opcode[64];
};

struct worker {
    struct fuse_pool *pool;
    pthread_t thread;
    bool used, ended;                     /* under pool->lock: the slot has a thread; it has ended and is to be joined */
    bool extra;                           /* above the configured number: ends when idle */
    _Atomic(struct mount *) cur;          /* whose request is being read or done; NULL while it waits for a disk barrier */
    _Atomic uint64_t seq;                 /* odd while a request is being done */
    uint64_t seen;                        /* the warden's last look at seq */
    struct fuse_session *session;         /* decodes; has no descriptor of its own */
    uint8_t *buf;                         /* FUSE_HEADROOM + FUSE_PAYLOAD */
};

struct fuse_pool {
    int epfd, evfd;
    unsigned workers;
    pthread_mutex_t lock;                 /* what follows, and the `used`/`ended` of workers */
    pthread_cond_t cond;                  /* a request of a watched mount ended; INIT; a mount is gone; the warden is wanted */
    struct worker slots[FUSE_WORKERS_MAX];
    unsigned mounts, syncing;
    struct mount *gone, *sync_queue;
    bool stop, seeking;
    struct seek_job *seeks;
    pthread_t warden;
    struct rings *rings;                  /* made with the first mount that wants them */
    int jobfd;                            /* eventfd, edge-triggered: one thread is woken by each write */
    int restfd;                           /* timerfd: runs while there are any resting */
    struct mount *resting, *rested;       /* not to be looked at yet; to be looked at now. Under lock */

    _Atomic unsigned idle;                /* workers in epoll_wait */
    _Atomic bool warden_up;
    bool one_cpu;
    _Atomic bool spinning;                /* somebody polls a descriptor; the owner of the next line but the atomics */
    int64_t spin_credit;                  /* ns gained by looking, less what was lost */
    _Atomic uint64_t spin_after;          /* monotonic ns */
    _Atomic int spin_score;
    _Atomic unsigned spin_chances;
};

/* The request in hand. Replies go through send, so that another transport can bring requests in and take replies out. */
struct fuse_call {
    struct mount *m;
    struct worker *w;
    struct workspace *ws;                 /* what the inode numbers of the header and in the answer are of; set by fuse_serve */
    struct snap *snap;                    /* that is the tree of this snapshot: snap_ws. Else it is the mount's workspace */
    struct workspace *snap_ws;
    struct ring_ent *ent;                 /* where it came from, or NULL: the descriptor */
    const struct fuse_in_header *in;
    size_t len;                           /* bytes of the request, header included */
    uint8_t *out;                         /* FUSE_PAYLOAD bytes for the reply; overlaps the payload of a WRITE or SETXATTR */
    int (*send)(struct fuse_call *c, struct iovec *iov, int count);   /* 0 or -errno; -ENOENT: nobody waits for it any more */
};
/* The root of a workspace has two nodes. FUSE's own is made before INIT, when the kernel does not know yet that there are ACLs, and it then never remembers that this inode has none: every
 * path that somebody else than its owner walks would ask. So what is mounted for a sandbox is ROOT_NAME in it, a second node of the same inode, which the kernel got to know like any other.
 * Nobody but fuse_serve() and the notifications knows of it: inside there is only FUSE_ROOT_ID. */
#define ROOT_NODE UINT64_MAX
#define ROOT_NAME "tree"

extern _Thread_local struct fuse_call *fuse_now;
static inline struct workspace *fuse_ws(void) { return fuse_now->ws; }

/* --- fuse_loop.c --- */
/* Serves one request, whatever brought it. The only way in for requests. */
void fuse_serve(struct fuse_call *c);
/* Makes sure that another thread takes the next request: the caller is about to take long. */
void fuse_invite(struct mount *m);
/* The request in hand will wait for the disk and changes nothing any more: mount_hold need not wait for it. */
void fuse_call_leave(struct fuse_call *c);
int fuse_arm_first(struct mount *m);
/* --- fuse_rest.c --- */
/* Takes the caller's reference: the mount's descriptor is looked at again in a moment, not before. */
void fuse_rest(struct mount *m);
int fuse_rest_init(struct fuse_pool *p);  /* with p->epfd made */
void fuse_rest_over(struct worker *w);    /* the moment has passed */
/* --- fuse_loop.c again --- */
bool mount_tryref(struct mount *m);
void mount_unref(struct mount *m);
/* Waits until every request of m that is being done now has ended, at most limit_ms. Not from a pool thread. */
void fuse_quiesce(struct mount *m, unsigned limit_ms);
/* --- fuse_mount.c --- */
static inline unsigned fuse_max_background(const struct mount_opts *o)
{
    return !o->max_background ? 512 : o->max_background < 65535 ? o->max_background : 65535;
}
void mount_finish(struct mount *m);       /* from a pool thread, refs == 0 */
/* Not yet served: no device, refs 1, claimed as its workspace's mount. -ENOMEM, -EBUSY. And the way back. */
int mount_make(struct fuse_pool *p, struct workspace *w, const struct mount_opts *o, void (*on_gone)(void *, struct mount *), void *arg,
               struct mount **ret);
void mount_unmake(struct mount *m);
/* iov[0] is filled in. Waits for what the kernel does about it. 0; -ENOENT: it knows no such inode or name, so nothing is stale; -errno. */
int mount_notify(struct mount *m, int code, struct iovec *iov, int count);
/* --- fuse_raw.c --- */
/* Handles the requests that libfuse does not know or hides something of. True: done. */
bool fuse_raw(struct fuse_call *c);
void raw_root(struct fuse_call *c);       /* the answer to a lookup of ROOT_NAME */
/* The answer with an inode that the kernel now knows once more (and not, if nobody took the answer). open: of OP_TMPFILE. */
void raw_entry(struct fuse_call *c, uint64_t ino, const struct inode *in, bool open);
/* The name behind n bytes of arguments, or NULL. */
const char *raw_name(struct fuse_call *c, size_t n);
void raw_statx_reply(struct fuse_call *c, uint64_t ino, const struct inode *in, uint64_t valid);
int fuse_reply_raw(struct fuse_call *c, int err, const void *data, size_t n);
/* To the descriptor, from any thread. */
int mount_send(struct mount *m, struct iovec *iov, int count);
void mount_reply(struct mount *m, uint64_t unique, int err);
int worker_session(struct worker *w);     /* makes the decoder */
/* Bits of fuse_init_{in,out}.flags2, of Linux 6.14 and 6.9. */
#define INIT_RING (1u << 9)
#define INIT_RESEND (1u << 7)
/* --- fuse_ring_mount.c, fuse_ring_hold.c, fuse_ring_job.c --- */
/* Makes the rings if there are none. 0; -EOPNOTSUPP; -errno. */
int rings_want(struct fuse_pool *p);
void rings_free(struct rings *a);         /* NULL is fine; all mounts are gone */
/* Buffers and entries, before INIT; then registers them, after it: requests wait until that is done. On errors cut the mount. */
int mount_ring_new(struct mount *m);
int mount_ring_start(struct mount *m);
void mount_ring_free(struct mount *m);
/* The answer to a request that came by ring, from any thread. False: it did not. */
bool mount_ring_send(struct mount *m, struct iovec *iov, int count);
void mount_ring_hold(struct mount *m, unsigned limit_ms);
void mount_ring_release(struct mount *m);
/* Returns when all that was taken from the kernel before is done. */
void mount_ring_quiesce(struct mount *m, unsigned limit_ms);
unsigned mount_ring_entries(const struct mount *m);
/* A STATFS into each CPU's queue, behind what is there. 0 or -errno. */
int mount_ring_mark(struct mount *m, int dirfd);
/* Does the jobs there are. */
void ring_jobs_run(struct worker *w);
/* --- fuse_replay.c --- */
/* A request with UNIQUE_RESENT in hand: true if it was done already, and is answered now. */
bool fuse_replayed(struct fuse_call *c);
/* --- fuse_snap.c --- */
/* For mounts with m->snapdir: finds the tree that a request is for. False: answered. */
bool fuse_snap(struct fuse_call *c);
void fuse_snap_end(struct fuse_call *c);  /* the request is done */
/* --- fuse_sync.c --- */
void fuse_sync(struct fuse_call *c, fuse_req_t req, fuse_ino_t ino, bool datasync);
/* --- fuse_attr.c --- */
int id_in(const struct mount *m, uint32_t wire, uint32_t *ret);            /* -EOVERFLOW */
uint32_t id_out(const struct mount *m, uint32_t stored);
int cred_in(uint32_t umask, struct ws_cred *ret);                          /* of fuse_now */
void attr_out(const struct mount *m, uint64_t ino, const struct inode *in, struct stat *ret);
uint64_t ino_out(uint64_t ino);           /* what programs see as the number of an inode of the request's tree */
void attr_raw(const struct stat *st, struct fuse_attr *a);
/* The kernel gets one more reference on an inode of the request's tree. What it calls it by, or 0: out of memory. */
uint64_t fuse_look(uint64_t ino);
void fuse_forget(struct mount *m, uint64_t node, uint64_t n);
/* With the inode's number as its node. */
void entry_out(const struct mount *m, uint64_t ino, const struct inode *in, struct fuse_entry_param *ret);
/* Ids inside POSIX ACLs. 0, -EINVAL, -EOVERFLOW. */
int acl_ids_in(const struct mount *m, uint8_t *val, size_t len);
void acl_ids_out(const struct mount *m, uint8_t *val, size_t len);
bool is_acl_name(const char *name);
static inline int fuse_ro(void) { return fuse_now->m->opts.ro || fuse_ws()->readonly ? -EROFS : 0; }
/* Takes the kernel's lookup back if nobody got the reply. */
void entry_reply(fuse_req_t req, uint64_t ino, const struct inode *in);

/* --- fuse_caller.c --- */
/* WSA_KILL_* that the request in hand must add to a change of the file; told: the kernel said that setuid and setgid go. */
unsigned caller_ends(uint64_t ino, bool told);
/* Ends them, before a change that does not see to it itself. 0 or -errno. */
int caller_change(uint64_t ino, bool told);
/* For a SETATTR of no attribute or the ctime alone: if it is a chown(-1, -1), which the kernel lets through for everybody, adds the WSA_KILL_* that
 * belong to it. -EPERM: there is something to end, and the caller neither owns the file nor is root. */
int caller_chown_nothing(uint64_t ino, bool with_ctime, unsigned *ret_ends);

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set, struct fuse_file_info *fi);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
/* --- fuse_xattr.c --- */
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
/* --- fuse_dir.c --- */
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
/* --- fuse_data.c --- */
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void op_copy(fuse_req_t req, fuse_ino_t from, off_t from_off, struct fuse_file_info *fi, fuse_ino_t to, off_t to_off,
             struct fuse_file_info *fo, size_t len, int flags);
/* --- fuse_seek.c --- */
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
/* --- fuse_ops.c --- */
extern const struct fuse_lowlevel_ops fuse_ops;
