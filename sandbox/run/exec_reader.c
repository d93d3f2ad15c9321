/* Readers of an execution's output.
 *
 * A reader has a window of `credit` bytes. The agent sends DATA up to what was acknowledged + credit; what the client has taken is
 * acknowledged when half a window has gone, so there is always data on its way and never more than a window here. Invariants
 * (reader_check):
 *  1. untaken + unacked <= credit: a frame that would break it is a lie of the agent and ends the reader;
 *  2. DATA of a reader has no gap that is not told as lost, and nothing comes twice;
 *  3. exit comes once, after all bytes before end_seq; end comes once, last. */
#include "base/log.h"
#include "sandbox/run/exec_private.h"
#include <assert.h>
#include <errno.h>

static void reader_check(const struct exec_reader *r)
{
    assert(r->untaken + r->unacked <= r->credit);
    assert(!r->ended || !r->e);
}
static void reader_send(struct exec_reader *r)
{
    uint8_t body[9];
    put_le32(body, r->id);
    put_le32(body + 4, r->credit);
    body[8] = r->flags;
    struct exec *e = r->e;
    if (agent_link_send(e->b->link, FRAME_READ, 0, e->id, r->next - r->untaken, body, sizeof body, -1) == -ENOBUFS)
        log_warn("box=%s exec=%s step=read err=ENOBUFS", e->b->id, e->eid); /* the link is about to be given up */
}
struct exec_reader *reader_new(struct exec *e, uint64_t since, unsigned flags, uint32_t credit, const struct exec_reader_ops *ops,
                               void *arg)
{
    struct exec_reader *r = g_new0(struct exec_reader, 1);
    *r = (struct exec_reader){.e = e,
                              .id = e->reader_high++,
                              .credit = credit ? credit : CREDIT_DEFAULT,
                              .next = since,
                              .flags = (uint8_t)flags,
                              .ops = ops,
                              .arg = arg};
    g_ptr_array_add(e->readers, r);
    return r;
}
struct exec_reader *exec_read(struct exec *e, uint64_t since, unsigned flags, const struct exec_reader_ops *ops, void *arg)
{
    if (!e->b || !e->started || e->readers->len >= READERS_MAX)
        return NULL;
    if (!e->reader_high)
        e->reader_high = 1; /* 0 is the one of EXEC_READ */
    struct exec_reader *r = reader_new(e, since, flags, 0, ops, arg);
    reader_send(r);
    return r;
}
static void reader_drop(struct exec_reader *r)
{
    if (!r->e)
        return;
    if (r->e->first_reader == r)
        r->e->first_reader = NULL;
    g_ptr_array_remove(r->e->readers, r);
    r->e = NULL;
}
void exec_reader_free(struct exec_reader *r)
{
    if (!r)
        return;
    if (r->e && r->e->b && r->e->started) {
        uint8_t body[4];
        put_le32(body, r->id);
        agent_link_send(r->e->b->link, FRAME_UNREAD, 0, r->e->id, 0, body, sizeof body, -1);
    }
    reader_drop(r);
    r->dead = true;
    if (!r->busy)
        g_free(r);
}
/* False: it was freed meanwhile. */
static bool reader_back(struct exec_reader *r)
{
    r->busy = false;
    if (!r->dead)
        return true;
    g_free(r);
    return false;
}
void reader_end(struct exec_reader *r, const struct fault *why)
{
    if (r->ended)
        return;
    r->ended = true;
    reader_drop(r);
    reader_check(r);
    r->busy = true;
    if (r->ops->end)
        r->ops->end(r->arg, why);
    reader_back(r);
}
void reader_check_exit(struct exec_reader *r)
{
    if (r->told_exit || r->ended || !r->e->exited || r->next < r->e->end_seq)
        return;
    r->told_exit = true;
    struct exit_info info = r->e->exit;
    r->busy = true;
    if (r->ops->exit)
        r->ops->exit(r->arg, &info);
    reader_back(r);
}
static struct exec_reader *reader_find(struct exec *e, uint32_t id);
/* What can be told now: its exit, and its end if that was the last. */
static void check_one(struct exec_reader *r, const struct fault *why)
{
    struct exec *e = r->e;
    uint32_t id = r->id;
    reader_check_exit(r);
    r = reader_find(e, id);
    if (r && r->drained && (e->exited || r->flags & READ_ONCE))
        reader_end(r, NULL);
}
static void reader_broken(struct exec_reader *r, const char *what)
{
    log_warn("box=%s exec=%s reader=%u step=data err=%s", r->e->b->id, r->e->eid, r->id, what);
    struct fault f;
    fault_set(&f, "agent_lost",
              "the sandbox's agent broke its protocol (%s); the output of %s cannot be read further: stop and start the sandbox", what,
              r->e->eid);
    reader_end(r, &f);
}
static struct exec_reader *reader_find(struct exec *e, uint32_t id)
{
    for (unsigned i = 0; i < e->readers->len; i++) {
        struct exec_reader *r = e->readers->pdata[i];
        if (r->id == id)
            return r;
    }
    return NULL;
}
void reader_data(struct exec *e, struct frame *f)
{
    struct reader in = reader_of(f->body, f->n);
    uint32_t id = get_u32(&in);
    get_u32(&in); /* bytes lost before: what the sequence numbers say already */
    size_t n = reader_left(&in);
    struct exec_reader *r = in.bad ? NULL : reader_find(e, id);
    if (!r)
        return; /* it was freed while this was on its way */
    if (r->busy)
        return reader_broken(r, "re-entered");
    if (n && (f->flags < STREAM_OUT || f->flags > STREAM_CHANNEL))
        return reader_broken(r, "stream");
    if (!r->begun && f->arg < r->next)
        r->next = f->arg; /* it asked for what is not written yet */
    r->begun = true;
    if (f->arg > UINT64_MAX - n || f->arg < r->next)
        return reader_broken(r, "sequence");
    if (n > r->credit - r->untaken - r->unacked)
        return reader_broken(r, "credit");
    uint64_t gone = f->arg - r->next;
    r->next = f->arg + n;
    r->untaken += n;
    if (e->next < r->next)
        e->next = r->next;
    if (gone && e->first < f->arg)
        e->first = f->arg;
    reader_check(r);
    if (n && f->flags == STREAM_CHANNEL && r != e->first_reader) /* not output: counted only */
        return exec_reader_taken(r, n);
    r->busy = true;
    r->ops->data(r->arg, f->flags, f->arg, gone, in.p, n);
    if (reader_back(r) && r->e)
        reader_check_exit(r);
}
void exec_reader_taken(struct exec_reader *r, size_t n)
{
    if (n > r->untaken)
        n = r->untaken;
    r->untaken -= n;
    r->unacked += n;
    if (!r->e || !r->e->b || r->unacked < r->credit / 2)
        return;
    r->unacked = 0;
    reader_send(r);
}
void reader_data_end(struct exec *e, struct frame *f)
{
    struct reader in = reader_of(f->body, f->n);
    uint32_t id = get_u32(&in);
    struct exec_reader *r = in.bad ? NULL : reader_find(e, id);
    if (!r)
        return;
    if (f->arg > r->next)
        r->next = f->arg; /* bytes that were lost at the end */
    r->drained = true;    /* its output may be closed before it ends */
    check_one(r, NULL);
}
/* Calls fn for each of the readers that there are now; each may free itself or others. */
static void readers_each(struct exec *e, void (*fn)(struct exec_reader *r, const struct fault *why), const struct fault *why)
{
    unsigned n = e->readers->len;
    g_autofree uint32_t *ids = g_new(uint32_t, n + 1);
    for (unsigned i = 0; i < n; i++)
        ids[i] = ((struct exec_reader *)e->readers->pdata[i])->id;
    for (unsigned i = 0; i < n; i++) {
        struct exec_reader *r = reader_find(e, ids[i]);
        if (r)
            fn(r, why);
    }
}
void readers_exited(struct exec *e)
{
    readers_each(e, check_one, NULL);
}
void readers_end(struct exec *e, const struct fault *why)
{
    if (!e->started)
        return; /* its start fails: who asked for it is told that, once, and its first reader is freed there */
    readers_each(e, reader_end, why);
}
struct exec_reader *exec_first_reader(struct exec *e)
{
    return e->first_reader;
}
