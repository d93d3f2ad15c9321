/* The CA, its leaves, and what TLS towards sandboxes and upstreams insists on: handshakes in memory, no network. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "sandbox/egress/leaf.h"
#include "sandbox/egress/tls.h"
#include "tests/lib/tmp.h"

static const uint8_t key[SECRET_KEY_BYTES] = "0123456789abcdef0123456789abcdef";
static const int64_t day = 86400;

static int64_t now_s(void)
{
    struct timespec ts;

    clock_real(&ts);
    return ts.tv_sec;
}

static void new_ca(struct secrets **s, struct ca *c)
{
    assert_int_equal(secrets_open(-1, key, s), 0);
    assert_int_equal(ca_open(*s, now_s(), c), 0);
}

static struct authority host(const char *text)
{
    struct authority a;

    assert_null(authority_parse((struct slice){ text, strlen(text) }, true, 443, &a));
    return a;
}

static void the_ca_is_narrow(void **state)
{
    (void)state;
    struct secrets *s;
    struct ca c;

    new_ca(&s, &c);
    assert_int_equal(X509_check_ca(c.cert), 1);
    assert_int_equal(X509_get_pathlen(c.cert), 0);
    assert_int_equal(X509_get_key_usage(c.cert), KU_KEY_CERT_SIGN);
    assert_int_equal(X509_get_extended_key_usage(c.cert), XKU_SSL_SERVER);
    assert_int_equal(EVP_PKEY_get_bits(c.key), 256);
    assert_in_range(ca_not_after(&c), now_s() + 364 * day, now_s() + 366 * day);
    assert_non_null(strstr(c.pem, "BEGIN CERTIFICATE"));
    assert_null(strstr(c.pem, "PRIVATE"));
    ca_fini(&c);
    secrets_free(s);
}

static void it_is_the_same_after_a_restart_and_new_under_another_key(void **state)
{
    (void)state;
    char dir[256];
    assert_int_equal(tmp_make("ca", dir, sizeof(dir)), 0);
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    uint8_t other[SECRET_KEY_BYTES] = { 1 };
    struct secrets *s;
    struct ca a, b, c;

    assert_int_equal(secrets_open(fd, key, &s), 0);
    assert_int_equal(ca_open(s, now_s(), &a), 0);
    secrets_free(s);
    assert_int_equal(secrets_open(fd, key, &s), 0);
    assert_int_equal(ca_open(s, now_s(), &b), 0);
    secrets_free(s);
    assert_string_equal(a.sha256, b.sha256);
    assert_int_equal(EVP_PKEY_eq(a.key, b.key), 1);
    assert_int_equal(EVP_PKEY_eq(a.leaf_key, b.leaf_key), 0);
    assert_int_equal(secrets_open(fd, other, &s), 0);
    assert_int_equal(ca_open(s, now_s(), &c), 0);
    assert_string_not_equal(a.sha256, c.sha256);
    secrets_free(s);
    ca_fini(&a);
    ca_fini(&b);
    ca_fini(&c);
    close(fd);
    tmp_remove(dir);
}

static void it_is_made_anew_before_it_ends(void **state)
{
    (void)state;
    struct secrets *s;
    struct ca a, b, c;

    new_ca(&s, &a);
    assert_int_equal(ca_open(s, now_s() + (CA_DAYS - CA_RENEW_DAYS - 1) * day, &b), 0);
    assert_string_equal(a.sha256, b.sha256);
    assert_int_equal(ca_open(s, now_s() + (CA_DAYS - CA_RENEW_DAYS + 1) * day, &c), 0);
    assert_string_not_equal(a.sha256, c.sha256);
    ca_fini(&a);
    ca_fini(&b);
    ca_fini(&c);
    secrets_free(s);
}

/* Does a client that trusts only this CA take it for this host? */
static int verify(X509 *root, X509 *leaf, const char *name, bool literal)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();

    X509_STORE_add_cert(store, root);
    X509_STORE_CTX_init(ctx, store, leaf, NULL);
    X509_STORE_CTX_set_default(ctx, "ssl_server");
    X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_flags(p, X509_V_FLAG_X509_STRICT);
    X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (literal)
        X509_VERIFY_PARAM_set1_ip_asc(p, name);
    else
        X509_VERIFY_PARAM_set1_host(p, name, 0);
    int r = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return r;
}

