/* What libsoup accepts in a request head and another program could read differently: all of that is refused, and the connection ends. */
#include <string.h>
#include "sandbox/http/private.h"

/* How often a header is there, and its last value. */
static unsigned count(SoupMessageHeaders *h, const char *name, const char **ret_value) {
    SoupMessageHeadersIter it;
    const char *k, *v;
    unsigned n = 0;
    soup_message_headers_iter_init(&it, h);
    while (soup_message_headers_iter_next(&it, &k, &v))
        if (!g_ascii_strcasecmp(k, name)) { n++; *ret_value = v; }
    return n;
}

static unsigned count_all(SoupMessageHeaders *h) {
    SoupMessageHeadersIter it;
    const char *k, *v;
    unsigned n = 0;
    soup_message_headers_iter_init(&it, h);
    while (soup_message_headers_iter_next(&it, &k, &v)) n++;
    return n;
}

/* The body is framed by Content-Length or by chunks: never both, never twice. */
static const char *framing(SoupMessageHeaders *h, struct head *r) {
    const char *v = NULL;
    unsigned n = count(h, "Content-Length", &v), t;
    if (n > 1) return "Content-Length is there twice";
    if (n) {
        size_t len = strlen(v);
        if (!len || len > 18 || strspn(v, "0123456789") != len) return "Content-Length is not a number";
        r->has_length = true;
        r->length = g_ascii_strtoull(v, NULL, 10);
    }
    if ((t = count(h, "Transfer-Encoding", &v))) {
        if (t > 1 || r->has_length || r->http10 || g_ascii_strcasecmp(v, "chunked")) return "Transfer-Encoding must be chunked, alone, without Content-Length, in HTTP/1.1";
        r->chunked = true;
    }
    return NULL;
}

const char *head_check(SoupServerMessage *msg, struct head *ret, const char **ret_why) {
    SoupMessageHeaders *h = soup_server_message_get_request_headers(msg);
    struct head r = { .http10 = soup_server_message_get_http_version(msg) == SOUP_HTTP_1_0 };
    const char *v = NULL, *conn = soup_message_headers_get_list(h, "Connection");
    unsigned n = count(h, "Host", &v);
    r.close = r.http10 || (conn && soup_header_contains(conn, "close"));
    *ret = r;
    if ((*ret_why = framing(h, &r))) return "invalid_request";
    if (n > 1 || (!n && !r.http10)) { *ret_why = "there must be one Host header"; return "invalid_request"; }
    if (count(h, "Authorization", &v) > 1 || count(h, "Origin", &v) > 1) { *ret_why = "Authorization and Origin may be there once"; return "invalid_request"; }
    if (count_all(h) > HEADERS_MAX) { *ret_why = "there are too many headers"; return "invalid_request"; }
    if ((n = count(h, "Expect", &v))) {
        if (n > 1 || g_ascii_strcasecmp(v, "100-continue")) { *ret_why = "only Expect: 100-continue is known"; return "invalid_request"; }
        r.expect = !r.http10;
    }
    *ret = r;
    return NULL;
}
