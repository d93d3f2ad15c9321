/* From a head to a handler: who asks, for which route, with which body. The order of the checks is the order of what a stranger may learn: the Host first, then
 * the method, the token, and only then whether a path exists. */
#include <string.h>
#include "base/clock.h"
#include "sandbox/http/private.h"

/* "a=b&c=d" into c->queries. False: failed. */
static bool read_queries(struct http_call *c, const char *q) {
    while (*q) {
        size_t n = strcspn(q, "&"), k = strcspn(q, "=&");
        if (n) {
            if (c->query_count == QUERIES_MAX) { http_fail(c, "invalid_request", "more than %d query parameters", QUERIES_MAX); return false; }
            char *name = percent_decode(q, k < n ? k : n, true), *value = k < n ? percent_decode(q + k + 1, n - k - 1, true) : g_strdup("");
            if (!name || !value || !*name || http_query(c, name)) {
                bool twice = name && *name && value;
                g_free(name);
                g_free(value);
                http_fail(c, "invalid_request", twice ? "a query parameter is given twice" : "the query has a bad percent escape or an empty name");
                return false;
            }
            c->queries[c->query_count++] = (struct pair){ name, value };
        }
        q += n + (q[n] == '&');
    }
    return true;
}

static bool is_json(struct http_call *c) {
    const char *type = soup_message_headers_get_content_type(c->headers, NULL);
    return type && !g_ascii_strcasecmp(type, "application/json");
}

static void run(struct http_call *c) {
    if (c->answer == ANSWER_NONE) c->route->r->fn(c);
}

void call_collect(struct http_call *c, const uint8_t *p, size_t n) {
    if (n) {
        if (c->collected.len + n > HTTP_JSON_MAX) { http_fail(c, "payload_too_large", "the JSON body is larger than %d bytes", HTTP_JSON_MAX); return; }
        buf_put(&c->collected, p, n);
        if (buf_err(&c->collected)) http_fail(c, "internal", "out of memory");
        return;
    }
    c->collecting = false;
    if (c->conn) c->conn->deadline_ns = 0;
    if (!c->collected.len) c->json = json_object();
    else {
        char why[256];
        if (!(c->route->r->flags & ROUTE_BRIDGE) && !is_json(c)) { http_fail(c, "unsupported_media_type", "the body must be application/json"); return; }
        if (json_strict(c->collected.data, c->collected.len, &c->json, why, sizeof why)) { http_fail(c, "invalid_request", "%s", why); return; }
    }
    buf_fini(&c->collected);
    run(c);
}

/* The body's rules, and the handler: at once if it takes the body itself, else when the body is there. */
static void begin(struct http_call *c) {
    unsigned flags = c->route->r->flags;
    bool body = c->head.chunked || c->head.length;
    if (flags & ROUTE_JSON) {
        if (c->head.length > HTTP_JSON_MAX) { http_fail(c, "payload_too_large", "the JSON body is larger than %d bytes", HTTP_JSON_MAX); return; }
        c->collecting = true;
        c->conn->deadline_ns = clock_mono_ns() + JSON_S * 1000000000ull;
        http_body(c, NULL);
    } else if (body && !(flags & (ROUTE_STREAM | ROUTE_BRIDGE))) http_fail(c, "invalid_request", "this request takes no body");
    else if ((flags & ROUTE_WEBSOCKET) && !ws_handshake(c)) return;
    else {
        if (!(flags & ROUTE_STREAM)) c->body_started = true;      /* a bridge request's superfluous body is dropped */
        run(c);
    }
}

static bool method_known(struct http_call *c) {
    const char *m = soup_server_message_get_method(c->msg);
    return strcmp(m, "OPTIONS") && strcmp(m, "TRACE") && strcmp(m, "CONNECT");
}

static void route(struct http_call *c) {
    struct buf allow = BUF_INIT;
    enum route_found f = route_find(c->h, c, &allow);
    struct compiled *found = c->route;
    const struct http_manner *m = f == ROUTE_FOUND ? found->r->manner : NULL;
    bool open = f == ROUTE_FOUND && (found->r->flags & ROUTE_OPEN);
    bool in = open || (m && m->admit ? m->admit(c) : auth_check(c));      /* auth_check looks at the route for tickets; it fails without one */
    c->route = found;
    if (!in) { buf_fini(&allow); return; }
    buf_put(&allow, "", 1);
    if (f == ROUTE_BAD_ESCAPE) http_fail(c, "invalid_request", "the path has a bad percent escape or a NUL");
    else if (f == ROUTE_NO_PATH) http_fail(c, "not_found", "there is nothing at this path: see /v1/openapi.json for the routes");
    else if (f == ROUTE_NO_METHOD) {
        http_set_header(c, "Allow", (char *)allow.data);
        http_fail(c, "method_not_allowed", "this path takes %s", (char *)allow.data);
    } else begin(c);
    buf_fini(&allow);
}

