/* Calls to snapshotd from the main loop: a pool of threads, each with its own connection (handed out by the launcher, LAUNCH_STORE). */
#pragma once
#include <jansson.h>
#include "sandbox/sandboxd.h"
struct stock;
/* The answer, on the main loop: result (borrowed) or NULL with fault. fd: of stock_mount (owned by the callee), else -1. */
typedef void stock_fn(void *arg, json_t *result, int fd, const struct fault *fault);
struct stock *stock_new(struct sandboxd *sd, unsigned threads);
void stock_free(struct stock *s);
/* One request (reference stolen), arrays collected. fds (STOCK_FDS_MAX at most) are duplicated for the call: descriptors of the mounts it concerns. Lost connections are renewed; the request is
 * repeated only if it cannot have begun. */
enum { STOCK_FDS_MAX = 4 };
void stock_call(struct stock *s, json_t *req, const int *fds, unsigned fd_count, stock_fn *fn, void *arg);
/* Mounts object: fn gets a dup of the detached mount; the daemon takes it as attached. */
void stock_mount(struct stock *s, const char *object, json_t *options, stock_fn *fn, void *arg);
