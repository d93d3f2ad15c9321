/* The rings, and the entries of a mount. */
#include "fs/fuse_ring.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"

/* --- rings --- */
static void ring_fini(struct ring *r)
{
    if (r->w.session)
        fuse_session_destroy(r->w.session);
    if (r->evfd >= 0)
        close(r->evfd);
    pthread_mutex_destroy(&r->lock);
}

static int ring_init(struct rings *a, struct ring *r, int cpu)
{
    int e;

    *r = (struct ring){ .all = a, .cpu = cpu, .evfd = eventfd(0, EFD_CLOEXEC), .w.pool = a->pool };
    r->held_tail = &r->held;
    pthread_mutex_init(&r->lock, NULL);
    e = r->evfd < 0 ? -errno : worker_session(&r->w);
    if (!e)
        e = -pthread_create(&r->thread, NULL, ring_main, r);
    if (e) {
        ring_fini(r);
        return e;
    }
    pthread_mutex_lock(&a->lock);
    while (!r->ready)
        pthread_cond_wait(&a->cond, &a->lock);
    e = r->ready < 0 ? r->ready : 0;
    pthread_mutex_unlock(&a->lock);
    if (e) {
        pthread_join(r->thread, NULL);
        ring_fini(r);
    }
    return e;
}

void rings_free(struct rings *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < a->count; i++) {
        struct ring *r = &a->ring[i];

        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_mutex_unlock(&r->lock);
        ring_wake(r);
        pthread_join(r->thread, NULL);
        ring_fini(r);
    }
    pthread_mutex_destroy(&a->call_lock);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->job_lock);
    pthread_cond_destroy(&a->cond);
    free(a->owner);
    free(a);
}

static struct rings *rings_alloc(struct fuse_pool *p, unsigned threads, unsigned queues)
{
    struct rings *a = mem_zalloc(sizeof *a + threads * sizeof a->ring[0]);
    pthread_condattr_t ca;

    if (!a)
        return NULL;
    a->owner = mem_zalloc(queues * sizeof *a->owner);
    if (!a->owner) {
        free(a);
        return NULL;
    }
    a->pool = p;
    a->queues = queues;
    a->jobs_tail = &a->jobs;
    pthread_mutex_init(&a->call_lock, NULL);
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->job_lock, NULL);
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&a->cond, &ca);
    pthread_condattr_destroy(&ca);
    return a;
}

static int rings_new(struct fuse_pool *p, struct rings **ret)
{
    const char *why = fuse_uring_probe(true);
    struct rings *a;
    unsigned queues;
    cpu_set_t online;
    int r = why || ring_cpus(&online, &queues) ? -EOPNOTSUPP : 0;

    if (why)
        log_info("fuse: no io_uring: %s", why);
    if (r)
        return r;
    a = rings_alloc(p, (unsigned)CPU_COUNT(&online), queues);
    if (!a)
        return -ENOMEM;
    for (unsigned q = 0; !r && q < queues; q++)
        if (CPU_ISSET(q, &online)) {
            a->owner[q] = a->count;
            r = ring_init(a, &a->ring[a->count], (int)q);
            a->count += !r;
        }
    for (unsigned q = 0; !r && q < queues; q++)
        if (!CPU_ISSET(q, &online))
            a->owner[q] = q % a->count;   /* should that CPU ever come, it is served from another */
    if (r) {
        log_warn("fuse: no io_uring err=%s", errno_name(r));
        rings_free(a);
        return -EOPNOTSUPP;
    }
    *ret = a;
    return 0;
}

int rings_want(struct fuse_pool *p)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    int r = 0;

    pthread_mutex_lock(&one);
    if (!p->rings)
        r = rings_new(p, &p->rings);
    pthread_mutex_unlock(&one);
    return r;
}

/* --- a mount --- */
static unsigned depth_of(const struct rings *a, unsigned q)
{
    return a->ring[a->owner[q]].cpu == (int)q ? RING_DEPTH : 1;
}

int mount_ring_new(struct mount *m)
{
    struct rings *a = m->pool->rings;
    size_t size = RING_HEAD + FUSE_PAYLOAD;
    struct mount_ring *x;
    unsigned n = 0, i = 0;

    for (unsigned q = 0; q < a->queues; q++)
        n += depth_of(a, q);
    x = mem_zalloc(sizeof *x + n * sizeof x->ent[0]);
    if (!x)
        return -ENOMEM;
    *x = (struct mount_ring){ .all = a, .mem_len = n * size, .count = n };
    x->mem = mmap(NULL, x->mem_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (x->mem == MAP_FAILED) {
        free(x);
        return -ENOMEM;
    }
    madvise(x->mem, x->mem_len, MADV_NOHUGEPAGE);
    madvise(x->mem, x->mem_len, MADV_DONTFORK);
    for (unsigned q = 0; q < a->queues; q++)
        for (unsigned d = 0; d < depth_of(a, q); d++, i++)
            x->ent[i] = (struct ring_ent){ .m = m, .r = &a->ring[a->owner[q]], .qid = (uint16_t)q,
                .iov = { { x->mem + i * size, RING_HEAD }, { x->mem + i * size + RING_HEAD, FUSE_PAYLOAD } } };
    m->ring = x;
    return 0;
}

void mount_ring_free(struct mount *m)
{
    if (!m->ring)
        return;
    munmap(m->ring->mem, m->ring->mem_len);
    free(m->ring);
}

void ring_unlive(struct mount *m)
{
    if (atomic_fetch_sub(&m->ring->live, 1) == 1)
        mount_unref(m);
}

int mount_ring_start(struct mount *m)
{
    struct mount_ring *x = m->ring;
    int r;

    atomic_fetch_add(&m->refs, 1);
    atomic_store(&x->live, 1);
    r = ring_call(x->all, ring_register, m, 10000) ? atomic_load(&x->error) : -ETIMEDOUT;
    if (!r)
        atomic_store(&x->ready, true);
    ring_unlive(m);
    return r;
}

bool mount_ring_send(struct mount *m, struct iovec *iov, int count)
{
    const struct fuse_out_header *h = iov[0].iov_base;
    struct mount_ring *x = m->ring;

    if (!h->unique)
        return false;
    for (unsigned i = 0; i < x->count; i++)
        if (atomic_load(&x->ent[i].unique) == h->unique) {
            ring_answer(&x->ent[i], iov, count);
            return true;
        }
    return false;
}
