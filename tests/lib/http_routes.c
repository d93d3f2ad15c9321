/* Routes that try the HTTP part of sandboxd: echo, a source with a credit, a sink that pauses, calls that wait for ever, a WebSocket. For tests/unit/test_http.c. */
#include <string.h>
#include "tests/lib/http_routes.h"

struct http_trial trial;

static void get_path(struct http_call *c) {
    const char *p = http_param(c, "path");
    GString *hex = g_string_new(NULL);
    for (const char *q = p; *q; q++) g_string_append_printf(hex, "%02x", (uint8_t)*q);
    http_reply(c, 200, json_pack("{s:s, s:s}", "hex", hex->str, "q", http_query(c, "q") ? http_query(c, "q") : "-"));
    g_string_free(hex, TRUE);
}

static void post_json(struct http_call *c) {
    const char *name;
    int count = 7, flag = 0;
    if (!http_unpack(c, "{s:s, s?i, s?b}", "name", &name, "count", &count, "flag", &flag)) return;
    http_reply(c, 201, json_pack("{s:s, s:i, s:b}", "name", name, "count", count, "flag", flag));
}

/* --- a source of n bytes: at most CREDIT queued --- */
enum { CREDIT = 256 * 1024 };
struct source { struct http_call *c; uint64_t left, at; size_t credit; };
static void source_pump(struct source *s) {
    uint8_t piece[16384];
    while (s->left && s->credit) {
        size_t n = sizeof piece < s->left ? sizeof piece : (size_t)s->left;
        if (n > s->credit) n = s->credit;
        for (size_t i = 0; i < n; i++) piece[i] = (uint8_t)((s->at + i) * 31 >> 3);
        s->at += n;
        s->left -= n;
        s->credit -= n;
        http_write(s->c, piece, n);
        if (http_queued(s->c) > trial.most_queued) trial.most_queued = http_queued(s->c);
    }
    if (!s->left) http_end(s->c);
}
static void source_sent(void *state, size_t n) { struct source *s = state; s->credit += n; source_pump(s); }
static void source_gone(void *state) { trial.gone++; }
static void source_free(void *state) { trial.freed++; g_free(state); }
static void get_source(struct http_call *c) {
    uint64_t n = 0;
    bool known = false;
    if (!http_query_u64(c, "n", &n) || !http_query_bool(c, "known", &known)) return;
    struct source *s = g_new(struct source, 1);
    *s = (struct source){ c, n, 0, CREDIT };
    http_set_state(c, s, source_free);
    http_on_gone(c, source_gone);
    http_on_sent(c, source_sent);
    http_stream(c, 200, "application/octet-stream", known ? (int64_t)n : -1);
    source_pump(s);
}

/* --- a sink: counts; with pause=1 it stops after each piece until the loop comes by, with hold=1 after the first for ever --- */
struct sink { struct http_call *c; uint64_t n; bool pause, hold; guint idle; };
static gboolean sink_on(gpointer p) { struct sink *s = p; s->idle = 0; http_body_resume(s->c); return G_SOURCE_REMOVE; }
static bool sink_piece(void *state, const uint8_t *p, size_t n) {
    struct sink *s = state;
    for (size_t i = 0; i < n; i++) if (p[i] != (uint8_t)((s->n + i) * 31 >> 3)) { trial.wrong++; break; }
    s->n += n;
    trial.sunk += n;
    if (!n) { http_reply(s->c, 200, json_pack("{s:I}", "bytes", (json_int_t)s->n)); return true; }
    if (s->hold) return false;
    if (s->pause) { s->idle = g_idle_add(sink_on, s); return false; }
    return true;
}
static void sink_free(void *state) { struct sink *s = state; if (s->idle) g_source_remove(s->idle); trial.freed++; g_free(s); }
static gboolean sink_begin(gpointer p) { struct sink *s = p; s->idle = 0; http_body(s->c, sink_piece); return G_SOURCE_REMOVE; }
static void put_sink(struct http_call *c) {
    bool refuse = false;
    struct sink *s = g_new0(struct sink, 1);
    s->c = c;
    http_set_state(c, s, sink_free);
    http_on_gone(c, source_gone);
    if (!http_query_bool(c, "pause", &s->pause) || !http_query_bool(c, "hold", &s->hold) || !http_query_bool(c, "refuse", &refuse)) return;
    if (refuse) http_fail(c, "no_space", "there is no room for this");
    else s->idle = g_idle_add(sink_begin, s);       /* later, as after a start of the sandbox */
}

