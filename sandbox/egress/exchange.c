/* States of one exchange: judged -> (answered here) | upstream open -> head sent -> [1xx heads] -> answer's head passed on -> body -> done, or 101 -> bytes both ways -> done.
 * 1. Nothing is resolved, dialled or sent before policy_request() and conn_begin() said yes.  2. Once the answer's head went to the client, whatever breaks is a broken connection for it, never
 * a second answer.  3. The upstream's connection is kept only after both messages came to their ends.  4. A request is sent a second time only if it changes nothing when done twice,
 * had no streamed body, and a kept connection ended before one byte of an answer came. */
#include "sandbox/egress/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "sandbox/egress/exchange_private.h"
#include "sandbox/egress/reply.h"
#include "sandbox/egress/upstream.h"

/* --- writing down --- */

static void write_down(struct exchange *x)
{
    struct egress_box *b = x->c->box;
    uint64_t up = x->up.bytes + (x->m.body ? x->m.body_n : 0), down = x->down.bytes;
    bool denied = !strcmp(x->said, "deny");
    struct audit_event ev = { .box = b->id, .name = x->v ? x->v->name : b->id, .kind = AUDIT_REQUEST, .scheme = x->a.tls ? "https" : "http", .host = x->a.host, .port = x->a.port,
        .method = x->method, .target = x->asked ? x->asked : "", .rule = x->verdict.rule_name[0] ? x->verdict.rule_name : NULL, .verdict = x->said, .why = x->why[0] ? x->why : NULL,
        .status = x->status, .bytes_up = up, .bytes_down = down, .ms = (clock_mono_ns() - x->began_ns) / 1000000u };

    atomic_fetch_add(&b->requests, 1);
    atomic_fetch_add(&b->denied, denied ? 1 : 0);
    atomic_fetch_add(&b->bytes_up, up);
    atomic_fetch_add(&b->bytes_down, down);
    audit_put(x->c->e->audit, &ev);
}

/* Refused here. 1: the connection can go on. */
int exchange_say(struct exchange *x, const char *said, unsigned status, const char *error, const char *why, unsigned retry_s)
{
    struct refusal r = { .status = status, .error = error, .why = why, .rule = x->verdict.rule_name, .to = &x->a, .name = x->v ? x->v->name : NULL, .retry_s = retry_s };
    bool keep = x->keep && x->up.done && x->body_read;

    x->said = said;
    x->status = status;
    if (why != x->why)
        snprintf(x->why, sizeof(x->why), "%s", why);
    if (reply_refuse(x->c, &r, !strcmp(x->method, "HEAD"), keep))
        return -EPIPE;
    if (!keep)
        reply_linger(x->c);
    return keep;
}

/* --- judging --- */

static int start(struct exchange *x, const struct http1_head *h, struct slice target)
{
    x->began_ns = clock_mono_ns();
    x->body = h->body;
    x->length = h->length;
    x->keep = h->keep_alive;
    x->expect = h->expect_continue && h->minor > 0 && h->body != HTTP1_NONE;
    x->upgrade = h->upgrade;
    x->http10 = h->minor == 0;
    x->body_read = h->body == HTTP1_NONE || (h->body == HTTP1_LENGTH && !h->length);
    x->up.done = true;                      /* not begun */
    x->v = state_box(x->c->e->state, x->c->box->id);
    x->asked = strndup(target.p, target.n);
    int r = message_from(h, &x->m);
    if (r || !x->v || !x->asked)
        return -ENOMEM;
    snprintf(x->method, sizeof(x->method), "%s", x->m.method);
    free(x->m.target);
    x->m.target = strdup(x->asked);
    stream_take(&x->c->client, h->bytes);   /* its slices are not valid from here */
    return x->m.target ? 0 : -ENOMEM;
}

/* 2: it may be sent; else as exchange_run(). */
static int judge(struct exchange *x)
{
    struct verdict stage1;
    unsigned retry_s = 1;

    policy_connect(x->v->policy, &x->v->box, &x->a, &stage1);
    policy_request(x->v->policy, &x->v->box, &x->a, &x->m, &x->verdict);
    snprintf(x->why, sizeof(x->why), "%s", x->verdict.why);
    if (x->verdict.kind == VERDICT_DENY)
        return exchange_say(x, "deny", x->verdict.status ? x->verdict.status : 403, "denied", x->why, 0);
    if (x->upgrade && !rule_allows_websocket(x->verdict.rule))
        return exchange_say(x, "deny", 403, "denied", "the rule does not allow WebSockets", 0);
    if (x->verdict.rule && !limiter_request(x->v->limiter, x->verdict.rule, &retry_s))
        return exchange_say(x, "deny", 429, "too_many_requests", "the rule's limit of requests is reached", retry_s);
    int r = conn_begin_request(x->c, x->v, &x->a, stage1.kind, x->verdict.rule, &x->m, x->upgrade);
    if (r == -ENOMEM)
        return r;
    if (r)
        return exchange_say(x, "deny", 403, "denied", "the rules have just changed", 0);
    return 2;
}

