/* One request: what handlers ask about it, its life, its body. */
#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "sandbox/http/private.h"

struct sandboxd *http_sandboxd(struct http_call *c) { return c->h->sd; }
void *http_state(struct http_call *c) { return c->state; }
json_t *http_json(struct http_call *c) { return c->json; }
bool http_is_head(struct http_call *c) { return c->head_only; }
const char *http_header(struct http_call *c, const char *name) { return soup_message_headers_get_list(c->headers, name); }

void http_each_header(struct http_call *c, void (*fn)(void *arg, const char *name, const char *value), void *arg) {
    SoupMessageHeadersIter it;
    const char *k, *v;
    soup_message_headers_iter_init(&it, c->headers);
    while (soup_message_headers_iter_next(&it, &k, &v)) fn(arg, k, v);
}

const char *http_param(struct http_call *c, const char *name) {
    for (unsigned i = 0; i < c->param_count; i++) if (!strcmp(c->params[i].name, name)) return c->params[i].value;
    return NULL;
}

const char *http_query(struct http_call *c, const char *name) {
    for (unsigned i = 0; i < c->query_count; i++) if (!strcmp(c->queries[i].name, name)) return c->queries[i].value;
    return NULL;
}

static bool bad_query(struct http_call *c, const char *name, const char *what) {
    http_fail_details(c, "invalid_request", json_pack("{s:s}", "field", name), "the query parameter %s must be %s", name, what);
    return false;
}

bool http_query_u64(struct http_call *c, const char *name, uint64_t *io) {
    const char *s = http_query(c, name);
    if (!s) return true;
    char *e;
    errno = 0;
    uint64_t v = g_ascii_strtoull(s, &e, 10);
    if (!g_ascii_isdigit(*s) || *e || errno) return bad_query(c, name, "a whole number");
    *io = v;
    return true;
}

bool http_query_bool(struct http_call *c, const char *name, bool *io) {
    const char *s = http_query(c, name);
    if (!s) return true;
    if (!strcmp(s, "true") || !strcmp(s, "1") || !*s) *io = true;
    else if (!strcmp(s, "false") || !strcmp(s, "0")) *io = false;
    else return bad_query(c, name, "true or false");
    return true;
}

static bool accepts(struct http_call *c, const char *type) {
    const char *a = http_header(c, "Accept");
    return a && soup_header_contains(a, type);
}
bool http_wants_ndjson(struct http_call *c) { return accepts(c, "application/x-ndjson"); }
bool http_wants_json(struct http_call *c) { return accepts(c, "application/json") && !accepts(c, "text/event-stream"); }

/* --- its life --- */
void http_set_state(struct http_call *c, void *p, void (*free_fn)(void *)) { c->state = p; c->free_fn = free_fn; }
void http_on_sent(struct http_call *c, void (*fn)(void *state, size_t n)) { c->sent_fn = fn; }

static gboolean detached_idle(gpointer arg) {
    struct http_call *c = arg;
    c->gone_idle = 0;
    if (c->ws) { ws_end(c); return G_SOURCE_REMOVE; }
    if (c->answer != ANSWER_DONE && c->gone_fn) c->gone_fn(c->state);
    call_free(c);
    return G_SOURCE_REMOVE;
}

/* A call without a client is freed from the loop once it is answered, or its handler has said what to do when the client leaves. */
void call_end_detached(struct http_call *c) {
    if (!c->conn && !c->gone_idle) c->gone_idle = g_idle_add(detached_idle, c);
}

void http_on_gone(struct http_call *c, void (*fn)(void *state)) {
    c->gone_fn = fn;
    if (fn && c->answer != ANSWER_DONE) call_end_detached(c);
}

void call_free(struct http_call *c) {
    if (c->gone_idle) g_source_remove(c->gone_idle);
    if (c->drop_idle) g_source_remove(c->drop_idle);
    if (c->free_fn) c->free_fn(c->state);
    for (unsigned i = 0; i < c->param_count; i++) { g_free(c->params[i].name); g_free(c->params[i].value); }
    for (unsigned i = 0; i < c->query_count; i++) { g_free(c->queries[i].name); g_free(c->queries[i].value); }
    g_free(c->path);
    json_decref(c->json);
    buf_fini(&c->collected);
    if (c->msg) {
        g_signal_handlers_disconnect_by_data(c->msg, c);
        g_object_set_data(G_OBJECT(c->msg), "call", NULL);
        g_object_unref(c->msg);
    }
    g_free(c);
}

void call_over(struct http_call *c) {
    if (c->conn) { conn_idle(c->conn); c->conn = NULL; }
    g_signal_handlers_disconnect_by_data(c->msg, c);
    g_object_set_data(G_OBJECT(c->msg), "call", NULL);
    if (c->answer == ANSWER_DONE) { call_free(c); return; }
    if (c->route && c->answer == ANSWER_NONE) route_count(c->route, 499);
    if (c->gone_fn) { c->gone_fn(c->state); call_free(c); }
    else if (c->collecting) call_free(c);            /* its handler never ran */
}

void call_go(struct http_call *c) {
    if (c->conn && c->conn->wire) soup_server_message_unpause(c->msg);
}

void call_sent(struct http_call *c, size_t n) {
    c->queued -= n < c->queued ? n : c->queued;
    if (c->conn) c->conn->active_ns = clock_mono_ns();
    if (c->sent_fn && c->answer == ANSWER_STREAM) c->sent_fn(c->state, n);
}

/* --- the body --- */
void http_body(struct http_call *c, http_body_fn *fn) {
    c->body_fn = fn;
    c->body_started = true;
    if (!c->conn) return;
    c->conn->active_ns = clock_mono_ns();
    call_go(c);
}

void http_body_resume(struct http_call *c) {
    if (!c->body_paused) return;
    c->body_paused = false;
    if (!c->conn) return;
    c->conn->active_ns = clock_mono_ns();
    call_go(c);
}

/* Of a body that nobody wants any more so much is read that the answer can follow; then the connection is cut. */
static void drain(struct http_call *c, size_t n) {
    c->drained += n;
    if (c->drained > DRAIN_MAX && c->conn) conn_cut(c->conn, true);
}

void call_piece(struct http_call *c, const uint8_t *p, size_t n) {
    if (!n) c->body_ended = true;
    if (c->answer == ANSWER_DONE) drain(c, n);
    else if (c->collecting) call_collect(c, p, n);
    else if (c->body_fn) {
        c->body_paused = !c->body_fn(c->state, p, n) && n;
        if (c->body_paused && c->answer != ANSWER_DONE && c->conn && !c->conn->dying) soup_server_message_pause(c->msg);
    } else drain(c, n);
}

void call_tick(struct http_call *c, uint64_t now) {
    if (c->ws) ws_tick(c, now);
    else if (c->events && c->answer == ANSWER_STREAM && !c->ndjson && now > c->spoke_ns + COMMENT_S * 1000000000ull) {
        c->spoke_ns = now;
        http_write(c, ": still here\n\n", 14);
    }
}
