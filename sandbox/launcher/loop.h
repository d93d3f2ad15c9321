/* The launcher's event loop: descriptors by epoll, and timers. One thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;
/* What is watched; owned by the caller, who must end it (loop_unwatch) before he closes fd or frees it. fd < 0: not watched. */
struct loop_source { int fd; void (*fn)(void *arg, uint32_t events); void *arg; };
/* Not armed when due_ns is 0. */
struct loop_timer { uint64_t due_ns; void (*fn)(void *arg); void *arg; struct loop_timer *next, **link; };
struct loop { int epoll_fd; bool stop; struct loop_timer *timers; };

int loop_init(struct loop *l);                              /* 0 or -errno */
void loop_fini(struct loop *l);
/* fn(arg, EPOLL*) whenever one of events (level-triggered) is there. 0 or -errno. */
int loop_watch(struct loop *l, struct loop_source *s, int fd, uint32_t events, void (*fn)(void *arg, uint32_t events), void *arg);
int loop_rewatch(struct loop *l, struct loop_source *s, uint32_t events);
void loop_unwatch(struct loop *l, struct loop_source *s);   /* not watched: nothing happens */
/* fn(arg) once, in so many microseconds; sets an armed timer anew. */
void loop_arm(struct loop *l, struct loop_timer *t, uint64_t us, void (*fn)(void *arg), void *arg);
void loop_disarm(struct loop_timer *t);
/* Until stop is set. 0 or -errno. */
int loop_run(struct loop *l);
