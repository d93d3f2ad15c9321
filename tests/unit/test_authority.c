/* sandbox/egress/authority, address, message: the tables of tests/egress/cases, and patterns, paths and globs against simple references. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "sandbox/egress/authority.h"
#include "sandbox/egress/message.h"
#include "tests/egress/case_file.h"
#include "tests/lib/seed.h"
#include "tests/model/rng.h"

enum { PAIRS = 1000000, PATHS = 200000 };

static uint64_t begin(const char *what)
{
    uint64_t seed = test_seed();

    print_message("%s: COPPICE_SEED=%llu\n", what, (unsigned long long)seed);
    return seed;
}

static struct slice slice(const char *text)
{
    return (struct slice){ text, strlen(text) };
}

static void show(const char *why, const struct authority *a, char *ret, size_t n)
{
    if (why)
        snprintf(ret, n, "-");
    else
        snprintf(ret, n, a->kind == HOST_V6 ? "[%s]:%u" : "%s:%u", a->host, a->port);
}

/* As the flow does: the head first, then the authority in it. */
static void by_request(const char *before, const struct buf *text, const char *after, char *ret, size_t n)
{
    static struct http1_head head;
    struct authority a;
    struct slice target;
    struct buf b = BUF_INIT;
    const char *why = "not HTTP";

    buf_put(&b, before, strlen(before));
    buf_put(&b, text->data, text->len);
    buf_put(&b, after, strlen(after));
    if (http1_request((char *)b.data, b.len, &head) == HTTP1_OK)
        why = head.form == HTTP1_AUTHORITY  ? authority_parse(head.target, true, 0, &a)
              : head.form == HTTP1_ABSOLUTE ? authority_from_url(head.target, &a, &target)
                                            : authority_parse(head.host, false, 80, &a);
    show(why, &a, ret, n);
    buf_fini(&b);
}

static void one_authority(void *arg, char **fields, unsigned count)
{
    static const struct { const char *before, *after; } forms[] = {
        { "GET / HTTP/1.1\r\nHost: ", "\r\n\r\n" },
        { "CONNECT ", " HTTP/1.1\r\nHost: allowed.test\r\n\r\n" },
        { "GET http://", "/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n" },
    };
    struct buf text = BUF_INIT;

    assert_int_equal(count, 4);
    case_unescape(fields[3], &text);
    for (int i = 0; i < 3; i++) {
        struct buf want = BUF_INIT;
        char got[400];
        case_unescape(fields[i], &want);
        buf_put_u8(&want, 0);
        by_request(forms[i].before, &text, forms[i].after, got, sizeof got);
        if (strcmp(got, (char *)want.data))
            fail_msg("'%s' in form %d: %s, expected %s", fields[3], i, got, (char *)want.data);
        buf_fini(&want);
    }
    buf_fini(&text);
}

static void an_authority_has_one_meaning_in_every_form(void **state)
{
    assert_true(case_file_read(CASES "/authority.txt", one_authority, NULL) >= 60);
}

static const char *class_of(const char *literal)
{
    static const char *const names[] = { "public", "private", "loopback", "never" };
    struct sockaddr_storage sa = { 0 };

    if (strchr(literal, ':')) {
        sa.ss_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, literal, &((struct sockaddr_in6 *)&sa)->sin6_addr), 1);
    } else {
        sa.ss_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, literal, &((struct sockaddr_in *)&sa)->sin_addr), 1);
    }
    return names[address_class(&sa)];
}

