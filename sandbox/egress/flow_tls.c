/* TLS from a sandbox: the ClientHello is read and looked at, then there is a verdict, then it is either passed on as it is (tunnel) or answered here with a certificate for the name that
 * was judged (intercept). A denied host is answered here too, so that each request can be told why; who does that too often gets an alert. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "sandbox/egress/dial.h"
#include "sandbox/egress/flow.h"
#include "sandbox/egress/hello.h"
#include "sandbox/egress/pump.h"
#include "sandbox/egress/tls.h"

enum { MINT_WAIT_MS = 100 };
struct opening { struct conn *c; const struct box_view *v; struct authority to; struct verdict verdict; uint64_t began_ns, up, down; const char *said, *why; };

static void write_down(const struct opening *o)
{
    struct egress_box *b = o->c->box;
    struct audit_event ev = { .box = b->id, .name = o->v ? o->v->name : b->id, .kind = AUDIT_CONNECT, .scheme = "https", .host = o->to.host[0] ? o->to.host : NULL, .port = o->to.port,
        .rule = o->verdict.rule_name[0] ? o->verdict.rule_name : NULL, .verdict = o->said, .why = o->why && *o->why ? o->why : NULL, .bytes_up = o->up, .bytes_down = o->down,
        .ms = (clock_mono_ns() - o->began_ns) / 1000000u };

    atomic_fetch_add(&b->denied, !strcmp(o->said, "deny") ? 1 : 0);
    atomic_fetch_add(&b->bytes_up, o->up);
    atomic_fetch_add(&b->bytes_down, o->down);
    audit_put(o->c->e->audit, &ev);
}

/* No TLS was begun: an alert in the clear ends it. */
static void refuse(struct opening *o, const char *said, uint8_t alert, const char *why)
{
    uint8_t b[ALERT_BYTES];

    o->said = said;
    o->why = why;
    tls_alert(alert, b);
    stream_write_all(&o->c->client, b, sizeof(b), in_s(SAY_S));
    write_down(o);
}

/* The whole ClientHello, left in `in`. 0 or -errno, with h->why. */
static int read_hello(struct conn *c, struct hello *h)
{
    uint64_t until = in_s(HELLO_S);
    struct stream *s = &c->client;

    h->why = "no ClientHello in time";
    for (;;) {
        int k = s->in_n ? hello_parse((uint8_t *)s->in + s->in_off, s->in_n, h) : HELLO_MORE;
        if (k != HELLO_MORE)
            return k == HELLO_OK ? 0 : -EPROTO;
        int r = stream_more(s, HELLO_WIRE_MAX);
        if (r == -EAGAIN) {
            h->why = "no ClientHello in time";
            r = stream_wait(s, until);
        } else if (r <= 0) {
            h->why = "no ClientHello";
            return r ? r : -ECONNRESET;
        }
        if (r < 0)
            return r;
    }
}

static void tunnel(struct opening *o)
{
    struct conn *c = o->c;
    struct half up, down;
    const struct dial_allow allow = { o->verdict.rule && rule_allows_private(o->verdict.rule), o->v->policy, &o->v->box };
    struct authority peer;
    int fd = -1;

    if (conn_begin(c, o->v, &o->to, VERDICT_TUNNEL)) {
        refuse(o, "deny", ALERT_ACCESS_DENIED, "the rules have just changed");
        return;
    }
    int r = dial(&c->e->resolver, &o->to, &allow, c->client.fd, in_s(DIAL_S), &fd, &peer);
    if (!r && (r = conn_dialled(c, &peer)))
        close(fd);
    if (r) {
        refuse(o, "error", ALERT_INTERNAL, r == -EPERM ? "the name has no address that may be reached from a sandbox" : r == -ENOENT ? "the name has no address" : "no connection to the upstream");
        return;
    }
    c->up.s = (struct stream){ .fd = fd, .cut_fd = c->client.fd, .gate = &c->box->gate };
    r = half_init(&up, &c->client, &c->up.s, HTTP1_CLOSE, 0, HTTP1_CLOSE);
    if (!r)
        r = half_init(&down, &c->up.s, &c->client, HTTP1_CLOSE, 0, HTTP1_CLOSE);
    up.limiter = down.limiter = o->v->limiter;
    up.rule = down.rule = o->verdict.rule;
    up.up = true;
    if (!r)
        r = pump_run(c, &up, &down);
    c->broken = r < 0;
    o->said = r < 0 && r != -ECONNRESET && r != -EPIPE && r != -ECANCELED ? "error" : "allow";
    o->why = atomic_load(&c->cut) ? "cut: the rules changed, or the sandbox ended" : r == -ETIMEDOUT ? "silent for too long" : o->verdict.why;
    o->up = up.bytes;
    o->down = down.bytes;
    write_down(o);
    half_fini(&up);
    half_fini(&down);
    stream_close(&c->up.s, c->broken);
}

