/* What a box stands on, faked: a launcher and agents on the test's main loop, and a snapshotd on threads. Each call of the box to them is a step with a number;
 * the test says at which step something fails, and afterwards asks what was left behind. */
#pragma once
#include "sandbox/box.h"
#include "sandbox/launch_proto.h"

struct world {
    struct sandboxd sd;
    /* what is to go wrong */
    int fail_at;                          /* step, from 1; 0: none. The steps of one start: LAUNCH requests and calls to snapshotd, in the order in which they come */
    uint64_t layers;                      /* that agents prove */
    bool agent_silent, agent_fatal;
    _Atomic int cuts;                     /* so many requests to snapshotd are done, and its connection ends without an answer */
    bool cut_before;                      /* or without their being done */
    bool served;                          /* snapshotd says that it serves the box's mount */
    bool bare;
    void (*on_frame)(struct world *w, int fd, const struct frame *f);      /* what its agents do with other frames than HELLO and SHUTDOWN; may be NULL */
    int kill_fails;                       /* so many KILLs are answered with -ETIMEDOUT */
    /* what happened */
    _Atomic int steps;
    _Atomic int husks, boxes, mounts;     /* that exist now; mounts: bits */
    _Atomic int snapshots, starts, kills, freezes, thaws, shutdowns;
    _Atomic int asked;                    /* requests to snapshotd that were not cut before */
    _Atomic int roots;                    /* throw-away roots that exist */
    char last_box[LAUNCH_NAME];
    struct launch_limits limits;
};
struct world *world_new(const char *dir);
void world_free(struct world *w);
/* The agent of the box that started last ends without a word; event: the launcher says GONE too. */
void world_agent_dies(struct world *w, bool event, uint64_t oom_kills);
/* What LAUNCH_STORE gave ends, as when snapshotd dies. */
void world_store_dies(struct world *w);
/* Turns the loop until *flag, or fails the test after 10 s. */
void world_run(struct world *w, const bool *flag);
/* Turns the loop until nothing is under way any more. */
void world_settle(struct world *w, struct box *b);