/* The whole body in memory, where the rule wants to see it (a signature over it). 2 or as exchange_run(). */
static int read_body(struct exchange *x)
{
    size_t want = rule_wants_body(x->verdict.rule), n = 0;

    if (!want || x->upgrade || (x->body == HTTP1_LENGTH ? x->length > want : x->body != HTTP1_NONE))
        return 2;
    size_t length = x->body == HTTP1_LENGTH ? (size_t)x->length : 0;
    x->m.body = mem_zalloc(length + 1);
    if (!x->m.body)
        return -ENOMEM;
    if (x->expect && length && stream_write_all(&x->c->client, "HTTP/1.1 100 Continue\r\n\r\n", 25, in_s(SAY_S)))
        return -EPIPE;
    x->expect = false;
    uint64_t until = in_s(BODY_S);
    while (n < length) {
        long k = stream_read(&x->c->client, x->m.body + n, length - n);
        if (k == -EAGAIN)
            k = stream_wait(&x->c->client, until);
        else if (!k)
            k = -ECONNRESET;
        if (k < 0)
            return k == -ETIMEDOUT ? exchange_say(x, "error", 408, "too_slow", "the request's body did not come in time", 0) : (int)k;
        n += (size_t)k;
    }
    x->m.body_n = length;
    x->body_read = true;
    x->body = HTTP1_NONE;
    return 2;
}

static int apply(struct exchange *x)
{
    struct message answer = { 0 };
    int r = 2;

    uint64_t secrets = secret_generation(x->c->e->secrets);

    x->to = x->a;
    switch (policy_apply(x->verdict.rule, &x->v->box, x->c->e->secrets, &x->a, &x->m, &x->to, &answer, x->why)) {
    case APPLY_SEND:
        if (!strcmp(x->method, "HEAD") != !strcmp(x->m.method, "HEAD"))
            x->keep = false;                /* a handler changed that: where the answer ends is not what the sandbox takes for its end */
        if (!x->m.redact_count)
            break;
        /* Who changes a secret looks at the connections after the change: it saw this one, or we see the change. So an old one is not sent after the change was answered. */
        conn_secret(x->c, true);
        if (secret_generation(x->c->e->secrets) != secrets)
            r = exchange_say(x, "error", 503, "changed", "the secrets have just changed: ask again", 1);
        break;
    case APPLY_ANSWER:
        x->said = "answer";
        x->status = answer.status;
        x->down.bytes = answer.body_n;
        r = x->keep && x->body_read;
        if (reply_message(x->c, &answer, !strcmp(x->method, "HEAD"), r))
            r = -EPIPE;
        else if (!r)
            reply_linger(x->c);
        break;
    case APPLY_DENY:
    default:
        r = exchange_say(x, "deny", 403, "denied", x->why, 0);
        break;
    }
    message_fini(&answer);
    return r;
}

/* --- sending --- */

static struct slice text(const char *s)
{
    return (struct slice){ s, strlen(s) };
}

static void put_head(const struct exchange *x, struct buf *b)
{
    char host[HOST_MAX + 16], length[24];
    bool v6 = x->to.kind == HOST_V6, usual = x->to.port == (x->to.tls ? 443 : 80);
    bool has_body = x->m.body ? x->m.body_n || !x->body_read || x->length : x->body != HTTP1_NONE;

    snprintf(host, sizeof(host), usual ? "%s%s%s" : "%s%s%s:%u", v6 ? "[" : "", x->to.host, v6 ? "]" : "", x->to.port);
    http1_put_request(b, text(x->m.method), text(x->m.target));
    http1_put_header(b, text("Host"), text(host));
    message_put_fields(&x->m, b);
    if (x->m.body ? has_body : x->body == HTTP1_LENGTH) {
        snprintf(length, sizeof(length), "%llu", x->m.body ? (unsigned long long)x->m.body_n : (unsigned long long)x->length);
        http1_put_header(b, text("Content-Length"), text(length));
    } else if (x->body == HTTP1_CHUNKED && !x->m.body) {
        http1_put_header(b, text("Transfer-Encoding"), text("chunked"));
    }
    if (x->expect && !x->m.body)
        http1_put_header(b, text("Expect"), text("100-continue"));
    if (x->upgrade) {
        http1_put_header(b, text("Connection"), text("Upgrade"));
        http1_put_header(b, text("Upgrade"), text("websocket"));
    }
    http1_put_end(b);
    if (x->m.body)
        buf_put(b, x->m.body, x->m.body_n);
}

static bool may_repeat(const struct exchange *x)
{
    static const char *const safe[] = { "GET", "HEAD", "OPTIONS", "PUT", "DELETE" };

    if (!x->c->up.used || x->got || x->answered || x->upgrade || x->body != HTTP1_NONE)
        return false;
    for (unsigned i = 0; i < sizeof(safe) / sizeof(safe[0]); i++)
        if (!strcmp(x->m.method, safe[i]))
            return true;
    return false;
}

