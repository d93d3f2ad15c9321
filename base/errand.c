#include "base/errand.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>
#include <linux/close_range.h>

struct errand { int fd, result; int (*fn)(void *arg, int fd); void *arg; };

static void *run(void *arg)
{
    struct errand *e = arg;

    /* The first call makes the table this thread's own, without what is above fd. */
    if (close_range((unsigned)e->fd + 1, ~0u, CLOSE_RANGE_UNSHARE) || (e->fd > 3 && close_range(3, (unsigned)e->fd - 1, 0)))
        e->result = -errno;
    else
        e->result = e->fn(e->arg, e->fd);
    return NULL;
}

int errand_run(int fd, int (*fn)(void *arg, int fd), void *arg)
{
    struct errand e = { .fd = fd, .fn = fn, .arg = arg };
    pthread_t t;

    if (fd < 3)
        return -EBADF;
    int r = -pthread_create(&t, NULL, run, &e);
    if (r)
        return r;
    pthread_join(t, NULL);
    return e.result;
}
