/* A program that the launcher keeps running, over a control pair: started, started again when it ends.
 *   NONE --start--> RUNNING --exit--> WAITING (back-off, doubled for those that end early) --timer--> RUNNING */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "sandbox/launcher/loop.h"

struct launch; struct child;
struct child_kind {
    const char *name;                     /* for the log */
    uint64_t namespaces;                  /* CLONE_NEW* */
    unsigned back_off_max_ms;
    void (*run)(struct launch *l, int control_end);   /* in the child: does not return */
    int (*met)(struct launch *l, int fd); /* takes the launcher's end of the pair. 0 or -errno: then it is killed */
    void (*ended)(struct launch *l);      /* it was waited for; if it is started again, that comes after this */
};
struct child {
    const struct child_kind *kind;
    struct launch *l;
    int pidfd, program_fd;
    struct loop_source on_exit;
    struct loop_timer again;
    uint64_t started_ns, back_off_ms;
    unsigned early;                       /* ends in a row before it has answered */
};
enum { CHILD_EARLY_MAX = 3 };
void child_init(struct child *c, struct launch *l, const struct child_kind *kind);
int child_start(struct child *c);         /* 0 or -errno: then it is tried again later */
void child_kill(struct child *c);         /* it is of no use: killed and started anew */
void child_end(struct child *c);          /* SIGTERM, and not started again (launch.ending) */
bool child_lives(const struct child *c);

/* --- for `run` --- */
/* Puts fds[i] at the number first + i, without close-on-exec; the program's descriptor above them; all others are closed. */
int child_place_fds(const int *fds, unsigned n, int first, int *program_fd);
struct cage;
_Noreturn void child_enter(const struct child *c, const int *fds, unsigned n, int first, struct cage *cage);
