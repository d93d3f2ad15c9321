/* What is done with running processes: list, input, signals, size. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/process.h"
#include "sandbox/term.h"

struct act { struct e2b_call k; struct exec *e; uint8_t *in; size_t n, off; };

static void act_over(void *self)
{
    struct act *a = self;

    if (a->e)
        exec_off_stdin_room(a->e, a);
}

static void act_fini(void *self)
{
    struct act *a = self;

    exec_unref(a->e);
    g_free(a->in);
    e2b_call_fini(a);
}

static void act(struct http_call *c, void (*go)(void *self))
{
    struct act *a = e2b_call_new(c, sizeof(*a), act_over, act_fini);

    if (a)
        e2b_call_rpc(a, go);
}

static void done(struct act *a) { http_reply(a->k.x.c, 200, json_object()); }

/* The process that is meant; NULL: answered. */
static struct exec *find(struct act *a)
{
    struct fault f;
    struct exec *e = e2b_process_find(a->k.x.b, json_object_get(a->k.req, "process"), &f);

    if (!e)
        http_fault(a->k.x.c, &f);
    else
        a->e = exec_ref(e);
    return e;
}

static void list_go(void *self)
{
    struct act *a = self;

    http_reply(a->k.x.c, 200, json_pack("{s:o}", "processes", e2b_processes_json(a->k.x.b)));
}

static void route_list(struct http_call *c) { act(c, list_go); }

/* --- input --- */
static void feed(void *arg)
{
    struct act *a = arg;
    size_t part = MIN(a->n - a->off, exec_stdin_room(a->e));

    if (!exec_stdin_is_open(a->e) || (part && exec_stdin(a->e, a->in + a->off, part) < 0)) {
        http_fail(a->k.x.c, "not_empty", "the process takes no input: it ended, its stdin is closed, or it was started without (stdin: true)");
        return;
    }
    a->off += part;
    if (a->off < a->n)
        exec_on_stdin_room(a->e, feed, a);
    else
        done(a);
}

static void input_go(void *self)
{
    struct act *a = self;
    const json_t *input = json_object_get(a->k.req, "input"), *text = json_object_get(input, "stdin");

    if (!text)
        text = json_object_get(input, "pty");
    if (!(a->in = e2b_bytes(text, &a->n)))
        http_fail(a->k.x.c, "invalid_request", "input: stdin or pty, in base64");
    else if (find(a))
        feed(a);
}

static void route_input(struct http_call *c) { act(c, input_go); }

static void close_go(void *self)
{
    struct act *a = self;

    if (!find(a))
        return;
    if (exec_is_tty(a->e))
        http_fail(a->k.x.c, "not_empty", "the stdin of a terminal is not closed: send it the end-of-file character");
    else if (exec_stdin_is_open(a->e) && exec_stdin_close(a->e) < 0)
        http_fail(a->k.x.c, "not_empty", "the process takes no input any more");
    else
        done(a);
}

static void route_close(struct http_call *c) { act(c, close_go); }

/* --- signals and size --- */
static void signalled(void *arg, const struct fault *fault)
{
    struct act *a = arg;

    if (a->k.x.c && fault)
        http_fault(a->k.x.c, fault);
    else if (a->k.x.c)
        done(a);
    boxed_unref(a);
}

static void signal_go(void *self)
{
    struct act *a = self;
    const json_t *v = json_object_get(a->k.req, "signal");
    const char *name = json_string_value(v);
    int sig = name ? (!strcmp(name, "SIGNAL_SIGKILL") ? SIGKILL : !strcmp(name, "SIGNAL_SIGTERM") ? SIGTERM : 0) : (int)json_integer_value(v);

    if (sig != SIGKILL && sig != SIGTERM)
        http_fail(a->k.x.c, "invalid_request", "signal: SIGNAL_SIGTERM or SIGNAL_SIGKILL");
    else if (find(a))
        exec_signal(a->e, sig, SIGNAL_TREE, signalled, boxed_ref(a));
}

static void route_signal(struct http_call *c) { act(c, signal_go); }

static void update_go(void *self)
{
    struct act *a = self;
    const json_t *size = json_object_get(json_object_get(a->k.req, "pty"), "size");
    json_int_t cols = json_integer_value(json_object_get(size, "cols")), rows = json_integer_value(json_object_get(size, "rows"));

    if (!find(a))
        return;
    if (size && (!exec_is_tty(a->e) || !cols || !rows || !term_size_valid(cols, rows))) {
        http_fail(a->k.x.c, "invalid_request", "pty.size: of a terminal, cols and rows from 1 to %d", TERM_SIDE_MAX);
        return;
    }
    if (size)
        exec_resize(a->e, (unsigned)cols, (unsigned)rows);
    done(a);
}

static void route_update(struct http_call *c) { act(c, update_go); }

const struct http_route e2b_process_routes[] = {
    E2B_RPC("/process.Process/List", route_list, "Processes that run"),
    E2B_RPC("/process.Process/SendInput", route_input, "Write to the stdin or terminal of a process"),
    E2B_RPC("/process.Process/CloseStdin", route_close, "End of file on the stdin of a process"),
    E2B_RPC("/process.Process/SendSignal", route_signal, "SIGTERM or SIGKILL for a process and what it started"),
    E2B_RPC("/process.Process/Update", route_update, "The size of a terminal"),
    { 0 }
};
