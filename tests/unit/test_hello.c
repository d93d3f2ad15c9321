/* The ClientHello: messages built here byte by byte, in one record or many, and what a server might read in two ways. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/ssl.h>
#include <string.h>

#include "base/buf.h"
#include "sandbox/egress/hello.h"

static void put_be(struct buf *b, unsigned v, unsigned bytes)
{
    while (bytes--)
        buf_put_u8(b, (uint8_t)(v >> 8 * bytes));
}

static void put_ext(struct buf *b, unsigned type, const void *p, size_t n)
{
    put_be(b, type, 2);
    put_be(b, (unsigned)n, 2);
    buf_put(b, p, n);
}

static void put_name(struct buf *b, const char *name, size_t n)
{
    struct buf e = BUF_INIT;

    put_be(&e, (unsigned)n + 3, 2);
    put_be(&e, 0, 1);
    put_be(&e, (unsigned)n, 2);
    buf_put(&e, name, n);
    put_ext(b, 0, e.data, e.len);
    buf_fini(&e);
}

/* The handshake message around these extensions. */
static struct buf message(const struct buf *extensions)
{
    struct buf body = BUF_INIT, b = BUF_INIT;
    uint8_t random[32] = { 1 };

    put_be(&body, 0x0303, 2);
    buf_put(&body, random, sizeof(random));
    put_be(&body, 0, 1);
    put_be(&body, 2, 2);
    put_be(&body, 0x1301, 2);
    put_be(&body, 1, 1);
    put_be(&body, 0, 1);
    if (extensions) {
        put_be(&body, (unsigned)extensions->len, 2);
        buf_put(&body, extensions->data, extensions->len);
    }
    put_be(&b, 1, 1);
    put_be(&b, (unsigned)body.len, 3);
    buf_put(&b, body.data, body.len);
    buf_fini(&body);
    return b;
}

/* In records of at most `most` bytes. */
static struct buf records(const struct buf *m, size_t most)
{
    struct buf b = BUF_INIT;

    for (size_t at = 0; at < m->len;) {
        size_t n = m->len - at < most ? m->len - at : most;
        put_be(&b, 22, 1);
        put_be(&b, 0x0301, 2);
        put_be(&b, (unsigned)n, 2);
        buf_put(&b, m->data + at, n);
        at += n;
    }
    return b;
}

static int parse_extensions(const struct buf *extensions, struct hello *ret)
{
    struct buf m = message(extensions), r = records(&m, 16384);
    int k = hello_parse(r.data, r.len, ret);

    buf_fini(&m);
    buf_fini(&r);
    return k;
}

static int parse_name(const char *name, size_t n, struct hello *ret)
{
    struct buf e = BUF_INIT;

    put_name(&e, name, n);
    int k = parse_extensions(&e, ret);
    buf_fini(&e);
    return k;
}

static void the_name_is_found_however_the_message_is_cut(void **state)
{
    (void)state;
    struct buf e = BUF_INIT;
    struct hello h;

    put_name(&e, "Api.Example.COM", 15);
    put_ext(&e, 16, "\0\x0c\x02h2\x08http/1.1", 14);
    struct buf m = message(&e);
    for (size_t most = 1; most <= m.len; most += most < 8 ? 1 : 13) {
        struct buf r = records(&m, most);
        for (size_t n = 0; n < r.len; n++)
            assert_int_equal(hello_parse(r.data, n, &h), HELLO_MORE);
        assert_int_equal(hello_parse(r.data, r.len, &h), HELLO_OK);
        assert_string_equal(h.name, "api.example.com");
        assert_true(h.alpn && h.alpn_http11);
        buf_fini(&r);
    }
    buf_fini(&m);
    buf_fini(&e);
}

static void a_message_without_extensions_or_name_is_fine(void **state)
{
    (void)state;
    struct buf none = BUF_INIT;
    struct hello h;

    assert_int_equal(parse_extensions(NULL, &h), HELLO_OK);
    assert_string_equal(h.name, "");
    assert_int_equal(parse_extensions(&none, &h), HELLO_OK);
    assert_string_equal(h.name, "");
    assert_false(h.alpn);
}

static void names_that_are_none_are_refused(void **state)
{
    (void)state;
    static const struct { const char *name; size_t n; } bad[] = { { "", 0 }, { "a.b.", 4 }, { "a\0b.c", 5 }, { "a b.c", 5 }, { "a/b.c", 5 }, { "\xc3\xa4.de", 5 }, { "a:443", 5 }, { "[::1]", 5 }, { "a.b\n", 4 } };
    char longest[300];
    struct hello h;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(parse_name(bad[i].name, bad[i].n, &h), HELLO_BAD);
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(parse_name(longest, HELLO_NAME_MAX - 1, &h), HELLO_OK);
    assert_int_equal(parse_name(longest, HELLO_NAME_MAX, &h), HELLO_BAD);
    assert_int_equal(parse_name(longest, sizeof(longest), &h), HELLO_BAD);
    assert_non_null(h.why);
}

