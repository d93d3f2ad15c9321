/* The packets between the launcher and egress (egress_proto.h). What has no room waits: ADDs as a mark on their slot, others in a queue that goes first. */
#pragma once
#include <stdint.h>
struct launch;
int egress_link_open(struct launch *l, int fd);           /* takes fd. 0 or -errno */
void egress_link_close(struct launch *l);                 /* what waits is dropped; all slots have to be added anew */
void egress_link_send(struct launch *l, uint32_t op, const char *box, int fd);      /* fd: duplicated, -1: none. Dropped when it is not UP */
void egress_link_pump(struct launch *l);                  /* sends what can be sent */
/* egress_child.c: HELLO came. ca_fd stays the caller's. */
void egress_hello(struct launch *l, int ca_fd);