static int send_once(struct exchange *x)
{
    struct buf b = BUF_INIT;
    struct stream *u = &x->c->up.s;

    put_head(x, &b);
    int r = buf_err(&b);
    if (!r)
        r = half_init(&x->up, &x->c->client, u, x->m.body ? HTTP1_NONE : x->body, x->length, x->body);
    x->up.limiter = x->v->limiter;
    x->up.rule = x->verdict.rule;
    x->up.up = true;
    x->up.no_trailers = rule_edits_headers(x->verdict.rule);
    x->seen = 0;
    x->got = false;
    if (!r)
        r = stream_write_all(u, b.data, b.len, in_s(SAY_S));
    if (b.data)
        explicit_bzero(b.data, b.len);      /* it may hold a credential */
    buf_fini(&b);
    if (!x->upgrade && x->m.redact_count)
        conn_secret(x->c, false);           /* it was sent, and will not be again */
    return r ? r : exchange_converse(x);
}

/* What a failure before an answer means. */
static int explain(struct exchange *x, int r)
{
    if (r == -ECANCELED || r == -ENOMEM || atomic_load(&x->c->cut))
        return r;
    if (x->fault_client) {
        if (r == -EDQUOT)
            return exchange_say(x, "error", 413, "too_large", "the request is larger than the rule allows", 0);
        return r == -EPROTO ? exchange_say(x, "error", 400, "bad_request", "the body's chunks are not right", 0) :
               r == -ETIMEDOUT ? exchange_say(x, "error", 408, "too_slow", "the request's body came too slowly", 0) : r;
    }
    x->keep = x->keep && x->body_read;
    if (r == -ETIMEDOUT)
        return exchange_say(x, "error", 504, "upstream_timeout", "the upstream did not answer in time", 0);
    return exchange_say(x, "error", 502, "upstream_bad", r == -EPROTO ? "the upstream's answer is not valid HTTP" : "the upstream closed the connection without an answer", 0);
}

static int send_on(struct exchange *x)
{
    const struct dial_allow allow = { x->verdict.rule && rule_allows_private(x->verdict.rule), x->v->policy, &x->v->box };
    const char *error, *why;

    for (;;) {
        int r = upstream_open(x->c, &x->to, &allow, &error, &why);
        if (r == -ECANCELED)
            return r;
        if (r)
            return exchange_say(x, "error", r == -ETIMEDOUT ? 504 : 502, error, why, 0);
        r = send_once(x);
        if (r >= 0)
            return r;
        bool again = !x->fault_client && (r == -ECONNRESET || r == -EPIPE) && may_repeat(x);
        stream_close(&x->c->up.s, true);
        if (again) {
            half_fini(&x->up);
            x->c->up.used = false;
            continue;
        }
        if (x->answered) {
            x->said = "error";
            snprintf(x->why, sizeof(x->why), "%s", x->fault_client ? "the sandbox's side broke off" : "the upstream's side broke off");
            return r;
        }
        x->up.done = true;
        return explain(x, r);
    }
}

int exchange_run(struct conn *c, const struct http1_head *h, struct slice target, const struct authority *a)
{
    struct exchange x = { .c = c, .a = *a, .said = "allow" };

    int r = start(&x, h, target);
    if (!r)
        r = judge(&x);
    if (r == 2)
        r = read_body(&x);
    if (r == 2)
        r = apply(&x);
    if (r == 2)
        r = send_on(&x);
    conn_rest(c);
    if (r == -ECANCELED && !x.status) {
        x.said = "error";
        snprintf(x.why, sizeof(x.why), "%s", atomic_load(&c->cut) ? "cut: the rules changed, or the sandbox ended" : "the sandbox went away");
    }
    write_down(&x);
    half_fini(&x.up);
    half_fini(&x.down);
    message_fini(&x.m);
    free(x.asked);
    box_view_unref(x.v);
    return r;
}

void exchange_refuse(struct conn *c, const struct http1_head *h, const struct authority *a, unsigned status, const char *error, const char *why)
{
    struct exchange x = { .c = c, .said = "deny", .began_ns = clock_mono_ns(), .v = state_box(c->e->state, c->box->id) };

    if (a)
        x.a = *a;
    x.asked = h ? strndup(h->target.p, h->target.n) : NULL;
    if (h)
        snprintf(x.method, sizeof(x.method), "%.*s", (int)(h->method.n < sizeof(x.method) ? h->method.n : sizeof(x.method) - 1), h->method.p);
    x.up.done = true;
    struct refusal r = { .status = status, .error = error, .why = why, .to = a, .name = x.v ? x.v->name : NULL };
    x.status = status;
    snprintf(x.why, sizeof(x.why), "%s", why);
    write_down(&x);
    if (!reply_refuse(c, &r, !strcmp(x.method, "HEAD"), false))
        reply_linger(c);
    free(x.asked);
    box_view_unref(x.v);
}
