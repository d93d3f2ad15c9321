/* Waiting: for the end of an execution, for a line of its output, for a port of the sandbox. Each ends with the answer, its timeout (504 timeout), or its client. */
#include <errno.h>
#include <string.h>

#include "base/wire.h"
#include "sandbox/routes.h"
#include "sandbox/run/boxed.h"
#include "sandbox/exec.h"
#include "sandbox/run/log_match.h"

enum { WAIT_DEFAULT_MS = 30000, WAIT_MAX_MS = 24 * 3600 * 1000 };

/* --- what all of them have --- */
struct wait {
    struct boxed x;
    struct exec *e;
    guint timer;
    uint64_t timeout_ms;
    /* of wait/log */
    struct exec_reader *r;
    struct log_match *match;
    uint64_t since;
    /* of wait/port */
    uint16_t port;
    uint32_t ask_id;
    bool asked;
};

static void wait_over(void *self)
{
    struct wait *w = self;

    if (w->timer)
        g_source_remove(w->timer);
    w->timer = 0;
    exec_reader_free(w->r);
    w->r = NULL;
    if (w->e)
        exec_off_exit(w->e, w);
    if (w->asked && w->x.b->link)
        agent_link_send(w->x.b->link, FRAME_CANCEL, 0, w->ask_id, 0, NULL, 0, -1);
}

static void wait_fini(void *self)
{
    struct wait *w = self;

    exec_unref(w->e);
    log_match_free(w->match);
}

static gboolean on_timeout(gpointer arg)
{
    struct wait *w = arg;

    w->timer = 0;
    http_fail(w->x.c, "timeout", "what was waited for did not come within %llu ms", (unsigned long long)w->timeout_ms);
    wait_over(w);
    return G_SOURCE_REMOVE;
}

static struct wait *wait_new(struct http_call *c)
{
    struct wait *w = boxed_new(c, sizeof(*w), wait_over, wait_fini);

    w->timeout_ms = WAIT_DEFAULT_MS;
    return w;
}

static bool wait_timeout_ok(struct wait *w)
{
    if (w->timeout_ms <= WAIT_MAX_MS)
        return true;
    http_fail(w->x.c, "invalid_request", "timeout_ms: 0 to %d", WAIT_MAX_MS);
    return false;
}

static bool wait_exec(struct wait *w)
{
    struct exec *e = boxed_exec(w);

    if (e)
        w->e = exec_ref(e);
    return e;
}

/* --- the end of an execution --- */
static void on_exit_(void *arg)
{
    struct wait *w = arg;

    if (exec_exit(w->e))
        http_reply(w->x.c, 200, exec_json(w->e));
    else
        http_fail(w->x.c, "not_running", "%s is no more: the sandbox stopped, or it was deleted", exec_id(w->e));
    wait_over(w);
}

static void exit_go(void *self)
{
    struct wait *w = self;

    if (!wait_exec(w))
        return;
    if (exec_exit(w->e)) {
        on_exit_(w);
        return;
    }
    exec_on_exit(w->e, on_exit_, w);
    w->timer = g_timeout_add((guint)w->timeout_ms, on_timeout, w);
}

static void route_exit(struct http_call *c)
{
    struct wait *w = wait_new(c);

    if (http_query_u64(c, "timeout_ms", &w->timeout_ms) && wait_timeout_ok(w))
        boxed_go(w, BOXED_EXISTING, exit_go);
}

/* --- a line of the output --- */
static void log_data(void *arg, unsigned stream, uint64_t seq, uint64_t lost, const uint8_t *p, size_t n)
{
    struct wait *w = arg;
    const char *line;

    exec_reader_taken(w->r, n);
    if (!log_match_feed(w->match, stream, lost, p, n, &line))
        return;
    http_reply(w->x.c, 200, json_pack("{s:o, s:s, s:I}", "line", g_utf8_validate(line, -1, NULL) ? json_string(line) : json_null(), "stream", stream == STREAM_ERR ? "stderr" : "stdout",
                                      "seq", (json_int_t)(seq + n)));
    wait_over(w);
}

static void log_end(void *arg, const struct fault *fault)
{
    struct wait *w = arg;

    if (fault)
        http_fault(w->x.c, fault);
    else
        http_fail(w->x.c, "not_found", "%s has ended and no line of its output matches", exec_id(w->e));
    wait_over(w);
}

static const struct exec_reader_ops log_ops = { .data = log_data, .end = log_end };

static void log_go(void *self)
{
    struct wait *w = self;

    if (!wait_exec(w))
        return;
    w->timer = g_timeout_add((guint)w->timeout_ms, on_timeout, w);
    w->r = exec_read(w->e, w->since, 0, &log_ops, w);
    if (!w->r)
        http_fail(w->x.c, "too_many", "%s has as many readers as it can: close one", exec_id(w->e));
}

