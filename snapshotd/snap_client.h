/* The client of snapshotd: what the command and other daemons link. Not thread-safe: one connection per thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

struct snap_client;
struct snap_error { char code[32], message[2048]; };   /* message: for people, made by the daemon (or here, when it cannot be asked) */

/* Connects to the daemon of the store. -ENOENT: no store directory; -ECONNREFUSED: no daemon runs for it; -EACCES; -errno. */
int snap_connect(const char *store, struct snap_client **ret);
/* A client over a socket that somebody else connected (takes it, also on errors). 0 or -ENOMEM. */
int snap_adopt(int sock, struct snap_client **ret);
/* Is the daemon still at the other end? False as soon as it closed (also when it said why: that can still be read). */
bool snap_alive(const struct snap_client *c);
/* A call that broke: it never reached the daemon, so that it may be made again on another connection, whatever it does. */
bool snap_unsent(const struct snap_client *c);
/* A request that only tells something, or does the same when it is done twice: if the connection breaks it may be made again. */
bool snap_repeatable(const json_t *req);
/* From any thread: a call under way on it ends with an error, and so do later ones. NULL is fine. */
void snap_cut(struct snap_client *c);
void snap_close(struct snap_client *c);                /* NULL is fine */

/* A part of an answer: kind "progress", "more" or "mount" and its body (borrowed); fds came with it: take with TAKE_FD, what is left is
 * closed. Negative: the call is given up (the connection is of no more use) and it returns this. */
typedef int snap_part_fn(void *arg, struct snap_client *c, const char *kind, json_t *body, int *fds, unsigned fd_count);
/* One request (reference stolen) and its answer. 0: *ret is the owned body of "ok" (ret may be NULL); -EREMOTEIO: the daemon refused or
 * failed; another -errno: the connection broke. *ret_err is filled for every error. fn may be NULL: parts are dropped. */
int snap_call(struct snap_client *c, json_t *req, const int *fds, unsigned fd_count, snap_part_fn *fn, void *arg, json_t **ret,
              struct snap_error *ret_err);
/* Like snap_call, and what came as "more" is put into the result's arrays. Other parts go to fn. */
int snap_collect(struct snap_client *c, json_t *req, const int *fds, unsigned fd_count, snap_part_fn *fn, void *arg, json_t **ret,
                 struct snap_error *ret_err);
/* Sends a request without waiting; its answer is then read with snap_answer(). For verbs whose input is fed meanwhile. */
int snap_request(struct snap_client *c, json_t *req, const int *fds, unsigned fd_count, struct snap_error *ret_err);
int snap_answer(struct snap_client *c, snap_part_fn *fn, void *arg, json_t **ret, struct snap_error *ret_err);
/* For part functions: unframed bytes that follow (verb diff), and the client's word in between (verb mount). 0 or -errno. */
int snap_client_raw(struct snap_client *c, void *p, size_t n);
int snap_client_send(struct snap_client *c, json_t *msg);      /* steals msg */

/* Verb mount. attach is given the detached mount (borrowed descriptor): it puts it in place, or keeps a dup; 0 or -errno, which ends the
 * mount. attach NULL: move_mount() to dir, an absolute path. options may be NULL (stolen). *ret as snap_call. */
typedef int snap_attach_fn(void *arg, int mount_fd);
int snap_mount(struct snap_client *c, const char *object, const char *dir, json_t *options, snap_attach_fn *attach, void *arg, json_t **ret,
               struct snap_error *ret_err);

/* Starts the daemon of a store unless one runs, and connects. program: path of snapshotd. create: makes the store if there is none.
 * idle_exit_s: 0 = stays. One starter at a time (the others wait for it). 0; or -errno with text in *ret_err. */
int snap_start(const char *program, const char *store, bool create, unsigned idle_exit_s, struct snap_client **ret,
               struct snap_error *ret_err);
