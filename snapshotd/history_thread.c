/* When passes are made: at the start, when one said it would be due, when a policy or a label changes, and now and then in case the clock was set. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/verbs.h"
#include "snapshotd/history.h"

enum { LOOK_S = 600, GC_S = 3600, AGAIN_MIN_S = 1, NICENESS = 10 };
#define SECOND_NS 1000000000ull

/* Space of what was removed, at most once an hour. Folds wait for it, writers do not. */
static void free_space(struct history *h, uint64_t *last_ns)
{
    struct gc_report rep;

    if (!h->removed || (*last_ns && clock_mono_ns() - *last_ns < GC_S * SECOND_NS))
        return;
    h->removed = false;
    *last_ns = clock_mono_ns();
    int r = verb_gc(h->store, false, false, &rep);
    if (r < 0)
        log_warn("step=history_gc err=%s", errno_name(r));
}

static void wait_until(struct history *h, int64_t now, int64_t next)
{
    int64_t s = next <= now ? AGAIN_MIN_S : next - now < LOOK_S ? next - now : LOOK_S;
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += s;
    while (!h->stop && !h->look)
        if (pthread_cond_timedwait(&h->wake, &h->lock, &ts) == ETIMEDOUT)
            break;
}

static void *history_main(void *arg)
{
    struct history *h = arg;
    struct history_report rep;
    uint64_t gc_ns = 0;
    int64_t next;

    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS);
    pthread_mutex_lock(&h->lock);
    while (!h->stop) {
        struct timespec now;
        h->look = false;
        pthread_mutex_unlock(&h->lock);
        clock_real(&now);
        history_pass(h, now.tv_sec, &rep, &next);
        free_space(h, &gc_ns);
        pthread_mutex_lock(&h->lock);
        wait_until(h, now.tv_sec, next);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

int history_start(struct history *h, struct store *s, const struct history_ops *ops, void *arg)
{
    pthread_condattr_t attr;

    *h = (struct history){ .store = s, .ops = ops, .arg = arg };
    pthread_mutex_init(&h->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&h->wake, &attr);
    pthread_condattr_destroy(&attr);
    int r = -pthread_create(&h->thread, NULL, history_main, h);
    h->runs = r == 0;
    return r;
}

void history_wake(struct history *h)
{
    if (!h->runs)
        return;
    pthread_mutex_lock(&h->lock);
    h->look = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
}

void history_stop(struct history *h)
{
    if (!h->runs)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->wake);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    h->runs = false;
    history_fini(h);
}
