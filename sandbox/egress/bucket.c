#include "sandbox/egress/bucket.h"

#include "base/clock.h"

void bucket_init(struct bucket *b, unsigned per_s, unsigned most)
{
    pthread_mutex_init(&b->lock, NULL);
    b->per_s = per_s;
    b->tokens = b->most = most;
    b->last_ns = clock_mono_ns();
}

bool bucket_take(struct bucket *b, unsigned n)
{
    pthread_mutex_lock(&b->lock);
    uint64_t now = clock_mono_ns();
    b->tokens += (double)(now - b->last_ns) * b->per_s / 1e9;
    b->last_ns = now;
    if (b->tokens > b->most)
        b->tokens = b->most;
    bool ok = b->tokens >= n;
    if (ok)
        b->tokens -= n;
    pthread_mutex_unlock(&b->lock);
    return ok;
}