/* --- waits for ever --- */
static void get_wait(struct http_call *c) {
    http_set_state(c, g_malloc(8), source_free);
    http_on_gone(c, source_gone);
    trial.waiting++;
}
/* answers from the loop, whether the client is there or not */
static gboolean later(gpointer p) { http_reply(p, 200, json_pack("{s:b}", "late", 1)); return G_SOURCE_REMOVE; }
static void get_later(struct http_call *c) {
    uint64_t ms = 0;
    if (!http_query_u64(c, "ms", &ms)) return;
    http_set_state(c, g_malloc(8), source_free);
    g_timeout_add((guint)ms, later, c);
}

static void get_events(struct http_call *c) {
    http_output_events(c);
    http_event(c, "start", json_pack("{s:s}", "exec_id", "e1"), -1);
    http_event_bytes(c, "stdout", HTTP_FRAME_STDOUT, "hi", 2, 2);
    http_event(c, "exit", json_pack("{s:i}", "exit_code", 0), -1);
    http_end(c);
}
static void get_cut(struct http_call *c) {
    http_stream(c, 200, "text/plain", -1);
    http_write(c, "half", 4);
    http_on_sent(c, (void (*)(void *, size_t))(void (*)(void))http_abort);
    http_set_state(c, c, NULL);
}

/* --- WebSocket: echoes; "flood N" sends N bytes with a credit; "hold" pauses; "bye" closes --- */
struct echo { struct http_call *c; uint64_t left; size_t credit; };
static void echo_pump(struct echo *e) {
    static const uint8_t piece[8192];
    while (e->left && e->credit >= sizeof piece) {
        size_t n = sizeof piece < e->left ? sizeof piece : (size_t)e->left;
        http_ws_send(e->c, false, piece, n);
        e->left -= n;
        e->credit -= n;
        if (http_ws_queued(e->c) > trial.most_queued) trial.most_queued = http_ws_queued(e->c);
    }
}
static void echo_message(void *state, bool text, const uint8_t *p, size_t n) {
    struct echo *e = state;
    trial.messages++;
    if (text && n > 6 && !memcmp(p, "flood ", 6)) { char *s = g_strndup((const char *)p + 6, n - 6); e->left = g_ascii_strtoull(s, NULL, 10); g_free(s); echo_pump(e); }
    else if (text && n == 4 && !memcmp(p, "hold", 4)) http_ws_pause(e->c);
    else if (text && n == 3 && !memcmp(p, "bye", 3)) http_ws_close(e->c, 1000, "bye");
    else { http_ws_send(e->c, text, p, n); e->credit -= n < e->credit ? n : e->credit; }
}
static void echo_sent(void *state, size_t n) { struct echo *e = state; e->credit += n; echo_pump(e); }
static GThread *loop_thread;
static void echo_closed(void *state) {
    trial.strayed += g_thread_self() != loop_thread;
    trial.closed++;
}
static const struct http_ws_ops echo_ops = { echo_message, echo_sent, echo_closed };
static void get_ws(struct http_call *c) {
    loop_thread = g_thread_self();
    struct echo *e = g_new0(struct echo, 1);
    *e = (struct echo){ c, 0, CREDIT - 16 };
    http_set_state(c, e, source_free);
    http_websocket(c, &echo_ops);
    http_ws_send(c, true, "{\"type\":\"ready\"}", 16);
}

static void get_trial(struct http_call *c) {
    http_reply(c, 200, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "gone", (json_int_t)trial.gone, "freed", (json_int_t)trial.freed, "waiting", (json_int_t)trial.waiting, "sunk",
                                 (json_int_t)trial.sunk, "wrong", (json_int_t)trial.wrong, "most_queued", (json_int_t)trial.most_queued, "messages", (json_int_t)trial.messages, "closed",
                                 (json_int_t)trial.closed, "strayed", (json_int_t)trial.strayed));
}

#define DOC "{\"summary\": \"Of the test\", \"responses\": {\"200\": {\"description\": \"Fine\"}}}"
const struct http_route trial_routes[] = {
    { "GET", "/t/path/{path*}", 0, get_path, DOC }, { "GET", "/t/one/{name}/end", 0, get_path, DOC }, { "POST", "/t/json", ROUTE_JSON, post_json, DOC },
    { "POST", "/t/bridge", ROUTE_JSON | ROUTE_BRIDGE, post_json, DOC }, { "GET", "/t/source", 0, get_source, DOC }, { "PUT", "/t/sink", ROUTE_STREAM, put_sink, DOC },
    { "GET", "/t/wait", 0, get_wait, DOC }, { "GET", "/t/later", 0, get_later, DOC }, { "GET", "/t/events", 0, get_events, DOC }, { "GET", "/t/cut", 0, get_cut, DOC },
    { "GET", "/t/ws", ROUTE_WEBSOCKET, get_ws, DOC }, { "GET", "/t/trial", 0, get_trial, DOC }, { 0 }
};
