/* Executions that there are: list, state, output, stdin, signals, end, waiting. */
#include <errno.h>
#include <string.h>

#include "sandbox/routes.h"
#include "sandbox/run/boxed.h"
#include "sandbox/run/exec_stream.h"

/* --- list and state --- */
static void list_go(void *self)
{
    struct boxed *x = self;

    http_reply(x->c, 200, json_pack("{s:o}", "execs", execs_json(x->b)));
}

static void route_list(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, list_go); }

static void state_go(void *self)
{
    struct boxed *x = self;
    struct exec *e = boxed_exec(x);

    if (e)
        http_reply(x->c, 200, exec_json(e));
}

static void route_state(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, state_go); }

/* --- output: re-attach --- */
struct output { struct boxed x; struct exec_stream s; uint64_t since; bool follow; };

static void output_over(void *self) { exec_stream_over(&((struct output *)self)->s); }
static void output_fini(void *self) { exec_stream_fini(&((struct output *)self)->s); }
static void output_sent(void *state, size_t n) { exec_stream_sent(&((struct output *)state)->s); }

static void output_go(void *self)
{
    struct output *o = self;
    struct exec *e = boxed_exec(o);
    struct exec_reader *r;

    if (!e)
        return;
    r = exec_read(e, o->since, o->follow ? 0 : READ_ONCE, &exec_stream_ops, &o->s);
    if (!r) {
        http_fail(o->x.c, "too_many", "%s has as many readers as it can (%d): close one", exec_id(e), READERS_MAX);
        return;
    }
    exec_stream_begin(&o->s, e, r, false);
}

/* follow=1 (default): until it ended and nothing more can come. follow=0: what there is now. */
static void route_output(struct http_call *c)
{
    struct output *o = boxed_new(c, sizeof(*o), output_over, output_fini);
    const char *last = http_header(c, "Last-Event-ID");
    guint64 seq;

    if (last && g_ascii_string_to_unsigned(last, 10, 0, INT64_MAX, &seq, NULL))
        o->since = seq;
    o->follow = true;
    if (!http_query_u64(c, "since", &o->since) || !http_query_bool(c, "follow", &o->follow))
        return;
    exec_stream_init(&o->s, c);
    o->s.to_end = true;
    http_on_sent(c, output_sent);
    boxed_go(o, BOXED_EXISTING, output_go);
}

/* --- stdin --- */
struct input { struct boxed x; struct exec *e; bool close, ended; GByteArray *rest; };    /* rest: of the last piece, what found no room */

static void input_over(void *self)
{
    struct input *in = self;

    in->ended = true;
    if (in->e)
        exec_off_stdin_room(in->e, in);
}

static void input_fini(void *self)
{
    struct input *in = self;

    exec_unref(in->e);
    if (in->rest)
        g_byte_array_unref(in->rest);
}

static void input_refuse(struct input *in)
{
    in->ended = true;
    http_fail(in->x.c, "not_running", "%s reads no more: it has ended, or its stdin is closed (start it with stdin: true to feed it)", exec_id(in->e));
}

/* What of n bytes was taken, or -EPIPE. */
static ssize_t input_some(struct input *in, const uint8_t *p, size_t n)
{
    size_t part = MIN(n, exec_stdin_room(in->e));

    if (!exec_stdin_is_open(in->e) || (part && exec_stdin(in->e, p, part) < 0))
        return -EPIPE;
    return (ssize_t)part;
}

static void input_room(void *arg)
{
    struct input *in = arg;
    ssize_t r;

    if (in->ended)
        return;
    r = input_some(in, in->rest->data, in->rest->len);
    if (r < 0)
        return input_refuse(in);
    g_byte_array_remove_range(in->rest, 0, (guint)r);
    if (in->rest->len)
        exec_on_stdin_room(in->e, input_room, in);
    else
        http_body_resume(in->x.c);
}

static bool input_body(void *state, const uint8_t *p, size_t n)
{
    struct input *in = state;
    ssize_t r;

    if (in->ended)
        return true;
    if (!n) {
        in->ended = true;
        if (in->close)
            exec_stdin_close(in->e);
        http_reply(in->x.c, 200, json_pack("{s:b}", "ok", 1));
        return true;
    }
    r = input_some(in, p, n);
    if (r < 0)
        return input_refuse(in), true;
    if ((size_t)r == n)
        return true;
    g_byte_array_append(in->rest, p + r, (guint)(n - (size_t)r));
    exec_on_stdin_room(in->e, input_room, in);
    return false;
}

static void input_go(void *self)
{
    struct input *in = self;
    struct exec *e = boxed_exec(in);

    if (!e)
        return;
    in->e = exec_ref(e);
    in->rest = g_byte_array_new();
    if (!exec_stdin_is_open(e))
        return input_refuse(in);
    http_body(in->x.c, input_body);
}

static void route_stdin(struct http_call *c)
{
    struct input *in = boxed_new(c, sizeof(*in), input_over, input_fini);

    if (http_query_bool(c, "close", &in->close))
        boxed_go(in, BOXED_EXISTING, input_go);
}

/* --- signals and the end --- */
struct kill { struct boxed x; int signal; unsigned flags; struct exec *e; };

static void kill_fini(void *self) { exec_unref(((struct kill *)self)->e); }

static void on_killed(void *arg, const struct fault *fault)
{
    struct kill *k = arg;

    if (k->x.c && fault)
        http_fault(k->x.c, fault);
    else if (k->x.c)
        http_reply(k->x.c, 200, json_pack("{s:b, s:s, s:s}", "ok", 1, "exec_id", exec_id(k->e), "signal", signal_name(k->signal)));
    boxed_unref(k);
}