static void two_names_are_refused_in_one_list_and_in_two_extensions(void **state)
{
    (void)state;
    struct buf e = BUF_INIT;
    struct hello h;

    put_ext(&e, 0, "\0\x0c\0\0\3a.b\0\0\3c.d", 14);
    assert_int_equal(parse_extensions(&e, &h), HELLO_BAD);
    buf_clear(&e);
    put_name(&e, "a.b", 3);
    put_name(&e, "c.d", 3);
    assert_int_equal(parse_extensions(&e, &h), HELLO_BAD);
    buf_clear(&e);
    put_ext(&e, 0, "\0\6\1\0\3a.b", 8);             /* not a host_name */
    assert_int_equal(parse_extensions(&e, &h), HELLO_BAD);
    buf_fini(&e);
}

static void lengths_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct buf e = BUF_INIT;
    struct hello h;

    put_name(&e, "a.example", 9);
    struct buf m = message(&e), r = records(&m, 16384);
    for (size_t at = 5 + 38; at < r.len; at++) {    /* behind the random: every byte is a length, a type or a name's */
        uint8_t old = r.data[at];
        r.data[at] = 0xff;
        int k = hello_parse(r.data, r.len, &h);
        assert_true(k == HELLO_BAD || (k == HELLO_OK && strcmp(h.name, "a.example") != 0) || old == 0xff || at < 5 + 4 + 2 + 32 + 1 + 2 + 2 + 1 + 1);
        r.data[at] = old;
    }
    r.data[8]++;                                    /* the message is longer than its record: more is to come */
    assert_int_equal(hello_parse(r.data, r.len, &h), HELLO_MORE);
    r.data[8] -= 2;
    assert_int_equal(hello_parse(r.data, r.len, &h), HELLO_BAD);
    buf_fini(&r);
    buf_fini(&m);
    buf_fini(&e);
}

static void what_is_not_tls_is_refused_by_its_first_bytes(void **state)
{
    (void)state;
    struct hello h;

    assert_int_equal(hello_parse((const uint8_t *)"G", 1, &h), HELLO_BAD);
    assert_int_equal(hello_parse((const uint8_t *)"SSH-2.0", 7, &h), HELLO_BAD);
    assert_int_equal(hello_parse((const uint8_t *)"\x80\x2e\x01\x03\x01", 5, &h), HELLO_BAD);      /* SSL 2 */
    assert_int_equal(hello_parse((const uint8_t *)"\x16\x02\0\0\1\1", 6, &h), HELLO_BAD);
    assert_int_equal(hello_parse((const uint8_t *)"\x16\x03\1\0\0", 5, &h), HELLO_BAD);
    assert_int_equal(hello_parse((const uint8_t *)"\x16\x03\1\0\1\2", 6, &h), HELLO_BAD);          /* a ServerHello */
    assert_int_equal(hello_parse((const uint8_t *)"\x16\x03\1\0\4\1\xff\0\0", 9, &h), HELLO_BAD);  /* 16 MiB of it */
}

static void an_endless_message_of_tiny_records_ends(void **state)
{
    (void)state;
    struct buf e = BUF_INIT;
    struct hello h;
    static uint8_t pad[12000];

    put_ext(&e, 21, pad, sizeof(pad));
    struct buf m = message(&e), r = records(&m, 1);
    assert_int_equal(hello_parse(r.data, HELLO_WIRE_MAX - 1, &h), HELLO_MORE);
    assert_int_equal(hello_parse(r.data, HELLO_WIRE_MAX, &h), HELLO_BAD);
    buf_fini(&r);
    buf_fini(&m);
    buf_fini(&e);
}

static void what_a_real_client_sends_is_understood(void **state)
{
    (void)state;
    SSL_CTX *x = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(x);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    struct hello h;
    char *p;

    SSL_set_bio(ssl, in, out);
    assert_int_equal(SSL_set_tlsext_host_name(ssl, "www.example.org"), 1);
    assert_int_equal(SSL_set_alpn_protos(ssl, (const unsigned char *)"\x02h2", 3), 0);
    assert_int_equal(SSL_connect(ssl), -1);
    long n = BIO_get_mem_data(out, &p);
    assert_int_equal(hello_parse((uint8_t *)p, (size_t)n, &h), HELLO_OK);
    assert_string_equal(h.name, "www.example.org");
    assert_true(h.alpn && !h.alpn_http11);
    SSL_free(ssl);
    SSL_CTX_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_is_found_however_the_message_is_cut), cmocka_unit_test(a_message_without_extensions_or_name_is_fine), cmocka_unit_test(names_that_are_none_are_refused),
        cmocka_unit_test(two_names_are_refused_in_one_list_and_in_two_extensions), cmocka_unit_test(lengths_that_do_not_fit_are_refused),
        cmocka_unit_test(what_is_not_tls_is_refused_by_its_first_bytes), cmocka_unit_test(an_endless_message_of_tiny_records_ends), cmocka_unit_test(what_a_real_client_sends_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
