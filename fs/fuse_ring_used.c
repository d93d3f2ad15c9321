/* Which entries' buffers may be resident, and giving back those that were not used for a while. Each ring's list is its thread's own. */
#include "fs/fuse_ring.h"

#include <sys/mman.h>

void ring_used_add(struct ring *r, struct ring_ent *e)
{
    e->gen = r->gen;
    if (e->is_used)
        return;
    e->is_used = true;
    e->prev_used = NULL;
    e->next_used = r->used;
    if (r->used)
        r->used->prev_used = e;
    r->used = e;
}

void ring_used_del(struct ring *r, struct ring_ent *e)
{
    if (!e->is_used)
        return;
    e->is_used = false;
    if (e->prev_used)
        e->prev_used->next_used = e->next_used;
    else
        r->used = e->next_used;
    if (e->next_used)
        e->next_used->prev_used = e->prev_used;
}

void ring_sweep(struct ring *r, uint64_t now)
{
    struct ring_ent *next;

    if (now - r->swept < RING_IDLE_S * 1000000000ull)
        return;
    io_uring_submit(&r->u);               /* answers on their way are in the buffers too */
    if (io_uring_cq_ready(&r->u))
        return;
    for (struct ring_ent *e = r->used; e; e = next) {
        next = e->next_used;
        if (e->state == RING_KERNEL && e->gen != r->gen) {
            madvise(e->iov[0].iov_base, RING_HEAD + FUSE_PAYLOAD, MADV_DONTNEED);
            ring_used_del(r, e);
        }
    }
    r->gen++;
    r->swept = now;
}
