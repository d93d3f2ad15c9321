/* Terminals over WebSocket, frames as protocols.md 1.1: binary is bytes both ways; text is JSON: resize, interrupt and terminate from the client, ready, exit and error to it.
 *
 * GET .../pty: the terminal of this name (?session= or ?id=; none: a new one each time), started if it does not run; GET .../exec/{eid}/attach: that of an execution. The screen comes first,
 * then ready. A client that leaves leaves the terminal as it is; DELETE .../exec/{eid} ends it. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "sandbox/routes.h"
#include "sandbox/run/boxed.h"
#include "sandbox/run/session.h"
#include "sandbox/term.h"

enum { MESSAGE_MAX = 4096 };
struct pty {
    struct boxed x;
    struct exec *e;
    struct term_client *client;
    struct turn *turn;
    char *name, *session, *user, *shell, *cwd;
    uint64_t cols, rows;
    struct exec_request q;
    char *argv[5];
    GByteArray *typed;                 /* what found no room: the client is not read meanwhile */
    bool open, over;
};

static void say(struct pty *p, json_t *o)
{
    char *text = json_dumps(o, JSON_COMPACT);

    json_decref(o);
    if (text && p->open)
        http_ws_send(p->x.c, true, text, strlen(text));
    free(text);
}

/* --- from the terminal --- */
static void out_bytes(void *arg, const uint8_t *b, size_t n)
{
    struct pty *p = arg;

    if (p->open && n)
        http_ws_send(p->x.c, false, b, n);
}

static size_t out_queued(void *arg)
{
    struct pty *p = arg;

    return p->open ? http_ws_queued(p->x.c) : 0;
}

static void out_exit(void *arg, const struct exit_info *info)
{
    struct pty *p = arg;
    json_t *o = json_pack("{s:s, s:i}", "type", "exit", "code", info->signal ? 128 + info->signal : info->code);

    if (info->signal)
        json_object_set_new(o, "signal", json_string(signal_name(info->signal)));
    say(p, o);
    if (p->open)
        http_ws_close(p->x.c, 1000, "the terminal has ended");
    p->open = false;
}

static void out_end(void *arg, const struct fault *fault)
{
    struct pty *p = arg;

    say(p, json_pack("{s:s, s:s, s:s}", "type", "error", "message", fault->text, "code", fault->code));
    if (p->open)
        http_ws_close(p->x.c, 1011, fault->code);
    p->open = false;
}

static void in_room(void *arg)
{
    struct pty *p = arg;
    ssize_t n;

    if (!p->open)
        return;
    n = term_input(p->client, p->typed->data, p->typed->len);
    if (n < 0)
        n = p->typed->len;
    g_byte_array_remove_range(p->typed, 0, (guint)n);
    if (!p->typed->len)
        http_ws_resume(p->x.c);
}

static const struct term_ops term_ops = { .bytes = out_bytes, .queued = out_queued, .exit = out_exit, .end = out_end, .room = in_room };

