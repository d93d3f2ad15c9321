/* sandboxd's side of launch_proto.h: requests in flight by tag, events. */
#pragma once
#include "sandbox/launch_proto.h"
#include "sandbox/sandboxd.h"
struct launcher;
/* The answer (err set if it failed); descriptors are owned by the callee. */
typedef void launch_fn(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count);
struct launcher *launcher_new(struct sandboxd *sd, int control_fd, launch_fn *event, void *arg);   /* event: LAUNCH_GONE, LAUNCH_BOX of a list */
void launcher_free(struct launcher *l);
void launcher_ask(struct launcher *l, struct launch_packet *p, const int *fds, unsigned fd_count, launch_fn *fn, void *arg);
/* Blocking, for the start of sandboxd and for the stock's threads (own mutex): only LAUNCH_STORE. */
int launcher_store_fd(struct launcher *l);
