/* egress as the launcher's child (child.h), and what it is told: which boxes there are, and who may speak to it.
 *
 *   STARTING --HELLO, its file system taken away--> UP --it ends--> STARTING --CHILD_EARLY_MAX ends without HELLO in a row--> OFF --HELLO--> UP
 * UP: it has, or is about to get, the doors of every box that has the bundle of certificates. OFF: doors are shut, and `why` says why; it is tried again all the same, unless it cannot be.
 * Invariant: nothing but the certificate is taken from egress, and no door is given to it before its file system is gone. */
#pragma once
#include "sandbox/egress_proto.h"
#include "sandbox/launcher/child.h"
#include "sandbox/launcher/packets.h"
#include "sandbox/launcher/slot.h"

enum egress_state { EGRESS_STARTING, EGRESS_UP, EGRESS_OFF };
enum { EGRESS_ASKS_MAX = 16, EGRESS_HELLO_MS = 10000 };
struct egress {
    struct child child;
    enum egress_state state;
    char why[256];
    int sock;                             /* the launcher's end; -1: it does not run */
    struct loop_source on_sock;
    struct loop_timer hello_timer;
    struct packet_queue out;
    struct ask asks[EGRESS_ASKS_MAX];     /* LAUNCH_EGRESS while STARTING */
    unsigned ask_count;
    int dir_fd, key_fd;                   /* its directory as a detached mount; the key, sealed */
    const char *key_lives;                /* "file", "memory" */
    int ca_fd, bundle_fd;                 /* what HELLO brought, and the bundle made of it; -1: not yet */
    unsigned bundle_number;               /* 0: none; husks of an older one are not used */
};
extern const struct child_kind egress_kind;
/* Its directory, key and files. -errno with a text for people if an option of the operator is wrong; what is missing of itself only leaves it OFF. */
int egress_init(struct launch *l, char *ret_why, unsigned long size);
void egress_run(struct launch *l);        /* begins to start it */
void egress_fini(struct launch *l);
void egress_ask(struct launch *l, struct ask ask);        /* LAUNCH_EGRESS */
void egress_orphan(struct launch *l);     /* sandboxd has died: nobody waits any more */
bool egress_known(const struct launch *l);                /* husks may be made: STARTING for the first time is over */
/* The box starts (its doors are opened or shut), has ended. */
void egress_add(struct slot *s), egress_remove(struct slot *s);
