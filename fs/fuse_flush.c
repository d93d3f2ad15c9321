/* Getting what the kernel holds: mount_flush, and holding a mount still: mount_hold.
 *
 * mount_flush. The kernel's cache holds writes that no request has told us of. syncfs(2) does less for FUSE than for others: it waits
 * for a first, "no waiting" pass of the flusher over the file system (sync_filesystem: writeback_inodes_sb), and since 6.18.x for
 * nothing else (SB_I_NO_DATA_INTEGRITY). After that pass every page that was dirty is a WRITE request, queued or under way, except pages
 * that were under writeback and had been dirtied again meanwhile: the pass skips those. And replies are not waited for. So a round is:
 *   syncfs;
 *   fstatfs, which the kernel queues as STATFS behind all requests there are: when it is answered, all of those have been taken;
 *   wait until those taken are done.
 * After one round no page of before the call is still under its first
 * writeback, so the second round's pass skips none of them (one that is under writeback then went out after the call began, with what it
 * held). Background requests (writeback, readahead) beyond max_background wait in a queue of the kernel's own and are not before the
 * marker; but then at least max_background of them, but those that workers had in hand, are taken in that round. So as long as that many
 * were, another marker follows. The pass skips pages also when the connection is "congested": raw_init sets that threshold out of reach.
 *
 * mount_hold. Requests leave the queue in order but are done side by side; a freeze between two of them could take the later one and not
 * the earlier. With the mount held nothing is taken, and what was taken has ended. Requests that wait for the disk only (FSYNC) do not
 * count. A request that is stuck (a writer held back until a fold makes room) could be waiting for the very freeze that holds: so the
 * wait is bounded by HOLD_MS, after which the hold is in force but the stuck request may fall on either side. */
#include "fs/fuse_pool.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/errand.h"

enum { PASSES = 2, MARKS_MAX = 1000, HOLD_MS = 500, MARK_MS = 30000 };

/* With pool->lock: the workers that are at a request of m, and how far. */
struct look { struct worker *w; uint64_t seq; };

static bool still(struct mount *m, const struct look *l)
{
    return atomic_load(&l->w->cur) == m && atomic_load(&l->w->seq) < l->seq;
}

void fuse_quiesce(struct mount *m, unsigned limit_ms)
{
    struct fuse_pool *p = m->pool;
    struct look look[FUSE_WORKERS_MAX];
    struct timespec end;
    unsigned n = 0;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += limit_ms % 1000 * 1000000L;
    end.tv_sec += limit_ms / 1000 + end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    atomic_fetch_add(&m->watched, 1);
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < FUSE_WORKERS_MAX; i++) {
        struct worker *w = &p->slots[i];

        if (atomic_load(&w->cur) == m) {
            uint64_t seq = atomic_load(&w->seq);

            look[n++] = (struct look){ w, seq + (seq & 1 ? 1 : 2) };   /* even: it may have just read a request */
        }
    }
    for (unsigned i = 0; i < n; i++)
        while (still(m, &look[i]) && pthread_cond_timedwait(&p->cond, &p->lock, &end) != ETIMEDOUT)
            ;
    pthread_mutex_unlock(&p->lock);
    atomic_fetch_sub(&m->watched, 1);
}

void mount_hold(struct mount *m)
{
    atomic_fetch_add(&m->refs, 1);        /* a held mount may be neither armed nor served */
    atomic_fetch_add(&m->held, 1);
    fuse_quiesce(m, HOLD_MS);
    if (m->ring)
        mount_ring_hold(m, HOLD_MS);
}

void mount_release(struct mount *m)
{
    if (atomic_fetch_sub(&m->held, 1) == 1)
        fuse_rearm(m);
    if (m->ring && !atomic_load(&m->held))
        mount_ring_release(m);
    mount_unref(m);
}

struct step { struct mount *m; bool sync; };

/* In an errand: with a descriptor table of its own, in which nothing of the daemon's is. So all else, the rings' wake-ups too, is done by who asked. */
static int ask(void *arg, int at)
{
    const struct step *s = arg;
    _cleanup_close_ int dir = openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct statfs st;
    int r = dir < 0 ? -errno : 0;

    if (!r && s->sync && syncfs(dir) && errno != EIO && errno != ENOSPC && errno != EDQUOT)   /* an old writeback error is no news */
        r = -errno;
    if (!r)
        r = s->m->ring ? mount_ring_mark(s->m, dir) : fstatfs(dir, &st) ? -errno : 0;
    close(at);
    return r;
}

/* Returns when all that was in the queue is done. *ret_taken: background requests that were taken meanwhile. */
static int mark(struct mount *m, int dirfd, bool sync, uint64_t *ret_taken)
{
    uint64_t before = atomic_load(&m->background);
    int r = errand_run(dirfd, ask, &(struct step){ m, sync });

    if (r)
        return r;
    fuse_quiesce(m, MARK_MS);
    if (m->ring)
        mount_ring_quiesce(m, MARK_MS);
    *ret_taken = atomic_load(&m->background) - before;
    return atomic_load(&m->dead) ? -ENOTCONN : 0;
}

static int flush(struct mount *m, int dirfd)
{
    unsigned max = fuse_max_background(&m->opts);
    unsigned inhand = FUSE_WORKERS_MAX + mount_ring_entries(m);
    uint64_t many = max > inhand ? max - inhand : 1, taken = many;
    int r = 0;

    for (unsigned n = 0; !r && n < PASSES; n++)
        r = mark(m, dirfd, true, &taken);
    for (unsigned n = 0; !r && taken >= many && n < MARKS_MAX; n++)
        r = mark(m, dirfd, false, &taken);
    return r;
}

int mount_flush(struct mount *m, int dirfd)
{
    int r;

    if (m->opts.ro || m->ws->readonly)
        return 0;
    pthread_mutex_lock(&m->flush_lock);
    r = flush(m, dirfd);
    pthread_mutex_unlock(&m->flush_lock);
    return r;
}
