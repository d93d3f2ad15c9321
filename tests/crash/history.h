/* A workload whose every state is known, for judging what a crash left.
 *
 * The operations are drawn from a seed and the model alone, so a process that did them, was killed and is gone can be followed by another.
 * Kept: each version of each place, and which operations made everything before them in a place durable.
 *
 * What is right after a crash with `done` operations finished and the next one perhaps under way:
 *  1. A workspace's names and attributes are those of one version not older than the last durable one.
 *  2. Each 512-byte sector of a file is what it was in one of the versions from the durable one on (data may be written out at any time).
 *  3. A snapshot is exactly what it was, every byte; it is there if its making had returned. */
#pragma once
#include <stdint.h>
#include "tests/model/model.h"
#include "tests/model/op.h"
#include "tests/model/target_ws.h"

struct loose { int op; uint64_t number; struct bytes data; };     /* an open file without a name, after operation op */
struct version { int op; struct mtree tree; };           /* state after operation op; -1: at the start */
struct history {
    struct op *ops;
    int64_t *results;                     /* what the model answered */
    uint8_t *acks;                        /* mask of workspaces made durable by it */
    int count;
    struct { struct version *v; int n; } place[PLACES];
    struct loose *loose;
    int loose_count;
    int64_t start_s;
};

/* Draws count operations from the seed, starting at m (changed). */
void history_make(struct history *h, struct model *m, uint64_t seed, int count);
void history_fini(struct history *h);
/* Does operation i on t and looks at the answer: NULL, or what was wrong. */
const char *history_step(const struct history *h, int i, struct target_ws *t, int64_t *ret_res);
/* Judges an opened store. NULL, or the difference in words. */
const char *history_judge(const struct history *h, int done, struct target_ws *t);
/* Writes the operations to PATH, for whoever looks for the cause. */
void history_dump(const struct history *h, const char *path);
/* A model of what is there now, to go on from. 0 or -errno. */
int history_resume(struct target_ws *t, struct model *ret);
