/* Rates of rules in one box: a bucket for requests and one for bytes, by the name of the rule, so that a change of the rules does not fill them again. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "sandbox/egress/policy_private.h"

#define S 1000000000ull
/* have: tokens; rate: tokens in a second, both times 10^9 */
struct bucket { char rule[64]; uint64_t requests_ns /* when the requests bucket will be full: GCRA's theoretical time of arrival */, bytes_ns, used_ns; };
struct limiter { pthread_mutex_t lock /* innermost */; struct bucket *buckets; unsigned count, cap; };

struct limiter *limiter_new(void)
{
    struct limiter *l = mem_zalloc(sizeof *l);

    if (l)
        pthread_mutex_init(&l->lock, NULL);
    return l;
}

void limiter_free(struct limiter *l)
{
    if (!l)
        return;
    pthread_mutex_destroy(&l->lock);
    free(l->buckets);
    free(l);
}

/* The one of the rule; at POLICY_RULES_MAX the one longest unused is taken. NULL: no memory. */
static struct bucket *bucket_of(struct limiter *l, const struct rule *r, uint64_t now)
{
    struct bucket *b = NULL, *more;

    for (unsigned i = 0; i < l->count && !b; i++)
        if (!strcmp(l->buckets[i].rule, r->name))
            b = &l->buckets[i];
    if (!b && l->count == POLICY_RULES_MAX) {
        b = l->buckets;
        for (unsigned i = 1; i < l->count; i++)
            if (l->buckets[i].used_ns < b->used_ns)
                b = &l->buckets[i];
        memset(b, 0, sizeof *b);
    } else if (!b) {
        if (l->count == l->cap) {
            more = mem_realloc(l->buckets, (l->cap ? l->cap * 2 : 4) * sizeof *more);
            if (!more)
                return NULL;
            l->cap = l->cap ? l->cap * 2 : 4;
            l->buckets = more;
        }
        b = &l->buckets[l->count++];
        memset(b, 0, sizeof *b);
    }
    memcpy(b->rule, r->name, sizeof b->rule);
    b->used_ns = now;
    return b;
}

bool limiter_request(struct limiter *l, const struct rule *r, unsigned *ret_retry_s)
{
    uint64_t now = clock_mono_ns(), each;
    bool ok = false;

    *ret_retry_s = 0;
    if (!r || !r->limits.requests_per_minute)
        return true;
    each = 60 * S / r->limits.requests_per_minute;
    pthread_mutex_lock(&l->lock);
    struct bucket *b = bucket_of(l, r, now);
    if (b) {
        uint64_t at = b->requests_ns > now ? b->requests_ns : now;
        /* a full minute's worth may come at once, then one each `each` */
        ok = at + each <= now + 60 * S || at == now;
        if (ok)
            b->requests_ns = at + each;
        else
            *ret_retry_s = (unsigned)((at + each - now - 60 * S + S - 1) / S);
        if (!ok && !*ret_retry_s)
            *ret_retry_s = 1;
    }
    pthread_mutex_unlock(&l->lock);
    return ok;
}

/* At most one second's worth at once. */
static size_t paced(struct limiter *l, const struct rule *r, size_t n, unsigned *ret_wait_ms)
{
    uint64_t now = clock_mono_ns(), rate = r->limits.bytes_per_second;
    size_t may = 0;

    pthread_mutex_lock(&l->lock);
    struct bucket *b = bucket_of(l, r, now);
    if (b) {
        uint64_t at = b->bytes_ns > now ? b->bytes_ns : now, room_ns = at - now < S ? S - (at - now) : 0;
        uint64_t room = (uint64_t)((unsigned __int128)room_ns * rate / S);
        may = room < n ? (size_t)room : n;
        b->bytes_ns = at + (uint64_t)((unsigned __int128)may * S / rate);
        if (!may) {
            uint64_t need = S / rate < 10000000 ? 10000000 : S / rate;     /* worth of 10 ms, at least one byte */
            *ret_wait_ms = (unsigned)((need - room_ns % need) / 1000000 + 1);
        }
    } else
        *ret_wait_ms = 100;
    pthread_mutex_unlock(&l->lock);
    return may;
}

long limiter_bytes(struct limiter *l, const struct rule *r, bool up, size_t n, uint64_t *total, unsigned *ret_wait_ms)
{
    uint64_t max = !r ? 0 : up ? r->limits.request_bytes : r->limits.response_bytes;

    *ret_wait_ms = 0;
    if (max && *total >= max && n)
        return -EDQUOT;
    if (max && n > max - *total)
        n = (size_t)(max - *total);
    if (n > (1u << 30))
        n = 1u << 30;
    if (r && r->limits.bytes_per_second && n)
        n = paced(l, r, n, ret_wait_ms);
    *total += n;
    return (long)n;
}
