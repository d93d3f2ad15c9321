#include "sandbox/egress/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { READ_BYTES = 68 * 1024 };
static const unsigned char http11[] = "\x08http/1.1";

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in, unsigned n, void *arg)
{
    (void)ssl, (void)arg;
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_n, http11, sizeof(http11) - 1, in, n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

static int common(SSL_CTX *x)
{
    if (!x || !SSL_CTX_set_min_proto_version(x, TLS1_2_VERSION))
        return -ENOMEM;
    SSL_CTX_set_security_level(x, 2);
    SSL_CTX_set_options(x, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(x, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(x, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(x, 1);
    SSL_CTX_set_default_read_buffer_len(x, READ_BYTES);      /* four records at once; held only while there is something in it */
    return 0;
}

static unsigned add_roots(SSL_CTX *x, const char *roots, size_t n)
{
    BIO *b = BIO_new_mem_buf(roots, (int)n);
    X509_STORE *store = SSL_CTX_get_cert_store(x);
    unsigned count = 0;

    for (X509 *c; b && (c = PEM_read_bio_X509(b, NULL, NULL, NULL)); X509_free(c))
        count += X509_STORE_add_cert(store, c) == 1;
    BIO_free(b);
    ERR_clear_error();
    return count;
}

int tls_init(struct tls *t, const struct ca *ca, const char *roots, size_t n)
{
    *t = (struct tls){ SSL_CTX_new(TLS_server_method()), SSL_CTX_new(TLS_client_method()), ca, 0 };
    int r = common(t->server);
    if (!r)
        r = common(t->client);
    if (r)
        return r;
    SSL_CTX_set_num_tickets(t->server, 0);
    SSL_CTX_set_alpn_select_cb(t->server, choose_protocol, NULL);
    SSL_CTX_set_verify(t->client, SSL_VERIFY_PEER, NULL);
    X509_VERIFY_PARAM *p = SSL_CTX_get0_param(t->client);
    X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (!X509_VERIFY_PARAM_set_purpose(p, X509_PURPOSE_SSL_SERVER) || SSL_CTX_set_alpn_protos(t->client, http11, sizeof(http11) - 1))
        return -ENOMEM;
    t->roots = add_roots(t->client, roots, n);
    return t->roots ? 0 : -EINVAL;
}

void tls_fini(struct tls *t)
{
    SSL_CTX_free(t->server);
    SSL_CTX_free(t->client);
    *t = (struct tls){ 0 };
}

SSL *tls_accept(const struct tls *t)
{
    SSL *ssl = SSL_new(t->server);

    if (ssl)
        SSL_set_accept_state(ssl);
    return ssl;
}

SSL *tls_connect(const struct tls *t, const struct authority *to)
{
    SSL *ssl = SSL_new(t->client);

    if (!ssl)
        return NULL;
    SSL_set_connect_state(ssl);
    bool ok = to->kind == HOST_NAME ? SSL_set_tlsext_host_name(ssl, to->host) == 1 && X509_VERIFY_PARAM_set1_host(SSL_get0_param(ssl), to->host, 0) == 1
                                    : X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), to->host) == 1;
    if (ok)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

const char *tls_refused(const struct tls *t, const SSL *ssl)
{
    const unsigned char *protocol;
    unsigned n;

    if (SSL_get_verify_result(ssl) != X509_V_OK || !SSL_get0_peer_certificate(ssl))
        return "its certificate is not valid";
    if (ca_is_in(t->ca, SSL_get0_verified_chain(ssl)))
        return "its certificate is of the sandboxes' own CA";
    SSL_get0_alpn_selected(ssl, &protocol, &n);
    return n && (n != 8 || memcmp(protocol, "http/1.1", 8)) ? "it does not speak HTTP/1.1" : NULL;
}

void tls_alert(uint8_t code, uint8_t ret[ALERT_BYTES])
{
    memcpy(ret, (const uint8_t[]){ 21, 3, 3, 0, 2, 2, code }, ALERT_BYTES);
}
