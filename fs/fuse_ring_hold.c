/* Rings and those who must know what was done: mount_hold and mount_flush (fuse_flush.c).
 *
 * Holding. With the descriptor, requests are taken in the order in which they were queued, so what is done is always a beginning of what
 * was asked. With a queue per CPU it is not: of two WRITEs of the kernel's flusher, which may change its CPU between, the later can be done
 * and the earlier not be taken yet. For what programs ask one after the other this does not matter (they waited for the first answer). So
 * after a mount is held, WRITEs that are there are done all the same, in passes over all rings, until a pass finds none. No WRITE was begun
 * during that pass, so all that are done had been queued before it, and all that are not were queued after it began. A program that dirties
 * memory faster than it is written may keep that up: the passes end after the limit of the hold.
 *
 * Marking. A marker must go behind the WRITEs of every queue: fstatfs from each CPU. A request takes a free entry even if others wait (the
 * kernel frees several of max_background at once, but only the entry that ended one picks them up); each answer then picks one up. After one
 * marker more than there are entries, either the queue was empty once or all entries were busy, and the marker came behind.
 * That the kernel has passed a request on does not mean that the ring's thread has seen it: ring_drain. */
#include "fs/fuse_ring.h"

#include <sched.h>
#include <sys/statfs.h>
#include <time.h>

#include "base/clock.h"

enum { WRITES_MAX_PASSES = 100 };

static unsigned left_ms(uint64_t end)
{
    uint64_t now = clock_mono_ns();

    return now < end ? (unsigned)((end - now) / 1000000) + 1 : 0;
}

static void wait_zero(struct mount *m, _Atomic unsigned *n, uint64_t end_ns)
{
    struct fuse_pool *p = m->pool;
    struct timespec end = { .tv_sec = (time_t)(end_ns / 1000000000), .tv_nsec = (long)(end_ns % 1000000000) };

    atomic_fetch_add(&m->watched, 1);
    pthread_mutex_lock(&p->lock);
    while (atomic_load(n) && pthread_cond_timedwait(&p->cond, &p->lock, &end) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&p->lock);
    atomic_fetch_sub(&m->watched, 1);
}

/* m->held is set: nothing new is begun but by ring_settle. */
void mount_ring_hold(struct mount *m, unsigned limit_ms)
{
    uint64_t end = clock_mono_ns() + (uint64_t)limit_ms * 1000000;
    struct mount_ring *x = m->ring;
    bool again = true;

    for (unsigned n = 0; again && n < WRITES_MAX_PASSES && left_ms(end); n++) {
        wait_zero(m, &x->inhand[0], end);
        wait_zero(m, &x->inhand[1], end);
        atomic_store(&x->ran, false);
        again = ring_call(x->all, ring_settle, m, left_ms(end)) && atomic_load(&x->ran);
    }
    wait_zero(m, &x->inhand[0], end);
    wait_zero(m, &x->inhand[1], end);
}

void mount_ring_release(struct mount *m)
{
    struct rings *a = m->ring->all;

    for (unsigned i = 0; i < a->count; i++)
        if (!atomic_exchange(&a->ring[i].look, true))
            ring_wake(&a->ring[i]);
}

void mount_ring_quiesce(struct mount *m, unsigned limit_ms)
{
    uint64_t end = clock_mono_ns() + (uint64_t)limit_ms * 1000000;
    struct mount_ring *x = m->ring;
    unsigned old;

    ring_call(x->all, ring_drain, m, limit_ms);
    old = atomic_fetch_xor(&x->phase, 1) & 1;
    wait_zero(m, &x->inhand[old], end);
}

unsigned mount_ring_entries(const struct mount *m)
{
    return m->ring ? m->ring->count : 0;
}

int mount_ring_mark(struct mount *m, int dirfd)
{
    struct statfs s;
    cpu_set_t before, one;
    int r = 0;

    if (sched_getaffinity(0, sizeof before, &before))
        return -errno;
    for (unsigned q = 0; !r && q < m->ring->all->queues; q++) {
        CPU_ZERO(&one);
        CPU_SET(q, &one);
        if (sched_setaffinity(0, sizeof one, &one))
            continue;                     /* no such CPU is running, so nobody uses its queue */
        for (unsigned i = 0; !r && i <= RING_DEPTH; i++)
            r = fstatfs(dirfd, &s) ? -errno : 0;
    }
    sched_setaffinity(0, sizeof before, &before);
    return r;
}
