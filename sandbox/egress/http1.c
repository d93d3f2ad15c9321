/* Heads of requests and responses.
 *
 * One pass from the first byte to the last, nothing copied, nothing kept: what is said of p[0..n) depends on the bytes from the first only, and a byte is judged when it is reached.
 * So (1) what is not MORE for a part of the bytes is the same for all of them, however they are split; (2) a BAD head is known at its first bad byte, but for what only the
 * headers together can tell (http1_frame.c), which is said at the empty line; (3) nobody reads behind HTTP1_HEAD_MAX. */
#include <string.h>
#include <strings.h>

#include "sandbox/egress/http1_private.h"

enum { METHOD_MAX = 31, VERSION_BYTES = 8 };
struct cursor { const char *p; size_t at, n; };

static struct slice cut(const struct cursor *c, size_t from)
{
    return (struct slice){ c->p + from, c->at - from };
}

/* CR LF at the cursor. */
static int line_end(struct cursor *c, struct http1_head *h)
{
    if (c->at < c->n && c->p[c->at] != '\r')
        return http1_bad(h, 400, c->p[c->at] == '\n' ? "a line ends with LF alone" : "a byte that may not be in the first line");
    if (c->n - c->at < 2)
        return HTTP1_MORE;
    if (c->p[c->at + 1] != '\n')
        return http1_bad(h, 400, "CR without LF");
    c->at += 2;
    return HTTP1_OK;
}

static int read_method(struct cursor *c, struct http1_head *h)
{
    size_t from = c->at;

    while (c->at < c->n && byte_is(c->p[c->at], BYTE_METHOD) && c->at - from <= METHOD_MAX)
        c->at++;
    if (c->at - from > METHOD_MAX)
        return http1_bad(h, 501, "the method is longer than 31 bytes");
    if (c->at == c->n)
        return HTTP1_MORE;
    if (c->p[c->at] != ' ' || c->at == from || c->p[from] < 'A' || c->p[from] > 'Z')
        return http1_bad(h, 400, c->at == from && (c->p[from] == '\r' || c->p[from] == '\n') ? "an empty line before the request"
                                 : "the method has to be upper-case letters and one space has to follow it");
    h->method = cut(c, from);
    c->at++;
    return slice_is(h->method, "PRI") ? http1_bad(h, 400, "HTTP/2 is not spoken here") : HTTP1_OK;
}

static int read_target(struct cursor *c, struct http1_head *h)
{
    size_t from = c->at, end = c->n - from > HTTP1_TARGET_MAX + 1 ? from + HTTP1_TARGET_MAX + 1 : c->n;

    while (c->at < end && byte_is(c->p[c->at], BYTE_TARGET))
        c->at++;
    if (c->at - from > HTTP1_TARGET_MAX)
        return http1_bad(h, 414, "the target is longer than 16 KiB");
    if (c->at == c->n)
        return HTTP1_MORE;
    if (c->p[c->at] != ' ')
        return http1_bad(h, 400, c->p[c->at] == '\r' || c->p[c->at] == '\n' ? "no version (HTTP/0.9 is not spoken here)" : "a byte that may not be in a target");
    if (c->at == from)
        return http1_bad(h, 400, "more than one space, or no target");
    h->target = cut(c, from);
    c->at++;
    return HTTP1_OK;
}

