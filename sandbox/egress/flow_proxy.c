/* The proxy's door: the first request says what the connection is. CONNECT: then TLS for just that name; absolute form: requests, each for its own host. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/egress/exchange.h"
#include "sandbox/egress/flow.h"

static const char established[] = "HTTP/1.1 200 Connection Established\r\n\r\n";

/* NULL, or why it is refused with *ret_status. */
static const char *connect_target(const struct http1_head *h, struct authority *ret, unsigned *ret_status)
{
    struct authority host;
    const char *colon = memrchr(h->target.p, ':', h->target.n), *why;

    *ret_status = 400;
    if (!colon || memchr(colon, ']', (size_t)(h->target.p + h->target.n - colon)))
        return "CONNECT wants host:port";
    why = authority_parse(h->target, true, 443, ret);
    if (why || !h->host.n)
        return why;
    why = authority_parse(h->host, true, ret->port, &host);         /* some leave the port out */
    if (!why && !authority_same(&host, ret)) {
        *ret_status = 421;
        return "Host is not the host of CONNECT";
    }
    return why;
}

static void do_connect(struct conn *c, const struct http1_head *h)
{
    const struct box_view *v = state_box(c->e->state, c->box->id);
    struct authority to = { .tls = true };
    struct verdict verdict;
    unsigned status;

    const char *why = connect_target(h, &to, &status);
    if (!why && (h->body == HTTP1_CHUNKED || (h->body == HTTP1_LENGTH && h->length)))
        why = "CONNECT has no body";
    if (why || !v) {
        exchange_refuse(c, h, to.host[0] ? &to : NULL, v ? status : 503, status == 421 ? "misdirected" : "bad_request", why ? why : "no memory");
        box_view_unref(v);
        return;
    }
    policy_connect(v->policy, &v->box, &to, &verdict);
    box_view_unref(v);
    if (verdict.kind == VERDICT_DENY) {
        exchange_refuse(c, h, &to, verdict.status ? verdict.status : 403, "denied", verdict.why);
        return;
    }
    stream_take(&c->client, h->bytes);
    if (stream_write_all(&c->client, established, sizeof(established) - 1, in_s(SAY_S)))
        return;
    stream_acknowledge(&c->client);
    flow_tls_for(c, &to, true);
}

void flow_proxy(struct conn *c)
{
    struct http1_head h;

    if (flow_head(c, &h) <= 0)
        return;
    if (h.form == HTTP1_AUTHORITY)
        do_connect(c, &h);
    else
        flow_requests(c, NULL, true);       /* it reads the same head again */
}