static void a_leaf_is_for_its_host_alone(void **state)
{
    (void)state;
    static const char *const hosts[] = { "api.example.com", "192.0.2.7", "2001:db8::7" };
    char longest[251];
    struct secrets *s, *s2;
    struct ca c, other;

    new_ca(&s, &c);
    new_ca(&s2, &other);
    for (unsigned i = 0; i < 3; i++) {
        X509 *x = ca_mint(&c, hosts[i], i > 0, now_s(), 7);
        assert_non_null(x);
        assert_int_equal(verify(c.cert, x, hosts[i], i > 0), X509_V_OK);
        assert_int_not_equal(verify(c.cert, x, i ? "192.0.2.8" : "b.example.com", i > 0), X509_V_OK);
        assert_int_not_equal(verify(other.cert, x, hosts[i], i > 0), X509_V_OK);        /* another store's client */
        assert_int_equal(X509_check_ca(x), 0);
        assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_SERVER);
        X509_free(x);
    }
    memset(longest, 'a', sizeof(longest));
    for (unsigned i = 60; i < sizeof(longest); i += 60)
        longest[i] = '.';
    longest[250] = 0;
    X509 *x = ca_mint(&c, longest, false, now_s(), 7);
    assert_int_equal(verify(c.cert, x, longest, false), X509_V_OK);
    X509_free(x);
    ca_fini(&c);
    ca_fini(&other);
    secrets_free(s);
    secrets_free(s2);
}

static void leaves_are_kept_and_new_ones_are_rationed(void **state)
{
    (void)state;
    struct secrets *s;
    struct bucket mint;
    struct tls t;
    struct ca c;
    char name[64];

    new_ca(&s, &c);
    assert_int_equal(tls_init(&t, &c, c.pem, c.pem_n), 0);
    struct leaves *l = leaves_new(&c);
    bucket_init(&mint, 0, LEAF_MAX + 2);
    for (unsigned i = 0; i < LEAF_MAX + 4; i++) {
        snprintf(name, sizeof(name), "h%u.example.com", i);
        struct authority a = host(name), first = host("h0.example.com");
        SSL *ssl = tls_accept(&t), *again = tls_accept(&t);
        assert_int_equal(leaf_use(l, &a, &mint, ssl), i < LEAF_MAX + 2 ? 0 : -EAGAIN);
        assert_int_equal(leaf_use(l, &first, &mint, again), 0);        /* used all the time: it stays */
        SSL_free(ssl);
        SSL_free(again);
    }
    leaves_free(l);
    tls_fini(&t);
    ca_fini(&c);
    secrets_free(s);
}

/* --- handshakes --- */

static void join(SSL *a, SSL *b)
{
    BIO *x, *y;

    assert_int_equal(BIO_new_bio_pair(&x, 0, &y, 0), 1);
    SSL_set_bio(a, x, x);
    SSL_set_bio(b, y, y);
}

/* 0: both are done; else the reason of who refused. */
static int shake(SSL *client, SSL *server)
{
    join(client, server);
    for (unsigned i = 0; i < 20; i++) {
        ERR_clear_error();
        int a = SSL_do_handshake(client);
        if (a != 1 && SSL_get_error(client, a) == SSL_ERROR_SSL)
            return ERR_GET_REASON(ERR_peek_last_error());
        ERR_clear_error();
        int b = SSL_do_handshake(server);
        if (b != 1 && SSL_get_error(server, b) == SSL_ERROR_SSL)
            return ERR_GET_REASON(ERR_peek_last_error());
        if (a == 1 && b == 1)
            return 0;
    }
    return -1;
}

struct side { struct secrets *s; struct ca ca; struct tls tls; struct leaves *leaves; struct bucket mint; };

static void side_new(struct side *x)
{
    new_ca(&x->s, &x->ca);
    assert_int_equal(tls_init(&x->tls, &x->ca, x->ca.pem, x->ca.pem_n), 0);
    x->leaves = leaves_new(&x->ca);
    bucket_init(&x->mint, 0, 100);
}

static void side_free(struct side *x)
{
    leaves_free(x->leaves);
    tls_fini(&x->tls);
    ca_fini(&x->ca);
    secrets_free(x->s);
}

