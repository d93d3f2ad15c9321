/* Calls to snapshotd from the main loop: a pool of threads, each with its own connection (handed out by the launcher, LAUNCH_STORE). Main loop only.
 *
 * One connection more is held open without being used: while it lives snapshotd does not end for being idle, and its end is how a death of snapshotd is noticed. */
#pragma once
#include <jansson.h>
#include "sandbox/sandboxd.h"
struct stock;
/* The answer, on the main loop: result (borrowed) or NULL with fault. fd: of stock_mount (owned by the callee), else -1. */
typedef void stock_fn(void *arg, json_t *result, int fd, const struct fault *fault);
/* lost: snapshotd went away, and its mounts with it. The launcher of sd is used for connections; NULL only in tests that call stock_set_connect(). */
struct stock *stock_new(struct sandboxd *sd, unsigned threads, void (*lost)(void *arg), void *arg);
/* Calls that are waiting are dropped without an answer; those on their way are cut off. */
void stock_free(struct stock *s);
/* One request (reference stolen), arrays collected. fds (STOCK_FDS_MAX at most) are duplicated for the call: descriptors of the mounts it concerns. Lost connections are renewed; the request is
 * repeated only if it cannot have begun. At most STOCK_WAITING_MAX calls wait; more fail with "unavailable". */
enum { STOCK_FDS_MAX = 65, STOCK_WAITING_MAX = 4096 };
void stock_call(struct stock *s, json_t *req, const int *fds, unsigned fd_count, stock_fn *fn, void *arg);
/* Mounts object: fn gets the detached mount; the daemon takes it as attached. options: stolen, may be NULL. */
void stock_mount(struct stock *s, const char *object, json_t *options, stock_fn *fn, void *arg);
/* Test seam: how a thread gets a socket connected to snapshotd: >= 0 or -errno. */
void stock_set_connect(struct stock *s, int (*fn)(void *arg), void *arg);
