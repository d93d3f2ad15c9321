#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/egress/exchange.h"
#include "sandbox/egress/flow.h"

enum { HEAD_BYTES = HTTP1_HEAD_MAX };

int flow_head(struct conn *c, struct http1_head *ret)
{
    struct stream *s = &c->client;
    uint64_t until = in_s(s->in_n ? HEAD_S : IDLE_S);
    bool begun = s->in_n;
    size_t seen = 0;
    int k = HTTP1_MORE;

    for (;;) {
        if (s->in_n > seen && (!seen || http1_worth(s->in + s->in_off, s->in_n, seen)))
            k = http1_request(s->in + s->in_off, s->in_n, ret);
        seen = s->in_n;
        if (k != HTTP1_MORE)
            break;
        int r = stream_more(s, HEAD_BYTES + 1);
        if (r == -EAGAIN)
            r = stream_wait(s, until);
        else if (!r)
            return begun ? -ECONNRESET : 0;
        if (r == -EMSGSIZE || (r == -ETIMEDOUT && begun))
            exchange_refuse(c, NULL, NULL, r == -ETIMEDOUT ? 408 : 431, r == -ETIMEDOUT ? "too_slow" : "too_large", r == -ETIMEDOUT ? "the head did not come in time" : "the head is too long");
        if (r < 0)
            return r == -ETIMEDOUT && !begun ? 0 : r;
        if (!begun && s->in_n) {
            begun = true;
            until = in_s(HEAD_S);
        }
    }
    if (k == HTTP1_OK)
        return 1;
    exchange_refuse(c, NULL, NULL, ret->refuse ? ret->refuse : 400, "bad_request", ret->why);
    return -EPROTO;
}

/* Who a request is for, and its target in origin form. NULL, or why it is refused with *ret_status. */
static const char *whom(const struct http1_head *h, bool tls, uint16_t port, bool proxy, struct authority *ret, struct slice *ret_target, unsigned *ret_status)
{
    struct authority url;
    const char *why = authority_parse(h->host, tls, port, ret);

    *ret_status = 400;
    *ret_target = h->target;
    if (why)
        return why;
    switch (h->form) {
    case HTTP1_ORIGIN:
        return proxy ? "a proxy wants http://host/path, or CONNECT" : NULL;
    case HTTP1_ABSOLUTE:
        why = tls ? "a target in absolute form within TLS" : authority_from_url(h->target, &url, ret_target);
        if (why)
            return why;
        if (!authority_same(&url, ret)) {
            *ret_status = 421;
            return "Host is not the host of the target";
        }
        return NULL;
    case HTTP1_ASTERISK:
    case HTTP1_AUTHORITY:
    default:
        *ret_status = 405;
        return "this method is not passed on";
    }
}

/* 1: another may follow. */
static int one_request(struct conn *c, const struct http1_head *h, struct authority *only, bool *is_fixed, bool proxy)
{
    struct authority a = { .tls = only->tls };
    struct slice target;
    unsigned status;

    const char *why = whom(h, only->tls, *is_fixed || !proxy ? only->port : 80, proxy, &a, &target, &status);
    if (!why && (*is_fixed ? !authority_same(&a, only) : !proxy && a.port != only->port)) {
        status = 421;
        why = *is_fixed ? "this connection is for another host" : "this connection is for another port";
    }
    if (why) {
        exchange_refuse(c, h, a.host[0] ? &a : NULL, status, status == 421 ? "misdirected" : status == 405 ? "denied" : "bad_request", why);
        return 0;
    }
    if (!proxy) {
        *only = a;
        *is_fixed = true;
    }
    return exchange_run(c, h, target, &a);
}

void flow_requests(struct conn *c, const struct authority *only, bool proxy)
{
    struct authority fixed = only ? *only : (struct authority){ .port = 80 };
    bool is_fixed = only != NULL;
    struct http1_head h;
    int r = 1;

    while (r > 0 && !atomic_load(&c->cut)) {
        r = flow_head(c, &h);
        if (r > 0)
            r = one_request(c, &h, &fixed, &is_fixed, proxy);
    }
    if (r < 0)
        stream_close(&c->up.s, true);
    c->broken = r < 0 && r != -EPROTO && r != -EMSGSIZE;
}

void flow_http(struct conn *c)
{
    flow_requests(c, NULL, false);
}
