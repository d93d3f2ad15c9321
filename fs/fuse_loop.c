/* How requests get from many descriptors to few threads. (With io_uring little comes this way: fuse_ring.c, fuse_rest.c.)
 *
 * One epoll set holds every mount's /dev/fuse descriptor, each EPOLLONESHOT: armed, or not. An idle mount is armed and costs nothing.
 * When a request comes, one worker is woken and the mount is disarmed; that worker reads and serves until nothing is left, looks for a
 * short time more (SPIN_NS; see spin below), then arms the mount and leaves. So a program that makes one call after the other is served
 * by one worker that does not sleep between, and no other is woken for nothing. Others are invited (the mount is armed early) when
 *   - a request was waiting already when the one before was done: there is more than one caller;
 *   - a request may take long (fuse_invite from the operation: file data, copies, fsync).
 * Looking spares two wake-ups of a sleeping CPU, about 20 us each in a virtual machine, when the machine is idle; on a busy one it is
 * harmful. So at most one worker of the pool does it (on two CPUs a second would take the program's own), only as long as it finds
 * something, and only while it gains more time than it loses to others on its CPU. Measured (create + close, 2 CPUs): idle 51 us,
 * 95 with four blocking threads, 156 without; busy 113 when always, 41 when never. Waiting in poll() on the one descriptor instead of
 * epoll, or in a blocking read(), is no faster than epoll.
 * A mount holds at most all but one of the configured workers, so that a neighbour's request finds one. A worker leaves after BURST
 * requests to look at the others; epoll queues a mount that is ready behind those that were ready before.
 *
 * FSYNC: see fuse_sync.c. Whatever else blocks (cold data, writers held back by a full layer) is met by the warden (fuse_pool.c), which
 * adds workers, up to FUSE_WORKERS_MAX, when all are stuck in one request each; they end when idle.
 *
 * 1. m->refs = threads in serve() + (m->armed) + holds + others that hold one. Arming takes a reference, the event gives it to the
 *    worker woken.
 * 2. A worker leaves with the mount armed (io_uring: or resting, see fuse_rest.c), unless it is dead or held; who releases a hold arms it. No event is lost: arming looks at the
 *    queue.
 * 3. w->cur is set before m->held is read, and m->held set before w->cur is read (both with a full barrier): a hold either stops a
 *    worker before its read() or waits for it. */
#include "fs/fuse_call.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/fuse_pool.h"
#include "fs/redo.h"

#ifndef SPIN_NS
#define SPIN_NS 40000
#endif
enum { BURST = 64, SCORE_MAX = 16, PROBE = 16, STEP_NS = 10000, GAIN_NS = 25000, CREDIT_MAX_NS = 2000000 };

enum fetched { FETCH_ONE, FETCH_NONE, FETCH_HELD, FETCH_DEAD };

static unsigned cap(const struct mount *m)
{
    return m->pool->workers > 1 ? m->pool->workers - 1 : 1;
}

static void arm(struct mount *m)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = m };

    if (atomic_exchange(&m->armed, true))
        return;
    atomic_fetch_add(&m->refs, 1);
    epoll_ctl(m->pool->epfd, EPOLL_CTL_MOD, m->fd, &ev);
}

int fuse_arm_first(struct mount *m)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLONESHOT, .data.ptr = m };

    atomic_store(&m->armed, true);
    atomic_fetch_add(&m->refs, 1);
    if (!epoll_ctl(m->pool->epfd, EPOLL_CTL_ADD, m->fd, &ev))
        return 0;
    atomic_fetch_sub(&m->refs, 1);
    return -errno;
}

void fuse_rearm(struct mount *m)
{
    if (!atomic_load(&m->dead))
        arm(m);
}

void fuse_invite(struct mount *m)
{
    if (!m->ring && !atomic_load_explicit(&m->armed, memory_order_relaxed) && atomic_load_explicit(&m->serving, memory_order_relaxed) < cap(m)
        && !atomic_load(&m->dead))
        arm(m);
}

