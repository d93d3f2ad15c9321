/* Boxes, from the launcher's side: a table of slots. A slot is a husk in the making, a husk that waits, or a sandbox that lives.
 *
 *   FREE -> MAKING -> READY -> (LEASED by PREPARE) -> STARTING -> RUNNING -> ENDING -> FREE
 *              |        |             |                  |  failed            ^
 *              +--------+-------------+------------------+-------------------+
 * ENDING: its pid 1 was killed or has died; then its control group is removed and its ids are given back. Whoever asked for something that ends
 * there (a kill, a start that failed) is answered when nothing is left. Frozen is a flag of RUNNING. */
#pragma once
#include <stdbool.h>
#include <sys/types.h>
#include "sandbox/egress_proto.h"
#include "sandbox/launch_proto.h"
#include "sandbox/launcher/loop.h"

struct launch;
enum slot_state { SLOT_FREE, SLOT_MAKING, SLOT_READY, SLOT_LEASED, SLOT_STARTING, SLOT_RUNNING, SLOT_ENDING };
enum slot_egress { SLOT_EGRESS_NONE, SLOT_EGRESS_WANTED /* as soon as it can be told */, SLOT_EGRESS_ADDED };
/* Who waits for an answer: sandboxd's tag, and which sandboxd (its number); tag 0: nobody. */
struct ask { uint32_t tag; uint64_t life; };
struct slot {
    struct launch *l;
    unsigned index;
    enum slot_state state;
    uint32_t block;                       /* of ids */
    pid_t pid;                            /* of the husk, later the agent; 0: not known yet */
    int pidfd, maker_pidfd, sock, agent_fd, root_fd;
    int doors[EGRESS_DOORS];              /* from READY until it is gone */
    enum slot_egress egress;
    unsigned bundle_number;               /* of the certificates it was made with; 0: none */
    struct loop_source on_sock, on_exit, on_maker;
    struct loop_timer timer;              /* freezing, or ending */
    char box[LAUNCH_NAME];
    uint64_t started_ns, asked_ns;        /* CLOCK_BOOTTIME of the start; when the last question came */
    uint32_t fuse[1 + LAUNCH_MOUNTS_MAX]; /* numbers of the FUSE connections: the root's, the mounts' */
    unsigned fuse_count;                  /* 0 once they were cut */
    bool frozen, want_frozen, rooted, lost;     /* lost: it ended without being asked to */
    bool accounted;
    uint64_t oom_kills, cpu_us;           /* of all, taken at the end */
    unsigned tries;
    struct ask ask;                       /* PREPARE or START, then KILL or ABANDON */
    struct ask freeze_ask;
    int err, status;                      /* of what failed; wait status of pid 1 */
    char why[256];
};

int slots_init(struct launch *l);         /* the first husks are begun. 0 or -errno */
void slots_fini(struct launch *l);
void slots_refill(struct launch *l);      /* keeps LAUNCH_HUSKS ready, as far as few are in the making */
void slots_renew(struct launch *l);       /* there are new certificates: husks with older ones are not used any more */
/* sandboxd has died: what it had only leased goes back, nobody waits any more. */
void slots_orphan(struct launch *l);
void slots_end_all(struct launch *l);     /* kills all; slots_busy() says when it is done */
unsigned slots_busy(const struct launch *l);
unsigned slots_running(const struct launch *l);
struct slot *slot_find(struct launch *l, const char *box);

/* Requests; each answers through control_answer(), now or later. Descriptors stay the caller's. */
void slot_prepare(struct launch *l, struct ask ask);
void slot_start(struct launch *l, const struct launch_packet *p, struct ask ask, const int *fds);
void slot_abandon(struct launch *l, const struct launch_packet *p, struct ask ask);
void slot_freeze(struct launch *l, const struct launch_packet *p, struct ask ask, bool freeze);
void slot_kill(struct launch *l, const struct launch_packet *p, struct ask ask);
void slot_limits(struct launch *l, const struct launch_packet *p, struct ask ask);
void slot_usage(struct launch *l, const struct launch_packet *p, struct ask ask);
void slot_list(struct launch *l, struct ask ask);

/* --- between slot*.c --- */
void slot_end(struct slot *s, int err, const char *why);       /* ends whatever it is; err 0: as asked */
int slot_make(struct launch *l, struct slot **ret);
void slot_drain(struct slot *s);
void slot_ready(struct slot *s);                                /* a husk waits: whoever asked first gets it */
/* slot_doors.c: egress answers (TCP listens), or everything that comes is refused at once. */
void slot_doors(struct slot *s, bool open);
void slot_doors_close(struct slot *s);
/* What START and LIST say of its network, in p->value[at] (LAUNCH_NET_*) and p->text (why not). */
void slot_network(const struct slot *s, struct launch_packet *p, unsigned at);
