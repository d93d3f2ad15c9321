/* POST .../exec: runs a command and streams what it says. A client that leaves does not end it: it goes on unslowed, its output is kept as the ring holds it (then the oldest is
 * lost), and .../output?since= continues where the client was. DELETE ends it. */
#include <string.h>

#include "base/cleanup.h"

#include "sandbox/routes.h"
#include "sandbox/run/boxed.h"
#include "sandbox/run/exec_stream.h"
#include "sandbox/run/session.h"
#include "sandbox/run/stdin_feed.h"
#include "sandbox/term.h"

enum { TIMEOUT_MAX_MS = 7 * 24 * 3600 * 1000 };

struct run {
    struct boxed x;
    struct exec_stream s;
    json_t *argv_json, *env, *stdin_json;       /* borrowed of the request's body, with a reference */
    char **argv;
    char *shell, *cwd, *user, *session;
    json_int_t timeout_ms, cols, rows;
    int detach, tty;
    struct turn *turn;
    struct exec_request q;
};

static void run_over(void *self) { exec_stream_over(&((struct run *)self)->s); }

static void run_fini(void *self)
{
    struct run *r = self;

    exec_stream_fini(&r->s);
    if (r->turn)
        turn_drop(r->turn);
    g_free(r->argv);
    g_free(r->shell);
    g_free(r->cwd);
    g_free(r->user);
    g_free(r->session);
    json_decref(r->argv_json);
    json_decref(r->env);
    json_decref(r->stdin_json);
}

static bool check_argv(struct run *r)
{
    size_t n = json_array_size(r->argv_json);

    if (!json_is_array(r->argv_json) || !n || n > ARGV_MAX)
        return http_fail(r->x.c, "invalid_request", "argv: must be a list of 1 to %d strings, the program first", ARGV_MAX), false;
    r->argv = g_new0(char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(r->argv_json, i));
        if (!s || (!i && !*s))
            return http_fail(r->x.c, "invalid_request", "argv[%zu]: must be a string%s", i, i ? "" : " with the program's name"), false;
        r->argv[i] = (char *)(uintptr_t)s;
    }
    return true;
}

static bool check_env(struct http_call *c, json_t *env)
{
    const char *key;
    json_t *v;

    if (env && !json_is_object(env))
        return http_fail(c, "invalid_request", "env: must be an object of strings"), false;
    json_object_foreach(env, key, v)
        if (!*key || strchr(key, '=') || (!json_is_string(v) && !json_is_null(v)))
            return http_fail(c, "invalid_request", "env: %.100s: a name without '=' and a string (or null to take the variable away) are needed", key), false;
    return true;
}

static bool run_parse(struct run *r)
{
    struct http_call *c = r->x.c;
    const char *shell = NULL, *cwd = NULL, *user = NULL, *session = http_header(c, "Session-Id");
    json_t *argv = NULL, *env = NULL, *in = NULL;

    if (!http_unpack(c, "{s?o, s?s, s?I, s?s, s?o, s?s, s?o, s?b, s?s, s?b, s?I, s?I}", "argv", &argv, "shell", &shell, "timeout_ms", &r->timeout_ms, "cwd", &cwd, "env", &env, "user", &user,
                     "stdin", &in, "detach", &r->detach, "session", &session, "tty", &r->tty, "cols", &r->cols, "rows", &r->rows))
        return false;
    r->argv_json = json_incref(argv);
    r->env = json_incref(env);
    r->stdin_json = json_incref(in);
    r->shell = g_strdup(shell);
    r->cwd = g_strdup(cwd);
    r->user = g_strdup(user);
    r->session = g_strdup(session && *session ? session : NULL);
    if (!argv == !shell)
        return http_fail(c, "invalid_request", "give either argv (a list: the program and its arguments) or shell (a text for the shell)"), false;
    if (argv && !check_argv(r))
        return false;
    if (cwd && cwd[0] != '/')
        return http_fail(c, "invalid_request", "cwd: must be an absolute path"), false;
    if (user && (!*user || strlen(user) > 63))
        return http_fail(c, "invalid_request", "user: give user, root, a number or UID:GID"), false;
    if (r->timeout_ms < 0 || r->timeout_ms > TIMEOUT_MAX_MS)
        return http_fail(c, "invalid_request", "timeout_ms: 0 (none) to %d", TIMEOUT_MAX_MS), false;
    if (!term_size_valid(r->cols, r->rows))
        return http_fail(c, "invalid_request", "cols, rows: 1 to %d (or 0: %d and %d)", TERM_SIDE_MAX, TERM_COLS, TERM_ROWS), false;
    if (in && !json_is_string(in) && !json_is_boolean(in) && !json_is_null(in))
        return http_fail(c, "invalid_request", "stdin: a string (all of it), or true (open: fed by POST .../exec/{eid}/stdin)"), false;
    if (r->session && !session_id_valid(r->session))
        return http_fail(c, "invalid_request", "session: 1 to %d letters, digits, '_', '-', '.'", SESSION_ID_MAX), false;
    return check_env(c, env);
}