bool mount_tryref(struct mount *m)
{
    unsigned n = atomic_load(&m->refs);

    while (n)
        if (atomic_compare_exchange_weak(&m->refs, &n, n + 1))
            return true;
    return false;
}

void mount_unref(struct mount *m)
{
    if (atomic_fetch_sub(&m->refs, 1) == 1)
        pool_gone(m);
}

/* The request in hand, or the attempt to get one, is over as far as a hold is concerned. */
static void passed(struct worker *w, struct mount *m)
{
    atomic_exchange(&w->cur, NULL);
    if (atomic_load(&m->watched))
        pool_wake(m->pool);
}

void fuse_call_leave(struct fuse_call *c)
{
    if (c->w && !c->ent)                  /* requests of rings that need not be waited for were never counted */
        passed(c->w, c->m);
}

/* Nothing waits any more, and nobody else has something in hand: an adopted mount's requests of before are all done. */
static void settle(struct mount *m)
{
    if (atomic_load_explicit(&m->unsettled, memory_order_relaxed) && atomic_load(&m->serving) == 1 && atomic_exchange(&m->unsettled, false))
        ws_lookups_settled(m->ws);
}

static enum fetched fetch(struct worker *w, struct mount *m, size_t *ret_len)
{
    enum fetched r = FETCH_NONE;
    ssize_t n;

    atomic_exchange(&w->cur, m);
    if (atomic_load(&m->held)) {
        r = FETCH_HELD;
    } else {
        n = read(m->fd, w->buf, FUSE_HEADROOM + FUSE_PAYLOAD);
        if (n >= (ssize_t)sizeof(struct fuse_in_header)) {
            *ret_len = (size_t)n;
            return FETCH_ONE;
        }
        if (n < 0 && (errno == ENODEV || errno == EBADF)) {
            atomic_store(&m->dead, true);
            r = FETCH_DEAD;
        }
        else if (n < 0 && errno == EAGAIN)
            settle(m);
        /* EAGAIN: nothing there. ENOENT: its caller was killed. EINTR. All: come back by epoll. With others a caller got EIO. */
        else if (n < 0 && errno != ENOENT && errno != EINTR)
            log_error("fuse: request err=%s", errno_name(errno));
    }
    passed(w, m);
    return r;
}

/* False: answered. Only the root's own node has the name of the second one, so a file of that name is not in its way. */
static bool root_node(struct fuse_call *c)
{
    struct fuse_in_header *in = (struct fuse_in_header *)(uintptr_t)c->in;      /* the worker's buffer */
    uint32_t op = in->opcode;

    if (op == FUSE_FORGET || op == FUSE_BATCH_FORGET)
        return true;
    if (op == FUSE_LOOKUP && in->nodeid == FUSE_ROOT_ID && c->len == sizeof *in + sizeof ROOT_NAME && !memcmp(in + 1, ROOT_NAME, sizeof ROOT_NAME) && c->m->opts.uid_base) {
        raw_root(c);
        return false;
    }
    if (in->nodeid == ROOT_NODE)
        in->nodeid = FUSE_ROOT_ID;
    if ((op == FUSE_RENAME || op == FUSE_RENAME2) && c->len >= sizeof *in + sizeof(uint64_t)) {
        uint64_t *to = (uint64_t *)(in + 1);
        if (*to == ROOT_NODE)
            *to = FUSE_ROOT_ID;
    }
    return !c->m->snapdir || fuse_snap(c);
}

void fuse_serve(struct fuse_call *c)
{
    struct mount *m = c->m;

    atomic_fetch_add_explicit(&m->requests, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->by_opcode[c->in->opcode < 64 ? c->in->opcode : 0], 1, memory_order_relaxed);
    if (c->in->opcode == FUSE_READ || c->in->opcode == FUSE_WRITE)
        atomic_fetch_add_explicit(&m->background, 1, memory_order_relaxed);
    fuse_now = c;
    redo_now = (struct redo_request){ c->ent ? 0 : c->in->unique & ~UNIQUE_RESENT, c->in->opcode, (unsigned)(c->w - m->pool->slots) };
    c->ws = m->ws;
    if (root_node(c) && !(c->in->unique & UNIQUE_RESENT && fuse_replayed(c)) && !fuse_raw(c))
        fuse_session_process_buf(c->w->session, &(struct fuse_buf){ .mem = (void *)c->in, .size = c->len });
    fuse_snap_end(c);
    fuse_now = NULL;
    redo_now.unique = 0;
}