static void one_literal(void *arg, char **fields, unsigned count)
{
    struct buf text = BUF_INIT;
    struct authority a;
    const char *why;

    assert_int_equal(count, 3);
    case_unescape(fields[2], &text);
    why = authority_parse((struct slice){ (char *)text.data, text.len }, true, 443, &a);
    buf_fini(&text);
    if (*fields[0] == '-') {
        if (!why)
            fail_msg("'%s' was taken for %s", fields[2], a.host);
        return;
    }
    if (why || a.kind == HOST_NAME || strcmp(a.host, fields[0]))
        fail_msg("'%s': %s, expected %s", fields[2], why ? why : a.host, fields[0]);
    if (strcmp(class_of(a.host), fields[1]))
        fail_msg("'%s' is %s, expected %s", fields[2], class_of(a.host), fields[1]);
    /* A literal is allowed by itself only: by no star, and by no other literal. */
    assert_false(pattern_matches("*", &a));
    assert_null(pattern_check(a.host));
    assert_true(pattern_matches(a.host, &a));
    assert_int_equal(pattern_matches("8.8.8.8", &a), !strcmp(a.host, "8.8.8.8"));
}

static void numbers_are_addresses_in_one_spelling_only(void **state)
{
    assert_true(case_file_read(CASES "/literals.txt", one_literal, NULL) >= 120);
}

static void other_families_are_never_dialled(void **state)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNIX };

    assert_int_equal(address_class(&sa), ADDRESS_NEVER);
}

static void authorities_are_the_same_in_all_parts_or_not(void **state)
{
    struct authority a, b;

    assert_null(authority_parse(slice("A.test"), true, 443, &a));
    assert_null(authority_parse(slice("a.test.:443"), true, 80, &b));
    assert_true(authority_same(&a, &b));
    assert_null(authority_parse(slice("a.test:443"), false, 80, &b));
    assert_false(authority_same(&a, &b));
    assert_null(authority_parse(slice("a.test:444"), true, 80, &b));
    assert_false(authority_same(&a, &b));
    assert_null(authority_parse(slice("b.test:443"), true, 80, &b));
    assert_false(authority_same(&a, &b));
    assert_null(authority_parse(slice("[::ffff:1.2.3.4]"), true, 443, &a));
    assert_null(authority_parse(slice("1.2.3.4"), true, 443, &b));
    assert_false(authority_same(&a, &b));
}

