/* What of the E2B API is pure: network options as rules, signatures and tokens, results of code, variables of a run, base64, gzip. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/e2b/code_env.h"
#include "sandbox/e2b/code_result.h"
#include "sandbox/e2b/e2b.h"
#include "sandbox/e2b/network.h"
#include "tests/lib/tmp.h"

/* --- network --- */
static void rules_are(const char *network, const char *internet, const char *want)
{
    struct fault f = { 0 };
    json_t *n = network ? json_loads(network, 0, NULL) : NULL, *i = internet ? json_loads(internet, JSON_DECODE_ANY, NULL) : NULL, *w = json_loads(want, 0, NULL);
    json_t *doc = e2b_network_rules(n, i, &f);
    char *text = doc ? json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

    assert_non_null(w);
    if (!doc || !json_equal(doc, w))
        fail_msg("%s: %s, not %s", network ? network : "-", doc ? text : f.text, want);
    free(text);
    json_decref(n);
    json_decref(i);
    json_decref(w);
    json_decref(doc);
}

static void refused(const char *network, const char *code)
{
    struct fault f = { 0 };
    json_t *n = json_loads(network, 0, NULL), *doc = e2b_network_rules(n, NULL, &f);

    assert_null(doc);
    assert_string_equal(f.code, code);
    json_decref(n);
}

static void internet_is_open_unless_it_is_said_not_to_be(void **state)
{
    rules_are(NULL, NULL, "{\"default\":\"allow\",\"inherit\":true,\"rules\":[]}");
    rules_are(NULL, "null", "{\"default\":\"allow\",\"inherit\":true,\"rules\":[]}");
    rules_are("{}", "true", "{\"default\":\"allow\",\"inherit\":true,\"rules\":[]}");
    rules_are(NULL, "false", "{\"default\":\"deny\",\"inherit\":true,\"rules\":[]}");
    rules_are("{\"denyOut\":[\"0.0.0.0/0\"]}", NULL, "{\"default\":\"deny\",\"inherit\":true,\"rules\":[]}");
    rules_are("{\"allowOut\":[\"0.0.0.0/0\"],\"denyOut\":[\"1.2.3.4/32\"]}", "false", "{\"default\":\"allow\",\"inherit\":true,\"rules\":[{\"deny\":[\"1.2.3.4\"],\"inherit\":true}]}");
}

static void what_is_allowed_wins_over_what_is_denied(void **state)
{
    rules_are("{\"allowOut\":[\"A.example.com\",\"*.b.example\"],\"denyOut\":[\"0.0.0.0/0\"]}", NULL,
              "{\"default\":\"deny\",\"inherit\":true,\"rules\":[{\"allow\":[\"a.example.com\",\"*.b.example\"],\"inherit\":true}]}");
    rules_are("{\"allowOut\":[\"8.8.8.8\"],\"denyOut\":[\"8.8.8.8\",\"9.9.9.9\"]}", NULL,
              "{\"default\":\"allow\",\"inherit\":true,\"rules\":[{\"deny\":[\"9.9.9.9\"],\"inherit\":true},{\"allow\":[\"8.8.8.8\"],\"inherit\":true}]}");
}

