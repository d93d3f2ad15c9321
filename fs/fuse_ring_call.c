/* What other threads ask of the rings': to send answers made elsewhere, and to run a function (ring_call). */
#include "fs/fuse_ring.h"

#include <time.h>

#include "base/clock.h"

static void commit_replied(struct ring *r)
{
    struct ring_ent *list, *next;

    pthread_mutex_lock(&r->lock);
    list = r->replied;
    r->replied = NULL;
    pthread_mutex_unlock(&r->lock);
    for (; list; list = next) {
        next = list->next;
        ring_command(r, list, RING_COMMIT_AND_FETCH);
    }
}

void ring_register(struct ring *r, struct mount *m)
{
    struct mount_ring *x = m->ring;

    for (unsigned i = 0; i < x->count; i++)
        if (x->ent[i].r == r) {
            atomic_fetch_add(&x->live, 1);
            ring_command(r, &x->ent[i], RING_REGISTER);
        }
    ring_reap(r);                          /* failures come at once */
}

void ring_drain(struct ring *r, struct mount *m)
{
    ring_reap(r);
}

void ring_settle(struct ring *r, struct mount *m)
{
    bool ran = false;

    do {
        ring_reap(r);
        commit_replied(r);
    } while (ring_run_held(r, m) && (ran = true));
    if (ran)
        atomic_store(&m->ring->ran, true);
}

bool ring_asked(struct ring *r)
{
    bool called, stop;

    commit_replied(r);
    if (atomic_exchange(&r->look, false))
        ring_run_held(r, NULL);
    pthread_mutex_lock(&r->lock);
    called = r->called;
    r->called = false;
    stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    if (called) {
        r->all->fn(r, r->all->m);
        pthread_mutex_lock(&r->all->lock);
        r->all->left--;
        pthread_cond_broadcast(&r->all->cond);
        pthread_mutex_unlock(&r->all->lock);
    }
    return !stop;
}

bool ring_call(struct rings *a, ring_fn *fn, struct mount *m, unsigned limit_ms)
{
    uint64_t end_ns = clock_mono_ns() + (uint64_t)limit_ms * 1000000;
    struct timespec end = { .tv_sec = (time_t)(end_ns / 1000000000), .tv_nsec = (long)(end_ns % 1000000000) };
    bool all = true;
    int r = 0;

    pthread_mutex_lock(&a->call_lock);
    a->fn = fn;
    a->m = m;
    a->left = a->count;
    for (unsigned i = 0; i < a->count; i++) {
        pthread_mutex_lock(&a->ring[i].lock);
        a->ring[i].called = true;
        pthread_mutex_unlock(&a->ring[i].lock);
        ring_wake(&a->ring[i]);
    }
    pthread_mutex_lock(&a->lock);
    while (a->left && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&a->cond, &a->lock, &end);
    pthread_mutex_unlock(&a->lock);
    for (unsigned i = 0; r && i < a->count; i++) {
        struct ring *x = &a->ring[i];

        pthread_mutex_lock(&x->lock);
        if (x->called) {                  /* it has not begun, and now will not */
            x->called = all = false;
            pthread_mutex_lock(&a->lock);
            a->left--;
            pthread_mutex_unlock(&a->lock);
        }
        pthread_mutex_unlock(&x->lock);
    }
    pthread_mutex_lock(&a->lock);
    while (a->left)                       /* some are in it */
        pthread_cond_wait(&a->cond, &a->lock);
    pthread_mutex_unlock(&a->lock);
    pthread_mutex_unlock(&a->call_lock);
    return all;
}
