/* One connection to snapshotd that is held open without being used. While it lives snapshotd does not end for being idle, and its end is how a death of snapshotd is noticed:
 * then another is made, and the daemon that is there now is asked which mounts it serves. Those that it took over from the one before go on. Main loop only. */
#pragma once
#include <jansson.h>
#include "sandbox/sandboxd.h"
struct keeper;
struct keeper_events {
    void (*ended)(void *arg);             /* snapshotd went away; what it served waits, or is lost */
    /* What is served now: an array as of verb mounts (borrowed). NULL: no daemon could be had, so none of the mounts is there. After each ended() once, unless ended() comes again. */
    void (*served)(void *arg, json_t *mounts);
};
/* Uses the launcher and the stock of sd. The events are copied. */
struct keeper *keeper_new(struct sandboxd *sd, const struct keeper_events *e, void *arg);
void keeper_free(struct keeper *k);       /* before the stock; NULL is fine */
