#include "sandbox/run/boxed.h"

#include "sandbox/exec.h"

static void boxed_over(void *p)
{
    struct boxed *x = p;

    if (x->over)
        x->over(x);
    x->c = NULL;
    boxed_unref(x);
}

/* The client left. State is freed (boxed_over) after this returns; that some streams must be told at once is what `over` is for. */
static void boxed_gone(void *p) { (void)p; }

void *boxed_new(struct http_call *c, size_t size, void (*over)(void *self), void (*fini)(void *self))
{
    struct boxed *x = g_malloc0(size);

    x->c = c;
    x->refs = 1;
    x->over = over;
    x->fini = fini;
    http_set_state(c, x, boxed_over);
    http_on_gone(c, boxed_gone);
    return x;
}

void *boxed_ref(void *self)
{
    ((struct boxed *)self)->refs++;
    return self;
}

void boxed_unref(void *self)
{
    struct boxed *x = self;

    if (--x->refs)
        return;
    if (x->fini)
        x->fini(x);
    if (x->held)
        box_release(x->b);
    if (x->b)
        box_unref(x->b);
    g_free(x);
}

static void on_running(void *arg, struct box *b, const struct fault *fault)
{
    struct boxed *x = arg;

    x->held = !fault;
    if (x->c && fault)
        http_fault(x->c, fault);
    else if (x->c)
        x->run(x);
    boxed_unref(x);
}

static void on_found(void *arg, struct box *b, const struct fault *fault, enum boxed_how how)
{
    struct boxed *x = arg;

    if (b)
        x->b = box_ref(b);
    if (!x->c) {
        boxed_unref(x);
    } else if (fault) {
        http_fault(x->c, fault);
        boxed_unref(x);
    } else if (how == BOXED_EXISTING && (b->state == BOX_ASLEEP || b->state == BOX_DELETING)) {
        http_fail(x->c, "not_found", "sandbox %s is not running, so no command runs in it: what ran there ended when it stopped", b->name);
        boxed_unref(x);
    } else if (how == BOXED_LOOK) {
        x->run(x);
        boxed_unref(x);
    } else {
        box_need(b, on_running, x);
    }
}

static void on_found_look(void *arg, struct box *b, const struct fault *fault) { on_found(arg, b, fault, BOXED_LOOK); }
static void on_found_run(void *arg, struct box *b, const struct fault *fault) { on_found(arg, b, fault, BOXED_RUN); }
static void on_found_existing(void *arg, struct box *b, const struct fault *fault) { on_found(arg, b, fault, BOXED_EXISTING); }

void boxed_go(void *self, enum boxed_how how, void (*run)(void *self))
{
    struct boxed *x = boxed_ref(self);

    x->run = run;
    box_get(http_sandboxd(x->c), http_param(x->c, "id"), how == BOXED_LOOK ? on_found_look : how == BOXED_RUN ? on_found_run : on_found_existing, x);
}

struct exec *boxed_exec(void *self)
{
    struct boxed *x = self;
    struct exec *e = exec_find(x->b, http_param(x->c, "eid"));

    if (!e)
        http_fail(x->c, "not_found", "sandbox %s has no execution %.32s: it never was, or it ended and has been forgotten", x->b->name, http_param(x->c, "eid"));
    return e;
}