static void detached_reply(struct run *r, struct exec *e)
{
    json_t *o = exec_json(e);

    http_reply(r->x.c, 201, o);
}

static void on_started(void *arg, struct exec *e, const struct fault *fault)
{
    struct run *r = arg;

    if (fault) {
        if (r->x.c)
            http_fault(r->x.c, fault);
        boxed_unref(r);
        return;
    }
    if (r->turn)
        turn_start(TAKE_PTR(r->turn), e, &r->q);
    if (json_is_string(r->stdin_json))
        stdin_feed(e, json_string_value(r->stdin_json), json_string_length(r->stdin_json));
    if (!r->x.c || r->detach)
        exec_reader_free(exec_first_reader(e));
    if (r->x.c && r->detach)
        detached_reply(r, e);
    else if (r->x.c)
        exec_stream_begin(&r->s, e, NULL, true);
    boxed_unref(r);
}

static void on_turn(void *arg, struct turn *t, const struct fault *fault)
{
    struct run *r = arg;

    r->turn = t;
    if (fault && r->x.c)
        http_fault(r->x.c, fault);
    if (fault || !r->x.c) {                     /* who left while waiting for a turn does not run */
        boxed_unref(r);
        return;
    }
    r->q = (struct exec_request){ .argv = r->argv, .env = r->env, .cwd = r->cwd, .user = r->user, .timeout_ms = (uint32_t)r->timeout_ms,
                                  .tty = r->tty, .cols = (uint16_t)(r->cols ? r->cols : TERM_COLS), .rows = (uint16_t)(r->rows ? r->rows : TERM_ROWS), .stdin_open = r->stdin_json && !json_is_false(r->stdin_json) && !json_is_null(r->stdin_json), .hold = true };
    turn_fill(t, &r->q);
    exec_start(r->x.b, &r->q, r->detach ? NULL : &exec_stream_ops, &r->s, on_started, r);
}

static void run_go(void *self)
{
    struct run *r = boxed_ref(self);

    session_enter(r->x.b, r->session, r->argv, r->shell, r->detach, on_turn, r);
}

static void on_sent(void *state, size_t n) { exec_stream_sent(&((struct run *)state)->s); }

static void route_run(struct http_call *c)
{
    struct run *r = boxed_new(c, sizeof(*r), run_over, run_fini);

    if (!run_parse(r))
        return;
    if (!r->detach) {
        exec_stream_init(&r->s, c);
        http_on_sent(c, on_sent);
    }
    boxed_go(r, BOXED_RUN, run_go);
}

const struct http_route exec_routes[] = {
    { "POST", "/v1/sandbox/{id}/exec", ROUTE_JSON, route_run,
      "{\"summary\": \"Run a command\", \"description\": \"Runs argv, or shell as a text for the shell (bash if the sandbox has it, else sh). Answers with a stream of events: start, stdout, "
      "stderr (base64), exit. Accept: application/json gives one document instead, application/x-ndjson the events as lines, application/vnd.coppice.exec-stream frames (docs/http.md). detach answers at once. A client that leaves does not end the "
      "command: its output can be read on with .../output?since=.\", \"parameters\": [{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}, "
      "{\"name\": \"Session-Id\", \"in\": \"header\", \"schema\": {\"type\": \"string\"}}], "
      "\"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
      "\"argv\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}, \"shell\": {\"type\": \"string\"}, \"timeout_ms\": {\"type\": \"integer\"}, \"cwd\": {\"type\": \"string\"}, "
      "\"env\": {\"type\": \"object\", \"additionalProperties\": {\"type\": [\"string\", \"null\"]}}, \"user\": {\"type\": \"string\"}, \"stdin\": {\"type\": [\"string\", \"boolean\"]}, "
      "\"detach\": {\"type\": \"boolean\"}, \"session\": {\"type\": \"string\"}, \"tty\": {\"type\": \"boolean\"}, \"cols\": {\"type\": \"integer\"}, "
      "\"rows\": {\"type\": \"integer\"}}}}}}, "
      "\"responses\": {\"200\": {\"description\": \"Events, or a document\", \"content\": {\"text/event-stream\": {}, \"application/x-ndjson\": {}, \"application/vnd.coppice.exec-stream\": {}, \"application/json\": {}}}, "
      "\"201\": {\"description\": \"Started in the background\"}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}}" },
    { 0 }
};