/* "HTTP/1.0" or "HTTP/1.1". */
static int read_version(struct cursor *c, struct http1_head *h)
{
    const char *v = c->p + c->at;
    size_t n = c->n - c->at < VERSION_BYTES ? c->n - c->at : VERSION_BYTES;

    for (size_t i = 0; i < n; i++)
        if (i == 5 || i == 7 ? v[i] < '0' || v[i] > '9' : v[i] != "HTTP/ . "[i])
            return http1_bad(h, 400, "the version has to be HTTP/1.1 or HTTP/1.0");
    if (n < VERSION_BYTES)
        return HTTP1_MORE;
    if (v[5] != '1' || v[7] > '1')
        return http1_bad(h, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    h->minor = (unsigned)(v[7] - '0');
    c->at += VERSION_BYTES;
    return HTTP1_OK;
}

/* 'http://' or 'https://' and something of a host's bytes, then a path or nothing. */
static bool is_absolute(struct slice t)
{
    size_t i = t.n > 7 && !strncasecmp(t.p, "http://", 7) ? 7 : t.n > 8 && !strncasecmp(t.p, "https://", 8) ? 8 : 0, from = i;

    while (i < t.n && byte_is(t.p[i], BYTE_HOST))
        i++;
    return from && i > from && (i == t.n || t.p[i] == '/' || t.p[i] == '?');
}

static bool is_authority(struct slice t)
{
    for (size_t i = 0; i < t.n; i++)
        if (!byte_is(t.p[i], BYTE_HOST))
            return false;
    return memchr(t.p, ':', t.n) != NULL;
}

/* The part before the query: no backslash, which some servers take for a slash, and no encoded control. */
static bool path_is_sane(struct slice t)
{
    for (size_t i = 0; i < t.n && t.p[i] != '?'; i++)
        if (t.p[i] == '\\' || (t.p[i] == '%' && t.n - i > 2 && (t.p[i + 1] == '0' || t.p[i + 1] == '1' || (t.p[i + 1] == '7' && (t.p[i + 2] | 0x20) == 'f'))))
            return false;
    return true;
}

static int read_form(struct http1_head *h)
{
    if (slice_is(h->method, "CONNECT")) {
        h->form = HTTP1_AUTHORITY;
        return is_authority(h->target) ? HTTP1_OK : http1_bad(h, 400, "the target of CONNECT has to be host:port");
    }
    h->form = h->target.p[0] == '/' ? HTTP1_ORIGIN : slice_is(h->target, "*") ? HTTP1_ASTERISK : HTTP1_ABSOLUTE;
    if (h->form == HTTP1_ASTERISK && !slice_is(h->method, "OPTIONS"))
        return http1_bad(h, 400, "the target * is for OPTIONS only");
    if (h->form == HTTP1_ABSOLUTE && !is_absolute(h->target))
        return http1_bad(h, 400, "the target has to be a path, or http:// and a host");
    if (!path_is_sane(h->target))
        return http1_bad(h, 400, "a backslash or an encoded control character in the path");
    return HTTP1_OK;
}

/* All header lines, and the empty one. */
static int read_headers(struct cursor *c, struct http1_head *h, bool obs_text)
{
    for (;;) {
        size_t used;
        int r;
        if (c->at < c->n && c->p[c->at] == '\r')
            return line_end(c, h);
        if (h->count == HTTP1_HEADERS_MAX)
            return c->at < c->n ? http1_bad(h, 431, "more than 100 headers") : HTTP1_MORE;
        r = http1_line(c->p + c->at, c->n - c->at, obs_text, &h->headers[h->count], &used, &h->why);
        if (r != HTTP1_OK)
            return r == HTTP1_BAD ? http1_bad(h, 400, h->why) : r;
        c->at += used;
        h->count++;
    }
}

static void begin(struct http1_head *h)
{
    h->method = h->target = h->host = h->reason = (struct slice){ NULL, 0 };
    h->form = HTTP1_ORIGIN;
    h->status = h->minor = h->count = h->refuse = 0;
    h->body = HTTP1_NONE;
    h->length = 0;
    h->keep_alive = h->expect_continue = h->upgrade = false;
    h->bytes = 0;
    h->why = NULL;
}

/* MORE is an answer only below the limit. */
static int end(int r, size_t n, struct http1_head *h)
{
    return r == HTTP1_MORE && n >= HTTP1_HEAD_MAX ? http1_bad(h, 431, "the head is longer than 64 KiB") : r;
}

int http1_request(const char *p, size_t n, struct http1_head *ret)
{
    struct cursor c = { p, 0, n < HTTP1_HEAD_MAX ? n : HTTP1_HEAD_MAX };
    int r;

    begin(ret);
    if ((r = read_method(&c, ret)) == HTTP1_OK && (r = read_target(&c, ret)) == HTTP1_OK && (r = read_version(&c, ret)) == HTTP1_OK &&
        (r = line_end(&c, ret)) == HTTP1_OK && (r = read_form(ret)) == HTTP1_OK && (r = read_headers(&c, ret, false)) == HTTP1_OK) {
        ret->bytes = c.at;
        r = http1_frame_request(ret);
    }
    return end(r, n, ret);
}

/* " 200", and " reason" or nothing. */
static int read_status(struct cursor *c, struct http1_head *h)
{
    const char *s = c->p + c->at;
    size_t n = c->n - c->at < 4 ? c->n - c->at : 4, from;

    for (size_t i = 0; i < n; i++)
        if (i ? s[i] < '0' || s[i] > '9' : s[i] != ' ')
            return http1_bad(h, 502, "the status is not three digits");
    if (n < 4)
        return HTTP1_MORE;
    h->status = (unsigned)(s[1] - '0') * 100 + (unsigned)(s[2] - '0') * 10 + (unsigned)(s[3] - '0');
    if (h->status < 100 || h->status > 599)
        return http1_bad(h, 502, "the status is not one of 100 to 599");
    c->at += 4;
    if (c->at < c->n && c->p[c->at] == ' ') {
        from = ++c->at;
        while (c->at < c->n && byte_is(c->p[c->at], BYTE_VALUE | BYTE_OBS))
            c->at++;
        h->reason = cut(c, from);
    }
    return line_end(c, h);
}

int http1_response(const char *p, size_t n, const char *method, struct http1_head *ret)
{
    struct cursor c = { p, 0, n < HTTP1_HEAD_MAX ? n : HTTP1_HEAD_MAX };
    int r;

    begin(ret);
    if ((r = read_version(&c, ret)) == HTTP1_OK && (r = read_status(&c, ret)) == HTTP1_OK && (r = read_headers(&c, ret, true)) == HTTP1_OK) {
        ret->bytes = c.at;
        r = http1_frame_response(ret, method);
    }
    r = end(r, n, ret);
    if (r == HTTP1_BAD)
        ret->refuse = 502;
    return r;
}

bool http1_worth(const char *p, size_t n, size_t seen)
{
    return !seen || n >= HTTP1_HEAD_MAX || (n > seen && memchr(p + seen, '\n', n - seen));
}
