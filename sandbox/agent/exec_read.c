/* Readers of logs. A reader takes bytes up to its limit (what it acknowledged last, plus credit); what a HOLD reader has not acknowledged is not overwritten.
 * Executions that have something to send stand in one queue and take turns, a frame for each reader at a time, so none starves the others. */
#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "sandbox/agent/agent.h"

enum { DATA_MAX = FRAME_BODY_MAX - 8 };
static struct exec *ready_head, **ready_tail = &ready_head;

bool execs_pump_waits(void)
{
    return ready_head != NULL;
}

void exec_ready(struct exec *e)
{
    if (e->ready || !e->started || e->dead)
        return;
    e->ready = true;
    e->ready_next = NULL;
    *ready_tail = e;
    ready_tail = &e->ready_next;
}

void exec_unready(struct exec *e)
{
    for (struct exec **p = &ready_head; *p; p = &(*p)->ready_next)
        if (*p == e) {
            *p = e->ready_next;
            break;
        }
    ready_tail = &ready_head;
    while (*ready_tail)
        ready_tail = &(*ready_tail)->ready_next;
    e->ready = false;
}

uint64_t exec_keep(const struct exec *e)
{
    uint64_t keep = e->grace_seq;

    for (unsigned i = 0; i < e->reader_count; i++)
        if (e->readers[i].hold && e->readers[i].acked < keep)
            keep = e->readers[i].acked;
    return keep;
}

bool exec_is_held(const struct exec *e)
{
    for (unsigned i = 0; i < e->reader_count; i++)
        if (e->readers[i].hold && !e->readers[i].ended)
            return true;
    return false;
}

static struct reader_at *find(struct exec *e, uint32_t reader)
{
    for (unsigned i = 0; i < e->reader_count; i++)
        if (e->readers[i].id == reader)
            return &e->readers[i];
    return NULL;
}

static struct reader_at *reader_new(struct exec *e, uint32_t reader, uint64_t seq, bool once)
{
    if (e->reader_count == READERS_MAX)
        return NULL;
    if (e->reader_count == e->reader_cap) {
        unsigned cap = e->reader_cap ? e->reader_cap * 2 : 1;
        struct reader_at *p = mem_realloc(e->readers, cap * sizeof *p);
        if (!p)
            return NULL;
        e->readers = p;
        e->reader_cap = cap;
    }
    struct reader_at *r = &e->readers[e->reader_count++];
    seq = seq < e->log.next ? seq : e->log.next;
    *r = (struct reader_at){ .id = reader, .pos = seq, .acked = seq, .stop = once ? e->log.next : UINT64_MAX };
    return r;
}

/* More readers than READERS_MAX get an end at once: there is nothing for them. */
void exec_read(struct exec *e, uint64_t seq, uint32_t reader, uint32_t credit, uint8_t flags)
{
    struct reader_at *r = find(e, reader);
    uint8_t body[4];

    if (!r)
        r = reader_new(e, reader, seq, flags & READ_ONCE);
    if (!r) {
        put_le32(body, reader);
        out_frame(FRAME_DATA_END, 0, e->id, e->log.next, body, sizeof body);
        return;
    }
    if (seq > r->pos)
        seq = r->pos;
    if (seq > r->acked)
        r->acked = seq;
    if (seq < r->jumped_to)                  /* it may not know of the jump yet: what was lost costs no credit */
        seq = r->jumped_to;
    if (__builtin_add_overflow(seq, credit, &r->limit))
        r->limit = UINT64_MAX;
    r->hold = flags & READ_HOLD;
    if (r->hold)
        e->grace_seq = UINT64_MAX;           /* who was waited for has come */
    exec_io_resume(e);
    exec_ready(e);
}

void exec_unread(struct exec *e, uint32_t reader)
{
    struct reader_at *r = find(e, reader);

    if (!r)
        return;
    *r = e->readers[--e->reader_count];
    exec_io_resume(e);
}

/* grace: what HOLD readers of a former peer had not acknowledged stays held for a while. */
void exec_readers_drop(struct exec *e, bool grace)
{
    uint64_t keep = exec_keep(e);

    free(e->readers);
    e->readers = NULL;
    e->reader_count = e->reader_cap = 0;
    e->grace_seq = grace ? keep : UINT64_MAX;
}

static void send_end(struct exec *e, struct reader_at *r)
{
    uint8_t body[4];

    put_le32(body, r->id);
    r->ended = true;
    out_frame(FRAME_DATA_END, 0, e->id, r->pos, body, sizeof body);
}

/* One frame. 1: there may be more; 0: nothing more for now; -EAGAIN. Bytes that are lost cost no credit. */
static int send_one(struct exec *e, struct reader_at *r)
{
    uint64_t seq = r->pos < e->log.first ? e->log.first : r->pos, lost = seq - r->pos, window = r->limit > r->pos ? r->limit - r->pos : 0;
    uint64_t end = r->stop < e->log.next ? r->stop : e->log.next;
    bool over = seq >= r->stop || (seq >= end && exec_io_over(e));
    const uint8_t *p = NULL;
    uint8_t stream = 0;
    size_t n = 0;

    if (r->ended)
        return 0;
    if (over && !lost) {
        send_end(e, r);
        return 0;
    }
    if (seq < end && window) {
        n = log_peek(&e->log, seq, &p, &stream);
        n = n < DATA_MAX ? n : DATA_MAX;
        n = n < window ? n : (size_t)window;
        n = n < end - seq ? n : (size_t)(end - seq);
    } else if (!over) {
        return 0;
    }
    if (out_data(e->id, stream, seq, r->id, lost < UINT32_MAX ? (uint32_t)lost : UINT32_MAX, p, n) == -EAGAIN)
        return -EAGAIN;
    if (lost)
        r->jumped_to = seq;
    r->pos = seq + n;
    r->limit = r->pos + (window - n);
    return 1;
}

void execs_pump(void)
{
    bool idle = !ready_head;

    while (ready_head && out_idle()) {
        struct exec *e = ready_head;
        bool more = false;
        ready_head = e->ready_next;
        if (!ready_head)
            ready_tail = &ready_head;
        e->ready = false;
        for (unsigned i = 0; i < e->reader_count && out_idle(); i++) {
            int r = send_one(e, &e->readers[i]);
            if (r == -EAGAIN) {              /* the socket is full: this one first when it is not */
                e->ready = true;
                e->ready_next = ready_head;
                if (!ready_head)
                    ready_tail = &e->ready_next;
                ready_head = e;
                return;
            }
            more |= r > 0;
        }
        if (more || !out_idle())
            exec_ready(e);
    }
    if (!idle)
        execs_keep_few();                    /* some may have got their end */
}
