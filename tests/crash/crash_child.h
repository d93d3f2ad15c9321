/* The two halves that the crash tests share: a process that does a history, and one that judges what is left. */
#pragma once
#include <stdatomic.h>
#include "tests/crash/history.h"

struct shared { _Atomic int done; _Atomic int state; };   /* in memory shared with the parent */
enum { CHILD_STARTING, CHILD_RUNNING, CHILD_FINISHED };
struct shared *shared_new(void);
void shared_free(struct shared *s);
struct store_options crash_options(uint64_t seed);
/* Opens the store (fresh: makes it), does the operations, notes how many are done. Returns an exit status; prints what was wrong. */
int crash_work(const char *dir, bool fresh, const struct history *h, struct shared *s, uint64_t seed, void (*each)(void *arg, int i), void *arg);
/* Opens, fscks, judges, works on a little, folds, collects, fscks again. In a child with a time limit. 0 ok; else printed. */
int crash_verify(const char *dir, const struct history *h, int done, uint64_t seed);
