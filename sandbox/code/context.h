/* Code contexts: interpreters with names, whose state stays from one run to the next. They live in memory only: when the box sleeps, stops or is deleted they are gone, and a fork has
 * none of them. Runs of one context take turns. A run holds the box; a context without one does not: it may be frozen, and sleep ends it. Main loop only. */
#pragma once
#include "sandbox/code/interp.h"

enum { CONTEXTS_MAX = 32, CODE_RUNS_MAX = 32, CODE_EARLY_BYTES = 64 * 1024, CODE_GRACE_MS = 2000 };   /* of a box; waiting in a context; output between runs that is kept; after a timeout's interrupt */
struct context; struct code_run;
struct code_run_ops {
    void (*failed)(void *arg, const struct fault *fault);          /* it never began. The last call */
    void (*start)(void *arg, const char *context, bool fresh);     /* fresh: nothing has run in this interpreter yet */
    void (*text)(void *arg, unsigned stream, const char *p, size_t n);
    void (*result)(void *arg, json_t *data, size_t size, bool main);
    void (*error)(void *arg, const char *name, const char *value, const char *traceback);
    void (*done)(void *arg, uint64_t count, bool ok);              /* the last call. count: of the interpreter; 0: it is no more */
    bool (*full)(void *arg);
};
typedef void context_fn(void *arg, struct context *c, const struct fault *fault);

/* NULL: no such (any more); fault_set_context() says it to people. */
struct context *context_find(struct box *b, const char *id);
void context_fault(struct fault *ret, const struct box *b, const char *id);
/* The box is RUNNING. id: not there yet; NULL: one is made up. NULL: CONTEXTS_MAX are there (fault is set). */
struct context *context_new(struct box *b, enum code_language l, const char *id, const char *cwd, json_t *env, struct fault *fault);
/* fn, once, when it is ready to run code, or why it will never be (it is gone then). Perhaps at once. */
void context_wait(struct context *c, context_fn *fn, void *arg);
json_t *context_json(const struct context *c);
json_t *contexts_json(struct box *b);
void context_delete(struct context *c);
/* A fresh interpreter under the same name; what ran or waited ends. fn as context_wait(). */
void context_restart(struct context *c, context_fn *fn, void *arg);
bool context_interrupt(struct context *c);                         /* false: nothing runs */

/* timeout_ms 0: none. NULL: CODE_RUNS_MAX wait already. Calls may come before it returns. */
struct code_run *code_run_new(struct context *c, const char *code, size_t n, uint32_t timeout_ms, const struct code_run_ops *ops, void *arg);
void code_run_leave(struct code_run *r);                           /* no more calls; the code goes on, what it says is dropped. Before done() or failed() only */
void code_run_flow(struct code_run *r);                            /* not full any more */
