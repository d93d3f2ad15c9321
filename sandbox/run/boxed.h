/* A request that concerns a box: finds the box by the path's {id}, wakes it if asked to, and holds it until the call is over. A route's state begins with it. */
#pragma once
#include "sandbox/box.h"
#include "sandbox/http/http.h"

enum boxed_how {
    BOXED_LOOK,            /* whatever its state */
    BOXED_RUN,             /* started if it sleeps */
    BOXED_EXISTING         /* woken if frozen; if it sleeps, its executions are no more: 404 not_found */
};
struct boxed {
    struct http_call *c;   /* NULL: the call is over */
    struct box *b;
    bool held;
    unsigned refs;
    void (*run)(void *self);           /* the box is there; not called when the client left before */
    void (*over)(void *self);          /* the call is over (answered, or the client left): let go of readers and the like. May be NULL */
    void (*fini)(void *self);          /* nothing refers to it any more: free members. May be NULL */
};
/* size bytes, zeroed, that begin with a struct boxed; freed when the call is over and no reference is left. */
void *boxed_new(struct http_call *c, size_t size, void (*over)(void *self), void (*fini)(void *self));
void boxed_go(void *self, enum boxed_how how, void (*run)(void *self));
void *boxed_ref(void *self);           /* for callbacks that may come after the call */
void boxed_unref(void *self);
struct exec;
/* The execution of the path's {eid}; NULL: answered 404. */
struct exec *boxed_exec(void *self);
