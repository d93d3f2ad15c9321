/* One event is taken at a time, so that a source that its neighbour's function ended cannot come up again from a batch. */
#include "sandbox/launcher/loop.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"

int loop_init(struct loop *l)
{
    *l = (struct loop){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
    return l->epoll_fd < 0 ? -errno : 0;
}

void loop_fini(struct loop *l)
{
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    l->epoll_fd = -1;
}

int loop_watch(struct loop *l, struct loop_source *s, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events), void *arg)
{
    struct epoll_event e = { .events = events, .data.ptr = s };

    *s = (struct loop_source){ .fd = -1, .fn = fn, .arg = arg };
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e))
        return -errno;
    s->fd = fd;
    return 0;
}

int loop_rewatch(struct loop *l, struct loop_source *s, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = s };

    return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, s->fd, &e) ? -errno : 0;
}

void loop_unwatch(struct loop *l, struct loop_source *s)
{
    if (s->fn && s->fd >= 0)
        epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    s->fd = -1;
}

void loop_disarm(struct loop_timer *t)
{
    if (!t->due_ns)
        return;
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    t->due_ns = 0;
}

void loop_arm(struct loop *l, struct loop_timer *t, uint64_t us, void (*fn)(void *arg), void *arg)
{
    struct loop_timer **at = &l->timers;

    loop_disarm(t);
    t->due_ns = clock_mono_ns() + us * 1000;
    t->fn = fn;
    t->arg = arg;
    while (*at && (*at)->due_ns <= t->due_ns)
        at = &(*at)->next;
    t->next = *at;
    t->link = at;
    if (t->next)
        t->next->link = &t->next;
    *at = t;
}

/* Calls what is due; returns the milliseconds to the next (rounded up), -1: none. */
static int run_timers(struct loop *l)
{
    uint64_t now = clock_mono_ns();

    while (!l->stop && l->timers && l->timers->due_ns <= now) {
        struct loop_timer *t = l->timers;
        loop_disarm(t);
        t->fn(t->arg);
    }
    if (!l->timers)
        return -1;
    uint64_t ms = l->timers->due_ns <= now ? 0 : (l->timers->due_ns - now + 999999) / 1000000;
    return ms > 60000 ? 60000 : (int)ms;
}

int loop_run(struct loop *l)
{
    struct epoll_event e;

    for (;;) {
        int ms = run_timers(l);
        if (l->stop)
            return 0;
        int n = epoll_wait(l->epoll_fd, &e, 1, ms);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 1) {
            struct loop_source *s = e.data.ptr;
            s->fn(s->arg, e.events);
        }
        if (l->stop)
            return 0;
    }
}
