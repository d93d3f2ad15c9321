/* An entry: a request in its buffers, and the answer put there.
 *
 * The kernel writes the request as head (in-header, operation's header) and payload. The two headers are put together right in front of
 * the payload, so that the decoder sees one piece, and data are not copied. A short payload (a name) goes there too: the answer is made
 * where the payload was, and operations may still look at the name then. */
#include "fs/fuse_ring.h"

#include <string.h>

enum { NAMES = 2048 };                    /* two names, or a name of an attribute */

static const struct fuse_in_header *header_of(const struct ring_ent *e)
{
    return e->iov[0].iov_base;
}

static int send_ring(struct fuse_call *c, struct iovec *iov, int count)
{
    ring_answer(c->ent, iov, count);
    return 0;
}

struct fuse_call ring_call_of(struct ring_ent *e, struct worker *w)
{
    struct ring_head *h = e->iov[0].iov_base;
    const struct fuse_in_header *in = header_of(e);
    uint8_t *payload = e->iov[1].iov_base, *at;
    size_t rest = in->len - sizeof *in, op = rest > h->ent.payload ? rest - h->ent.payload : 0;
    struct fuse_call c = { .m = e->m, .w = w, .ent = e, .len = in->len, .out = payload, .send = send_ring };

    if (op > sizeof h->op)                /* the kernel has no such request */
        op = sizeof h->op;
    at = payload - op - sizeof *in;       /* aligned: the headers of operations that have data are multiples of 8 */
    if (h->ent.payload <= NAMES && in->opcode != FUSE_WRITE) {
        at -= h->ent.payload;
        at -= (uintptr_t)at % 8;
        memcpy(at + sizeof *in + op, payload, h->ent.payload);
    }
    memcpy(at, in, sizeof *in);
    memcpy(at + sizeof *in, h->op, op);
    c.in = (const void *)at;
    return c;
}

bool ring_enter(struct ring_ent *e)
{
    struct mount_ring *x = e->m->ring;

    do {                                  /* who turns the phase and then sees nobody in the old one has seen all */
        if (e->counted)
            ring_leave(e);
        e->phase = (uint8_t)atomic_load(&x->phase);
        atomic_fetch_add(&x->inhand[e->phase], 1);
        e->counted = true;
    } while (atomic_load(&x->phase) != e->phase);
    return !atomic_load(&e->m->held);
}

void ring_leave(struct ring_ent *e)
{
    if (!e->counted)
        return;
    e->counted = false;
    atomic_fetch_sub(&e->m->ring->inhand[e->phase], 1);
    if (atomic_load(&e->m->watched))
        pool_wake(e->m->pool);
}

static bool on_thread(const struct ring *r)
{
    return pthread_equal(pthread_self(), r->thread);
}

void ring_answer(struct ring_ent *e, struct iovec *iov, int count)
{
    struct ring_head *h = e->iov[0].iov_base;
    uint8_t *payload = e->iov[1].iov_base;
    const struct fuse_out_header *out = iov[0].iov_base;
    struct ring *r = e->r;
    size_t n = 0;

    for (int i = 0; i < count; i++) {
        size_t skip = i ? 0 : sizeof *out, len = iov[i].iov_len - skip;
        const uint8_t *from = (const uint8_t *)iov[i].iov_base + skip;

        if (n + len > FUSE_PAYLOAD)       /* no operation has so much to say */
            break;
        if (from != payload + n)
            memmove(payload + n, from, len);
        n += len;
    }
    memcpy(h->in_out, out, sizeof *out);
    h->ent.payload = (uint32_t)n;
    ring_leave(e);
    atomic_store(&e->unique, 0);
    if (on_thread(r))
        return;                           /* it looks at unique itself */
    pthread_mutex_lock(&r->lock);
    e->next = r->replied;
    r->replied = e;
    pthread_mutex_unlock(&r->lock);
    ring_wake(r);
}
