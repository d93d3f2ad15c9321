/* LEAD TO THE HTTP HELPER: STOP, read the last lines of /tmp/h/CHANGES.md: no HTTP/1 framing of our own; SoupServer over a wrapped GIOStream. Remove this line then. */
/* What the files of sandbox/http share among themselves; nobody else includes it. Main loop only, so no locks. */
#pragma once
#include <libsoup/soup.h>
#include "base/buf.h"
#include "sandbox/http/http.h"
#include "sandbox/http/metrics.h"
#include "sandbox/http/wire.h"

enum { TARGET_MAX = 8192, HEADERS_MAX = 100, HEAD_MAX = 40 * 1024 /* with what libsoup reads ahead of a body */, DRAIN_MAX = 64 << 20, CONNS_TCP = 2048, CONNS_UNIX = 2048, PARAMS_MAX = 6, QUERIES_MAX = 32, WS_MESSAGE_MAX = 1 << 20 };
/* Seconds: for a whole request head; between requests; for a JSON body; for a stalled upload or a stalled whole answer; comments of an event stream; WebSocket pings and silence. */
enum { HEAD_S = 10, IDLE_S = 75, JSON_S = 30, STALL_S = 300, COMMENT_S = 15, WS_PING_S = 30, WS_SILENT_S = 90 };

/* --- head.c: what libsoup lets pass in a head and could mean two things --- */
struct head { bool http10, close, chunked, has_length, expect; uint64_t length; };
/* 0, or an error code and in *ret_why what is wrong: the connection then ends. */
const char *head_check(SoupServerMessage *msg, struct head *ret, const char **ret_why);

/* --- conn.c --- */
struct conn {
    struct http *h;
    Wire *wire;                           /* NULL once it is closed */
    bool tcp, refused, dying;
    uint64_t deadline_ns, active_ns;      /* 0: none; when bytes last moved */
    struct http_call *call;               /* being answered, or NULL */
    guint cut_idle, out_idle;
    size_t data_out;                      /* of WebSocket data, not yet told */
    bool in_head;                         /* the first byte of a head has come */
    size_t head_bytes;
    GList link;                           /* in http.conns */
};
struct conn *conn_new(struct http *h, int fd, bool tcp, bool refused);
/* server.c: is the head one for the guests; and giving the connection to them */
bool server_is_guest(struct conn *c, const char *p, size_t n);
void server_take_guest(struct conn *c, int fd, const void *p, size_t n);
void conn_cut(struct conn *c, bool reset);
void conn_tick(struct conn *c, uint64_t now);
void conn_idle(struct conn *c);           /* between two requests */

/* --- call.c --- */
enum answer { ANSWER_NONE, ANSWER_STREAM, ANSWER_WEBSOCKET, ANSWER_DONE };
struct pair { char *name, *value; };
struct ws;
struct http_call {
    struct http *h;
    struct conn *conn;                    /* NULL: the client has left */
    SoupServerMessage *msg;               /* owned; paused whenever it waits for the handler */
    SoupMessageHeaders *headers;          /* its request headers */
    struct head head;
    struct compiled *route;
    enum answer answer;
    unsigned status;
    char *path;                           /* raw, without the query */
    struct pair params[PARAMS_MAX], queries[QUERIES_MAX];
    unsigned param_count, query_count;
    json_t *json;
    struct buf collected;
    bool head_only, body_started, body_paused, body_ended, got_body, events, ndjson, frames, over, length_known, collecting;
    uint64_t length_left;
    size_t queued;                        /* payload written and not yet taken by the socket */
    uint64_t drained;                     /* of a body that nobody wants */
    void *state;
    void (*free_fn)(void *);
    void (*gone_fn)(void *);
    void (*sent_fn)(void *, size_t);
    http_body_fn *body_fn;
    guint gone_idle, drop_idle;
    struct ws *ws;
    uint64_t spoke_ns;                    /* last byte of an event stream */
};
/* A head has come (in the early handler of SoupServer). Finds the route, checks who asks, and runs the handler, waits for the body, or fails. */
void call_start(struct conn *conn, SoupServerMessage *msg);
void call_free(struct http_call *c);
void call_over(struct http_call *c);      /* SoupServer is through with the message, well or not. It may be freed by this */
void call_sent(struct http_call *c, size_t n);
void call_tick(struct http_call *c, uint64_t now);
void call_piece(struct http_call *c, const uint8_t *p, size_t n);        /* of the body; n == 0: its end */
void call_collect(struct http_call *c, const uint8_t *p, size_t n);      /* of a JSON body */
void call_end_detached(struct http_call *c);     /* answered without a client: freed from the loop */
void call_go(struct http_call *c);        /* libsoup goes on with the message */
void http_fail_details(struct http_call *c, const char *code, json_t *details, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
unsigned code_status(const char *code);

/* --- route.c --- */
enum { TALLY = 24 };
struct compiled {
    const struct http_route *r;
    char **segments;                      /* NULL-terminated; "{name}" matches one, "{name*}" the rest */
    unsigned segment_count;
    bool rest;
    struct { unsigned status; uint64_t n; } tally[TALLY];
};
void route_count(struct compiled *r, unsigned status);
enum route_found { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_NO_METHOD, ROUTE_BAD_ESCAPE };
/* allow: on ROUTE_NO_METHOD the methods there are. Fills c->params. */
enum route_found route_find(struct http *h, struct http_call *c, struct buf *ret_allow);
/* Percent-decodes once. NULL: a bad escape or a NUL. plus: '+' is a space. Owned. */
char *percent_decode(const char *p, size_t n, bool plus);

/* --- auth.c --- */
struct auth { bool have; uint8_t token[32]; char hosts[16][300]; unsigned host_count; double allowance; uint64_t last_ns; GHashTable *tickets; };
void auth_init(struct auth *a, const char *token_sha256, int tcp_fd, const char *tcp_text);
void auth_fini(struct auth *a);
/* True, or the call has been failed. */
bool auth_host(struct http_call *c);
bool auth_check(struct http_call *c);

/* --- reply.c, events.c, websocket.c, json.c --- */
void reply_head(struct http_call *c, unsigned status, const char *type, int64_t length);
bool ws_handshake(struct http_call *c);    /* false: failed */
void ws_tick(struct http_call *c, uint64_t now);
void ws_end(struct http_call *c);          /* the connection is gone: tells closed() once, and frees */
void ws_in(struct http_call *c, size_t n);
void ws_sent(struct http_call *c, size_t n);
/* 0 and *ret owned, or -EINVAL and a text for people. Strict: one object, no duplicate keys, no NUL, bounded depth, nothing behind. */
int json_strict(const uint8_t *p, size_t n, json_t **ret, char *ret_why, size_t why_size);

/* --- server.c --- */
struct listener { struct http *h; int fd; bool tcp; guint source; unsigned conns, max; };
struct http {
    struct sandboxd *sd;
    GPtrArray *routes;                    /* struct compiled */
    struct auth auth;
    SoupServer *soup;
    struct listener tcp, unix_;
    GQueue conns, guests;
    const struct http_guest_ops *guest_ops;
    void *guest_arg;
    int reserve_fd;
    guint tick;
    GPtrArray *metric_fns;
    uint64_t refused_connections;
};
void server_closed(struct conn *c);       /* its place is free again */
extern const struct http_route system_routes[];
