/* Runs random operations on a thing under test and on the model, compares, and cuts a failing list down to what is needed. */
#pragma once
#include "tests/model/fs_ops.h"

struct model_target {
    const struct fs_ops *ops;
    unsigned caps;                        /* what of the operations to use */
    /* A new, empty thing under test with an empty workspace 0. NULL on failure (said on stderr). */
    void *(*open)(void *self);
    void (*close)(void *self, void *ctx);
    void *self;
    unsigned check_every;                 /* operations between comparisons of whole trees */
    bool once;                            /* what happens depends on others too: a failing list is printed, not run again and cut */
};
struct model_result { unsigned long runs, ops; };
/* One run of count operations. 0; 1: failed (printed with seed and minimal list); 2: could not run. */
int model_run(const struct model_target *t, uint64_t seed, unsigned count, struct model_result *res);
/* The whole program: `PROGRAM [SECONDS [SEED [OPS]]]`; one run after the other, from SEED up (default:
 * tests/lib/seed.h, always the same; COPPICE_SEED=random for others), until the time is over or one fails. Prints a closing line. */
int model_main(const struct model_target *t, const char *name, int argc, char **argv);
