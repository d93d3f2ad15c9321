/* FSYNC: the one request that waits for the disk by design.
 *
 * A mount has at most one worker in ws_fsync. FSYNCs that come meanwhile are only noted; when it comes out, one workspace_commit
 * serves all that were noted before it began, and so on until none is left. So a thousand programs that sync at once cost one worker
 * and share commits, and a lone fsync has no hand-over. Of all workers at most all but one may be here; a mount beyond that waits in
 * pool->sync_queue, which is served round robin.
 *
 * 1. m->syncing is true while a worker owns the mount's turn or the mount is in the queue; waiters exist only then.
 * 2. The owner or the queue holds a reference on the mount. */
#include "fs/fuse_call.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"

/* With sync_lock. */
static int note(struct mount *m, uint64_t unique)
{
    struct sync_waiter *x = mem_alloc(sizeof *x);

    if (!x)
        return -ENOMEM;
    *x = (struct sync_waiter){ .next = m->sync_waiters, .unique = unique };
    m->sync_waiters = x;
    return 0;
}

static void queue_put(struct fuse_pool *p, struct mount *m)
{
    struct mount **at = &p->sync_queue;

    while (*at)
        at = &(*at)->next_sync;
    m->next_sync = NULL;
    *at = m;
}

static struct mount *queue_take(struct fuse_pool *p)
{
    struct mount *m = p->sync_queue;

    if (m)
        p->sync_queue = m->next_sync;
    return m;
}

/* True: the caller owns a turn. False: the mount waits in the queue, with the request noted. */
static bool take_turn(struct mount *m, uint64_t unique)
{
    struct fuse_pool *p = m->pool;
    bool own = true;

    pthread_mutex_lock(&m->sync_lock);
    pthread_mutex_lock(&p->lock);
    if (p->syncing && p->syncing + 1 >= p->workers && !note(m, unique)) {
        queue_put(p, m);
        own = false;
    } else {
        p->syncing++;
    }
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&m->sync_lock);
    return own;
}

static void answer(struct mount *m, struct sync_waiter *x, int r)
{
    while (x) {
        struct sync_waiter *next = x->next;

        mount_reply(m, x->unique, r);
        free(x);
        x = next;
    }
}

/* The owner of a turn serves what was noted, here and for other mounts, until there is nothing. */
static void run(struct fuse_pool *p, struct mount *m)
{
    while (m) {
        struct sync_waiter *x;
        struct mount *ended = NULL;

        pthread_mutex_lock(&m->sync_lock);
        x = m->sync_waiters;
        m->sync_waiters = NULL;
        m->syncing = x != NULL;
        pthread_mutex_unlock(&m->sync_lock);
        if (x)
            answer(m, x, workspace_commit(m->ws));
        else
            ended = m;
        pthread_mutex_lock(&p->lock);
        if (x)
            queue_put(p, m);
        m = queue_take(p);
        if (!m)
            p->syncing--;
        pthread_mutex_unlock(&p->lock);
        if (ended)
            mount_unref(ended);
    }
}

/* req: of libfuse, or NULL when there is none. */
void fuse_sync(struct fuse_call *c, fuse_req_t req, fuse_ino_t ino, bool datasync)
{
    struct mount *m = c->m;
    struct fuse_pool *p = m->pool;
    bool noted = false, owner;

    pthread_mutex_lock(&m->sync_lock);
    owner = !m->syncing;
    if (owner)
        m->syncing = true;
    else
        noted = !note(m, c->in->unique);
    pthread_mutex_unlock(&m->sync_lock);
    if (owner) {
        atomic_fetch_add(&m->refs, 1);
        noted = !take_turn(m, c->in->unique);
    }
    fuse_call_leave(c);
    if (!noted) {
        fuse_invite(m);
        mount_reply(m, c->in->unique, ws_fsync(m->ws, ino, datasync));
        if (owner)
            run(p, m);
    }
    if (req)
        fuse_reply_none(req);
}
