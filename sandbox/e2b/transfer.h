/* A call that carries files: what GET and POST /files share. */
#pragma once
#include "sandbox/e2b/fs.h"
struct e2b_transfer { struct e2b_fs s; bool over; /* answered, or the client left */ };
/* The state of a call, zeroed, that begins with a struct e2b_transfer; go() when the box runs: found by its header, or by who signed the URL for this operation ("read", "write"). */
void *e2b_transfer_start(struct http_call *c, size_t size, const char *operation, void (*fini)(void *self), void (*go)(void *self));
void e2b_transfer_path(struct e2b_transfer *t, const char *path);
/* Starts the operation of s.q on the path. What cannot be is answered, and over. */
void e2b_transfer_begin(struct e2b_transfer *t, const struct file_ops *ops);
void e2b_transfer_fail(struct e2b_transfer *t, int status, const char *step);