/* --- from the client --- */
static void on_control(struct pty *p, const uint8_t *b, size_t n)
{
    json_t *o = n <= MESSAGE_MAX ? json_loadb((const char *)b, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *type = json_string_value(json_object_get(o, "type"));
    json_int_t cols = json_integer_value(json_object_get(o, "cols")), rows = json_integer_value(json_object_get(o, "rows"));

    if (!type)
        say(p, json_pack("{s:s, s:s}", "type", "error", "message", "a text message is a JSON object with a type; bytes for the terminal are binary"));
    else if (!strcmp(type, "resize") && cols > 0 && rows > 0 && term_size_valid(cols, rows))
        term_resize(p->client, (unsigned)cols, (unsigned)rows);
    else if (!strcmp(type, "resize"))
        say(p, json_pack("{s:s, s:s}", "type", "error", "message", "resize: cols and rows are out of bounds"));
    else if (!strcmp(type, "interrupt"))
        term_input(p->client, "\003", 1);
    else if (!strcmp(type, "terminate"))
        exec_signal(p->e, SIGKILL, SIGNAL_TREE, NULL, NULL);
    else
        say(p, json_pack("{s:s, s:s}", "type", "error", "message", "types are resize, interrupt and terminate"));
    json_decref(o);
}

static void on_message(void *state, bool text, const uint8_t *b, size_t n)
{
    struct pty *p = state;
    ssize_t taken;

    if (!p->open)
        return;
    if (text)
        return on_control(p, b, n);
    taken = p->typed->len ? 0 : term_input(p->client, b, n);
    if (taken < 0 || (size_t)taken == n)
        return;                        /* typed after the end */
    g_byte_array_append(p->typed, b + taken, (guint)(n - (size_t)taken));
    http_ws_pause(p->x.c);
}

static void on_sent(void *state, size_t n)
{
    struct pty *p = state;

    if (p->client && p->open)
        term_sent(p->client);
}

static void on_closed(void *state) { ((struct pty *)state)->open = false; }

static const struct http_ws_ops ws_ops = { .message = on_message, .sent = on_sent, .closed = on_closed };

/* --- the start --- */
static void pty_over(void *self)
{
    struct pty *p = self;

    p->open = false;
    p->over = true;
    term_detach(p->client);
    p->client = NULL;
}

static void pty_fini(void *self)
{
    struct pty *p = self;

    exec_unref(p->e);
    if (p->turn)
        turn_drop(p->turn);
    if (p->typed)
        g_byte_array_unref(p->typed);
    g_free(p->name);
    g_free(p->session);
    g_free(p->user);
    g_free(p->shell);
    g_free(p->cwd);
}

static void pty_open(struct pty *p, struct exec *e)
{
    struct term *t = term_of(e);

    p->e = exec_ref(e);
    if (!t)
        return http_fail(p->x.c, "conflict", "%s has no terminal: start it with tty: true", exec_id(e));
    if (exec_exit(e))
        return http_fail(p->x.c, "not_running", "%s has ended", exec_id(e));
    p->typed = g_byte_array_new();
    http_websocket(p->x.c, &ws_ops);
    p->open = true;
    p->client = term_attach(t, (unsigned)p->cols, (unsigned)p->rows, &term_ops, p);
    if (p->client) {
        say(p, json_pack("{s:s, s:s}", "type", "ready", "exec_id", exec_id(e)));
        return;
    }
    say(p, json_pack("{s:s, s:s}", "type", "error", "message", "the terminal has as many clients as it can"));
    http_ws_close(p->x.c, 1011, "too_many");
    p->open = false;
}

static void on_started(void *arg, struct exec *e, const struct fault *fault)
{
    struct pty *p = arg;

    struct term *other = e && p->name ? term_find(p->x.b, p->name) : NULL;

    if (other) {                       /* another client was faster: one name, one terminal */
        exec_signal(e, SIGKILL, SIGNAL_TREE, NULL, NULL);
        e = term_exec(other);
    } else if (e && p->name) {
        term_name(term_of(e), p->name);
    }
    if (p->x.c && fault)
        http_fault(p->x.c, fault);
    else if (p->x.c)
        pty_open(p, e);
    boxed_unref(p);
}

/* The user's login shell: bash if it is there, as /bin/sh can tell. */
static void on_turn(void *arg, struct turn *t, const struct fault *fault)
{
    struct pty *p = arg;

    p->turn = t;
    if (p->x.c && fault)
        http_fault(p->x.c, fault);
    if (fault || !p->x.c)
        return boxed_unref(p);
    if (p->shell) {
        p->argv[0] = p->shell;
    } else {
        p->argv[0] = (char *)(uintptr_t)"/bin/sh";
        p->argv[1] = (char *)(uintptr_t)"-c";
        p->argv[2] = (char *)(uintptr_t)"[ -x /bin/bash ] && exec /bin/bash -il; exec /bin/sh -il";
    }
    p->q = (struct exec_request){ .argv = p->argv, .cwd = p->cwd, .user = p->user, .tty = true, .cols = (uint16_t)(p->cols ? p->cols : TERM_COLS),
                                  .rows = (uint16_t)(p->rows ? p->rows : TERM_ROWS) };
    turn_fill(t, &p->q);
    exec_start(p->x.b, &p->q, NULL, NULL, on_started, p);
}

static void pty_go(void *self)
{
    struct pty *p = self;
    struct term *t = p->name ? term_find(p->x.b, p->name) : NULL;

    if (t)
        return pty_open(p, term_exec(t));
    session_enter(p->x.b, p->session, p->argv, NULL, true, on_turn, boxed_ref(p));
}

static bool pty_size(struct pty *p)
{
    if (!http_query_u64(p->x.c, "cols", &p->cols) || !http_query_u64(p->x.c, "rows", &p->rows))
        return false;
    if (p->cols <= TERM_SIDE_MAX && p->rows <= TERM_SIDE_MAX && term_size_valid((int64_t)p->cols, (int64_t)p->rows))
        return true;
    http_fail(p->x.c, "invalid_request", "cols, rows: 1 to %d, together at most %d cells", TERM_SIDE_MAX, TERM_CELLS_MAX);
    return false;
}

static void route_pty(struct http_call *c)
{
    struct pty *p = boxed_new(c, sizeof(*p), pty_over, pty_fini);
    const char *session = http_query(c, "session"), *id = http_query(c, "id"), *shell = http_query(c, "shell");

    if (!session || !*session)
        session = http_header(c, "Session-Id");
    if (!id || !*id)
        id = session;
    if (!pty_size(p))
        return;
    if ((session && *session && !session_id_valid(session)) || (id && *id && (!session_id_valid(id) || strlen(id) > TERM_NAME_MAX)))
        return http_fail(c, "invalid_request", "session, id: 1 to %d letters, digits, '_', '-', '.'", TERM_NAME_MAX);
    p->session = g_strdup(session && *session ? session : NULL);
    p->name = g_strdup(id && *id ? id : NULL);
    p->shell = g_strdup(shell && *shell ? shell : NULL);
    p->user = g_strdup(http_query(c, "user"));
    p->cwd = g_strdup(http_query(c, "cwd"));
    if (p->cwd && p->cwd[0] != '/')
        return http_fail(c, "invalid_request", "cwd: must be an absolute path");
    p->argv[0] = p->shell ? p->shell : (char *)(uintptr_t)"/bin/sh";
    boxed_go(p, BOXED_RUN, pty_go);
}

static void attach_go(void *self)
{
    struct pty *p = self;
    struct exec *e = boxed_exec(p);

    if (e)
        pty_open(p, e);
}

static void route_attach(struct http_call *c)
{
    struct pty *p = boxed_new(c, sizeof(*p), pty_over, pty_fini);

    if (pty_size(p))
        boxed_go(p, BOXED_EXISTING, attach_go);
}

#define PARAM(name, type) "{\"name\": \"" name "\", \"in\": \"query\", \"schema\": {\"type\": \"" type "\"}}"
#define ID "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define ANSWERS "\"responses\": {\"101\": {\"description\": \"WebSocket\"}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}"
const struct http_route pty_routes[] = {
    { "GET", "/v1/sandbox/{id}/pty", ROUTE_WEBSOCKET, route_pty,
      "{\"summary\": \"A terminal (WebSocket)\", \"description\": \"Binary frames are bytes; text frames are JSON: resize{cols, rows}; ready, exit{code, signal}, error{message}. With session or "
      "id the same terminal again, its screen first.\", \"parameters\": [" ID ", " PARAM("cols", "integer") ", " PARAM("rows", "integer") ", " PARAM("shell", "string") ", "
      PARAM("session", "string") ", " PARAM("id", "string") ", " PARAM("user", "string") ", " PARAM("cwd", "string") "], " ANSWERS "}" },
    { "GET", "/v1/sandbox/{id}/exec/{eid}/attach", ROUTE_WEBSOCKET, route_attach,
      "{\"summary\": \"Attach to the terminal of an execution (WebSocket)\", \"parameters\": [" ID ", {\"name\": \"eid\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": "
      "\"string\"}}, " PARAM("cols", "integer") ", " PARAM("rows", "integer") "], " ANSWERS "}" },
    { 0 }
};
