/* What the fuse_ring*.c share: FUSE over io_uring. fuse_ring.c tells how it works. */
#pragma once
#include <liburing.h>
#include <sched.h>
#include "fs/fuse_pool.h"

/* Of Linux 6.14; not in the headers of 6.1. */
enum { RING_REGISTER = 1, RING_COMMIT_AND_FETCH = 2 };
struct ring_ent_io { uint64_t flags, commit_id; uint32_t payload, pad; uint64_t reserved; };
struct ring_head { uint8_t in_out[128], op[128]; struct ring_ent_io ent; };
struct ring_cmd { uint64_t flags, commit_id; uint16_t qid; uint8_t pad[6]; };

enum {
    RING_DEPTH = 8,                       /* entries of a mount in the queue of a CPU that has a thread */
    RING_SEEKS = 4,                       /* of these, those of one queue that LSEEK may hold: it waits for WRITEs */
    RING_HEAD = 4096,                     /* ring_head at its start; at its end the request's headers, put together in front of the payload */
    RING_IDLE_S = 1,                      /* buffers unused for so long are given back */
    RING_SMALL = 128 << 10,               /* READs and WRITEs up to this are done by the ring's own thread */
};

enum ring_state { RING_KERNEL, RING_TAKEN, RING_HELD, RING_ENDED };

struct ring_ent {
    struct mount *m;
    struct ring *r;
    struct iovec iov[2];                  /* head, payload */
    uint64_t commit_id;
    _Atomic uint64_t unique;              /* of the request in hand; 0: answered, or none */
    struct ring_ent *next;                /* ring.replied, ring.held or rings.jobs */
    struct ring_ent *prev_used, *next_used;   /* ring.used */
    unsigned gen;                         /* ring.gen when it was used last */
    uint16_t qid;
    uint8_t phase;                        /* of mount_ring.inhand that it counts in */
    bool counted, is_used, seek;
    enum ring_state state;                /* the ring's thread's own */
};

struct mount_ring {
    struct rings *all;
    _Atomic unsigned live;                /* entries that the kernel may still use, and mount_ring_start */
    _Atomic unsigned phase;
    _Atomic unsigned inhand[2];           /* requests taken and not answered, by the phase in which they were taken */
    _Atomic bool ran;                     /* ring_settle: a pass found something */
    _Atomic int error;                    /* the last that an entry ended with */
    _Atomic bool ready;                   /* all entries are registered */
    unsigned running;                     /* jobs; under rings.job_lock */
    uint8_t *mem;
    size_t mem_len;
    unsigned count;
    struct ring_ent ent[];
};

typedef void ring_fn(struct ring *r, struct mount *m);

struct ring {
    struct rings *all;
    int cpu, evfd, ready;                 /* ready: 1 or -errno, under rings.call_lock's cond */
    uint64_t evbuf;
    pthread_t thread;
    struct io_uring u;
    struct worker w;                      /* for its decoder only */
    pthread_mutex_t lock;
    struct ring_ent *replied;             /* under lock: answered by other threads */
    bool called, stop;                    /* under lock */
    _Atomic bool look;                    /* some mount is held no more */
    struct ring_ent *held, **held_tail;   /* the thread's own, as what follows */
    struct ring_ent *used;                /* entries whose buffers may be resident */
    unsigned gen;
    uint64_t swept;
};

struct rings {
    struct fuse_pool *pool;
    unsigned count, queues;               /* threads; possible CPUs */
    unsigned *owner;                      /* queue -> ring */
    pthread_mutex_t call_lock;            /* one ring_call at a time */
    pthread_mutex_t lock;                 /* left, and the cond */
    pthread_cond_t cond;
    unsigned left;
    ring_fn *fn;
    struct mount *m;
    pthread_mutex_t job_lock;
    struct ring_ent *jobs, **jobs_tail;
    struct ring ring[];
};

/* --- fuse_ring_probe.c --- */
/* The CPUs that need a thread: all that are online, since programs may run there. -EOPNOTSUPP: this process may not be on all of them. */
int ring_cpus(cpu_set_t *ret_online, unsigned *ret_possible);
/* --- fuse_ring.c --- */
void *ring_main(void *arg);
void ring_wake(struct ring *r);
/* What follows: from the thread of the ring. */
void ring_command(struct ring *r, struct ring_ent *e, uint32_t op);
/* Submits, and takes what has come until there is nothing more; how many. */
unsigned ring_reap(struct ring *r);
/* Runs what was put aside: of mount m, if it is what a hold waits for; or of all mounts that are held no more. True: some. */
bool ring_run_held(struct ring *r, struct mount *m);
/* --- fuse_ring_used.c --- */
void ring_used_add(struct ring *r, struct ring_ent *e);
void ring_used_del(struct ring *r, struct ring_ent *e);
void ring_sweep(struct ring *r, uint64_t now);       /* at most once in RING_IDLE_S */
/* --- fuse_ring_call.c --- */
bool ring_asked(struct ring *r);          /* from its thread: does what others asked for. False: the end */
/* Runs fn in the thread of each ring, and waits. False: some ring did not come to it within limit_ms. */
bool ring_call(struct rings *a, ring_fn *fn, struct mount *m, unsigned limit_ms);
ring_fn ring_register, ring_drain, ring_settle;
/* --- fuse_ring_mount.c --- */
/* One entry less; with the last the reference on the mount goes. */
void ring_unlive(struct mount *m);
/* --- fuse_ring_job.c --- */
/* Whether the request may take long, or wait: then a worker of the pool does it. */
bool ring_slow(const struct ring_ent *e);
void ring_job_put(struct ring_ent *e);
/* --- fuse_ring_ent.c --- */
struct fuse_call ring_call_of(struct ring_ent *e, struct worker *w);
/* Counts the request as being done. False: the mount is held. */
bool ring_enter(struct ring_ent *e);
void ring_leave(struct ring_ent *e);
/* Puts the answer into the entry; from the thread of the ring: true. From another: handed to that one. */
void ring_answer(struct ring_ent *e, struct iovec *iov, int count);
