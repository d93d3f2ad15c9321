/* Header lines, and what the headers of a head say together: where its body ends, whether the connection goes on. Whatever two readers could take for two things is refused. */
#include <string.h>
#include <strings.h>

#include "sandbox/egress/http1_private.h"

enum { OPTIONS_MAX = 32 };                 /* of Connection: each header is compared with each of them when it is passed on */

/* What is looked for in one walk over the headers. */
struct found {
    unsigned hosts, lengths, codings, upgrades, options;
    struct slice host, length, coding, upgrade;
    bool close, keep_alive, connection_upgrade;
};

int http1_line(const char *p, size_t n, bool obs_text, struct http1_header *ret, size_t *ret_used, const char **ret_why)
{
    unsigned classes = BYTE_VALUE | (obs_text ? BYTE_OBS : 0);
    size_t i = 0, from, to;

    while (i < n && byte_is(p[i], BYTE_TOKEN))
        i++;
    if (i == n)
        return HTTP1_MORE;
    if (p[i] != ':' || !i) {
        *ret_why = !i && (p[0] == ' ' || p[0] == '\t') ? "a header line begins with white space" : p[i] == ':' ? "a header without a name"
                   : p[i] == ' ' || p[i] == '\t'       ? "white space before a colon" : "a byte that may not be in a header's name";
        return HTTP1_BAD;
    }
    ret->name = (struct slice){ p, i };
    for (i++; i < n && (p[i] == ' ' || p[i] == '\t'); i++)
        ;
    for (from = i; i < n && byte_is(p[i], classes); i++)
        ;
    if (i < n && p[i] != '\r') {
        *ret_why = p[i] == '\n' ? "a line ends with LF alone" : "a byte that may not be in a header's value";
        return HTTP1_BAD;
    }
    if (n - i < 2)
        return HTTP1_MORE;
    if (p[i + 1] != '\n') {
        *ret_why = "CR without LF";
        return HTTP1_BAD;
    }
    for (to = i; to > from && (p[to - 1] == ' ' || p[to - 1] == '\t'); to--)
        ;
    ret->value = (struct slice){ p + from, to - from };
    *ret_used = i + 2;
    return HTTP1_OK;
}

/* Options of Connection: tokens between commas; empty elements are allowed (and counted). */
static bool read_connection(struct slice v, struct found *f)
{
    size_t i = 0;

    while (i < v.n) {
        size_t from = i, to;
        while (i < v.n && v.p[i] != ',')
            i++;
        for (to = i; to > from && (v.p[to - 1] == ' ' || v.p[to - 1] == '\t'); to--)
            ;
        while (from < to && (v.p[from] == ' ' || v.p[from] == '\t'))
            from++;
        struct slice option = { v.p + from, to - from };
        if (++f->options > OPTIONS_MAX || (option.n && !http1_is_name(option)))
            return false;
        f->close |= slice_is_case(option, "close");
        f->keep_alive |= slice_is_case(option, "keep-alive");
        f->connection_upgrade |= slice_is_case(option, "upgrade");
        i += i < v.n;
    }
    return true;
}

static int look(struct http1_head *h, struct found *f)
{
    for (unsigned i = 0; i < h->count; i++) {
        const struct http1_header *x = &h->headers[i];
        if (slice_is_case(x->name, "host")) {
            f->hosts++;
            f->host = x->value;
        } else if (slice_is_case(x->name, "content-length")) {
            f->lengths++;
            f->length = x->value;
        } else if (slice_is_case(x->name, "transfer-encoding")) {
            f->codings++;
            f->coding = x->value;
        } else if (slice_is_case(x->name, "upgrade")) {
            f->upgrades++;
            f->upgrade = x->value;
        } else if (slice_is_case(x->name, "connection")) {
            if (!read_connection(x->value, f))
                return http1_bad(h, 400, "Connection is not a list of up to 32 tokens");
        } else if (http1_is_lookalike(x->name)) {
            return http1_bad(h, 400, "a header whose name some servers take for one that frames or routes");
        }
    }
    return HTTP1_OK;
}

