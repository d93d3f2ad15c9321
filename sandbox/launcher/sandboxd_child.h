/* sandboxd as the launcher's child: started, confined, started again when it ends.
 *   NONE --start--> RUNNING --exit--> WAITING (back-off, doubled for those that end early) --timer--> RUNNING */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "sandbox/launcher/loop.h"

struct launch;
struct sandboxd_child {
    int pidfd, program_fd;
    struct loop_source on_exit;
    struct loop_timer again;
    uint64_t started_ns, back_off_ms;
    unsigned early;                       /* ends in a row before it has answered */
};
int sandboxd_start(struct launch *l);     /* 0 or -errno: then it is tried again later */
void sandboxd_kill(struct launch *l);     /* it is of no use: killed and started anew */
void sandboxd_end(struct launch *l);      /* SIGTERM, and not started again (launch.ending) */
void sandboxd_answers(struct launch *l);  /* it has said HELLO */
bool sandboxd_lives(const struct launch *l);

/* sandboxd_cage.c: in the child; everything of sandboxd's confinement. Ends in execve; returns -errno with the step. */
struct cage { const char *program, *dirs[2] /* shown; NULL: none */; int program_fd; unsigned uid; char *const *argv, *const *env; };
int cage_enter(const struct cage *c, const char **ret_step);