static void kill_go(void *self)
{
    struct kill *k = self;
    struct exec *e = boxed_exec(k);

    if (!e)
        return;
    k->e = exec_ref(e);
    if (exec_exit(e) && !(k->flags & SIGNAL_TREE))
        return http_fail(k->x.c, "not_running", "%s has ended: nothing to signal (tree: true reaches what it left behind)", exec_id(e));
    exec_signal(e, k->signal, k->flags, on_killed, boxed_ref(k));
}

static void route_signal(struct http_call *c)
{
    struct kill *k = boxed_new(c, sizeof(*k), NULL, kill_fini);
    json_t *sig = NULL;
    int tree = 0, group = 0;

    if (!http_unpack(c, "{s?o, s?b, s?b}", "signal", &sig, "tree", &tree, "group", &group))
        return;
    k->signal = !sig ? 15 : json_is_string(sig) ? signal_number(json_string_value(sig)) : json_is_integer(sig) && json_integer_value(sig) <= 64 ? (int)json_integer_value(sig) : 0;
    if (k->signal < 1)
        return http_fail(c, "invalid_request", "signal: a name (TERM, SIGKILL, ...) or a number from 1 to 64");
    k->flags = tree ? SIGNAL_TREE : group ? SIGNAL_GROUP : 0;
    boxed_go(k, BOXED_EXISTING, kill_go);
}

/* DELETE: everything that descends from it is killed, then it is forgotten. The answer comes when nothing of it is left. */
struct end { struct boxed x; struct exec *e; };

static void end_fini(void *self) { exec_unref(((struct end *)self)->e); }

static void end_forget(void *arg)
{
    struct end *d = arg;

    exec_forget(d->e);
    if (d->x.c)
        http_reply(d->x.c, 204, NULL);
    boxed_unref(d);
}

static void on_ended(void *arg, const struct fault *fault)
{
    struct end *d = arg;

    if (fault && strcmp(fault->code, "not_running")) {
        if (d->x.c)
            http_fault(d->x.c, fault);
        boxed_unref(d);
    } else if (exec_exit(d->e) || fault) {
        end_forget(d);
    } else {
        exec_on_exit(d->e, end_forget, d);
    }
}

static void end_go(void *self)
{
    struct end *d = self;
    struct exec *e = boxed_exec(d);

    if (!e)
        return;
    d->e = exec_ref(e);
    exec_signal(e, 9, SIGNAL_TREE, on_ended, boxed_ref(d));
}

static void route_delete(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct end), NULL, end_fini), BOXED_EXISTING, end_go); }

#define PATH_ID "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define PATH_EID PATH_ID ", {\"name\": \"eid\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define ANSWERS(what) "\"responses\": {\"200\": {\"description\": \"" what "\"}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}"
const struct http_route execs_routes[] = {
    { "GET", "/v1/sandbox/{id}/exec", 0, route_list, "{\"summary\": \"List executions\", \"parameters\": [" PATH_ID "], " ANSWERS("Those that run, and the last ones that ended") "}" },
    { "GET", "/v1/sandbox/{id}/exec/{eid}", 0, route_state, "{\"summary\": \"State of an execution\", \"parameters\": [" PATH_EID "], " ANSWERS("Its state") "}" },
    { "DELETE", "/v1/sandbox/{id}/exec/{eid}", 0, route_delete,
      "{\"summary\": \"Kill an execution with all its descendants, and forget it\", \"parameters\": [" PATH_EID "], \"responses\": {\"204\": {\"description\": \"Nothing of it is left\"}, "
      "\"default\": {\"$ref\": \"#/components/responses/Error\"}}}" },
    { "GET", "/v1/sandbox/{id}/exec/{eid}/output", 0, route_output,
      "{\"summary\": \"Read output on, or again\", \"description\": \"Events as of exec, from the sequence number since (0: what is kept), until nothing more can come. follow=0: only what "
      "there is.\", \"parameters\": [" PATH_EID ", {\"name\": \"since\", \"in\": \"query\", \"schema\": {\"type\": \"integer\"}}, {\"name\": \"follow\", \"in\": \"query\", \"schema\": "
      "{\"type\": \"boolean\"}}, {\"name\": \"Last-Event-ID\", \"in\": \"header\", \"schema\": {\"type\": \"integer\"}}], " ANSWERS("Events, or a document") "}" },
    { "POST", "/v1/sandbox/{id}/exec/{eid}/stdin", ROUTE_STREAM, route_stdin,
      "{\"summary\": \"Feed its stdin\", \"description\": \"The body is what it reads; it is taken as fast as the program reads. close=1 ends its stdin afterwards.\", \"parameters\": ["
      PATH_EID ", {\"name\": \"close\", \"in\": \"query\", \"schema\": {\"type\": \"boolean\"}}], \"requestBody\": {\"content\": {\"application/octet-stream\": {}}}, "
      ANSWERS("All of it was taken") "}" },
    { "POST", "/v1/sandbox/{id}/exec/{eid}/signal", ROUTE_JSON, route_signal,
      "{\"summary\": \"Signal an execution\", \"description\": \"The process; with group its process group; with tree everything that descends from it, daemonised or not.\", \"parameters\": ["
      PATH_EID "], \"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {\"signal\": "
      "{\"type\": [\"string\", \"integer\"]}, \"tree\": {\"type\": \"boolean\"}, \"group\": {\"type\": \"boolean\"}}}}}}, " ANSWERS("It was given") "}" },
    { 0 }
};
