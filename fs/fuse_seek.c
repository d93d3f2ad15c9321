/* SEEK_DATA and SEEK_HOLE, which the kernel passes on without writing back what it holds dirty: answered as they come, a file being
 * written would seem to have a hole, or an end, where its new data are, and cp would lose them. So the pages from the offset on are
 * written back first, by the one message that does it (FUSE_NOTIFY_INVAL_INODE; it drops them from the cache too). It returns when other
 * workers have served the WRITEs; so one worker of the pool at most is in it, and seeks that come meanwhile are noted and done by that
 * worker in turn.
 *
 * p->seeking is true while a worker owns the turn; jobs exist only then, and each holds a reference on its mount. */
#include "fs/fuse_pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"

struct seek_job {
    struct seek_job *next;
    struct mount *m;
    struct workspace *ws;                 /* m's; that of a snapshot only while the request is in hand */
    uint64_t unique, ino, off;
    int whence;
};

static void answer(const struct seek_job *j)
{
    struct { struct fuse_out_header h; struct fuse_lseek_out out; } msg = { .h = { .len = sizeof msg, .unique = j->unique } };
    uint64_t found = 0;
    int r = ws_lseek(j->ws, j->ino, j->off, j->whence, &found);

    msg.out.offset = found;
    if (r)
        mount_reply(j->m, j->unique, r);
    else
        mount_send(j->m, &(struct iovec){ &msg, sizeof msg }, 1);
}

static void write_back(void *arg, struct mount *m)
{
    const struct seek_job *j = arg;
    struct fuse_notify_inval_inode_out out = { .ino = j->ino, .off = (int64_t)j->off };
    struct iovec iov[2] = { { 0 }, { &out, sizeof out } };

    mount_notify(m, FUSE_NOTIFY_INVAL_INODE, iov, 2);
}

static void do_job(struct seek_job *j)
{
    mount_tell(j->m, write_back, j);      /* it waits for WRITEs: see base/errand.h */
    answer(j);
}

/* True: the caller has the turn. False: noted. */
static bool take_turn(struct fuse_pool *p, struct seek_job *j)
{
    struct seek_job **at = &p->seeks;
    bool mine;

    pthread_mutex_lock(&p->lock);
    mine = !p->seeking;
    p->seeking = true;
    if (!mine) {
        while (*at)
            at = &(*at)->next;
        *at = j;
    }
    pthread_mutex_unlock(&p->lock);
    return mine;
}

static struct seek_job *next_job(struct fuse_pool *p)
{
    struct seek_job *j;

    pthread_mutex_lock(&p->lock);
    j = p->seeks;
    if (j)
        p->seeks = j->next;
    else
        p->seeking = false;
    pthread_mutex_unlock(&p->lock);
    return j;
}

static void end_job(struct seek_job *j)
{
    mount_unref(j->m);
    free(j);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct fuse_call *c = fuse_now;
    struct mount *m = c->m;
    struct seek_job *j = mem_alloc(sizeof *j);

    if (!j) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    *j = (struct seek_job){ .m = m, .ws = c->ws, .unique = c->in->unique, .ino = ino, .off = (uint64_t)off, .whence = whence };
    fuse_reply_none(req);                 /* frees it; the answer is sent by hand */
    atomic_fetch_add(&m->refs, 1);
    if (fuse_ro()) {
        answer(j);
        end_job(j);
    } else if (take_turn(m->pool, j)) {
        fuse_call_leave(c);
        atomic_fetch_sub(&m->serving, 1); /* this worker is not one of those that serve the WRITEs */
        fuse_invite(m);
        for (; j; j = next_job(m->pool)) {
            do_job(j);
            end_job(j);
        }
        atomic_fetch_add(&m->serving, 1);
    }
}
