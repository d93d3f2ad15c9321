/* HTTP/1.1 as egress and preview read it: strict (RFC 9112), never repaired. Parsers take (pointer, length), copy nothing, keep no state but what is declared here, and answer
 * ok, need more, or bad; what is bad is refused with `why` and a status, never passed on. Nobody forwards the bytes of a head: it is written anew from what was understood. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP1_HEADERS_MAX = 100, HTTP1_HEAD_MAX = 64 * 1024, HTTP1_TARGET_MAX = 16 * 1024, HTTP1_CHUNK_LINE_MAX = 1024, HTTP1_TRAILER_MAX = 16 * 1024 };
enum http1_result { HTTP1_BAD = -1, HTTP1_MORE = 0, HTTP1_OK = 1 };
enum http1_body { HTTP1_NONE, HTTP1_LENGTH, HTTP1_CHUNKED, HTTP1_CLOSE /* responses only: to the end of the connection */ };
enum http1_form { HTTP1_ORIGIN /* /path?query */, HTTP1_ABSOLUTE /* http://host/path */, HTTP1_AUTHORITY /* CONNECT host:port */, HTTP1_ASTERISK /* OPTIONS * */ };
struct slice { const char *p; size_t n; };
struct http1_header { struct slice name, value; };      /* value without the white space around it; names as they came */
struct http1_head {
    struct slice method, target, host /* of Host, as it came */, reason;
    enum http1_form form;
    unsigned status, minor;               /* HTTP/1.minor: 0 or 1 */
    struct http1_header headers[HTTP1_HEADERS_MAX];
    unsigned count;
    enum http1_body body;
    uint64_t length;                      /* of HTTP1_LENGTH */
    bool keep_alive, expect_continue;
    bool upgrade;                         /* Connection: upgrade and Upgrade: websocket, a GET of HTTP/1.1 (of a response: status 101) */
    size_t bytes;                         /* of the head, the empty line included */
    unsigned refuse;                      /* BAD: status for the client: 400, 414, 417, 431, 501, 505; a response: 502 */
    const char *why;                      /* BAD: static text */
};
/* A request head in p[0..n). Host is required exactly once (HTTP/1.0 too; but a CONNECT of HTTP/1.0 may be without: `host` is empty then), and checked for its characters only
 * (authority.h does the rest). What is not MORE for a part of the bytes is the same for all of them, however they are split. */
int http1_request(const char *p, size_t n, struct http1_head *ret);
/* A response head; to a request with this method (a HEAD has no body, a CONNECT that succeeds neither). 1xx other than 101 are heads of their own: another follows. Values may have
 * bytes from 0x80 (servers send names in UTF-8). */
int http1_response(const char *p, size_t n, const char *method, struct http1_head *ret);
/* The first `seen` of the n bytes gave MORE: can all of them give something else? A head is read again from its start, so who receives it byte by byte asks this first. */
bool http1_worth(const char *p, size_t n, size_t seen);
/* Headers by name, without case. */
const struct http1_header *http1_find(const struct http1_head *h, const char *name);    /* the first; NULL */
unsigned http1_count(const struct http1_head *h, const char *name);
bool http1_has_token(const struct http1_head *h, const char *name, const char *token);  /* in a comma list, in all headers of the name */
bool slice_is(struct slice s, const char *text), slice_is_case(struct slice s, const char *text);
/* Names that some server takes for the same: without case, any bytes that are no letters or digits are one mark, none at the ends ("X_Api.Key-" is "x-api-key"). */
bool http1_same_folded(struct slice a, struct slice b);
/* Hop-by-hop (Connection and what it names, Keep-Alive, Proxy-*, TE, Trailer, Transfer-Encoding, Upgrade): not passed on. */
bool http1_is_hop(const struct http1_head *h, const struct http1_header *x);

/* The reader of a chunked body. Feed it bytes; it says where data is. Extensions are checked and dropped, trailers are checked and kept (to write them on); a trailer
 * that frames, routes or authenticates is refused. */
struct http1_chunks {
    uint8_t state;
    uint64_t left, total;                 /* of this chunk; body bytes so far */
    unsigned line, extras;                /* bytes of this size line; of all extensions */
    char trailers[HTTP1_TRAILER_MAX];     /* the lines as they came, CRLF included */
    size_t trailers_n, trailer_line;
    unsigned trailer_count;
    const char *why;
};
void http1_chunks_init(struct http1_chunks *c);
/* Takes some of p[0..n): *ret_used bytes, of which ret_data is body (inside p, may be empty). OK: the body has ended (trailers are there); MORE: go on (feed the rest, or more
 * bytes if *ret_used == n); BAD: why. */
int http1_chunks_feed(struct http1_chunks *c, const char *p, size_t n, size_t *ret_used, struct slice *ret_data);
/* The trailers as a head's headers, for writing on. */
unsigned http1_trailers(const struct http1_chunks *c, struct http1_header *ret, unsigned max);

/* Writing. All values were checked before: an append of a CR, LF or NUL sets the buffer's error. */
struct buf;
void http1_put_request(struct buf *b, struct slice method, struct slice target);       /* "METHOD target HTTP/1.1\r\n" */
void http1_put_status(struct buf *b, unsigned status, struct slice reason);
void http1_put_header(struct buf *b, struct slice name, struct slice value);
void http1_put_end(struct buf *b);
bool http1_is_name(struct slice s), http1_is_value(struct slice s);      /* a token; visible ASCII, space and tab within, and 0x80.. (obs-text) not */
