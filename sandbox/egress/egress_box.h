/* A sandbox as egress sees it: its listeners (they are its identity), its connections, its share of the processor, its counts. Counted: the table has one reference, each connection one. */
#pragma once
#include <semaphore.h>
#include <stdatomic.h>
#include "sandbox/egress/bucket.h"
#include "sandbox/egress/egress.h"

struct conn;
struct door { struct egress_box *box; enum egress_door which; int fd; };
struct egress_box {
    struct egress *e;
    char id[LAUNCH_NAME];
    struct door doors[EGRESS_DOORS];
    bool v6, paused;                       /* listeners are v6 (and v4); TCP doors are not looked at because it has too many connections. The loop's */
    atomic_uint refs;
    sem_t gate;                            /* as many places as there are processors, but one: that is for the others */
    struct bucket mint, mint_denied, dns, dns_events;
    pthread_mutex_t lock;                  /* guards what follows, and each connection's `busy`, `now`, `was`, `secret` */
    struct conn *conns;
    bool gone;
    atomic_uint count;                     /* connections; without the lock */
    atomic_ullong requests, denied, bytes_up, bytes_down, accepted;
};
/* Takes the descriptors on success. In place of one of the same id, which is removed. The loop's thread. */
int egress_box_add(struct egress *e, const char *id, const int fds[EGRESS_DOORS]);
/* Cuts all its connections, closes its listeners. -ENOENT. The loop's thread. */
int egress_box_remove(struct egress *e, const char *id);
/* A reference, or NULL. */
struct egress_box *egress_box_get(struct egress *e, const char *id);
void egress_box_unref(struct egress_box *b);
/* Rules or secrets changed and are in force: cuts what is open and would not be allowed any more (E43). secrets: one was replaced or deleted; also what conn_secret() says. Any thread. */
void egress_box_recheck(struct egress_box *b, bool secrets);
void egress_recheck(struct egress *e, bool secrets);         /* all boxes */
/* May it have one more connection now? The loop's thread. */
bool egress_box_has_room(const struct egress_box *b);
