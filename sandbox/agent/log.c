/* Invariants: next - first <= cap <= max; a run begins at or before `first` if there are bytes; runs are in order of seq and neighbours differ in stream.
 * A program that changes the stream with each byte costs a run per byte: so runs are bounded, too (RUNS_MAX), and the oldest go with their bytes. */
#include "sandbox/agent/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/alloc.h"

enum { RUNS_MAX = 4096, RUNS_LEAST = 8 };
static size_t total;

void log_init(struct log *l, uint32_t max)
{
    *l = (struct log){ .max = max < LOG_LEAST ? LOG_LEAST : max };
}

/* Kept out of children: a fork would keep a copy of each page that is written later, and there are thousands of forks. */
uint8_t *pages_new(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    madvise(p, n, MADV_DONTFORK);
    return p;
}

void pages_free(void *p, size_t n)
{
    if (p)
        munmap(p, n);
}

void log_fini(struct log *l)
{
    total -= log_bytes(l);
    pages_free(l->data, l->cap);
    free(l->runs);
    *l = (struct log){ .max = l->max };
}

size_t log_bytes(const struct log *l)
{
    return (l->data ? l->cap : 0) + l->run_cap * sizeof *l->runs;
}

size_t logs_bytes(void)
{
    return total;
}

size_t log_room(const struct log *l, uint64_t keep)
{
    if (keep >= l->next)
        return l->max;
    if (keep < l->first)
        keep = l->first;
    bool full = l->cap >= l->max || total >= LOGS_BYTES_MAX;     /* it may not grow */
    size_t cap = full && l->data ? l->cap : l->max;
    if (l->run_count == RUNS_MAX && keep < l->runs[(l->run_at + 1) % l->run_cap].seq)
        return 0;
    return l->next - keep >= cap ? 0 : cap - (size_t)(l->next - keep);
}

static struct log_run *run_nth(const struct log *l, unsigned n)
{
    return &l->runs[(l->run_at + n) % l->run_cap];
}

static void drop_to(struct log *l, uint64_t first)
{
    l->first = first;
    while (l->run_count > 1 && run_nth(l, 1)->seq <= first) {
        l->run_at = (l->run_at + 1) % l->run_cap;
        l->run_count--;
    }
    if (first == l->next)
        l->run_count = 0;
}

/* A ring of that size with what is kept (which fits). */
static bool resize(struct log *l, uint32_t cap)
{
    uint8_t *data = pages_new(cap);

    if (!data)
        return false;
    for (uint64_t s = l->first; s < l->next;) {
        size_t from = (size_t)(s % l->cap), to = (size_t)(s % cap), n = (size_t)(l->next - s);
        n = n < l->cap - from ? n : l->cap - from;
        n = n < cap - to ? n : cap - to;
        memcpy(data + to, l->data + from, n);
        s += n;
    }
    pages_free(l->data, l->cap);
    total = total - (l->data ? l->cap : 0) + cap;
    l->data = data;
    l->cap = cap;
    return true;
}

static uint32_t cap_for(const struct log *l, size_t bytes)
{
    uint32_t cap = LOG_LEAST;

    while (cap < bytes && cap < l->max)
        cap *= 2;
    return cap > l->max ? l->max : cap;
}

/* Room for n more bytes, by memory or at the price of the oldest. */
static bool make_room(struct log *l, size_t n)
{
    size_t want = (size_t)(l->next - l->first) + n;
    uint32_t cap = cap_for(l, want);

    if (cap > l->cap && (!l->data || total + cap - l->cap <= LOGS_BYTES_MAX || cap <= LOG_LEAST))
        resize(l, !l->data && total + cap > LOGS_BYTES_MAX ? LOG_LEAST : cap);
    if (!l->data)
        return false;
    if (want > l->cap)
        drop_to(l, want - l->cap > l->next - l->first ? l->next : l->first + (want - l->cap));
    return true;
}

static bool runs_grow(struct log *l)
{
    unsigned cap = l->run_cap ? l->run_cap * 2 : RUNS_LEAST;
    struct log_run *runs = mem_alloc(cap * sizeof *runs);

    if (!runs)
        return false;
    for (unsigned i = 0; i < l->run_count; i++)
        runs[i] = *run_nth(l, i);
    free(l->runs);
    total += (cap - l->run_cap) * sizeof *runs;
    l->runs = runs;
    l->run_at = 0;
    l->run_cap = cap;
    return true;
}

static bool run_put(struct log *l, uint8_t stream)
{
    if (l->run_count && run_nth(l, l->run_count - 1)->stream == stream)
        return true;
    if (l->run_count == RUNS_MAX)
        drop_to(l, run_nth(l, 1)->seq);
    if (l->run_count == l->run_cap && !runs_grow(l)) {
        if (l->run_count < 2)
            return false;
        drop_to(l, run_nth(l, 1)->seq);
    }
    l->run_count++;
    *run_nth(l, l->run_count - 1) = (struct log_run){ l->next, stream };
    return true;
}

void log_put(struct log *l, uint8_t stream, const uint8_t *p, size_t n)
{
    while (n) {
        size_t part = l->data && n > l->cap && l->cap == l->max ? l->cap : n;
        if (part > l->max)
            part = l->max;
        if (!make_room(l, part) || !run_put(l, stream)) {
            l->next += n;
            drop_to(l, l->next);
            return;
        }
        if (part > l->cap)
            part = l->cap;
        for (size_t done = 0; done < part;) {
            size_t at = (size_t)((l->next + done) % l->cap), k = part - done < l->cap - at ? part - done : l->cap - at;
            memcpy(l->data + at, p + done, k);
            done += k;
        }
        l->next += part;
        p += part;
        n -= part;
    }
}

size_t log_peek(const struct log *l, uint64_t seq, const uint8_t **ret_p, uint8_t *ret_stream)
{
    unsigned lo = 0, hi = l->run_count - 1;

    while (lo < hi) {                        /* the last run that begins at or before seq */
        unsigned mid = (lo + hi + 1) / 2;
        if (run_nth(l, mid)->seq <= seq)
            lo = mid;
        else
            hi = mid - 1;
    }
    uint64_t end = lo + 1 < l->run_count ? run_nth(l, lo + 1)->seq : l->next;
    size_t at = (size_t)(seq % l->cap), n = (size_t)(end - seq);
    *ret_p = l->data + at;
    *ret_stream = run_nth(l, lo)->stream;
    return n < l->cap - at ? n : l->cap - at;
}

void log_trim(struct log *l)
{
    if (!l->data)
        return;
    size_t used = (size_t)(l->next - l->first);
    uint32_t cap = cap_for(l, used);
    if (used == 0) {
        pages_free(l->data, l->cap);
        total -= l->cap;
        l->data = NULL;
        l->cap = 0;
    } else if (cap < l->cap) {
        resize(l, cap);
    }
}