/* For an allowed host the next certificate is waited for; for a denied one it is not. */
static int use_leaf(struct opening *o, SSL *ssl)
{
    struct conn *c = o->c;
    bool denied = o->verdict.kind == VERDICT_DENY;
    uint64_t until = in_s(HANDSHAKE_S);
    int r;

    while ((r = leaf_use(c->e->leaves, &o->to, denied ? &c->box->mint_denied : &c->box->mint, ssl)) == -EAGAIN && !denied && clock_mono_ns() < until)
        if (wait_fd(c->client.fd, 0, -1, clock_mono_ns() + MINT_WAIT_MS * 1000000ull) != -ETIMEDOUT)
            return -ECANCELED;
    return r;
}

/* TLS ends here. */
static void intercept(struct opening *o)
{
    struct conn *c = o->c;
    SSL *ssl = tls_accept(&c->e->tls);

    int r = ssl ? use_leaf(o, ssl) : -ENOMEM;
    if (r) {
        SSL_free(ssl);
        refuse(o, r == -EAGAIN ? "deny" : "error", r == -EAGAIN ? ALERT_ACCESS_DENIED : ALERT_INTERNAL, r == -EAGAIN && o->verdict.kind == VERDICT_DENY ? o->verdict.why : "too many new names");
        return;
    }
    if (stream_set_tls(&c->client, ssl)) {
        SSL_free(ssl);
        return;
    }
    r = stream_handshake(&c->client, in_s(HANDSHAKE_S));
    if (r) {
        o->said = o->verdict.kind == VERDICT_DENY ? "deny" : "error";
        o->why = o->verdict.kind == VERDICT_DENY ? o->verdict.why : "the sandbox's TLS handshake failed (does the program trust the sandbox's CA, and speak HTTP/1.1?)";
        write_down(o);
        return;
    }
    stream_acknowledge(&c->client);
    box_view_unref(o->v);                   /* requests are judged by the rules of their moment */
    o->v = NULL;
    flow_requests(c, &o->to, false);
}

static void go_on(struct opening *o, struct hello *h, bool named)
{
    struct slice name = { h->name, strlen(h->name) };
    struct authority sni;
    const char *why = NULL;

    if (!named && !h->name[0]) {
        refuse(o, "deny", ALERT_UNRECOGNIZED_NAME, "the ClientHello names no host");
        return;
    }
    if (h->name[0])
        why = authority_parse(name, true, o->to.port, &sni);
    if (h->name[0] && !why && sni.kind != HOST_NAME)
        why = "an address as the server name";
    if (!why && h->name[0] && named && !authority_same(&sni, &o->to))
        why = "the ClientHello is for another host than CONNECT";
    if (why) {
        refuse(o, "deny", ALERT_UNRECOGNIZED_NAME, why);
        return;
    }
    if (!named)
        o->to = sni;
    policy_connect(o->v->policy, &o->v->box, &o->to, &o->verdict);
    if (o->verdict.kind == VERDICT_TUNNEL && (h->name[0] || o->to.kind != HOST_NAME))
        tunnel(o);
    else if (o->verdict.kind == VERDICT_TUNNEL)
        refuse(o, "deny", ALERT_UNRECOGNIZED_NAME, "the ClientHello names no host");
    else
        intercept(o);
}

void flow_tls_for(struct conn *c, const struct authority *to, bool named)
{
    struct opening o = { .c = c, .v = state_box(c->e->state, c->box->id), .to = *to, .began_ns = clock_mono_ns() };
    struct hello h;

    if (!o.v)
        return;
    int r = read_hello(c, &h);
    if (!r)
        go_on(&o, &h, named);
    else if (r != -ECANCELED && c->client.in_n)
        refuse(&o, "deny", ALERT_DECODE, h.why);
    conn_rest(c);
    box_view_unref(o.v);
}

void flow_tls(struct conn *c)
{
    flow_tls_for(c, &(struct authority){ .tls = true, .port = 443 }, false);
}