/* Digits without a leading zero, below 2^63. */
static bool read_length(struct slice v, uint64_t *ret)
{
    uint64_t n = 0;

    if (!v.n || v.n > 19 || (v.p[0] == '0' && v.n > 1))
        return false;
    for (size_t i = 0; i < v.n; i++) {
        if (v.p[i] < '0' || v.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(v.p[i] - '0');
    }
    *ret = n;
    return n <= INT64_MAX;
}

/* The same for both: at most one of the two headers, once, in its one plain form. */
static int read_framing(struct http1_head *h, const struct found *f)
{
    if (f->lengths && f->codings)
        return http1_bad(h, 400, "both Content-Length and Transfer-Encoding");
    if (f->lengths > 1)
        return http1_bad(h, 400, "more than one Content-Length");
    if (f->codings > 1)
        return http1_bad(h, 400, "more than one Transfer-Encoding");
    if (f->codings && !slice_is_case(f->coding, "chunked"))
        return http1_bad(h, 400, "the only Transfer-Encoding is chunked");
    if ((f->lengths && *(f->length.p + f->length.n) != '\r') || (f->codings && *(f->coding.p + f->coding.n) != '\r'))
        return http1_bad(h, 400, "white space behind Content-Length or Transfer-Encoding");    /* a line's end is always behind it; llhttp reads "chunked TAB" as something else */
    if (f->codings && !h->minor)
        return http1_bad(h, 400, "Transfer-Encoding in HTTP/1.0");
    if (f->lengths && !read_length(f->length, &h->length))
        return http1_bad(h, 400, "Content-Length is not a plain number");
    h->body = f->codings ? HTTP1_CHUNKED : f->lengths ? HTTP1_LENGTH : HTTP1_NONE;
    return HTTP1_OK;
}

static bool has_upgrade(const struct http1_head *h, const struct found *f)
{
    return h->minor && f->connection_upgrade && f->upgrades == 1 && slice_is_case(f->upgrade, "websocket");
}

/* Exactly one, of a host's bytes. A CONNECT of HTTP/1.0 names its authority in the target: many clients send no Host with it. */
static int read_host(struct http1_head *h, const struct found *f)
{
    if (!f->hosts && h->form == HTTP1_AUTHORITY && !h->minor)
        return HTTP1_OK;
    if (f->hosts != 1)
        return http1_bad(h, 400, f->hosts ? "more than one Host" : "no Host");
    for (size_t i = 0; i < f->host.n; i++)
        if (!byte_is(f->host.p[i], BYTE_HOST))
            return http1_bad(h, 400, "a byte that may not be in Host");
    if (!f->host.n)
        return http1_bad(h, 400, "an empty Host");
    h->host = f->host;
    return HTTP1_OK;
}

int http1_frame_request(struct http1_head *h)
{
    struct found f = { 0 };
    const struct http1_header *expect;
    int r;

    if ((r = look(h, &f)) != HTTP1_OK || (r = read_host(h, &f)) != HTTP1_OK || (r = read_framing(h, &f)) != HTTP1_OK)
        return r;
    if (h->form == HTTP1_AUTHORITY && h->body != HTTP1_NONE)
        return http1_bad(h, 400, "a CONNECT with a body");
    h->keep_alive = h->minor ? !f.close : f.keep_alive && !f.close;
    if (h->minor && (expect = http1_find(h, "expect"))) {
        if (http1_count(h, "expect") > 1 || !slice_is_case(expect->value, "100-continue"))
            return http1_bad(h, 417, "the only expectation is 100-continue");
        h->expect_continue = true;
    }
    h->upgrade = has_upgrade(h, &f) && h->body == HTTP1_NONE && slice_is(h->method, "GET");
    return HTTP1_OK;
}

int http1_frame_response(struct http1_head *h, const char *method)
{
    struct found f = { 0 };
    bool interim = h->status < 200, never = interim || h->status == 204;
    int r;

    if ((r = look(h, &f)) != HTTP1_OK || (r = read_framing(h, &f)) != HTTP1_OK)
        return r;
    if (never && (f.codings || h->length))
        return http1_bad(h, 502, "a body where none may be");
    h->keep_alive = h->minor ? !f.close : f.keep_alive && !f.close;
    if (never || h->status == 304 || !strcmp(method, "HEAD") || (!strcmp(method, "CONNECT") && h->status < 300)) {
        h->body = HTTP1_NONE;
        h->length = 0;
    } else if (h->body == HTTP1_NONE) {
        h->body = HTTP1_CLOSE;
        h->keep_alive = false;
    }
    h->upgrade = h->status == 101 && has_upgrade(h, &f);
    return HTTP1_OK;
}
