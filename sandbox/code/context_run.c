/* The runs of a context: one at a time, the others wait in their order. A run that takes longer than its timeout is interrupted; CODE_GRACE_MS later its interpreter is killed. */
#include <stdio.h>
#include <string.h>

#include "sandbox/code/private.h"

static void run_free(struct code_run *r)
{
    struct box *b = r->b;

    if (r->timer)
        g_source_remove(r->timer);
    g_free(r->code);
    g_free(r);
    box_release(b);
    box_unref(b);
}

/* --- the end --- */
static void run_done(struct context *c, uint64_t count, bool ok)
{
    struct code_run *r = c->run;

    c->run = NULL;
    if (r->ops)
        r->ops->done(r->arg, count, ok);
    run_free(r);
}

void context_run_end(struct context *c, const char *name, const char *value)
{
    if (!c->run)
        return;
    if (c->run->ops)
        c->run->ops->error(c->run->arg, name, value, "");
    run_done(c, 0, false);
}

void context_runs_fail(struct context *c, const struct fault *f)
{
    struct code_run *r;

    while ((r = g_queue_pop_head(&c->runs))) {
        if (r->ops)
            r->ops->failed(r->arg, f);
        run_free(r);
    }
}

/* --- time --- */
static gboolean on_grace(gpointer arg)
{
    struct code_run *r = arg;
    struct context *c = r->c;
    char text[200];

    r->timer = 0;
    snprintf(text, sizeof(text), "the run took longer than %u ms and did not heed the interrupt: its interpreter was ended, its variables are lost", r->timeout_ms);
    c->refs++;
    context_run_end(c, "Timeout", text);
    if (c->cb)
        context_renew(c);
    context_unref(c);
    return G_SOURCE_REMOVE;
}

static gboolean on_timeout(gpointer arg)
{
    struct code_run *r = arg;

    r->timed_out = true;
    r->timer = g_timeout_add(CODE_GRACE_MS, on_grace, r);
    context_interrupt(r->c);
    return G_SOURCE_REMOVE;
}

/* --- begin --- */
static void early_give(struct context *c)
{
    for (unsigned i = 0; i < 2; i++) {
        if (c->early[i]->len && c->run->ops)
            c->run->ops->text(c->run->arg, i ? STREAM_ERR : STREAM_OUT, c->early[i]->str, c->early[i]->len);
        g_string_truncate(c->early[i], 0);
    }
}

void context_pump(struct context *c)
{
    struct code_run *r;

    if (!c->cb || c->run || c->signalling || !interp_ready(c->in) || !(r = g_queue_pop_head(&c->runs)))
        return;
    c->run = r;
    if (r->ops)
        r->ops->start(r->arg, c->id, c->fresh);
    c->fresh = false;
    early_give(c);
    if (r->timeout_ms)
        r->timer = g_timeout_add(r->timeout_ms, on_timeout, r);
    interp_run(c->in, r->code, r->n);
    memset(r->code, 0, r->n);
    g_free(r->code);
    r->code = NULL;
}

struct code_run *code_run_new(struct context *c, const char *code, size_t n, uint32_t timeout_ms, const struct code_run_ops *ops, void *arg)
{
    struct code_run *r;

    if (g_queue_get_length(&c->runs) >= CODE_RUNS_MAX)
        return NULL;
    r = g_new0(struct code_run, 1);
    *r = (struct code_run){ .c = c, .b = box_ref(c->cb->b), .code = g_memdup2(code, n ? n : 1), .n = n, .timeout_ms = timeout_ms, .ops = ops, .arg = arg };
    box_hold(r->b);
    g_queue_push_tail(&c->runs, r);
    context_pump(c);
    return r;
}

void code_run_leave(struct code_run *r)
{
    r->ops = NULL;
    code_run_flow(r);
}

void code_run_flow(struct code_run *r)
{
    if (r->c->run == r)
        interp_flow(r->c->in);
}

/* --- what the interpreter says --- */
static void on_ready(void *arg) { context_ready(arg); }

static void on_text(void *arg, unsigned stream, const char *p, size_t n)
{
    struct context *c = arg;
    GString *early = c->early[stream == STREAM_ERR];

    if (c->run) {
        if (c->run->ops)
            c->run->ops->text(c->run->arg, stream, p, n);
        return;
    }
    g_string_append_len(early, p, (gssize)n);
    if (early->len > CODE_EARLY_BYTES) {     /* the newest is kept, from a character's beginning on */
        size_t cut = early->len - CODE_EARLY_BYTES;
        while (cut < early->len && ((unsigned char)early->str[cut] & 0xc0) == 0x80)
            cut++;
        g_string_erase(early, 0, (gssize)cut);
    }
}

static void on_result(void *arg, json_t *data, size_t size, bool main)
{
    struct context *c = arg;

    if (c->run->ops)
        c->run->ops->result(c->run->arg, data, size, main);
}

static void on_error(void *arg, const char *name, const char *value, const char *traceback)
{
    struct code_run *r = ((struct context *)arg)->run;
    char text[100];

    if (!r->ops)
        return;
    if (r->timed_out && (!strcmp(name, "KeyboardInterrupt") || !strcmp(name, "Interrupted"))) {
        snprintf(text, sizeof(text), "the run took longer than %u ms and was interrupted", r->timeout_ms);
        r->ops->error(r->arg, "Timeout", text, traceback);
    } else {
        r->ops->error(r->arg, name, value, traceback);
    }
}

static void on_done(void *arg, uint64_t count, bool ok)
{
    struct context *c = arg;

    run_done(c, count, ok);
    context_pump(c);
}

static void on_gone(void *arg, const struct exit_info *info, const struct fault *why) { context_gone(arg, info, why); }

static bool on_full(void *arg)
{
    struct context *c = arg;

    return c->run && c->run->ops && c->run->ops->full(c->run->arg);
}

const struct interp_ops context_ops = { .ready = on_ready, .text = on_text, .result = on_result, .error = on_error, .done = on_done, .gone = on_gone, .full = on_full };

/* --- interrupt --- */
static void on_interrupted(void *arg)
{
    struct context *c = arg;

    if (c->signalling)
        c->signalling--;
    context_pump(c);
}

bool context_interrupt(struct context *c)
{
    if (!c->run)
        return false;
    c->signalling++;
    interp_interrupt(c->in, on_interrupted, c);
    return true;
}
