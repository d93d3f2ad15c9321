/* sandboxd's end of an agent: sends frames (queued while the socket is full, bounded), dispatches what comes. Main loop only. */
#pragma once
#include "sandbox/frame.h"
#include "sandbox/sandboxd.h"
struct agent_link; struct box;
enum { LINK_QUEUE_BYTES = 4 << 20, LINK_ASKS_MAX = 8192 };    /* what waits for an agent that does not read; answers waited for */
/* A frame that was not asked for with agent_link_ask (EXEC_STATE, DATA, EXITED, ...). NULL: the agent is gone. */
typedef void agent_frame_fn(void *arg, struct frame *f);
struct agent_link *agent_link_new(int sock, agent_frame_fn *fn, void *arg);      /* takes sock */
/* Pending asks get a NULL frame before it returns; fn is not called any more. May be called from within fn and from answers. */
void agent_link_free(struct agent_link *l);
uint32_t agent_link_id(struct agent_link *l);                                   /* the next id */
void agent_link_seen(struct agent_link *l, uint32_t id);                        /* of a former life: ids go on above (done for every EXEC_STATE that comes) */
/* 0 or -EPIPE, -ENOBUFS (its queue is full: an agent that does not read), -EMSGSIZE. fd is sent and stays the caller's (closed by him), -1: none. */
int agent_link_send(struct agent_link *l, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n, int fd);
/* As send; the next RESULT or FAILED or STARTED with this id goes to fn (once; NULL when the link ends first). Several with one id are answered in their order. */
int agent_link_ask(struct agent_link *l, uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n, int fd, agent_frame_fn *fn, void *arg_fn);
/* Who asked with this id and arg_fn does not want the answer any more. */
void agent_link_unask(struct agent_link *l, uint32_t id, void *arg_fn);
/* When the first EXEC went out, its STARTED and the first EXITED came (CLOCK_MONOTONIC ns; 0: not yet): for the timeline of a start. */
struct agent_link_times { uint64_t exec_ns, started_ns, exited_ns; };
struct agent_link_times agent_link_times(const struct agent_link *l);
