/* One sequence of numbers per store. The disk holds the first number that was not reserved; a block is reserved, durably, before the first
 * number of it is given out, so a crash skips what is left of a block and never gives one twice. */
#include <errno.h>
#include <pthread.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/wire.h"
#include "fs/meta.h"
#include "fs/object.h"

enum { COUNTER_BLOCK = 1024 };
static const char counter_key[] = { 'c' };

struct counter {
    struct meta *meta;
    pthread_mutex_t lock;
    uint64_t next, limit;                 /* numbers in [next, limit) are ours */
};

int counter_open(struct meta *m, struct counter **ret)
{
    _cleanup_free_ uint8_t *val = NULL;
    uint64_t first = 1;
    struct counter *c;
    size_t n;
    int r = meta_get(m, CF_OBJECT, counter_key, sizeof counter_key, &val, &n);

    if (r < 0 && r != -ENOENT)
        return r;
    if (r == 0) {
        if (n != 8 || le64(val) == 0)
            return -EUCLEAN;
        first = le64(val);
    }
    c = mem_zalloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    c->meta = m;
    c->next = c->limit = first;
    pthread_mutex_init(&c->lock, NULL);
    *ret = c;
    return 0;
}

void counter_close(struct counter *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static int reserve(struct counter *c)
{
    struct batch *b = batch_new();
    uint8_t val[8];
    int r;

    if (!b)
        return -ENOMEM;
    put_le64(val, c->limit + COUNTER_BLOCK);
    batch_put(b, CF_OBJECT, counter_key, sizeof counter_key, val, sizeof val);
    r = meta_write(c->meta, b, true);
    batch_free(b);
    if (r == 0)
        c->limit += COUNTER_BLOCK;
    return r;
}

int counter_next(struct counter *c, uint64_t *ret)
{
    int r = 0;

    pthread_mutex_lock(&c->lock);
    if (c->next == c->limit)
        r = reserve(c);
    if (r == 0)
        *ret = c->next++;
    pthread_mutex_unlock(&c->lock);
    return r;
}
