/* Readers of a journal. A reader asks under feed.lock how far it may go, and closes open events by asking; what it then reads does not change any more, so it reads without a lock, and
 * a file that is removed meanwhile stays its own until it leaves it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/feed_internal.h"

enum { READ_BYTES = 64 << 10 };

struct feed_reader {
    struct feed *f;
    struct feed_segment *seg;
    uint64_t off, end, limit;             /* next byte to be read of seg; as far as it may go, and the number of the last event there */
    struct buf data;
    size_t at, need;
    uint64_t seq;                         /* all up to this one was given */
    uint32_t generation;                  /* of that event; 0: not known */
    bool check, any;                      /* the event `seq + 1` was seen in this generation, says a cursor; an event was read */
    bool held;                            /* of e: it comes after the gap that was given */
    int64_t since;
    struct feed_event e;
};

int feed_reader_new(struct feed *f, const struct feed_cursor *from, int64_t since, struct feed_reader **ret)
{
    struct feed_reader *r = mem_zalloc(sizeof *r);

    if (!r)
        return -ENOMEM;
    r->f = feed_ref(f);
    r->since = since;
    pthread_mutex_lock(&f->lock);
    if (!from)
        r->seq = f->oldest ? f->oldest->first - 1 : f->shown;
    else if (from->journal == f->journal && from->seq <= f->shown) {
        r->check = from->seq > 0;
        r->seq = from->seq - r->check;
        r->generation = from->generation;
    } else {
        r->check = true;
        r->seq = UINT64_MAX;              /* of nothing that there is */
    }
    pthread_mutex_unlock(&f->lock);
    *ret = r;
    return 0;
}

void feed_reader_free(struct feed_reader *r)
{
    if (!r)
        return;
    feed_segment_unref(r->seg);
    buf_fini(&r->data);
    feed_unref(r->f);
    free(r);
}

void feed_reader_at(const struct feed_reader *r, struct feed_cursor *ret)
{
    *ret = (struct feed_cursor){ r->f->journal, r->seq == UINT64_MAX ? 0 : r->seq + r->check, r->generation };
}

/* feed.lock is held: the file that has the event after seq, or the first one after. */
static struct feed_segment *find(const struct feed *f, uint64_t seq)
{
    struct feed_segment *best = f->oldest;

    for (struct feed_segment *s = f->oldest; s && s->first <= seq + 1; s = s->next)
        best = s;
    return best;
}

/* How far the reader may go now; true: there is something to read. */
static bool look(struct feed_reader *r)
{
    struct feed *f = r->f;
    struct feed_segment *next = NULL;

    pthread_mutex_lock(&f->lock);
    if (f->shown > r->seq)
        f->epoch++;                       /* no event that it may read is changed from now on */
    r->limit = f->shown;
    if (!r->seg) {
        next = find(f, r->seq);
    } else if (r->off >= r->seg->end) {
        for (next = f->oldest; next && next->first <= r->seg->first; next = next->next)
            ;
    }
    if (next) {
        feed_segment_unref(r->seg);
        r->seg = feed_segment_ref(next);
        r->off = FEED_HEAD;
        buf_clear(&r->data);
        r->at = r->need = 0;
    }
    r->end = r->seg ? r->seg->end : 0;
    pthread_mutex_unlock(&f->lock);
    return r->off < r->end;
}

static int refill(struct feed_reader *r)
{
    size_t left = r->data.len - r->at, want = r->need > READ_BYTES ? r->need : READ_BYTES;

    if (left)
        memmove(r->data.data, r->data.data + r->at, left);
    buf_clear(&r->data);
    r->at = 0;
    if (want > r->end - r->off + left)
        want = (size_t)(r->end - r->off) + left;
    uint8_t *p = buf_extend(&r->data, want);
    if (!p)
        return -ENOMEM;
    ssize_t n = io_pread_full(r->seg->fd, p + left, want - left, (off_t)r->off);
    r->data.len = left + (n < 0 ? 0 : (size_t)n);
    if (n < 0)
        return (int)n;
    r->off += (uint64_t)n;
    if (n == 0 && want > left)
        r->off = r->end;                  /* shorter than it was: the rest is a loss */
    return 0;
}

static int give(struct feed_reader *r, struct feed_event *ret)
{
    r->seq = r->e.seq;
    r->generation = r->e.generation;
    *ret = r->e;
    return 1;
}

