/* sandbox/egress/authority_path: canonical paths, and globs against a reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sandbox/egress/authority.h"
#include "tests/egress/slice_of.h"
#include "tests/lib/seed.h"
#include "tests/model/rng.h"

enum { PATHS = 200000 };

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
    struct rng r = { test_seed_said("paths") };
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
    struct rng r = { test_seed_said("globs") };
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_with_two_spellings_are_not_canonical),
        cmocka_unit_test(no_two_canonical_paths_mean_the_same_to_a_server),
        cmocka_unit_test(globs_match_as_the_reference_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
