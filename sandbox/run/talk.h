/* A program of ours that runs in a box as a passive execution, and messages to and from it through its channel: a length (u32, little-endian), then that many bytes.
 *
 *   STARTING  the execution was asked for; what is put waits
 *   RUNNING   messages come and go
 *   OVER      it exited, the box stopped, it could not start or said what is no message (end() was called then), or talk_stop() was: it is killed with all that it started, and forgotten
 *
 * Invariants: at most `max` + 4 bytes of an unfinished message are kept; what was read and is not acknowledged is at most the reader's credit, and is acknowledged at once while a message
 * is unfinished or the owner is not full, so an owner that is full costs that credit and the program waits; nothing is called once it is over.
 * What it says is the workload's word: checked by the owner, believed only about itself. Main loop only. */
#pragma once
#include "sandbox/exec.h"

struct talk;
struct talk_end { const struct exit_info *exit; const struct fault *fault; const char *broken; };     /* how it came; all NULL: it closed its channel */
struct talk_ops {
    void (*message)(void *arg, const uint8_t *p, size_t n);                        /* n > 0 */
    void (*output)(void *arg, unsigned stream, const uint8_t *p, size_t n);        /* its stdout and stderr, n > 0; NULL: not wanted */
    bool (*full)(void *arg);                                                       /* the owner has enough for now: it calls talk_flow() when it has not */
    void (*end)(void *arg, const struct talk_end *end);                            /* the last call */
};
/* q: what to run; channel, passive, hold are set here. The box is RUNNING and held until the first message or end(). Nothing is called before it returns. */
struct talk *talk_start(struct box *b, struct exec_request *q, size_t max, const struct talk_ops *ops, void *arg);
void talk_put(struct talk *t, GBytes *message);        /* takes it */
size_t talk_waiting(const struct talk *t);             /* bytes that were put and are not on their way */
struct exec *talk_exec(const struct talk *t);          /* borrowed; NULL: it has not started */
void talk_flow(struct talk *t);
void talk_broken(struct talk *t, const char *what);    /* for the owner who was given a message that is none: end() comes with it, before this returns */
void talk_stop(struct talk *t);                        /* no more calls */
void talk_free(struct talk *t);                        /* the same, and it is gone; from its ops too; NULL is fine */
