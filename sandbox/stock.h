/* Calls to snapshotd from the main loop: a pool of threads, each with its own connection (handed out by the launcher, LAUNCH_STORE). Main loop only. */
#pragma once
#include <jansson.h>
#include "sandbox/sandboxd.h"
struct stock;
/* The answer, on the main loop: result (borrowed) or NULL with fault. fd: of stock_mount (owned by the callee), else -1. */
typedef void stock_fn(void *arg, json_t *result, int fd, const struct fault *fault);
/* The launcher of sd is used for connections; NULL only in tests that call stock_set_connect(). */
struct stock *stock_new(struct sandboxd *sd, unsigned threads);
/* Calls that are waiting are dropped without an answer; those on their way are cut off. */
void stock_free(struct stock *s);
/* One request (reference stolen), arrays collected. fds (STOCK_FDS_MAX at most) are duplicated for the call: descriptors of the mounts it concerns. Lost connections are renewed; the request is
 * repeated if it cannot have begun, or may be done twice (a mount, the removal of one object, what snap_repeatable() says); else it fails with "unavailable", and may be done or not. At most STOCK_WAITING_MAX calls wait; more fail with "unavailable". */
enum { STOCK_FDS_MAX = 65, STOCK_WAITING_MAX = 4096 };
void stock_call(struct stock *s, json_t *req, const int *fds, unsigned fd_count, stock_fn *fn, void *arg);
/* Mounts object: fn gets the detached mount; the daemon takes it as attached. options: stolen, may be NULL. */
void stock_mount(struct stock *s, const char *object, json_t *options, stock_fn *fn, void *arg);
/* Test seam: how a thread gets a socket connected to snapshotd: >= 0 or -errno. */
void stock_set_connect(struct stock *s, int (*fn)(void *arg), void *arg);