/* --- signals of the message --- */
static void on_chunk(SoupServerMessage *msg, GBytes *chunk, gpointer arg) {
    gsize n;
    const uint8_t *p = g_bytes_get_data(chunk, &n);
    if (n) call_piece(arg, p, n);
}

static void on_body(SoupServerMessage *msg, gpointer arg) {
    struct http_call *c = arg;
    c->got_body = true;
    if (!c->body_ended) call_piece(c, NULL, 0);
    if (c->answer == ANSWER_NONE && c->conn && !c->conn->dying && !c->ws) soup_server_message_pause(msg);
}

static void on_wrote(SoupServerMessage *msg, guint n, gpointer arg) { call_sent(arg, n); }

/* Writing the head of a 204, libsoup takes a Content-Length away and with it the encoding that was set; an answer without one would end by closing the connection. */
static void on_wrote_head(SoupServerMessage *msg, gpointer arg) {
    if (soup_server_message_get_status(msg) == 204) soup_message_headers_set_encoding(soup_server_message_get_response_headers(msg), SOUP_ENCODING_NONE);
}

/* A guest's head behind a body whose end could not be known (gate.h): the client asks again, on a connection of its own. True: answered. */
static bool send_back(struct http_call *c, const char *path, const char *query) {
    const struct http *h = c->h;
    const char *host = soup_message_headers_get_one(c->headers, "Host");
    if (!h->guest_ops || c->conn->refused) return false;
    char *target = g_strconcat(path, query ? "?" : NULL, query, NULL), *head = g_strdup_printf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host ? host : "");
    bool guest = h->guest_ops->wants(h->guest_arg, c->conn->tcp, head, strlen(head));
    if (guest) {
        c->head.close = true;
        http_set_header(c, "Location", target);
        http_reply(c, 307, NULL);
    }
    g_free(target);
    g_free(head);
    return guest;
}

void call_start(struct conn *conn, SoupServerMessage *msg) {
    struct http_call *c = g_new0(struct http_call, 1);
    GUri *uri = soup_server_message_get_uri(msg);
    const char *q = g_uri_get_query(uri), *why = NULL, *bad, *path = g_uri_get_path(uri);
    c->h = conn->h;
    c->conn = conn;
    c->msg = g_object_ref(msg);
    c->headers = soup_server_message_get_request_headers(msg);
    c->head_only = !strcmp(soup_server_message_get_method(msg), "HEAD");
    c->path = g_strdup(*path == '/' ? path : "/");
    conn->call = c;
    conn->deadline_ns = 0;
    wire_idle(conn->wire, false);
    wire_watch(conn->wire, true);
    g_object_set_data(G_OBJECT(msg), "call", c);
    soup_message_body_set_accumulate(soup_server_message_get_request_body(msg), FALSE);
    soup_message_body_set_accumulate(soup_server_message_get_response_body(msg), FALSE);
    g_signal_connect(msg, "got-chunk", G_CALLBACK(on_chunk), c);
    g_signal_connect(msg, "got-body", G_CALLBACK(on_body), c);
    g_signal_connect(msg, "wrote-headers", G_CALLBACK(on_wrote_head), c);
    g_signal_connect(msg, "wrote-body-data", G_CALLBACK(on_wrote), c);
    soup_server_message_pause(msg);       /* until somebody wants the body, or there is an answer */
    if ((bad = head_check(msg, &c->head, &why))) { c->head.close = true; http_fail(c, bad, "%s", why); }
    else if (strlen(path) + (q ? strlen(q) : 0) > TARGET_MAX) http_fail(c, "invalid_request", "the path is longer than %d bytes", TARGET_MAX);
    else if (conn->refused) http_fail(c, "forbidden", "this socket serves root and the owner of the store only");
    else if (send_back(c, path, q)) return;
    else if (!auth_host(c)) return;
    else if (!method_known(c)) http_fail(c, "method_not_allowed", "this method is not served");
    else if (q && !read_queries(c, q)) return;
    else route(c);
}
