/* Answers: whole ones, errors, and streams. What is written for a client that has left, or for HEAD, is dropped. */
#include <stdarg.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/http/private.h"

unsigned code_status(const char *code) {
    static const struct { const char *code; unsigned status; } all[] = {
#define X(code, status) { #code, status },
        HTTP_CODES(X)
#undef X
    };
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++) if (!strcmp(all[i].code, code)) return all[i].status;
    return 0;
}

void http_set_header(struct http_call *c, const char *name, const char *value) {
    for (const char *p = value; *p; p++) if ((unsigned char)*p < 0x20 || *p == 0x7f) return;      /* never lets a value break out of its line */
    soup_message_headers_replace(soup_server_message_get_response_headers(c->msg), name, value);
}

void reply_head(struct http_call *c, unsigned status, const char *type, int64_t length) {
    c->status = status;
    if (c->route) route_count(c->route, status);
    SoupMessageHeaders *h = soup_server_message_get_response_headers(c->msg);
    bool none = status == 204 || status == 304;
    c->length_known = length >= 0;
    c->length_left = length >= 0 ? (uint64_t)length : 0;
    if (type) soup_message_headers_replace(h, "Content-Type", type);
    soup_message_headers_replace(h, "Cache-Control", "no-store");
    soup_message_headers_replace(h, "X-Content-Type-Options", "nosniff");
    if (c->head.close) soup_message_headers_replace(h, "Connection", "close");
    if (length >= 0 && !none) soup_message_headers_set_content_length(h, length);
    else soup_message_headers_set_encoding(h, none ? SOUP_ENCODING_NONE : c->head.http10 ? SOUP_ENCODING_EOF : SOUP_ENCODING_CHUNKED);
    if (none) c->head_only = true;        /* no body, whatever comes */
    soup_server_message_set_status(c->msg, status, NULL);
}

static void finish(struct http_call *c) {
    c->answer = ANSWER_DONE;
    if (c->conn) {
        c->conn->active_ns = clock_mono_ns();
        soup_message_body_complete(soup_server_message_get_response_body(c->msg));
        call_go(c);
    } else call_end_detached(c);
}

static void append(struct http_call *c, SoupMemoryUse use, const void *p, size_t n) {
    soup_message_body_append(soup_server_message_get_response_body(c->msg), use, p, n);
    c->queued += n;
}

void http_reply_bytes(struct http_call *c, unsigned status, const char *type, const void *p, size_t n) {
    if (c->answer != ANSWER_NONE) { log_error("http: a second answer to one call route=%s", c->route ? c->route->r->path : "-"); return; }
    reply_head(c, status, type, (int64_t)n);
    if (n && c->conn && !c->head_only) append(c, SOUP_MEMORY_COPY, p, n);
    finish(c);
}

void http_reply(struct http_call *c, unsigned status, json_t *body) {
    char *text = body ? json_dumps(body, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(body);
    if (body && !text) { http_fail(c, "internal", "the answer could not be written as JSON"); return; }
    http_reply_bytes(c, status, text ? "application/json" : NULL, text, text ? strlen(text) : 0);
    free(text);
}

static void fail_text(struct http_call *c, const char *code, json_t *details, const char *text) {
    unsigned status = code_status(code);
    if (!status) { log_error("http: unknown error code code=%s", code); status = 500; code = "internal"; }
    json_t *t = json_string(text);
    if (!t) t = json_string("the reason is not valid UTF-8");
    const struct http_manner *m = c->route ? c->route->r->manner : NULL;
    if (status == 401) http_set_header(c, "WWW-Authenticate", "Bearer");
    if (status == 429) http_set_header(c, "Retry-After", "1");
    if (m && m->fail) {
        m->fail(c, status, code, json_string_value(t));
        json_decref(t);
        json_decref(details);
        return;
    }
    http_reply(c, status, json_pack("{s:o, s:s, s:o}", "error", t, "code", code, "details", details ? details : json_object()));
}

void http_fail(struct http_call *c, const char *code, const char *fmt, ...) {
    va_list ap;
    char text[512];
    va_start(ap, fmt);
    g_vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_text(c, code, NULL, text);
}

void http_fail_details(struct http_call *c, const char *code, json_t *details, const char *fmt, ...) {
    va_list ap;
    char text[512];
    va_start(ap, fmt);
    g_vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    fail_text(c, code, details, text);
}

void http_fault(struct http_call *c, const struct fault *f) { fail_text(c, f->code, NULL, f->text); }

/* --- streams --- */
void http_stream(struct http_call *c, unsigned status, const char *type, int64_t length) {
    if (c->answer != ANSWER_NONE) { log_error("http: a second answer to one call route=%s", c->route ? c->route->r->path : "-"); return; }
    reply_head(c, status, type, length);
    c->answer = ANSWER_STREAM;
    c->spoke_ns = clock_mono_ns();
    if (c->conn) call_go(c);
}

/* What HEAD drops has been sent, as its writer sees it. */
static gboolean dropped(gpointer arg) {
    struct http_call *c = arg;
    size_t n = c->queued;
    c->drop_idle = 0;
    call_sent(c, n);
    return G_SOURCE_REMOVE;
}

/* True: n bytes are to be appended. */
static bool may_write(struct http_call *c, size_t n) {
    if (!n || c->answer != ANSWER_STREAM || !c->conn) return false;
    if (c->length_known) {
        if (n > c->length_left) { log_error("http: more than the announced length route=%s", c->route->r->path); conn_cut(c->conn, true); return false; }
        c->length_left -= n;
    }
    if (!c->head_only) return true;
    c->queued += n;
    if (!c->drop_idle) c->drop_idle = g_idle_add(dropped, c);
    return false;
}

void http_write(struct http_call *c, const void *p, size_t n) {
    if (!may_write(c, n)) return;
    append(c, SOUP_MEMORY_COPY, p, n);
    call_go(c);
}

void http_write_take(struct http_call *c, void *p, size_t n) {
    if (!may_write(c, n)) { g_free(p); return; }
    append(c, SOUP_MEMORY_TAKE, p, n);
    call_go(c);
}

size_t http_queued(struct http_call *c) { return c->queued; }

void http_end(struct http_call *c) {
    if (c->answer != ANSWER_STREAM) return;
    if (c->conn && c->length_known && c->length_left && !c->head_only) conn_cut(c->conn, true);    /* less than was announced: let the client see it */
    finish(c);
}

void http_abort(struct http_call *c) {
    c->answer = ANSWER_DONE;
    if (c->conn) conn_cut(c->conn, true);
    else call_end_detached(c);
}
