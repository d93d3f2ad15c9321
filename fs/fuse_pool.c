/* The workers, and the warden that adds some when all are stuck. */
#include "fs/fuse_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"

enum { IDLE_MS = 3000, WARDEN_MS = 20 };

void pool_wake(struct fuse_pool *p)
{
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->lock);
}

/* The descriptor stays readable while there is anything on the list, or the pool stops. */
static void signal_pool(struct fuse_pool *p)
{
    uint64_t one = 1;

    while (write(p->evfd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void pool_gone(struct mount *m)
{
    struct fuse_pool *p = m->pool;

    pthread_mutex_lock(&p->lock);
    m->next_gone = p->gone;
    p->gone = m;
    signal_pool(p);
    pthread_mutex_unlock(&p->lock);
}

/* False: the pool stops. */
static bool on_signal(struct fuse_pool *p)
{
    struct mount *m;
    uint64_t n;
    bool stop;

    pthread_mutex_lock(&p->lock);
    m = p->gone;
    stop = p->stop;
    if (m)
        p->gone = m->next_gone;
    if (!p->gone && !stop && read(p->evfd, &n, sizeof n) < 0 && errno != EAGAIN)
        log_error("fuse: eventfd err=%s", errno_name(errno));
    pthread_mutex_unlock(&p->lock);
    if (m)
        mount_finish(m);
    return m || !stop;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct fuse_pool *p = w->pool;
    struct epoll_event ev;
    int n;

    prctl(PR_SET_NAME, "fuse-worker");
    for (;;) {
        atomic_fetch_add(&p->idle, 1);
        n = epoll_wait(p->epfd, &ev, 1, w->extra ? IDLE_MS : -1);
        if (atomic_fetch_sub(&p->idle, 1) == 1 && !atomic_exchange(&p->warden_up, true))
            pool_wake(p);
        if (n > 0 && ev.data.ptr == p) {
            ring_jobs_run(w);
        } else if (n > 0 && ev.data.ptr == &p->restfd) {
            fuse_rest_over(w);
        } else if (n > 0 && ev.data.ptr) {
            atomic_store(&((struct mount *)ev.data.ptr)->armed, false);
            fuse_serve_mount(w, ev.data.ptr);
        } else if (n > 0 ? !on_signal(p) : n == 0 && w->extra) {
            break;
        }
    }
    pthread_mutex_lock(&p->lock);
    w->ended = true;
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void worker_fini(struct worker *w)
{
    if (w->session)
        fuse_session_destroy(w->session);
    if (w->buf)
        munmap(w->buf, FUSE_HEADROOM + FUSE_PAYLOAD);
    w->session = NULL;
    w->buf = NULL;
    w->used = w->ended = false;
}

/* With p->lock. */
static int worker_start(struct fuse_pool *p, struct worker *w, bool extra)
{
    int r;

    w->pool = p;
    w->extra = extra;
    /* All of it there from the start: a thread that is being killed while the kernel copies a request into a page that is not there yet gets
     * an error, and so does the request's caller; into pages that are there the copy is finished, and the request can be sent again. */
    w->buf = mmap(NULL, FUSE_HEADROOM + FUSE_PAYLOAD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (w->buf == MAP_FAILED) {
        w->buf = NULL;
        return -ENOMEM;
    }
    r = worker_session(w);
    if (!r)
        r = -pthread_create(&w->thread, NULL, worker_main, w);
    if (r)
        worker_fini(w);
    else
        w->used = true;
    return r;
}

/* With p->lock: all workers that run are, since the last look, in one and the same request. */
static bool all_stuck(struct fuse_pool *p)
{
    bool stuck = true;

    for (unsigned i = 0; i < FUSE_WORKERS_MAX; i++) {
        struct worker *w = &p->slots[i];
        uint64_t seq = atomic_load(&w->seq);

        if (w->used && !w->ended && (seq != w->seen || !(seq & 1)))
            stuck = false;
        w->seen = seq;
    }
    return stuck;
}

/* With p->lock. */
static void add_worker(struct fuse_pool *p)
{
    for (unsigned i = 0; i < FUSE_WORKERS_MAX; i++) {
        struct worker *w = &p->slots[i];

        if (w->used && w->ended) {
            pthread_join(w->thread, NULL);
            worker_fini(w);
        }
        if (!w->used) {
            int r = worker_start(p, w, true);

            if (r)
                log_warn("fuse: no extra worker err=%s", errno_name(r));
            return;
        }
    }
}

/* Sleeps until no worker is idle; then looks every WARDEN_MS as long as that is so. */
static void *warden_main(void *arg)
{
    struct fuse_pool *p = arg;
    struct timespec t;

    prctl(PR_SET_NAME, "fuse-warden");
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        if (atomic_load(&p->idle)) {
            atomic_store(&p->warden_up, false);
            if (atomic_load(&p->idle)) {
                while (!p->stop && !atomic_load(&p->warden_up))
                    pthread_cond_wait(&p->cond, &p->lock);
                continue;
            }
            atomic_store(&p->warden_up, true);
        }
        pthread_mutex_unlock(&p->lock);
        t = (struct timespec){ .tv_nsec = WARDEN_MS * 1000000L };
        nanosleep(&t, NULL);
        pthread_mutex_lock(&p->lock);
        if (!p->stop && !atomic_load(&p->idle) && all_stuck(p))
            add_worker(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

static void close_descriptors(struct fuse_pool *p)
{
    int fds[] = { p->epfd, p->evfd, p->jobfd, p->restfd };

    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static void pool_fini(struct fuse_pool *p, bool warden)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    signal_pool(p);
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->lock);
    if (warden)
        pthread_join(p->warden, NULL);
    for (unsigned i = 0; i < FUSE_WORKERS_MAX; i++)
        if (p->slots[i].used) {
            pthread_join(p->slots[i].thread, NULL);
            worker_fini(&p->slots[i]);
        }
    rings_free(p->rings);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->cond);
    close_descriptors(p);
    free(p);
}

static int pool_descriptors(struct fuse_pool *p)
{
    struct epoll_event ev = { .events = EPOLLIN }, job = { .events = EPOLLIN | EPOLLET, .data.ptr = p };

    p->evfd = p->jobfd = p->restfd = -1;
    p->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (p->epfd >= 0)
        p->evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->evfd >= 0)
        p->jobfd = eventfd(0, EFD_CLOEXEC);
    if (p->jobfd < 0 || epoll_ctl(p->epfd, EPOLL_CTL_ADD, p->evfd, &ev) || epoll_ctl(p->epfd, EPOLL_CTL_ADD, p->jobfd, &job))
        return -errno;
    return fuse_rest_init(p);
}

int fuse_pool_new(unsigned workers, struct fuse_pool **ret)
{
    struct fuse_pool *p = mem_zalloc(sizeof *p);
    pthread_condattr_t ca;
    int r;

    if (!p)
        return -ENOMEM;
    p->workers = !workers ? FUSE_WORKERS_DEFAULT : workers < FUSE_WORKERS_MAX ? workers : FUSE_WORKERS_MAX;
    if (p->workers < 2)
        p->workers = 2;                   /* fuse_seek.c waits in one for what another does */
    r = pool_descriptors(p);
    if (r) {
        close_descriptors(p);
        free(p);
        return r;
    }
    p->one_cpu = sysconf(_SC_NPROCESSORS_ONLN) < 2;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&p->cond, &ca);
    pthread_condattr_destroy(&ca);
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; !r && i < p->workers; i++)
        r = worker_start(p, &p->slots[i], false);
    pthread_mutex_unlock(&p->lock);
    if (!r)
        r = -pthread_create(&p->warden, NULL, warden_main, p);
    if (r) {
        pool_fini(p, false);
        return r;
    }
    *ret = p;
    return 0;
}

void fuse_pool_free(struct fuse_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    while (p->mounts)
        pthread_cond_wait(&p->cond, &p->lock);
    pthread_mutex_unlock(&p->lock);
    pool_fini(p, true);
}
