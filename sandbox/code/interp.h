/* One interpreter: a driver (sandbox/drivers) that runs in a box as a passive execution with a channel. It says bytes of stdout and stderr, and messages; it is told to run code. What
 * it says is the workload's: every message is bounded and checked, and believed only about itself. Main loop only. docs/code.md has the messages. */
#pragma once
#include <jansson.h>
#include "sandbox/exec.h"

enum code_language { CODE_PYTHON, CODE_JAVASCRIPT, CODE_TYPESCRIPT, CODE_LANGUAGES };
enum { CODE_MESSAGE_MAX = 8 << 20, CODE_BUNDLE_KEYS = 64 };        /* bytes of a message (MESSAGE_MAX of the drivers); representations of one result */
const char *code_language_name(enum code_language l);
/* Names and the usual short ones ("py", "js", "ts", "node", "python3"). -1: no such. */
int code_language_find(const char *name);

struct interp;
struct interp_ops {
    void (*ready)(void *arg);
    void (*text)(void *arg, unsigned stream, const char *p, size_t n);             /* STREAM_OUT or STREAM_ERR; valid UTF-8, n > 0 */
    void (*result)(void *arg, json_t *data, size_t size, bool main);               /* data: object of MIME type and content, borrowed; size of its message in bytes */
    void (*error)(void *arg, const char *name, const char *value, const char *traceback);
    void (*done)(void *arg, uint64_t count, bool ok);                              /* of interp_run() */
    /* It ended: info, or why nobody knows (the box stopped, it could not start). Once, last; it is to be freed then, also from within. */
    void (*gone)(void *arg, const struct exit_info *info, const struct fault *why);
    bool (*full)(void *arg);                                                       /* the client has enough for now: call interp_flow() when it has not */
};
/* The box is RUNNING and held until ready() or gone(). cwd, env as in exec_request; may be NULL. Nothing is called before it returns. */
struct interp *interp_new(struct box *b, enum code_language l, const char *cwd, json_t *env, const struct interp_ops *ops, void *arg);
void interp_own(struct interp *i, const struct interp_ops *ops, void *arg);        /* another owner from now on; not while it runs code */
bool interp_ready(const struct interp *i);                                         /* and it runs nothing */
const char *interp_driver(const struct interp *i);                                 /* "python 3.11.2"; "" before it is ready */
const char *interp_exec_id(const struct interp *i);                                /* of its execution; "" before it has started */
void interp_run(struct interp *i, const char *code, size_t n);
/* KeyboardInterrupt in Python; stops JavaScript; SIGINT for children in its group. fn when it has been sent: until then no other code is run. */
void interp_interrupt(struct interp *i, void (*fn)(void *arg), void *arg);
void interp_flow(struct interp *i);
void interp_free(struct interp *i);                                                /* kills it with all that it started; no more calls; NULL is fine */
