/* Requests from rings that take long: done by the pool's workers.
 *
 * They wait in one queue for all mounts. A mount holds at most all but one of the configured workers, as with requests from the
 * descriptor; the warden adds workers when all are stuck. Each job wakes one worker (an edge on jobfd), and who takes one of several
 * wakes the next. */
#include "fs/fuse_ring.h"

#include <unistd.h>

#include "fs/limits.h"
#include "fs/snapdir.h"
#include "fs/ws_internal.h"

static bool waits_for_room(const struct ring_ent *e)
{
    return !e->m->opts.ro && ws_is_crowded(e->m->ws);
}

static const void *args_of(const struct ring_ent *e)
{
    return ((const struct ring_head *)e->iov[0].iov_base)->op;
}

bool ring_slow(const struct ring_ent *e)
{
    const struct fuse_in_header *in = e->iov[0].iov_base;

    if (e->m->snapdir && in->nodeid == SNAPDIR_NODE)
        return true;
    switch (in->opcode) {
    case FUSE_FSYNC: case FUSE_FSYNCDIR: case OP_SYNCFS: case FUSE_LSEEK: case FUSE_COPY_FILE_RANGE: case OP_COPY_FILE_RANGE_64:
    case FUSE_FALLOCATE:
        return true;
    case FUSE_READ: return ((const struct fuse_read_in *)args_of(e))->size > RING_SMALL;
    case FUSE_WRITE: return ((const struct fuse_write_in *)args_of(e))->size > RING_SMALL || waits_for_room(e);
    case FUSE_SETATTR: return ((const struct fuse_setattr_in *)args_of(e))->valid & FATTR_SIZE || waits_for_room(e);
    case FUSE_LOOKUP: case FUSE_GETATTR: case FUSE_READLINK: case FUSE_STATFS: case FUSE_GETXATTR: case FUSE_LISTXATTR:
    case FUSE_READDIR: case FUSE_READDIRPLUS: case OP_STATX: case FUSE_ACCESS: case FUSE_OPEN: case FUSE_OPENDIR: case FUSE_FLUSH:
        return false;
    default: return waits_for_room(e);
    }
}

/* These change nothing (any more), so that a hold need not wait for them; and LSEEK waits for what a hold stops. */
static bool not_for_hold(uint32_t opcode)
{
    return opcode == FUSE_FSYNC || opcode == FUSE_FSYNCDIR || opcode == OP_SYNCFS || opcode == FUSE_LSEEK;
}

static void signal_job(struct fuse_pool *p)
{
    uint64_t one = 1;

    while (write(p->jobfd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void ring_job_put(struct ring_ent *e)
{
    struct rings *a = e->r->all;

    if (not_for_hold(((const struct fuse_in_header *)e->iov[0].iov_base)->opcode))
        ring_leave(e);
    e->next = NULL;
    pthread_mutex_lock(&a->job_lock);
    *a->jobs_tail = e;
    a->jobs_tail = &e->next;
    pthread_mutex_unlock(&a->job_lock);
    signal_job(a->pool);
}

static bool may_run(const struct ring_ent *e)
{
    const struct fuse_pool *p = e->m->pool;

    return e->m->ring->running + 1 < p->workers;
}

/* With job_lock. *ret_more: another could be run now. */
static struct ring_ent *job_get(struct rings *a, bool *ret_more)
{
    struct ring_ent **at = &a->jobs, *e;

    while (*at && !may_run(*at))
        at = &(*at)->next;
    e = *at;
    if (!e)
        return NULL;
    *at = e->next;
    if (!*at)
        a->jobs_tail = at;
    e->m->ring->running++;
    *ret_more = false;
    for (struct ring_ent *x = a->jobs; x && !*ret_more; x = x->next)
        *ret_more = may_run(x);
    return e;
}

static void run(struct worker *w, struct ring_ent *e)
{
    struct mount *m = e->m;
    struct fuse_call c = ring_call_of(e, w);

    atomic_fetch_add(&m->serving, 1);
    atomic_fetch_add(&w->seq, 1);
    fuse_serve(&c);
    atomic_fetch_add(&w->seq, 1);
    atomic_fetch_sub(&m->serving, 1);
}

void ring_jobs_run(struct worker *w)
{
    struct rings *a = w->pool->rings;
    struct ring_ent *e;
    struct mount *m;
    bool more;

    pthread_mutex_lock(&a->job_lock);
    while ((e = job_get(a, &more))) {
        m = e->m;
        atomic_fetch_add(&m->refs, 1);    /* with the answer the entry, and the mount, may go */
        pthread_mutex_unlock(&a->job_lock);
        if (more)
            signal_job(w->pool);
        run(w, e);
        pthread_mutex_lock(&a->job_lock);
        m->ring->running--;
        pthread_mutex_unlock(&a->job_lock);
        mount_unref(m);
        pthread_mutex_lock(&a->job_lock);
    }
    pthread_mutex_unlock(&a->job_lock);
}