static void a_transform_adds_headers_for_TLS_only_and_opens_nothing(void **state)
{
    rules_are("{\"rules\":{\"api.x.com\":[{\"transform\":{\"headers\":{\"X-A\":\"1\"}}},{}]}}", NULL,
              "{\"default\":\"allow\",\"inherit\":true,\"rules\":[{\"allow\":[\"api.x.com\"],\"schemes\":[\"https\"],\"inherit\":true,\"set_headers\":{\"X-A\":\"1\"}}]}");
    rules_are("{\"denyOut\":[\"0.0.0.0/0\"],\"rules\":{\"api.x.com\":[{\"transform\":{\"headers\":{\"X-A\":\"1\"}}}]}}", NULL, "{\"default\":\"deny\",\"inherit\":true,\"rules\":[]}");
    rules_are("{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"*.x.com\"],\"rules\":{\"api.x.com\":[{\"transform\":{\"headers\":{\"X-A\":\"1\"}}}],\"x.org\":[{}]}}", NULL,
              "{\"default\":\"deny\",\"inherit\":true,\"rules\":[{\"allow\":[\"api.x.com\"],\"schemes\":[\"https\"],\"inherit\":true,\"set_headers\":{\"X-A\":\"1\"}},"
              "{\"allow\":[\"*.x.com\"],\"inherit\":true}]}");
    rules_are("{\"rules\":{\"h.io\":[{\"transform\":{\"headers\":{\"Authorization\":\"Bearer ${e2b.secrets.key-1}\"}}}]}}", NULL,
              "{\"default\":\"allow\",\"inherit\":true,\"rules\":[{\"allow\":[\"h.io\"],\"schemes\":[\"https\"],\"inherit\":true,"
              "\"inject\":[{\"header\":\"Authorization\",\"secret\":\"key-1\",\"format\":\"Bearer {}\"}]}]}");
}

static void what_has_no_rule_is_refused(void **state)
{
    refused("{\"denyOut\":[\"10.0.0.0/8\"]}", "invalid_request");
    refused("{\"allowOut\":\"x\"}", "invalid_request");
    refused("{\"allowOut\":[1]}", "invalid_request");
    refused("{\"rules\":{\"a.b\":[{\"transform\":{\"headers\":{\"A\":1}}}]}}", "invalid_request");
    refused("{\"rules\":{\"a.b\":[{\"transform\":{\"headers\":{\"A\":\"${e2b.identity.tokens.x}\"}}}]}}", "not_supported");
    refused("{\"rules\":{\"a.b\":[{\"transform\":{\"headers\":{\"A\":\"${e2b.secrets.x}${e2b.secrets.y}\"}}}]}}", "invalid_request");
    refused("{\"egressProxy\":{\"address\":\"p:1080\"}}", "not_supported");
}

