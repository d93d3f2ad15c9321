/* WebSockets: libsoup's SoupWebsocketConnection over our wire, without extensions (no compression). What it lacks comes from the wire: reading stops while the handler has
 * paused, bytes of data frames are counted as they leave, and a message that never ends is cut: of one message at most WS_MESSAGE_MAX bytes are collected, fragments together. */
#include <string.h>
#include "base/clock.h"
#include "sandbox/http/private.h"

struct early { bool text; GBytes *bytes; };
struct ws {
    const struct http_ws_ops *ops;
    SoupWebsocketConnection *soup;        /* NULL before the 101 is out */
    bool paused, closing;
    gushort close_code;
    char close_reason[124];
    GQueue early;                         /* of struct early: before there is `soup` */
    size_t since_message;                 /* bytes read since the last whole message */
    uint64_t heard_ns;
};

bool ws_handshake(struct http_call *c) {
    GError *e = NULL;
    if (!strcmp(soup_server_message_get_method(c->msg), "GET") && !c->head.http10 && soup_websocket_server_check_handshake(c->msg, NULL, NULL, NULL, &e)) return true;
    g_clear_error(&e);
    http_set_header(c, "Sec-WebSocket-Version", "13");
    http_fail(c, "invalid_request", "this route is a WebSocket: it needs GET with Upgrade: websocket, Connection: Upgrade, Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key");
    return false;
}

static void on_message(SoupWebsocketConnection *s, gint type, GBytes *message, gpointer arg) {
    struct http_call *c = arg;
    gsize n;
    const uint8_t *p = g_bytes_get_data(message, &n);
    c->ws->since_message = 0;
    if (!c->ws->closing) c->ws->ops->message(c->state, type == SOUP_WEBSOCKET_DATA_TEXT, p ? p : (const uint8_t *)"", n);
}

static void on_closed(SoupWebsocketConnection *s, gpointer arg) {
    struct http_call *c = arg;
    if (c->conn && c->conn->wire) wire_end(c->conn->wire);      /* ends in ws_end */
}

static void ws_flush(struct http_call *c);

/* The 101 is written: the connection is ours. */
static void on_switched(SoupServerMessage *msg, gpointer arg) {
    struct http_call *c = arg;
    struct conn *conn = c->conn;
    g_signal_handlers_disconnect_by_data(msg, c);
    if (!conn || !conn->wire) return;
    const char *protocol = soup_message_headers_get_one(soup_server_message_get_response_headers(msg), "Sec-WebSocket-Protocol");
    GIOStream *stream = soup_server_message_steal_connection(msg);
    wire_watch(conn->wire, false);        /* it reads until the end comes, so that nothing a client sent before it left is lost */
    wire_websocket(conn->wire);
    c->ws->soup = soup_websocket_connection_new(stream, soup_server_message_get_uri(msg), SOUP_WEBSOCKET_CONNECTION_SERVER, NULL, protocol, NULL);
    g_object_unref(stream);
    soup_websocket_connection_set_max_incoming_payload_size(c->ws->soup, WS_MESSAGE_MAX);
    soup_websocket_connection_set_keepalive_interval(c->ws->soup, WS_PING_S);
    g_signal_connect(c->ws->soup, "message", G_CALLBACK(on_message), c);
    g_signal_connect(c->ws->soup, "closed", G_CALLBACK(on_closed), c);
    wire_pause(conn->wire, c->ws->paused);
    ws_flush(c);
}

void http_websocket(struct http_call *c, const struct http_ws_ops *ops) {
    static const char *protocols[] = { "coppice.terminal", NULL };
    c->ws = g_new0(struct ws, 1);
    c->ws->ops = ops;
    c->ws->heard_ns = clock_mono_ns();
    c->answer = ANSWER_WEBSOCKET;
    c->status = 101;
    route_count(c->route, 101);
    if (!c->conn) { call_end_detached(c); return; }
    const char *offered = http_header(c, "Sec-WebSocket-Protocol");
    bool ours = offered && soup_header_contains(offered, protocols[0]);
    soup_websocket_server_process_handshake(c->msg, NULL, ours ? (char **)protocols : NULL, NULL, NULL);
    g_signal_connect(c->msg, "wrote-informational", G_CALLBACK(on_switched), c);
    call_go(c);
}

