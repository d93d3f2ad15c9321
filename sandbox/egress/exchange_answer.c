#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "sandbox/egress/exchange_private.h"
#include "sandbox/egress/reply.h"
#include "sandbox/egress/upstream.h"

static struct slice text(const char *s)
{
    return (struct slice){ s, strlen(s) };
}

/* How long the body is, for the client: as the upstream said it. A body that ends with the connection ends so for the client too, properly or broken off as it was (conn_end). */
static void put_framing(struct exchange *x, const struct http1_head *h, enum http1_body *ret_out, struct buf *b)
{
    const struct http1_header *length = http1_find(h, "Content-Length");
    char digits[24];

    *ret_out = h->body;
    if (h->body == HTTP1_CHUNKED && x->http10)
        *ret_out = HTTP1_CLOSE;
    if (h->body == HTTP1_LENGTH) {
        snprintf(digits, sizeof(digits), "%llu", (unsigned long long)h->length);
        http1_put_header(b, text("Content-Length"), text(digits));
    } else if (h->body == HTTP1_NONE && length && h->status != 204) {
        http1_put_header(b, text("Content-Length"), length->value);       /* to a HEAD, of a 304 */
    } else if (*ret_out == HTTP1_CHUNKED) {
        http1_put_header(b, text("Transfer-Encoding"), text("chunked"));
    }
    /* What is still to come of the request when the answer is there already may never come. */
    x->keep = x->keep && *ret_out != HTTP1_CLOSE && x->up.done && !x->fault_client;
    if (h->status == 101) {
        http1_put_header(b, text("Connection"), text("Upgrade"));
        http1_put_header(b, text("Upgrade"), text("websocket"));
    } else if (!x->keep) {
        http1_put_header(b, text("Connection"), text("close"));
    } else if (x->http10) {
        http1_put_header(b, text("Connection"), text("keep-alive"));
    }
}

/* Writes a head for the client; without framing for 1xx. */
static int pass_head(struct exchange *x, const struct http1_head *h, enum http1_body *ret_out)
{
    struct message m = { 0 };
    struct buf b = BUF_INIT;

    int r = message_from(h, &m);
    if (r)
        return r;
    policy_redact(&x->m, &m);
    http1_put_status(&b, h->status, x->m.redact_count ? text(reply_reason(h->status)) : h->reason);     /* an upstream's own words could be what was injected */
    message_put_fields(&m, &b);
    if (ret_out)
        put_framing(x, h, ret_out, &b);
    http1_put_end(&b);
    message_fini(&m);
    r = buf_err(&b) ? -EPROTO : stream_write_all(&x->c->client, b.data, b.len, in_s(SAY_S));
    x->fault_client |= r && !buf_err(&b);
    buf_fini(&b);
    return r;
}

static int switch_protocols(struct exchange *x)
{
    half_fini(&x->up);
    int r = half_init(&x->up, &x->c->client, &x->c->up.s, HTTP1_CLOSE, 0, HTTP1_CLOSE);
    if (!r)
        r = half_init(&x->down, &x->c->up.s, &x->c->client, HTTP1_CLOSE, 0, HTTP1_CLOSE);
    x->keep = false;
    return r;
}

static int begin_answer(struct exchange *x, const struct http1_head *h)
{
    enum http1_body out;

    if (h->status == 101 && !x->upgrade)
        return -EPROTO;
    if (h->status < 200 && h->status != 101) {
        if (++x->informs > INFORM_MAX)
            return -EPROTO;
        if (x->http10 || (h->status == 100 && !x->expect))
            return 0;
        return pass_head(x, h, NULL);
    }
    x->answered = true;
    x->status = h->status;
    x->upstream_keep = h->keep_alive && h->body != HTTP1_CLOSE && h->status != 101;
    int r = pass_head(x, h, &out);
    if (r)
        return r;
    if (h->status == 101)
        return switch_protocols(x);
    r = half_init(&x->down, &x->c->up.s, &x->c->client, h->body, h->length, out);
    return r;
}

/* Reads the upstream's next head, if it is there. 1: something happened; 0: wait; -errno. */
static int read_answer(struct exchange *x)
{
    struct stream *u = &x->c->up.s;
    struct http1_head h;

    if (u->in_n <= x->seen) {
        int r = stream_more(u, HTTP1_HEAD_MAX + 1);
        if (r <= 0)
            return r == -EAGAIN ? 0 : r == -EMSGSIZE ? -EPROTO : r ? r : -ECONNRESET;
        x->head_ns = x->seen ? x->head_ns : clock_mono_ns();
        x->got = true;
    }
    const char *p = u->in + u->in_off;
    if (clock_mono_ns() - x->head_ns > ANSWER_HEAD_S * 1000000000ull)
        return -ETIMEDOUT;
    if (x->seen && !http1_worth(p, u->in_n, x->seen)) {
        x->seen = u->in_n;
        return 1;
    }
    int k = http1_response(p, u->in_n, x->m.method, &h);
    if (k == HTTP1_BAD)
        return -EPROTO;
    x->seen = k == HTTP1_MORE ? u->in_n : 0;
    if (k == HTTP1_MORE)
        return 1;
    x->head_ns = clock_mono_ns();
    int r = begin_answer(x, &h);
    if (r)
        return r;
    stream_take(u, h.bytes);
    if (x->answered) {
        x->down.limiter = x->v->limiter;
        x->down.rule = x->status == 101 ? NULL : x->verdict.rule;
        x->down.no_trailers = x->m.redact_count > 0;     /* they might hold what must not come back */
    }
    return 1;
}

/* One turn of the request's half. As half_step(); an upstream that takes no more may still answer. */
static int step_up(struct exchange *x)
{
    int r = half_step(&x->up);

    if (r == -EPIPE) {
        x->up.done = true;
        x->keep = x->upstream_keep = false;
        x->body_read = false;
        return 1;
    }
    x->fault_client |= r < 0;
    return r;
}

static int step_down(struct exchange *x)
{
    if (!x->answered)
        return read_answer(x);
    int r = half_step(&x->down);
    x->fault_client |= r == -EPIPE;
    return r;
}

int exchange_converse(struct exchange *x)
{
    while (!x->answered || !x->down.done || (x->status == 101 && !x->up.done)) {
        int r = step_up(x), k = r < 0 ? r : step_down(x);
        if (r < 0 || k < 0)
            return r < 0 ? r : k;
        if (r || k)
            continue;
        r = pump_wait(x->c, &x->up, x->answered ? &x->down : NULL, x->answered ? NULL : &x->c->up.s, x->status == 101 ? NULL : &x->up);
        x->fault_client |= r == -ETIMEDOUT && !x->up.done && x->up.reading;
        if (r)
            return r;
    }
    bool whole = x->up.done;
    if (!x->upstream_keep || !whole || !x->keep)
        upstream_close(x->c);
    return x->keep && whole;
}