static void urls_give_their_path(void **state)
{
    static const struct { const char *url, *target; } rows[] = {
        { "http://a.test/x?y", "/x?y" }, { "HTTP://a.test", "/" }, { "http://a.test:81/", "/" }, { "http://a.test?x", NULL }, { "https://a.test/", NULL },
        { "http:///x", NULL }, { "http://", NULL }, { "ftp://a.test/", NULL }, { "//a.test/", NULL }, { "/x", NULL }, { "http://a.test/#f", NULL }, { "http://a@b.test/", NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct authority a;
        struct slice target;
        const char *why = authority_from_url(slice(rows[i].url), &a, &target);
        if (!why != (rows[i].target != NULL) || (!why && !slice_is(target, rows[i].target)))
            fail_msg("%s: %s", rows[i].url, why ? why : "was accepted");
    }
}

static void patterns_are_checked(void **state)
{
    static const char *const good[] = { "*", "a.test", "*.a.test", "*.co.uk", "1.2.3.4", "::1", "[::1]", "localhost", "a-b.c_d.test", "*.a.b.c.test" };
    static const char *const bad[] = { "", "*.com", "*.", "**", "*.*.test", "ex*.com", "*example.com", "a.*.test", "a.test.", "A.test", "*.A.test", "a.test:443", "[::1]:443", "*.1.2.3.4",
                                       "*.[::1]", "0:0:0:0:0:0:0:1", "::FFFF:1.2.3.4", "[a.test]", "127.1", "a", "http://a.test", "a.test/x", "a b.test", "*.localhost", "[1.2.3.4]", ".a.test", "*..a.test" };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (pattern_check(good[i]))
            fail_msg("%s: %s", good[i], pattern_check(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!pattern_check(bad[i]))
            fail_msg("%s was accepted", bad[i]);
}

/* The reference: names are lists of labels, compared from the last. */
static unsigned labels(const char *name, char ret[][64])
{
    unsigned n = 0;

    for (const char *p = name;; p++) {
        size_t len = strcspn(p, ".");
        memcpy(ret[n], p, len);
        ret[n++][len] = '\0';
        p += len;
        if (!*p)
            return n;
    }
}

static bool reference_matches(const char *pattern, const char *name)
{
    char p[8][64], h[8][64];
    unsigned pn = labels(pattern, p), hn = labels(name, h), fixed;
    bool star = !strcmp(p[0], "*");

    if (star && pn == 1)
        return true;
    fixed = star ? pn - 1 : pn;
    if (star ? hn <= fixed : hn != fixed)
        return false;
    for (unsigned i = 1; i <= fixed; i++)
        if (strcmp(p[pn - i], h[hn - i]))
            return false;
    return true;
}

static void random_name(struct rng *r, char *ret, unsigned least)
{
    static const char *const words[] = { "a", "b", "ab", "example", "notexample", "com", "xn--p1ai", "ex" };
    unsigned n = least + (unsigned)rng_below(r, 4 - (least > 1));

    *ret = '\0';
    for (unsigned i = 0; i < n; i++) {
        strcat(ret, i ? "." : "");
        strcat(ret, words[rng_below(r, 8)]);
    }
}

/* E10, with the covering of patterns: who covers a pattern matches all that it matches. */
static void patterns_match_as_the_reference_does(void **state)
{
    struct rng r = { begin("patterns") };
    unsigned matched = 0, covered = 0;

    for (int i = 0; i < PAIRS; i++) {
        char name[128], wide[128] = "*.", narrow[128] = "*.";
        struct authority a;
        random_name(&r, name, 2);
        unsigned star = (unsigned)rng_below(&r, 8);
        random_name(&r, wide + (star & 1 ? 2 : 0), 2);
        random_name(&r, narrow + (star & 2 ? 2 : 0), 2);
        if (!rng_below(&r, 50))
            strcpy(wide, "*");
        assert_null(authority_parse(slice(name), true, 443, &a));
        assert_null(pattern_check(wide));
        bool m = pattern_matches(wide, &a);
        if (m != reference_matches(wide, name))
            fail_msg("%s against %s: %d", wide, name, m);
        bool c = pattern_covers(wide, narrow);
        if (c && pattern_matches(narrow, &a) && !m)
            fail_msg("%s covers %s but does not match %s", wide, narrow, name);
        /* It is no less than all: a name below the narrow one, and (without a star) itself, is matched only if it is covered. */
        char below[200];
        snprintf(below, sizeof below, "%s%s", star & 2 ? "zz." : "", star & 2 ? narrow + 2 : narrow);
        if (c != reference_matches(wide, below))
            fail_msg("%s covers %s: %d", wide, narrow, c);
        matched += m;
        covered += c;
    }
    print_message("%d pairs: %u matched, %u covered\n", PAIRS, matched, covered);
    assert_true(matched > 1000 && covered > 1000);
}

static void stars_are_never_for_literals(void **state)
{
    assert_false(pattern_covers("*", "1.2.3.4"));
    assert_false(pattern_covers("*", "::1"));
    assert_true(pattern_covers("[::1]", "::1"));
    assert_true(pattern_covers("*", "*"));
    assert_false(pattern_covers("*.a.test", "*"));
}

static void paths_with_two_spellings_are_not_canonical(void **state)
{
    static const char *const good[] = { "/", "/a", "/a/", "/a/b.c/..d/.e", "/a:b@c", "/%20x", "/%C3%A9", "/a!$&'()*+,=~_-", "/.well-known/x", "/...", "/%7B%7D%5B", "/%22", "/%F0%9F%98%80" };
    static const char *const bad[] = { "", "a", "//", "/a//b", "/.", "/..", "/a/.", "/a/../b", "/a/./b", "/%2e%2e/b", "/%2E", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/..;/b", "/a;b=c", "/%3B", "/%00",
                                       "/%252e", "/%25", "/%41", "/%7E", "/%3A", "/%c3%a9", "/%C3", "/%C3%28", "/%C0%AE", "/%C0%AF", "/%E0%80%AE", "/%ED%A0%80", "/%F4%90%80%80", "/%F8", "/%FF", "/%zz",
                                       "/%", "/%2", "/a?b", "/a#b", "/a b", "/a\tb", "/\xc3\xa9", "/a|b", "/{a}", "/%0A", "/%1F", "/%7F", "/%3F", "/%23", "/%2B", "/a^b", "/\"", "/..%2f", "/..%5C" };

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!path_is_canonical(slice(good[i])))
            fail_msg("%s is not", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (path_is_canonical(slice(bad[i])))
            fail_msg("%s is", bad[i]);
}

/* Decodes as servers do, as often as they like: %XX, then dot segments, doubled and back slashes, parameters. */
static bool decode(const char *path, char *ret)
{
    char *to = ret;
    bool changed = false;

    for (const char *p = path; *p; p++) {
        unsigned byte;
        if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1 && p[1] != ' ') {
            *to++ = (char)byte;
            p += 2;
            changed = true;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
    return changed;
}

static void no_two_canonical_paths_mean_the_same_to_a_server(void **state)
{
    static const char *const parts[] = { "/", "a", ".", "..", "%2e", "%2F", "%2f", "%5C", ";", "%41", "A", "%25", "%", "2", "e", "%20", "%C3%A9", ":", "%3A", "\\", "//", "%3B", "%00", "x" };
    struct rng r = { begin("paths") };
    unsigned canonical = 0;

    for (int i = 0; i < PATHS; i++) {
        char path[200] = "/", once[200], twice[200];
        for (uint64_t n = rng_below(&r, 7); n; n--)
            strcat(path, parts[rng_below(&r, sizeof parts / sizeof *parts)]);
        if (!path_is_canonical(slice(path)))
            continue;
        canonical++;
        decode(path, once);
        if (strchr(once, ';') || strchr(once, '\\') || strstr(once, "//") || strstr(once, "/../") || strstr(once, "/./") || decode(once, twice) || strlen(once) < 1)
            fail_msg("%s decodes to %s", path, once);
        if (strcmp(once, path) && path_is_canonical(slice(once)))
            fail_msg("%s and %s are both canonical", path, once);
    }
    print_message("%d paths, %u canonical\n", PATHS, canonical);
    assert_true(canonical > 1000);
}

/* The reference: recursion, one step after the other. */
static bool reference_glob(const char *g, const char *p)
{
    if (!*g)
        return !*p;
    if (g[0] == '*' && g[1] == '*')
        return reference_glob(g + 2, p) || (*p && reference_glob(g, p + 1));
    if (*g == '*')
        return reference_glob(g + 1, p) || (*p && *p != '/' && reference_glob(g, p + 1));
    return *g == *p && reference_glob(g + 1, p + 1);
}

static void globs_match_as_the_reference_does(void **state)
{
    static const char letters[] = "ab/*";
    struct rng r = { begin("globs") };
    unsigned matched = 0;

    for (int i = 0; i < PATHS; i++) {
        char glob[16], path[16];
        size_t gn = rng_below(&r, 10), pn = rng_below(&r, 10);
        for (size_t k = 0; k < gn; k++)
            glob[k] = letters[rng_below(&r, 4)];
        for (size_t k = 0; k < pn; k++)
            path[k] = letters[rng_below(&r, 3)];
        glob[gn] = path[pn] = '\0';
        bool m = path_matches(glob, slice(path));
        if (m != reference_glob(glob, path))
            fail_msg("%s against %s: %d", glob, path, m);
        matched += m;
    }
    assert_true(matched > 1000);
    assert_true(path_matches("/repos/**", slice("/repos/a/b")) && path_matches("/repos/*/x", slice("/repos/a/x")) && !path_matches("/repos/*/x", slice("/repos/a/b/x")));
    char *wide = calloc(1, PATH_GLOB_MAX + 2);
    memset(wide, '*', PATH_GLOB_MAX + 1);
    assert_false(path_matches(wide, slice("/")));
    free(wide);
}

static void read_message(const char *text, struct message *m)
{
    static struct http1_head head;

    assert_int_equal(http1_request(text, strlen(text), &head), HTTP1_OK);
    assert_int_equal(message_from(&head, m), 0);
}

static void a_message_keeps_what_may_be_passed_on(void **state)
{
    struct message m;
    struct buf b = BUF_INIT;

    read_message("PUT /a?b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close, x-drop\r\nX-Drop: 1\r\nTE: trailers\r\nAccept: */*\r\naccept: b\r\n\r\n", &m);
    assert_string_equal(m.method, "PUT");
    assert_string_equal(m.target, "/a?b");
    assert_int_equal(m.count, 2);
    assert_string_equal(message_get(&m, "ACCEPT"), "*/*");
    assert_null(message_get(&m, "host"));
    assert_int_equal(message_set(&m, "Accept", "c"), 0);
    assert_int_equal(message_add(&m, "X-A", ""), 0);
    assert_int_equal(m.count, 2);
    assert_int_equal(message_set(&m, "a b", "c"), -EINVAL);
    assert_int_equal(message_set(&m, "a", "c\r\nX: y"), -EINVAL);
    assert_int_equal(message_add(&m, "a", "caf\xc3\xa9"), -EINVAL);
    message_put_fields(&m, &b);
    assert_int_equal(buf_err(&b), 0);
    assert_int_equal(b.len, strlen("Accept: c\r\nX-A: \r\n"));
    assert_memory_equal(b.data, "Accept: c\r\nX-A: \r\n", b.len);
    buf_fini(&b);
    message_fini(&m);
}

static void all_spellings_of_a_header_are_taken_away(void **state)
{
    struct message m;

    read_message("GET / HTTP/1.1\r\nHost: a.test\r\nX-API-Key: 1\r\nx_api_key: 2\r\nx.api.key: 3\r\nX-Api_Key: 4\r\nx~api!key: 5\r\nxapikey: no\r\nx-api-key2: no\r\nx-api: no\r\n\r\n", &m);
    assert_int_equal(message_remove_folded(&m, "x-api-key"), 5);
    assert_int_equal(m.count, 3);
    message_fini(&m);
}

static int fail_at;
static _Bool fail_nth(size_t size)
{
    return fail_at-- == 0;
}

static void without_memory_a_message_stays_as_it_was(void **state)
{
    static struct http1_head head;
    static const char text[] = "GET / HTTP/1.1\r\nHost: a.test\r\nA: 1\r\nB: 2\r\n\r\n";
    struct message m;
    int r = -ENOMEM, n;

    assert_int_equal(http1_request(text, sizeof text - 1, &head), HTTP1_OK);
    mem_fault = fail_nth;
    for (n = 0; r == -ENOMEM; n++) {
        fail_at = n;
        r = message_from(&head, &m);
    }
    assert_int_equal(r, 0);
    assert_true(n > 6);
    for (n = 0, r = -ENOMEM; r == -ENOMEM; n++) {
        fail_at = n;
        r = message_set(&m, "A", "3");
        assert_string_equal(message_get(&m, "A"), r ? "1" : "3");
        assert_int_equal(m.count, 2);
    }
    mem_fault = NULL;
    message_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_authority_has_one_meaning_in_every_form),
        cmocka_unit_test(numbers_are_addresses_in_one_spelling_only),
        cmocka_unit_test(other_families_are_never_dialled),
        cmocka_unit_test(authorities_are_the_same_in_all_parts_or_not),
        cmocka_unit_test(urls_give_their_path),
        cmocka_unit_test(patterns_are_checked),
        cmocka_unit_test(patterns_match_as_the_reference_does),
        cmocka_unit_test(stars_are_never_for_literals),
        cmocka_unit_test(paths_with_two_spellings_are_not_canonical),
        cmocka_unit_test(no_two_canonical_paths_mean_the_same_to_a_server),
        cmocka_unit_test(globs_match_as_the_reference_does),
        cmocka_unit_test(a_message_keeps_what_may_be_passed_on),
        cmocka_unit_test(all_spellings_of_a_header_are_taken_away),
        cmocka_unit_test(without_memory_a_message_stays_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