static int give_gap(struct feed_reader *r, uint64_t to, uint32_t generation, enum feed_why why, struct feed_event *ret)
{
    *ret = (struct feed_event){ .op = FEED_GAP, .what = why, .from = r->seq == UINT64_MAX ? 0 : r->seq + 1, .to = to, .seq = to, .generation = generation, .count = 1, .time = r->e.time };
    r->seq = to;
    r->generation = generation;
    r->any = true;
    return 1;
}

/* The cursor is of another journal, or of events that were taken back: nothing that it stands for holds. What there is up to now is passed over, as all has to be looked at again. */
static int give_lost(struct feed_reader *r, enum feed_why why, struct feed_event *ret)
{
    pthread_mutex_lock(&r->f->lock);
    uint64_t to = r->f->shown;
    uint32_t generation = r->f->shown_generation;
    pthread_mutex_unlock(&r->f->lock);
    r->check = false;
    feed_segment_unref(TAKE_PTR(r->seg));
    return give_gap(r, to, generation, why, ret);
}

/* The next event in the buffer into r->e. 1; 0: there is none in it; -EUCLEAN: the rest of the file is of no use. */
static int next_in_buffer(struct feed_reader *r)
{
    for (;;) {
        ssize_t n = feed_decode(r->data.data + r->at, r->data.len - r->at, &r->e, &r->need);
        if (n <= 0)
            return (int)n;
        if (r->e.op && r->e.seq > r->limit) {      /* not shown yet, so it may still change: read again later */
            r->off -= r->data.len - r->at;
            r->end = r->off;
            r->data.len = r->at;
            return 0;
        }
        r->at += (size_t)n;
        if (r->e.op && r->e.seq > r->seq)
            return 1;
    }
}

/* 1 and an event or a gap; 0: this one is not for the reader. */
static int pass(struct feed_reader *r, struct feed_event *ret)
{
    bool expected = r->e.seq == r->seq + 1;

    if (r->check) {
        r->check = false;
        if (expected && r->generation && r->e.generation != r->generation)      /* 0: of a place before any event was seen; another event's says nothing of it */
            return give_lost(r, FEED_WHY_CRASH, ret);
        r->seq++;                         /* seen, or not there any more to be compared */
        if (expected) {
            r->any = true;
            return 0;
        }
        expected = r->e.seq == r->seq + 1;
    }
    if (r->e.op == FEED_GAP) {
        give_gap(r, r->e.seq, r->e.generation, r->e.what, ret);
        return 1;
    }
    if (!expected) {
        r->held = true;
        return give_gap(r, r->e.seq - 1, r->e.generation, r->any ? FEED_WHY_ERROR : FEED_WHY_OLD, ret);
    }
    r->any = true;
    if (r->since && r->e.time.sec < r->since) {
        r->seq = r->e.seq;
        r->generation = r->e.generation;
        return 0;
    }
    return give(r, ret);
}

int feed_read(struct feed_reader *r, struct feed_event *ret)
{
    int q;

    if (r->held) {
        r->held = false;
        return give(r, ret);
    }
    if (r->seq == UINT64_MAX)
        return give_lost(r, FEED_WHY_CURSOR, ret);
    for (;;) {
        q = next_in_buffer(r);
        if (q > 0 && pass(r, ret))
            return 1;
        if (q > 0)
            continue;
        if (q < 0) {
            buf_clear(&r->data);
            r->at = 0;
            r->off = r->end;
        }
        if (r->seg && r->off < r->end) {
            if ((q = refill(r)) < 0)
                return q;
            continue;
        }
        uint64_t was = r->limit;
        struct feed_segment *seg = r->seg;
        if (!look(r) || (r->seg == seg && r->limit == was))
            break;
    }
    if (r->limit > r->seq + r->check)     /* numbers that never came into a file */
        return r->check ? give_lost(r, FEED_WHY_CRASH, ret) : give_gap(r, r->limit, r->f->generation, FEED_WHY_ERROR, ret);
    return 0;
}

bool feed_wait(struct feed_reader *r, unsigned ms)
{
    struct feed *f = r->f;
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += ms / 1000;
    end.tv_nsec += (long)(ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&f->lock);
    f->waiting++;
    while (f->shown <= r->seq + r->check && !f->ended && pthread_cond_timedwait(&f->more, &f->lock, &end) == 0)
        ;
    f->waiting--;
    bool more = f->shown > r->seq + r->check;
    pthread_mutex_unlock(&f->lock);
    return more;
}
