/* Directories reached by system calls as a thing under test: any file system, one directory per place. */
#pragma once
#include "tests/model/fs_ops.h"

struct target_dir {
    int root[PLACES];                     /* -1: not there (yet) */
    int h[HANDLES];                       /* -1: closed */
    unsigned h_at[HANDLES];
    /* The world, if there is one: as in fs_ops, with this struct as context. get: opens root[at], -EBADF if not in use. */
    int (*get)(struct target_dir *t, unsigned at);
    const struct fs_ops *world;
    void *arg;
};
extern const struct fs_ops target_dir_ops;
void target_dir_init(struct target_dir *t);
void target_dir_close_handles(struct target_dir *t);
bool target_dir_busy(const struct target_dir *t, unsigned ws);