/* --- tokens --- */
static void tokens_and_signatures_are_of_one_sandbox_and_one_use(void **state)
{
    char dir[256];
    assert_int_equal(tmp_make("e2b", dir, sizeof(dir)), 0);
    struct sandboxd sd = { .dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
    struct box a = { .sd = &sd, .id = "ws-a", .name = "a" }, b = { .sd = &sd, .id = "ws-b", .name = "a" };
    char ta[E2B_TOKEN], tb[E2B_TOKEN], traffic[E2B_TOKEN], again[E2B_TOKEN];

    assert_true(e2b_token_of(&a, E2B_TOKEN_ENVD, ta));
    assert_true(e2b_token_of(&b, E2B_TOKEN_ENVD, tb));
    assert_true(e2b_token_of(&a, E2B_TOKEN_TRAFFIC, traffic));
    assert_true(e2b_token_of(&a, E2B_TOKEN_ENVD, again));
    assert_string_equal(ta, again);
    assert_int_equal(strlen(ta), 64);
    assert_string_not_equal(ta, tb);
    assert_string_not_equal(ta, traffic);
    assert_true(e2b_token_right(&a, E2B_TOKEN_ENVD, ta));
    assert_false(e2b_token_right(&a, E2B_TOKEN_ENVD, tb));
    assert_false(e2b_token_right(&a, E2B_TOKEN_TRAFFIC, ta));
    assert_false(e2b_token_right(&a, E2B_TOKEN_ENVD, ""));
    assert_false(e2b_token_right(&a, E2B_TOKEN_ENVD, NULL));

    g_autofree char *text = g_strjoin(":", "/f", "read", "", ta, "99", NULL), *hex = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    uint8_t sum[32];
    for (int i = 0; i < 32; i++)
        sum[i] = (uint8_t)(g_ascii_xdigit_value(hex[2 * i]) << 4 | g_ascii_xdigit_value(hex[2 * i + 1]));
    g_autofree char *base64 = g_base64_encode(sum, 32), *signature = NULL;
    base64[43] = 0;
    signature = g_strconcat("v1_", base64, NULL);
    assert_true(e2b_signature_right(&a, "read", "/f", "", "99", signature));
    assert_false(e2b_signature_right(&a, "write", "/f", "", "99", signature));
    assert_false(e2b_signature_right(&a, "read", "/g", "", "99", signature));
    assert_false(e2b_signature_right(&a, "read", "/f", "root", "99", signature));
    assert_false(e2b_signature_right(&a, "read", "/f", "", "98", signature));
    assert_false(e2b_signature_right(&a, "read", "/f", "", NULL, signature));
    assert_false(e2b_signature_right(&b, "read", "/f", "", "99", signature));
    close(sd.dir_fd);
    tmp_remove(dir);
}

/* --- the rest --- */
static void results_have_the_names_that_clients_know(void **state)
{
    json_t *data = json_pack("{s:s,s:s,s:{s:s},s:s}", "text/plain", "t", "image/png", "p", "application/vnd.coppice.chart+json", "type", "bar", "application/x-own", "o");
    json_t *o = e2b_result(data, true), *want = json_pack("{s:s,s:b,s:s,s:s,s:{s:s},s:s}", "type", "result", "is_main_result", 1, "text", "t", "png", "p", "chart", "type", "bar", "application/x-own", "o");

    assert_true(json_equal(o, want));
    json_decref(data);
    json_decref(o);
    json_decref(want);
}

static void variables_are_a_literal_whatever_is_in_them(void **state)
{
    json_t *env = json_pack("{s:s,s:s,s:i,s:s}", "A", "q\"'\\\n\xf0\x9f\x98\x80", "B=", "no name", "C", 1, "D", "${x}`");
    g_autofree char *python = e2b_env_set(CODE_PYTHON, env), *node = e2b_env_set(CODE_JAVASCRIPT, env);

    for (const char *p = python; *p; p++)
        assert_in_range((unsigned char)*p, 0x20, 0x7e);
    assert_null(strstr(python, "no name"));
    assert_null(strchr(node, '\n'));
    assert_non_null(strstr(node, "\\\"A\\\":"));
    json_decref(env);
}

static void base64_of_both_alphabets_and_nothing_else(void **state)
{
    static const struct { const char *text; int n; } cases[] = { { "", 0 }, { "eA==", 1 }, { "eA", 1 }, { "-_8", 2 }, { "+/8=", 2 }, { "e", -1 }, { "e A=", -1 }, { "eA=x", -1 }, { "\xc3\xa4", -1 } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        json_t *v = json_string(cases[i].text);
        size_t n = 99;
        g_autofree uint8_t *p = e2b_bytes(v, &n);
        assert_int_equal(p ? (int)n : -1, cases[i].n);
        json_decref(v);
    }
    size_t n;
    assert_null(e2b_bytes(NULL, &n));
}

static bool collect(void *arg, const uint8_t *p, size_t n) { return g_byte_array_append(arg, p, (guint)n), true; }

static void gzip_goes_both_ways_in_pieces_and_what_is_broken_is_told(void **state)
{
    g_autofree uint8_t *data = g_malloc(300000);
    g_autoptr(GByteArray) packed = g_byte_array_new(), out = g_byte_array_new();
    struct e2b_deflate *d = e2b_deflate_new();
    struct e2b_inflate *z = e2b_inflate_new();

    for (size_t i = 0; i < 300000; i++)
        data[i] = (uint8_t)(i * i >> 8);
    for (size_t i = 0; i < 300000; i += 7000)
        e2b_deflate_feed(d, data + i, MIN(7000, 300000 - i), collect, packed);
    e2b_deflate_feed(d, NULL, 0, collect, packed);
    e2b_deflate_free(d);
    for (size_t i = 0; i < packed->len; i++) {
        assert_false(e2b_inflate_done(z));
        assert_int_equal(e2b_inflate_feed(z, packed->data + i, 1, collect, out), 0);
    }
    assert_true(e2b_inflate_done(z));
    assert_int_equal(out->len, 300000);
    assert_memory_equal(out->data, data, 300000);
    assert_int_equal(e2b_inflate_feed(z, (const uint8_t *)"x", 1, collect, out), -EBADMSG);
    e2b_inflate_free(z);
    z = e2b_inflate_new();
    assert_int_equal(e2b_inflate_feed(z, (const uint8_t *)"this is not gzip", 16, collect, out), -EBADMSG);
    e2b_inflate_free(z);
}

struct room { GByteArray *out; size_t calls, most; };

/* Takes every piece, and wants none more before it is asked again. */
static bool one_piece(void *arg, const uint8_t *p, size_t n)
{
    struct room *r = arg;

    r->calls++;
    r->most = MAX(r->most, n);
    g_byte_array_append(r->out, p, (guint)n);
    return false;
}

static void a_bomb_is_unpacked_piece_by_piece_as_there_is_room(void **state)
{
    enum { SIZE = 20 << 20 };
    g_autofree uint8_t *zeros = g_malloc0(SIZE);
    g_autoptr(GByteArray) packed = g_byte_array_new(), out = g_byte_array_new();
    struct e2b_deflate *d = e2b_deflate_new();
    struct e2b_inflate *z = e2b_inflate_new();
    struct room r = { .out = out };
    size_t turns = 1;

    e2b_deflate_feed(d, zeros, SIZE, collect, packed);
    e2b_deflate_feed(d, NULL, 0, collect, packed);
    e2b_deflate_free(d);
    const uint8_t *p = packed->data;
    size_t n = packed->len;
    for (int k; (k = e2b_inflate_feed(z, p, n, one_piece, &r)); turns++) {
        assert_int_equal(k, -ECANCELED);
        assert_int_equal(r.calls, turns);
        p += n - e2b_inflate_left(z);
        n = e2b_inflate_left(z);
    }
    assert_true(e2b_inflate_done(z));
    assert_true(r.most <= 64 * 1024);
    assert_int_equal(out->len, SIZE);
    assert_memory_equal(out->data, zeros, SIZE);
    e2b_inflate_free(z);
}

static void only_a_false_in_so_many_words_opens(void **state)
{
    static const struct { const char *e2b; bool open; } cases[] = {
        { "{}", false }, { "{\"secure\":true}", false }, { "{\"secure\":null}", false }, { "{\"secure\":0}", false }, { "{\"secure\":\"false\"}", false }, { "{\"secure\":false}", true },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct box b = { .config.e2b = json_loads(cases[i].e2b, 0, NULL) };
        assert_int_equal(e2b_is_open(&b), cases[i].open);
        json_decref(b.config.e2b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(internet_is_open_unless_it_is_said_not_to_be), cmocka_unit_test(what_is_allowed_wins_over_what_is_denied),
        cmocka_unit_test(a_transform_adds_headers_for_TLS_only_and_opens_nothing), cmocka_unit_test(what_has_no_rule_is_refused),
        cmocka_unit_test(tokens_and_signatures_are_of_one_sandbox_and_one_use),
        cmocka_unit_test(results_have_the_names_that_clients_know), cmocka_unit_test(variables_are_a_literal_whatever_is_in_them),
        cmocka_unit_test(base64_of_both_alphabets_and_nothing_else), cmocka_unit_test(gzip_goes_both_ways_in_pieces_and_what_is_broken_is_told),
        cmocka_unit_test(a_bomb_is_unpacked_piece_by_piece_as_there_is_room), cmocka_unit_test(only_a_false_in_so_many_words_opens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
