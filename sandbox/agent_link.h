/* sandboxd's end of an agent: sends frames (queued while the socket is full, bounded), dispatches what comes. */
#pragma once
#include "sandbox/frame.h"
#include "sandbox/sandboxd.h"
struct agent_link; struct box;
/* A frame that was not asked for with agent_link_ask (EXEC_STATE, DATA, EXITED, ...). NULL: the agent is gone. */
typedef void agent_frame_fn(void *arg, struct frame *f);
struct agent_link *agent_link_new(int sock, agent_frame_fn *fn, void *arg);      /* takes sock */
void agent_link_free(struct agent_link *l);                                     /* pending asks get a NULL frame */
uint32_t agent_link_id(struct agent_link *l);                                   /* the next id */
void agent_link_seen(struct agent_link *l, uint32_t id);                        /* of a former life: ids go on above */
/* 0 or -EPIPE, -ENOBUFS (its queue is full: an agent that does not read). fd is sent and stays the caller's (closed by him), -1: none. */
int agent_link_send(struct agent_link *l, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n, int fd);
/* As send; the next RESULT or FAILED or STARTED with this id goes to fn (once; NULL when the link ends first). */
int agent_link_ask(struct agent_link *l, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n, int fd, agent_frame_fn *fn, void *arg_fn);
