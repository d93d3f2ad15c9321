/* FUSE over io_uring: requests come and answers go through shared memory, without a wake-up of another CPU.
 *
 * The kernel has a queue per CPU and puts a request into the queue of the CPU on which its caller runs. Each CPU has one thread, pinned
 * there, with one ring, which serves all mounts: the mounts' entries (buffers for one request each) are registered in it, RING_DEPTH per
 * mount and CPU. An entry goes round: RING_KERNEL until a request is in it, RING_TAKEN until the answer is, then COMMIT_AND_FETCH. So
 * the caller's CPU goes to the daemon and back; this, not the cheaper call, is what is gained.
 *
 * A thread that waits stops its CPU for all mounts, and nobody can take its requests from it. So:
 *   - what may take long or wait (ring_slow) is handed to the workers of the pool (fuse_ring_job.c);
 *   - what waits for other requests of the same mount (LSEEK) may never hold all entries of a queue: see take();
 *   - who waits for rings (ring_call) is never a ring's thread.
 * INIT, FORGET and INTERRUPT still come over the descriptor, and notifications go there: the mount is armed in the pool as any other.
 *
 * The ring is DEFER_TASKRUN: the kernel touches an entry's buffers only while this thread is in io_uring_enter. That is why ring_sweep() may give
 * the pages of entries back that are in the kernel: with nothing in the completion queue none of them holds a request.
 *
 * Holding (mount_hold): requests of a held mount are put aside (RING_HELD) until it is released; fuse_ring_hold.c has more. */
#include "fs/fuse_ring.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { SQ_SIZE = 128, CQ_SIZE = 8192 };

void ring_wake(struct ring *r)
{
    uint64_t one = 1;
    ssize_t n;

    while ((n = write(r->evfd, &one, sizeof one)) < 0 && errno == EINTR)
        ;
    if (n < 0)                            /* from an errand? It has not this descriptor */
        log_error("fuse: ring=%d cannot be woken err=%s", r->cpu, errno_name(errno));
}

static struct io_uring_sqe *sqe_of(struct ring *r)
{
    struct io_uring_sqe *s;

    while (!(s = io_uring_get_sqe(&r->u)))
        io_uring_submit(&r->u);
    memset(s, 0, 128);
    return s;
}

static void wait_wake(struct ring *r)
{
    struct io_uring_sqe *s = sqe_of(r);

    s->opcode = IORING_OP_READ;
    s->fd = r->evfd;
    s->addr = (uintptr_t)&r->evbuf;
    s->len = sizeof r->evbuf;
}

void ring_command(struct ring *r, struct ring_ent *e, uint32_t op)
{
    struct io_uring_sqe *s = sqe_of(r);
    struct ring_cmd c = { .commit_id = e->commit_id, .qid = e->qid };

    s->opcode = IORING_OP_URING_CMD;
    s->fd = e->m->fd;
    s->cmd_op = op;
    s->user_data = (uintptr_t)e;
    if (op == RING_REGISTER) {
        s->addr = (uintptr_t)e->iov;
        s->len = 2;
    }
    memcpy(s->cmd, &c, sizeof c);
    e->state = RING_KERNEL;
}

/* --- requests --- */
static void commit_if_answered(struct ring *r, struct ring_ent *e)
{
    if (!atomic_load(&e->unique))
        ring_command(r, e, RING_COMMIT_AND_FETCH);
}

/* What gets no answer over the descriptor must be committed all the same, else the entry is lost. */
static bool needs_no_answer(uint32_t opcode)
{
    return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT || opcode == FUSE_NOTIFY_REPLY;
}

static void serve_here(struct ring *r, struct ring_ent *e)
{
    struct fuse_call c = ring_call_of(e, &r->w);
    uint32_t opcode = c.in->opcode;

    fuse_serve(&c);
    if (needs_no_answer(opcode))
        fuse_reply_raw(&c, 0, NULL, 0);
    commit_if_answered(r, e);
}

/* LSEEKs wait until WRITEs are served. Were all entries of a queue theirs, a WRITE behind them would never come. "No such operation" makes
 * the kernel take the file for one without holes, which is always right, from now on for this mount. */
static bool too_many_seeks(const struct ring_ent *e)
{
    const struct mount_ring *x = e->m->ring;
    unsigned n = 0, depth = 0;

    for (unsigned i = 0; i < x->count; i++)
        if (x->ent[i].qid == e->qid) {
            depth++;
            n += x->ent[i].seek;
        }
    return n > RING_SEEKS || n >= depth;
}

