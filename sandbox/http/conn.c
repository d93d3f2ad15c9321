/* One connection: a wire under SoupServer, with its deadlines and the request that is being answered.
 *
 *   WAITING (call NULL) --a head has come--> CALL --request-finished--> WAITING ... --the wire is closed--> gone
 * SoupServer frames and writes; a message is paused whenever the handler owes something (an answer, more bytes, room for the body), and goes on by call_go().
 * Invariants:
 *  1. Handlers' hooks (on_sent, on_gone, body) run from SoupServer's signals or the loop, never inside http_write, http_reply or http_body.
 *  2. What is buffered for a client is what its handler wrote and the socket has not taken (http_queued): the handler's credit bounds it. An upload is read in
 *     pieces of 8 KiB while the handler takes them: else the message is paused, and the client waits in its socket.
 *  3. A client that leaves is noticed while it is being answered, also when nothing is read or written (wire_watch). */
#include "base/clock.h"
#include "sandbox/http/private.h"

static void on_in(void *arg, size_t n) {
    struct conn *c = arg;
    c->active_ns = clock_mono_ns();
    if (c->call) { if (c->call->ws) ws_in(c->call, n); }
    else {
        if (!c->in_head) c->deadline_ns = c->active_ns + HEAD_S * 1000000000ull;
        c->in_head = true;
        c->head_bytes += n;
        if (c->head_bytes > HEAD_MAX) conn_cut(c, true);
    }
}

static gboolean tell_out(gpointer arg) {
    struct conn *c = arg;
    size_t n = c->data_out;
    c->out_idle = 0;
    c->data_out = 0;
    if (c->call && c->call->ws) ws_sent(c->call, n);
    return G_SOURCE_REMOVE;
}

static void on_data_out(void *arg, size_t n) {
    struct conn *c = arg;
    c->active_ns = clock_mono_ns();
    if (!c->call || !c->call->ws) return;
    c->data_out += n;                     /* libsoup writes within its send: told from the loop (invariant 1) */
    if (!c->out_idle) c->out_idle = g_idle_add(tell_out, c);
}

/* The request's client is away: SoupServer is made to find that out, also if the message is paused. */
static void on_left(void *arg, bool hung_up) {
    struct conn *c = arg;
    if (hung_up || !c->call || c->call->answer != ANSWER_DONE) conn_cut(c, false);      /* who stopped sending may still read an answer that is on its way */
}

static void on_closed(void *arg) {
    struct conn *c = arg;
    c->wire = NULL;
    if (c->call) {
        struct http_call *call = c->call;
        c->call = NULL;
        call->conn = NULL;
        if (call->ws) ws_end(call);
        else call_over(call);
    }
    if (c->cut_idle) g_source_remove(c->cut_idle);
    if (c->out_idle) g_source_remove(c->out_idle);
    server_closed(c);
    g_free(c);
}

static bool on_wire_head(void *arg, const char *p, size_t n) {
    struct conn *c = arg;
    return !c->refused && server_is_guest(c, p, n);
}

static void on_taken(void *arg, int fd, const void *p, size_t n) {
    struct conn *c = arg;
    c->deadline_ns = clock_mono_ns();     /* libsoup closes what has ended at once; else it is made to */
    server_take_guest(c, fd, p, n);
}

void conn_idle(struct conn *c) {
    c->call = NULL;
    c->in_head = false;
    c->head_bytes = 0;
    c->active_ns = clock_mono_ns();
    c->deadline_ns = c->active_ns + IDLE_S * 1000000000ull;
    if (!c->wire) return;
    wire_idle(c->wire, true);
    wire_watch(c->wire, false);
}

/* A paused message notices nothing: it must go on. From the loop, because SoupServer may pause it itself after the signal from which we came. */
static gboolean go_on(gpointer arg) {
    struct conn *c = arg;
    c->cut_idle = 0;
    if (!c->call && c->wire) { wire_end(c->wire); return G_SOURCE_REMOVE; }     /* answered meanwhile; libsoup may have seen the end before it was told to be idle, and forgotten it */
    if (!c->call || c->call->ws) return G_SOURCE_REMOVE;
    SoupServerMessage *msg = c->call->msg;
    if (!soup_server_message_get_status(msg)) soup_server_message_set_status(msg, 500, NULL);
    soup_message_body_append(soup_server_message_get_response_body(msg), SOUP_MEMORY_STATIC, "", 1);      /* the write of it fails */
    call_go(c->call);
    return G_SOURCE_REMOVE;
}

void conn_cut(struct conn *c, bool reset) {
    if (c->dying || !c->wire) return;
    c->dying = true;
    wire_cut(c->wire, reset);
    c->cut_idle = g_idle_add(go_on, c);
}

struct conn *conn_new(struct http *h, int fd, bool tcp, bool refused) {
    static const struct wire_hooks hooks = { on_in, on_data_out, on_left, on_closed, on_wire_head, on_taken };
    struct conn *c = g_new0(struct conn, 1);
    *c = (struct conn){ .h = h, .tcp = tcp, .refused = refused, .link.data = c };
    c->wire = wire_new(fd, !tcp, &hooks, c);
    conn_idle(c);
    return c;
}

void conn_tick(struct conn *c, uint64_t now) {
    struct http_call *call = c->call;
    if (call) call_tick(call, now);
    bool moving = call && ((call->body_started && !call->body_ended && !call->body_paused) || (call->answer == ANSWER_DONE && !call->ws));
    if ((c->deadline_ns && now > c->deadline_ns) || (moving && now > c->active_ns + STALL_S * 1000000000ull)) conn_cut(c, false);
}