static void http11_is_spoken_and_nothing_else(void **state)
{
    (void)state;
    static const struct { const char *alpn; unsigned n; int r; } all[] = {
        { "\x08http/1.1", 9, 0 }, { "\x02h2\x08http/1.1", 12, 0 }, { NULL, 0, 0 }, { "\x02h2", 3, SSL_R_NO_APPLICATION_PROTOCOL }, { "\x08http/1.0", 9, SSL_R_NO_APPLICATION_PROTOCOL },
    };
    struct authority a = host("a.example.com");
    SSL_CTX *plain = SSL_CTX_new(TLS_client_method());
    struct side x;

    side_new(&x);
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        SSL *server = tls_accept(&x.tls), *client = SSL_new(plain);
        assert_int_equal(leaf_use(x.leaves, &a, &x.mint, server), 0);
        SSL_set_connect_state(client);
        if (all[i].alpn)
            SSL_set_alpn_protos(client, (const unsigned char *)all[i].alpn, all[i].n);
        assert_int_equal(shake(client, server), all[i].r);
        assert_false(SSL_session_reused(client));
        SSL_free(client);
        SSL_free(server);
    }
    SSL *server = tls_accept(&x.tls), *old = SSL_new(plain);
    assert_int_equal(leaf_use(x.leaves, &a, &x.mint, server), 0);
    SSL_set_connect_state(old);
    SSL_set_security_level(old, 0);
    SSL_set_min_proto_version(old, TLS1_VERSION);
    SSL_set_max_proto_version(old, TLS1_1_VERSION);
    assert_int_not_equal(shake(old, server), 0);
    SSL_free(old);
    SSL_free(server);
    SSL_CTX_free(plain);
    side_free(&x);
}

static void an_upstream_with_a_certificate_of_our_own_ca_is_refused_whatever_the_roots_say(void **state)
{
    (void)state;
    struct authority a = host("a.example.com");
    struct side x, other;

    side_new(&x);                                   /* its roots are its own CA */
    side_new(&other);
    SSL *server = tls_accept(&x.tls), *client = tls_connect(&x.tls, &a);
    assert_int_equal(leaf_use(x.leaves, &a, &x.mint, server), 0);
    assert_int_equal(shake(client, server), 0);
    assert_string_equal(tls_refused(&x.tls, client), "its certificate is of the sandboxes' own CA");
    assert_null(tls_refused(&other.tls, client));   /* only the store that it is of */
    SSL_free(client);
    SSL_free(server);
    server = tls_accept(&x.tls);
    client = tls_connect(&other.tls, &a);           /* does not know that CA */
    assert_int_equal(leaf_use(x.leaves, &a, &x.mint, server), 0);
    assert_int_equal(shake(client, server), SSL_R_CERTIFICATE_VERIFY_FAILED);
    SSL_free(client);
    SSL_free(server);
    side_free(&x);
    side_free(&other);
}

static void an_upstream_with_another_name_is_refused(void **state)
{
    (void)state;
    struct authority a = host("a.example.com"), b = host("b.example.com"), v4 = host("192.0.2.7");
    struct side x;

    side_new(&x);
    const struct authority *wrong[] = { &b, &v4 };
    for (unsigned i = 0; i < 2; i++) {
        SSL *server = tls_accept(&x.tls), *client = tls_connect(&x.tls, &a);
        assert_int_equal(leaf_use(x.leaves, wrong[i], &x.mint, server), 0);
        assert_int_equal(shake(client, server), SSL_R_CERTIFICATE_VERIFY_FAILED);
        SSL_free(client);
        SSL_free(server);
    }
    side_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_ca_is_narrow), cmocka_unit_test(it_is_the_same_after_a_restart_and_new_under_another_key), cmocka_unit_test(it_is_made_anew_before_it_ends),
        cmocka_unit_test(a_leaf_is_for_its_host_alone), cmocka_unit_test(leaves_are_kept_and_new_ones_are_rationed), cmocka_unit_test(http11_is_spoken_and_nothing_else),
        cmocka_unit_test(an_upstream_with_a_certificate_of_our_own_ca_is_refused_whatever_the_roots_say), cmocka_unit_test(an_upstream_with_another_name_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
