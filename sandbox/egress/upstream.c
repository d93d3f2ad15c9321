#include "sandbox/egress/upstream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/egress/dial.h"

/* An idle connection that has something to say, or has ended, is not to be used: bytes that nobody asked for would be taken for an answer (E34). */
static bool fits(struct conn *c, const struct authority *to, const struct dial_allow *allow)
{
    struct upstream *u = &c->up;

    if (u->s.fd < 0 || !authority_same(&u->to, to) || u->allow_private != allow->private_ || u->s.in_n || policy_denies_address(allow->policy, allow->box, &c->peer))
        return false;
    return stream_more(&u->s, 1) == -EAGAIN;
}

void upstream_close(struct conn *c)
{
    stream_close(&c->up.s, false);
    c->up.used = false;
}

static int fail(const char *error, const char *why, const char **ret_error, const char **ret_why, int r)
{
    *ret_error = error;
    *ret_why = why;
    return r;
}

static int reach(struct conn *c, const struct authority *to, const struct dial_allow *allow, const char **ret_error, const char **ret_why)
{
    struct authority peer;
    int fd = -1, r = dial(&c->e->resolver, to, allow, c->client.fd, in_s(DIAL_S), &fd, &peer);

    if (!r && (r = conn_dialled(c, &peer)))
        close(fd);
    switch (r) {
    case 0: break;
    case -ENOENT: return fail("upstream_unknown", "this name has no address", ret_error, ret_why, r);
    case -EPERM: return fail("upstream_refused", "this name has no address that may be reached from a sandbox", ret_error, ret_why, r);
    case -EREMOTEIO: return fail("upstream_unknown", "the name could not be looked up", ret_error, ret_why, r);
    default: return fail("upstream_unreachable", r == -ETIMEDOUT ? "no answer in time" : "no connection", ret_error, ret_why, r);
    }
    c->up.s = (struct stream){ .fd = fd, .cut_fd = c->client.fd, .gate = &c->box->gate };
    return 0;
}

static int secure(struct conn *c, const struct authority *to, const char **ret_error, const char **ret_why)
{
    const char *refused;
    SSL *ssl = tls_connect(&c->e->tls, to);

    if (!ssl || stream_set_tls(&c->up.s, ssl)) {
        SSL_free(ssl);
        return fail("internal", "no memory", ret_error, ret_why, -ENOMEM);
    }
    int r = stream_handshake(&c->up.s, in_s(HANDSHAKE_S));
    if (r && SSL_get_verify_result(ssl) != X509_V_OK)
        return fail("upstream_not_trusted", X509_verify_cert_error_string(SSL_get_verify_result(ssl)), ret_error, ret_why, -EPROTO);
    if (r)
        return fail("upstream_tls", r == -ETIMEDOUT ? "no TLS handshake in time" : "the TLS handshake failed", ret_error, ret_why, r);
    refused = tls_refused(&c->e->tls, ssl);
    return refused ? fail("upstream_not_trusted", refused, ret_error, ret_why, -EPROTO) : 0;
}

int upstream_open(struct conn *c, const struct authority *to, const struct dial_allow *allow, const char **ret_error, const char **ret_why)
{
    if (fits(c, to, allow)) {
        c->up.used = true;
        return 0;
    }
    upstream_close(c);
    c->up.to = *to;
    c->up.allow_private = allow->private_;
    int r = reach(c, to, allow, ret_error, ret_why);
    if (!r && to->tls)
        r = secure(c, to, ret_error, ret_why);
    if (r)
        stream_close(&c->up.s, true);
    return r;
}
