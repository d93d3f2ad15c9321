#include "tests/egress/http_stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void http_stream_init(struct http_stream *s, const char *answers)
{
    memset(s, 0, sizeof *s);
    s->answers = answers;
}

void http_stream_fini(struct http_stream *s)
{
    buf_fini(&s->in);
    buf_fini(&s->body);
    buf_fini(&s->text);
    buf_fini(&s->outline);
}

static void put_escaped(struct buf *b, const void *p, size_t n)
{
    for (const unsigned char *c = p; n--; c++) {
        if (*c >= 0x20 && *c < 0x7f && *c != '\\')
            buf_put(b, c, 1);
        else
            buf_printf(b, "\\x%02x", *c);
    }
}

static void put_head(struct http_stream *s)
{
    const struct http1_head *h = &s->head;

    if (s->answers) {
        buf_printf(&s->text, "answer 1.%u %u keep=%d upgrade=%d\n", h->minor, h->status, h->keep_alive, h->upgrade);
    } else {
        buf_printf(&s->text, "request 1.%u keep=%d upgrade=%d ", h->minor, h->keep_alive, h->upgrade);
        buf_put(&s->text, h->method.p, h->method.n);
        buf_put(&s->text, " ", 1);
        buf_put(&s->text, h->target.p, h->target.n);
        buf_put(&s->text, "\n", 1);
    }
    for (unsigned i = 0; i < h->count; i++) {
        buf_put(&s->text, "header ", 7);
        buf_put(&s->text, h->headers[i].name.p, h->headers[i].name.n);
        buf_put(&s->text, ": ", 2);
        put_escaped(&s->text, h->headers[i].value.p, h->headers[i].value.n);
        buf_put(&s->text, "\n", 1);
    }
}

static void put_end(struct http_stream *s, unsigned status, const char *why)
{
    buf_printf(&s->text, "refused %u %s\n", status, why);
    if (s->outline.len)
        buf_put(&s->outline, " ", 1);
    if (s->in_body)
        buf_put(&s->outline, "body", 4);
    else
        buf_printf(&s->outline, "%u", status);
    s->ended = true;
}

static void put_message(struct http_stream *s)
{
    static const char *const kinds[] = { "none", "length", "chunked", "close" };
    struct http1_header trailers[64];
    unsigned n = s->head.body == HTTP1_CHUNKED ? http1_trailers(&s->chunks, trailers, 64) : 0;

    buf_printf(&s->text, "body %s %zu @%zu ", kinds[s->head.body], s->body.len, s->used);
    put_escaped(&s->text, s->body.data, s->body.len);
    buf_put(&s->text, "\n", 1);
    for (unsigned i = 0; i < n; i++) {
        buf_put(&s->text, "trailer ", 8);
        buf_put(&s->text, trailers[i].name.p, trailers[i].name.n);
        buf_put(&s->text, ": ", 2);
        put_escaped(&s->text, trailers[i].value.p, trailers[i].value.n);
        buf_put(&s->text, "\n", 1);
    }
    buf_printf(&s->outline, "%s%s", s->outline.len ? " " : "", kinds[s->head.body]);
    if (s->head.body != HTTP1_NONE)
        buf_printf(&s->outline, "=%zu", s->body.len);
    buf_clear(&s->body);
    s->in_body = false;
}

static void take(struct http_stream *s, size_t n)
{
    memmove(s->in.data, s->in.data + n, s->in.len - n);
    s->in.len -= n;
    s->seen = 0;
    s->used += n;
}

void http_stream_rewrite(const struct http1_head *h, const char *answers)
{
    static struct http1_head again;
    struct buf b = BUF_INIT;

    if (answers)
        http1_put_status(&b, h->status, h->reason);
    else
        http1_put_request(&b, h->method, h->target);
    for (unsigned i = 0; i < h->count; i++)
        http1_put_header(&b, h->headers[i].name, h->headers[i].value);
    http1_put_end(&b);
    int r = answers ? http1_response((char *)b.data, b.len, answers, &again) : http1_request((char *)b.data, b.len, &again);
    /* What is written is always 1.1: only a head of 1.0 may be refused or mean other things then. */
    if (buf_err(&b) || (h->minor && (r != HTTP1_OK || again.bytes != b.len || again.count != h->count || again.body != h->body || again.length != h->length ||
                                     again.keep_alive != h->keep_alive || again.upgrade != h->upgrade || again.status != h->status)))
        abort();
    for (unsigned i = 0; i < h->count && r == HTTP1_OK; i++)
        if (again.headers[i].name.n != h->headers[i].name.n || again.headers[i].value.n != h->headers[i].value.n ||
            memcmp(again.headers[i].value.p, h->headers[i].value.p, h->headers[i].value.n) || memchr(h->headers[i].value.p, '\r', h->headers[i].value.n) ||
            memchr(h->headers[i].value.p, '\n', h->headers[i].value.n))
            abort();
    buf_fini(&b);
}

/* False: more bytes are needed. */
static bool read_head(struct http_stream *s)
{
    const char *p = (char *)s->in.data;
    int r;

    if (!s->in.len)
        return false;
    r = s->answers ? http1_response(p, s->in.len, s->answers, &s->head) : http1_request(p, s->in.len, &s->head);
    if (!http1_worth(p, s->in.len, s->seen) && r == HTTP1_OK)
        abort();                /* it said that nothing new could come (bad bytes it may leave for the line's end) */
    s->seen = s->in.len;
    if (r == HTTP1_MORE)
        return false;
    if (r == HTTP1_BAD) {
        put_end(s, s->head.refuse, s->head.why);
        return false;
    }
    put_head(s);
    http_stream_rewrite(&s->head, s->answers);
    take(s, s->head.bytes);
    s->in_body = true;
    s->left = s->head.length;
    http1_chunks_init(&s->chunks);
    return true;
}

static bool read_body(struct http_stream *s)
{
    size_t n = s->in.len;
    struct slice data;
    int r;

    if (s->head.body == HTTP1_CHUNKED) {
        if (!n)
            return false;
        r = http1_chunks_feed(&s->chunks, (char *)s->in.data, n, &n, &data);
        buf_put(&s->body, data.p, data.n);
        take(s, n);
        if (r == HTTP1_BAD)
            put_end(s, 400, s->chunks.why);
        else if (r == HTTP1_OK)
            put_message(s);
        return r != HTTP1_BAD;
    }
    if (s->head.body != HTTP1_CLOSE && n > s->left)
        n = (size_t)s->left;
    buf_put(&s->body, s->in.data, n);
    take(s, n);
    s->left -= s->head.body == HTTP1_CLOSE ? 0 : n;
    if (s->head.body == HTTP1_CLOSE || s->left)
        return false;
    put_message(s);
    return true;
}

void http_stream_feed(struct http_stream *s, const void *p, size_t n)
{
    if (s->ended)
        return;
    buf_put(&s->in, p, n);
    while (!s->ended && (s->in_body ? read_body(s) : read_head(s)))
        ;
}

void http_stream_end(struct http_stream *s)
{
    if (!s->ended && s->in_body && s->head.body == HTTP1_CLOSE) {
        put_message(s);
    } else if (!s->ended && (s->in_body || s->in.len)) {
        buf_printf(&s->text, "more\n");
        buf_printf(&s->outline, "%smore", s->outline.len ? " " : "");
    }
    buf_put_u8(&s->text, 0);
    buf_put_u8(&s->outline, 0);
}