static void send_now(struct http_call *c, bool text, GBytes *b) {
    if (soup_websocket_connection_get_state(c->ws->soup) == SOUP_WEBSOCKET_STATE_OPEN)
        soup_websocket_connection_send_message(c->ws->soup, text ? SOUP_WEBSOCKET_DATA_TEXT : SOUP_WEBSOCKET_DATA_BINARY, b);
}

void http_ws_send(struct http_call *c, bool text, const void *p, size_t n) {
    struct ws *w = c->ws;
    if (!c->conn || !w || w->closing) return;
    GBytes *b = g_bytes_new(p, n);
    c->queued += n;
    if (w->soup) send_now(c, text, b);
    else {
        struct early *e = g_new(struct early, 1);
        *e = (struct early){ text, g_bytes_ref(b) };
        g_queue_push_tail(&w->early, e);
    }
    g_bytes_unref(b);
}

static void early_free(void *p) {
    g_bytes_unref(((struct early *)p)->bytes);
    g_free(p);
}

/* What was sent, and perhaps closed, before the 101 was out. */
static void ws_flush(struct http_call *c) {
    struct early *e;
    while ((e = g_queue_pop_head(&c->ws->early))) {
        send_now(c, e->text, e->bytes);
        early_free(e);
    }
    if (c->ws->closing) soup_websocket_connection_close(c->ws->soup, c->ws->close_code, c->ws->close_reason);
}

void http_ws_close(struct http_call *c, unsigned code, const char *reason) {
    struct ws *w = c->ws;
    if (!c->conn || !w || w->closing) return;
    w->closing = true;
    w->close_code = (gushort)code;
    g_strlcpy(w->close_reason, reason, sizeof w->close_reason);
    if (w->paused) http_ws_resume(c);     /* the client's own close must be read */
    if (w->soup && soup_websocket_connection_get_state(w->soup) == SOUP_WEBSOCKET_STATE_OPEN) soup_websocket_connection_close(w->soup, w->close_code, w->close_reason);
}

size_t http_ws_queued(struct http_call *c) { return c->queued; }

void http_ws_pause(struct http_call *c) {
    if (!c->ws || c->ws->closing) return;
    c->ws->paused = true;
    if (c->ws->soup && c->conn) wire_pause(c->conn->wire, true);
}

void http_ws_resume(struct http_call *c) {
    if (!c->ws || !c->ws->paused) return;
    c->ws->paused = false;
    c->ws->heard_ns = clock_mono_ns();
    if (c->ws->soup && c->conn) wire_pause(c->conn->wire, false);
}

void ws_in(struct http_call *c, size_t n) {
    c->ws->heard_ns = clock_mono_ns();
    c->ws->since_message += n;
    if (c->ws->since_message > WS_MESSAGE_MAX + 256 * 1024) conn_cut(c->conn, true);
}

void ws_sent(struct http_call *c, size_t n) {
    c->queued -= n < c->queued ? n : c->queued;
    if (c->ws->ops->sent) c->ws->ops->sent(c->state, n);
}

void ws_tick(struct http_call *c, uint64_t now) {
    if (!c->ws->paused && now > c->ws->heard_ns + WS_SILENT_S * 1000000000ull) conn_cut(c->conn, true);
}

void ws_end(struct http_call *c) {
    struct ws *w = c->ws;
    if (w->soup) {
        g_signal_handlers_disconnect_by_data(w->soup, c);
        g_clear_object(&w->soup);
    }
    if (w->ops->closed) w->ops->closed(c->state);
    c->ws = NULL;
    g_queue_clear_full(&w->early, early_free);
    g_free(w);
    c->answer = ANSWER_DONE;
    call_free(c);
}
