/* The control pair: requests of sandboxd come in, answers and events go out.
 * While answers wait because sandboxd does not read, no more requests are taken: what waits is bounded by what was asked. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "sandbox/launch_proto.h"
#include "sandbox/launcher/loop.h"
#include "sandbox/launcher/packets.h"
#include "sandbox/launcher/slot.h"

struct launch;
struct control {
    int fd;                               /* the launcher's end; -1: there is no sandboxd */
    uint64_t life;                        /* number of the sandboxd that it belongs to */
    struct loop_source source;
    struct packet_queue out;
};
void control_init(struct control *c);
int control_open(struct launch *l, int fd);            /* takes fd; a new life begins. 0 or -errno */
void control_close(struct launch *l);
/* An answer to ask (dropped if that sandboxd is gone), an event if ask is NULL; fds are duplicated. op, tag are set here. */
void control_send(struct launch *l, const struct ask *ask, uint32_t op, struct launch_packet *p, const int *fds, unsigned fd_count);
void control_ok(struct launch *l, struct ask ask);
void control_failed(struct launch *l, struct ask ask, int err, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
