/* sandboxd's side of launch_proto.h: requests in flight by tag, events. Main loop only. */
#pragma once
#include "sandbox/launch_proto.h"
#include "sandbox/sandboxd.h"
struct launcher;
/* The answer (op LAUNCH_OK or LAUNCH_FAILED with err and text; LAUNCH_BOX packets of LAUNCH_LIST come before it); descriptors are owned by the callee. */
typedef void launch_fn(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count);
/* event: LAUNCH_GONE; NULL packet: the launcher is gone, and sandboxd is of no use without it. Takes control_fd. */
struct launcher *launcher_new(struct sandboxd *sd, int control_fd, launch_fn *event, void *arg);
/* Requests without an answer are dropped: nobody is called. */
void launcher_free(struct launcher *l);
/* fds are sent and stay the caller's (they are duplicated if the packet must wait for room). At most LAUNCH_WAITING_MAX requests are under way; more are answered LAUNCH_FAILED with -EBUSY. */
enum { LAUNCH_WAITING_MAX = 8192, LAUNCH_FDS_MAX = 1 + LAUNCH_MOUNTS_MAX };
void launcher_ask(struct launcher *l, struct launch_packet *p, const int *fds, unsigned fd_count, launch_fn *fn, void *arg);