static int send_classic(struct fuse_call *c, struct iovec *iov, int count)
{
    return mount_send(c->m, iov, count);
}

static void run(struct worker *w, struct mount *m, size_t len)
{
    struct fuse_call c = { .m = m, .w = w, .in = (const void *)w->buf, .len = len, .out = w->buf + FUSE_HEADROOM, .send = send_classic };

    atomic_fetch_add(&w->seq, 1);
    fuse_serve(&c);
    atomic_fetch_add(&w->seq, 1);
    passed(w, m);
}

/* Whether looking is worth it now: it was, lately, and no one else wanted this CPU meanwhile. */
static bool may_spin(struct fuse_pool *p)
{
    if (!SPIN_NS || p->one_cpu || clock_mono_ns() < atomic_load_explicit(&p->spin_after, memory_order_relaxed))
        return false;
    if (atomic_load_explicit(&p->spin_score, memory_order_relaxed) <= 0
        && atomic_fetch_add_explicit(&p->spin_chances, 1, memory_order_relaxed) % PROBE)
        return false;
    return !atomic_exchange(&p->spinning, true);
}

/* What looking was good for, and what it cost: `lost` is the time for which the CPU was taken away meanwhile, when a thread that sleeps
 * would have been woken sooner. Debts are paid by not looking for 20 times as long. One thread looks at a time: plain loads will do. */
static void judge(struct fuse_pool *p, bool hit, uint64_t lost, uint64_t now)
{
    int score = atomic_load_explicit(&p->spin_score, memory_order_relaxed) + (hit ? 1 : -2);
    int64_t credit = p->spin_credit + (hit ? GAIN_NS : 0) - (int64_t)lost;

    if (credit < 0) {
        atomic_store_explicit(&p->spin_after, now + (uint64_t)-credit * 20, memory_order_relaxed);
        credit = 0;
    }
    p->spin_credit = credit > CREDIT_MAX_NS ? CREDIT_MAX_NS : credit;
    atomic_store_explicit(&p->spin_score, score > SCORE_MAX ? SCORE_MAX : score < 0 ? 0 : score, memory_order_relaxed);
}

/* Polls for a while. */
static enum fetched spin(struct worker *w, struct mount *m, size_t *ret_len)
{
    struct fuse_pool *p = m->pool;
    enum fetched r = FETCH_NONE;
    uint64_t start, now, prev, lost = 0;

    if (!may_spin(p))
        return r;
    start = now = clock_mono_ns();
    do {
        prev = now;
        r = fetch(w, m, ret_len);
        now = clock_mono_ns();
        lost += now - prev > STEP_NS ? now - prev : 0;
    } while (r == FETCH_NONE && now - start < SPIN_NS);
    judge(p, r == FETCH_ONE, lost, now);
    atomic_store(&p->spinning, false);
    return r;
}

void fuse_serve_mount(struct worker *w, struct mount *m)
{
    enum fetched r = FETCH_NONE;
    size_t len;
    bool waited = true, any = false;

    atomic_fetch_add(&m->serving, 1);
    for (unsigned n = 0; n < BURST; n++) {
        r = fetch(w, m, &len);
        if (r == FETCH_NONE && !m->ring) {
            waited = true;
            r = spin(w, m, &len);
        }
        if (r != FETCH_ONE)
            break;
        if (!waited)
            fuse_invite(m);
        run(w, m, len);
        waited = false;
        any = true;
    }
    atomic_fetch_sub(&m->serving, 1);
    if (any && m->ring && r != FETCH_DEAD && r != FETCH_HELD) {
        fuse_rest(m);
        return;
    }
    if (r != FETCH_DEAD && r != FETCH_HELD)
        arm(m);
    mount_unref(m);
}
