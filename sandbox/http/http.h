/* The HTTP side of sandboxd, on libsoup 3: routing, authentication, strict bodies, errors, streams with back-pressure. Handlers run on the main loop and answer when they like. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "sandbox/http/codes.h"
#include "sandbox/sandboxd.h"

struct http_call;                         /* one request; valid until it is answered and, for streams, ended. http_on_gone tells when a client left before;
                                           * without that hook the call stays valid and its answer goes nowhere. State is freed from the main loop, not inside http_reply or http_end */
typedef void http_fn(struct http_call *c);
enum { ROUTE_JSON = 1,                    /* body: at most HTTP_JSON_MAX bytes of JSON (or empty = {}), collected before the handler runs; application/json required on native routes */
       ROUTE_STREAM = 2,                  /* body: the handler takes it with http_body() */
       ROUTE_WEBSOCKET = 4, ROUTE_OPEN = 8 /* no token */, ROUTE_BRIDGE = 16 /* unknown fields ignored, its error codes */ };
enum { HTTP_JSON_MAX = 1 << 20, HTTP_JSON_DEPTH = 32 };
/* path: "/v1/sandbox/{id}/exec"; a last "{path*}" takes the rest, slashes included, percent-decoded once ("" refused where the handler says so).
 * doc: JSON text of the OpenAPI operation object (summary, parameters, requestBody, responses); tests hold every route to have one. */
struct http_manner;                       /* of routes of another protocol; NULL: ours */
struct http_route { const char *method, *path; unsigned flags; http_fn *fn; const char *doc; const struct http_manner *manner; };
/* Ends with method NULL. A route with the method and path of one that is there takes its place. */
void http_add(struct http *h, const struct http_route *routes);
struct http *http_new(struct sandboxd *sd);
void http_free(struct http *h);                                          /* cuts every connection */
/* Starts to serve on the inherited sockets. token_sha256: hex or NULL (then no TCP). 0 or -errno. */
int http_serve(struct http *h, int unix_fd, int tcp_fd, const char *token_sha256, const char *tcp_text);

/* --- the request --- */
struct sandboxd *http_sandboxd(struct http_call *c);
const char *http_param(struct http_call *c, const char *name);           /* path parameter, decoded; never NULL for those of the route */
const char *http_query(struct http_call *c, const char *name);           /* decoded, or NULL */
bool http_query_u64(struct http_call *c, const char *name, uint64_t *io); /* absent: unchanged, true; bad: answered 400, false */
bool http_query_bool(struct http_call *c, const char *name, bool *io);
const char *http_header(struct http_call *c, const char *name);
void http_each_header(struct http_call *c, void (*fn)(void *arg, const char *name, const char *value), void *arg);
bool http_is_head(struct http_call *c);                                  /* HEAD runs the GET handler; what it writes is dropped: a stream may end at once */
json_t *http_json(struct http_call *c);                                  /* borrowed; an object */
/* json_unpack_ex into a strict shape ('!' : unknown fields refused, by name; not on bridge routes). False: answered 400 invalid_request naming the field. */
bool http_unpack(struct http_call *c, const char *fmt, ...);
bool http_wants_ndjson(struct http_call *c), http_wants_json(struct http_call *c);   /* Accept: application/x-ndjson; application/json */
/* The handler's own state, freed with free_fn when the call is over, however it ends. */
void http_set_state(struct http_call *c, void *p, void (*free_fn)(void *));
void *http_state(struct http_call *c);
void http_on_gone(struct http_call *c, void (*fn)(void *state));          /* the client left before the end of the answer; the call is over after it returns */

/* --- another protocol's way to know who asks, and to say what is wrong --- */
struct http_manner {
    bool (*admit)(struct http_call *c);       /* NULL: the token, as everywhere. Before anything of the body is read. False: it has answered (http_deny) */
    void (*fail)(struct http_call *c, unsigned status, const char *code, const char *text);      /* NULL: ours. Answers any failure of such a call, also those before its handler */
};
bool http_is_local(struct http_call *c);                                 /* it came through the Unix socket: its peer is root */
bool http_token_right(struct http_call *c, const char *token);           /* is it the API's token */
/* 401 for somebody without a right token; too many of them are answered 429. */
bool http_guess(struct http_call *c);      /* somebody without the API's token asks for what has to be searched: counted as a failure. False: too many */
void http_deny(struct http_call *c, const char *text);

/* A ticket with which a browser may open the WebSocket route at this raw path once, within HTTP_TICKET_S (it offers the protocols "coppice.terminal" and "ticket.HEX").
 * False: answered. */
enum { HTTP_TICKET_S = 30 };
bool http_ticket(struct http_call *c, const char *path, char ret_hex[33]);

/* --- the body (ROUTE_STREAM) --- */
/* data: n > 0: a piece (valid during the call); return false to pause (then http_body_resume). n == 0: the end. gone: http_on_gone. */
typedef bool http_body_fn(void *state, const uint8_t *p, size_t n);
void http_body(struct http_call *c, http_body_fn *fn);
void http_body_resume(struct http_call *c);