static void route_log(struct http_call *c)
{
    struct wait *w = wait_new(c);
    const char *pattern, *error;
    json_int_t timeout = WAIT_DEFAULT_MS, since = 0;
    int regex = 0;

    if (!http_unpack(c, "{s:s, s?b, s?I, s?I}", "pattern", &pattern, "regex", &regex, "timeout_ms", &timeout, "since", &since))
        return;
    if (since < 0 || timeout < 0)
        return http_fail(c, "invalid_request", "since, timeout_ms: 0 or more");
    w->timeout_ms = (uint64_t)timeout;
    w->since = (uint64_t)since;
    w->match = log_match_new(pattern, regex, &error);
    if (!w->match)
        return http_fail(c, "invalid_request", "pattern: %s", error);
    if (wait_timeout_ok(w))
        boxed_go(w, BOXED_EXISTING, log_go);
}

/* --- a port --- */
static void on_port(void *arg, struct frame *f)
{
    struct wait *w = arg;
    struct reader r = f ? reader_of(f->body, f->n) : reader_of("", 0);
    int32_t err = (int32_t)get_u32(&r);

    w->asked = false;
    if (!w->x.c)
        ;
    else if (r.bad)
        http_fail(w->x.c, "agent_lost", "the sandbox stopped while port %u was waited for", w->port);
    else if (err == -ETIMEDOUT)
        http_fail(w->x.c, "timeout", "nothing listens on port %u after %llu ms", w->port, (unsigned long long)w->timeout_ms);
    else if (err == -EAGAIN)
        http_fail(w->x.c, "too_many", "%d requests wait for ports of this sandbox: try again later", WAITS_MAX);
    else if (err)
        http_fail(w->x.c, "internal", "port %u could not be waited for: %s", w->port, g_strerror(-err));
    else
        http_reply(w->x.c, 200, json_pack("{s:b, s:i}", "ok", 1, "port", w->port));
    boxed_unref(w);
}

static void port_go(void *self)
{
    struct wait *w = self;
    uint8_t body[4];

    put_le32(body, (uint32_t)w->timeout_ms);
    w->ask_id = agent_link_id(w->x.b->link);
    w->asked = true;
    if (agent_link_ask(w->x.b->link, FRAME_PORT_WAIT, 0, w->ask_id, w->port, body, sizeof(body), -1, on_port, boxed_ref(w)) < 0)
        on_port(w, NULL);
}

static void route_port(struct http_call *c)
{
    struct wait *w = wait_new(c);
    json_int_t port, timeout = WAIT_DEFAULT_MS;

    if (!http_unpack(c, "{s:I, s?I}", "port", &port, "timeout_ms", &timeout))
        return;
    if (port < 1 || port > 65535 || timeout < 0)
        return http_fail(c, "invalid_request", "port: 1 to 65535; timeout_ms: 0 or more");
    w->port = (uint16_t)port;
    w->timeout_ms = (uint64_t)timeout;
    if (wait_timeout_ok(w))
        boxed_go(w, BOXED_RUN, port_go);
}

#define PATH_ID "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define PATH_EID PATH_ID ", {\"name\": \"eid\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define ANSWERS(what) "\"responses\": {\"200\": {\"description\": \"" what "\"}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}"
const struct http_route wait_routes[] = {
    { "GET", "/v1/sandbox/{id}/exec/{eid}/wait", 0, route_exit,
      "{\"summary\": \"Wait for the end of an execution\", \"parameters\": [" PATH_EID ", {\"name\": \"timeout_ms\", \"in\": \"query\", \"schema\": {\"type\": \"integer\"}}], "
      ANSWERS("Its state, ended") "}" },
    { "POST", "/v1/sandbox/{id}/exec/{eid}/wait/log", ROUTE_JSON, route_log,
      "{\"summary\": \"Wait for a line of output\", \"description\": \"Looks for pattern (a text, or with regex a Perl-compatible expression) in each line from since on.\", \"parameters\": ["
      PATH_EID "], \"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"pattern\"], \"properties\": "
      "{\"pattern\": {\"type\": \"string\"}, \"regex\": {\"type\": \"boolean\"}, \"timeout_ms\": {\"type\": \"integer\"}, \"since\": {\"type\": \"integer\"}}}}}}, " ANSWERS("The line") "}" },
    { "POST", "/v1/sandbox/{id}/wait/port", ROUTE_JSON, route_port,
      "{\"summary\": \"Wait until something listens on a port of the sandbox\", \"parameters\": [" PATH_ID "], \"requestBody\": {\"content\": {\"application/json\": {\"schema\": "
      "{\"type\": \"object\", \"additionalProperties\": false, \"required\": [\"port\"], \"properties\": {\"port\": {\"type\": \"integer\"}, \"timeout_ms\": {\"type\": \"integer\"}}}}}}, "
      ANSWERS("It does") "}" },
    { 0 }
};
