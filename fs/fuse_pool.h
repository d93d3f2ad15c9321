/* Between fuse_pool.c (threads) and fuse_loop.c (what they do). */
#pragma once
#include "fs/fuse_call.h"

void pool_gone(struct mount *m);          /* nobody uses m any more: a worker finishes it */
void pool_wake(struct fuse_pool *p);      /* those that wait on pool->cond look again */
/* An event came: the caller has the reference that arming took. */
void fuse_serve_mount(struct worker *w, struct mount *m);
void fuse_rearm(struct mount *m);         /* after a hold */