/* --- answers: exactly one of these --- */
void http_reply(struct http_call *c, unsigned status, json_t *body);      /* steals; NULL: no body */
void http_reply_bytes(struct http_call *c, unsigned status, const char *type, const void *p, size_t n);
void http_set_header(struct http_call *c, const char *name, const char *value);    /* before the reply */
void http_fail(struct http_call *c, const char *code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void http_fault(struct http_call *c, const struct fault *f);
/* A stream. length: of the body if known, else -1 (chunked). */
void http_stream(struct http_call *c, unsigned status, const char *type, int64_t length);
/* Queues a piece (copied). What is queued and not yet on the wire: http_queued(). The on_sent hook comes when that falls: give the source credit there. */
void http_write(struct http_call *c, const void *p, size_t n);
void http_write_take(struct http_call *c, void *p, size_t n);            /* the same without the copy: p is of g_malloc, and freed */
size_t http_queued(struct http_call *c);
void http_on_sent(struct http_call *c, void (*fn)(void *state, size_t n));           /* n bytes went out since the last call */
void http_end(struct http_call *c);
void http_abort(struct http_call *c);                                                /* the answer cannot be finished: the connection is cut, so the client sees it */
/* Events over http_stream: SSE, or NDJSON by Accept ({"event": NAME, ...data}). A comment every 15 s keeps SSE alive. data: stolen. id: -1 none. */
enum http_frame_kind { HTTP_FRAME_EVENT, HTTP_FRAME_STDOUT, HTTP_FRAME_STDERR };
enum { HTTP_FRAME_HEAD = 16 };
#define HTTP_FRAMES_TYPE "application/vnd.coppice.exec-stream"
void http_events(struct http_call *c);
void http_event(struct http_call *c, const char *name, json_t *data, int64_t id);
/* What a program wrote, as an event: base64, or as it is in a stream of frames. */
void http_event_bytes(struct http_call *c, const char *name, enum http_frame_kind kind, const void *p, size_t n, int64_t id);
/* http_events, or with Accept: application/vnd.coppice.exec-stream frames (docs/http.md): u8 kind, 3 zero bytes, u32 length, u64 id (0: none), then length bytes; little-endian.
 * HTTP_FRAME_EVENT: the document that would be the line of NDJSON. */
void http_output_events(struct http_call *c);

/* --- WebSocket (ROUTE_WEBSOCKET): the handler calls http_websocket() to accept, or fails the call before --- */
struct http_ws_ops {
    void (*message)(void *state, bool text, const uint8_t *p, size_t n);
    void (*sent)(void *state, size_t n);      /* bytes that went out: for credit */
    void (*closed)(void *state);              /* after it the call is over */
};
void http_websocket(struct http_call *c, const struct http_ws_ops *ops);
void http_ws_send(struct http_call *c, bool text, const void *p, size_t n);
size_t http_ws_queued(struct http_call *c);
void http_ws_close(struct http_call *c, unsigned code, const char *reason);   /* closed() comes when the client has closed too, or 5 s later */
void http_ws_pause(struct http_call *c);      /* no more message() until resume: the client is slowed by TCP */
void http_ws_resume(struct http_call *c);

/* --- guests: connections that are not for this API but for what lies behind it (previews). Every head is looked at before anything of it is read (gate.h), so a connection may go
 * over at its start and between two requests, both ways. It keeps its place among the connections of its listener. --- */
struct http_guest;
struct http_guest_ops {
    bool (*wants)(void *arg, bool tcp, const char *head, size_t n);      /* a whole head (not yet checked) */
    /* The connection is yours (fd is non-blocking), with the n bytes that were read. Begins with http_guest_state(). */
    void (*take)(void *arg, struct http_guest *g, bool tcp, int fd, const void *p, size_t n);
    void (*cut)(void *state);             /* the server ends: close it, and http_guest_end() */
    /* Is `host` a name of this API that says which sandbox and port are meant? Then they are set as the headers E2b-Sandbox-Id and E2b-Sandbox-Port. */
    bool (*alias)(void *arg, const char *host, char ret_id[64], char ret_port[8]);
};
void http_set_guests(struct http *h, const struct http_guest_ops *ops, void *arg);
void http_guest_state(struct http_guest *g, void *state);                /* what cut() gets */
void http_guest_end(struct http_guest *g);                               /* you have closed it */
void http_guest_back(struct http_guest *g, int fd, const void *p, size_t n);      /* what comes now is the API's; fd and the guest are gone for you */
bool http_host_known(struct http *h, const char *host);                  /* one of the names under which the API is served */
void http_add_host(struct http *h, const char *host);                    /* one more (after http_serve) */
/* Is this the value of an Authorization header with the API's token? */
bool http_is_token(struct http *h, const char *authorization);
unsigned http_port(const struct http *h);                                /* of TCP; 0: there is none */