static void run(struct ring *r, struct ring_ent *e)
{
    const struct fuse_in_header *in = e->iov[0].iov_base;
    struct fuse_call c;

    e->state = RING_TAKEN;
    e->seek = in->opcode == FUSE_LSEEK;
    if (e->seek && too_many_seeks(e)) {
        c = ring_call_of(e, &r->w);
        fuse_reply_raw(&c, -ENOSYS, NULL, 0);
        commit_if_answered(r, e);
    } else if (ring_slow(e)) {
        ring_job_put(e);
    } else {
        serve_here(r, e);
    }
}

static void take(struct ring *r, struct ring_ent *e)
{
    const struct ring_head *h = e->iov[0].iov_base;
    const struct fuse_in_header *in = e->iov[0].iov_base;

    ring_used_add(r, e);
    e->commit_id = h->ent.commit_id;
    atomic_store(&e->unique, in->unique);
    if (ring_enter(e)) {
        run(r, e);
        return;
    }
    ring_leave(e);
    e->state = RING_HELD;
    e->next = NULL;
    *r->held_tail = e;
    r->held_tail = &e->next;
}

bool ring_run_held(struct ring *r, struct mount *m)
{
    struct ring_ent *list = r->held, *next;
    bool ran = false;

    r->held = NULL;
    r->held_tail = &r->held;
    for (struct ring_ent *e = list; e; e = next) {
        const struct fuse_in_header *in = e->iov[0].iov_base;
        bool go;

        next = e->next;
        e->next = NULL;
        go = ring_enter(e) || (m == e->m && in->opcode == FUSE_WRITE);
        if (go) {
            ran = true;
            run(r, e);
        } else {
            ring_leave(e);
            *r->held_tail = e;
            r->held_tail = &e->next;
        }
    }
    return ran;
}

static bool is_end(int res)
{
    return res == -ENOTCONN || res == -ECONNABORTED || res == -ENODEV;
}

/* The kernel is done with the entry: unmounted, or aborted, or (never seen) broken. */
static void ended(struct ring *r, struct ring_ent *e, int res)
{
    struct mount *m = e->m;

    e->state = RING_ENDED;
    ring_used_del(r, e);
    atomic_store(&m->ring->error, res);
    if (!is_end(res)) {
        log_error("fuse: ring entry qid=%u err=%s", e->qid, errno_name(res));
        if (atomic_load(&m->ring->ready) && !atomic_load(&m->dead))
            mount_abort(m);               /* with an entry less requests may wait for ever: better an error */
    }
    ring_unlive(m);
}

static void complete(struct ring *r, uint64_t data, int res)
{
    if (!data)
        wait_wake(r);
    else if (res < 0)
        ended(r, (struct ring_ent *)(uintptr_t)data, res);
    else
        take(r, (struct ring_ent *)(uintptr_t)data);
}

/* Takes what is in the completion queue; what is answered goes out with the next submit. */
static unsigned reap(struct ring *r)
{
    struct io_uring_cqe *cqe;
    unsigned n = 0;

    while (!io_uring_peek_cqe(&r->u, &cqe)) {
        uint64_t data = cqe->user_data;
        int res = cqe->res;

        io_uring_cqe_seen(&r->u, cqe);
        complete(r, data, res);
        n++;
        /* An answer waits for nobody: the next request may take its time. The last one goes out with the next wait. */
        if (io_uring_sq_ready(&r->u) && io_uring_cq_ready(&r->u))
            io_uring_submit(&r->u);
    }
    return n;
}

unsigned ring_reap(struct ring *r)
{
    unsigned n = 0, k;

    do {
        io_uring_submit_and_get_events(&r->u);
        k = reap(r);
        n += k;
    } while (k);
    return n;
}

static int setup(struct ring *r)
{
    struct io_uring_params p = { .cq_entries = CQ_SIZE,
        .flags = IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE };
    cpu_set_t one;
    int e;

    CPU_ZERO(&one);
    CPU_SET(r->cpu, &one);
    e = pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    return e ? -e : io_uring_queue_init_params(SQ_SIZE, &r->u, &p);
}

void *ring_main(void *arg)
{
    struct ring *r = arg;
    struct rings *a = r->all;
    struct __kernel_timespec idle = { .tv_sec = RING_IDLE_S };
    struct io_uring_cqe *cqe;
    char name[16];
    int e = setup(r);

    snprintf(name, sizeof name, "fuse-ring-%d", r->cpu);
    prctl(PR_SET_NAME, name);
    pthread_mutex_lock(&a->lock);
    r->ready = e ? e : 1;
    pthread_cond_broadcast(&a->cond);
    pthread_mutex_unlock(&a->lock);
    if (e)
        return NULL;
    wait_wake(r);
    do {
        if (!io_uring_cq_ready(&r->u))
            io_uring_submit_and_wait_timeout(&r->u, &cqe, 1, r->used ? &idle : NULL, NULL);
        reap(r);
        if (r->used)
            ring_sweep(r, clock_mono_ns());
    } while (ring_asked(r));
    io_uring_queue_exit(&r->u);
    return NULL;
}
