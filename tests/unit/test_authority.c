/* sandbox/egress/authority, address: the tables of tests/egress/cases, and patterns against a reference. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandbox/egress/authority.h"
#include "tests/egress/case_file.h"
#include "tests/egress/slice_of.h"
#include "tests/lib/seed.h"
#include "tests/model/rng.h"

enum { PAIRS = 1000000 };

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
    struct rng r = { test_seed_said("patterns") };
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
