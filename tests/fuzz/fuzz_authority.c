/* Authorities, URLs, patterns, paths and globs (fields with a newline between them): what is accepted is accepted in its canonical spelling as the same; nothing odd is ever in it;
 * a pattern that covers another matches what it matches. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sandbox/egress/authority.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_host(const struct authority *a)
{
    struct authority b;
    char again[300];

    if (!a->host[0] || !a->port || strlen(a->host) >= HOST_MAX || strpbrk(a->host, "/@\\#?% \t[]*") || (a->kind != HOST_V6 && strchr(a->host, ':')))
        abort();
    int n = snprintf(again, sizeof again, a->kind == HOST_V6 ? "[%s]:%u" : "%s:%u", a->host, a->port);
    if (authority_parse((struct slice){ again, (size_t)n }, a->tls, 1, &b) || !authority_same(a, &b) || pattern_check(a->host) || !pattern_matches(a->host, a))
        abort();
}

static void check_patterns(const char *p, const char *q, const struct authority *a)
{
    if (pattern_check(p) || pattern_check(q))
        return;
    if (!pattern_covers(p, p) || (pattern_covers(p, q) && pattern_matches(q, a) && !pattern_matches(p, a)))
        abort();
    if (pattern_matches(p, a) && strcmp(p, "*") && strncmp(p, "*.", 2) && p[0] != '[' && strcmp(p, a->host))
        abort();
}

static void check_path(const char *path, const char *glob)
{
    struct slice s = { path, strlen(path) };
    char copy[4096];

    if (!path_is_canonical(s)) {
        return;
    }
    if (path[0] != '/' || strstr(path, "//") || strstr(path, "/../") || strstr(path, "/./") || strpbrk(path, ";\\?#") || strcasestr(path, "%2e") || strcasestr(path, "%2f") ||
        strcasestr(path, "%5c") || strstr(path, "%25") || strstr(path, "%0"))
        abort();
    if (!path_matches("/**", s) || !path_matches(path, s))
        abort();
    if (path_matches(glob, s) && strlen(glob) + 3 < sizeof copy) {
        snprintf(copy, sizeof copy, "%s**", glob);
        if (strlen(copy) <= PATH_GLOB_MAX && !path_matches(copy, s))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *fields[5], *text = malloc(size + 1), *at = text;
    struct authority a;
    struct slice target;

    memcpy(text, data, size);
    text[size] = '\0';
    for (int i = 0; i < 5; i++) {
        fields[i] = at;
        at += strcspn(at, "\n");
        if (*at)
            *at++ = '\0';
    }
    if (!authority_from_url((struct slice){ fields[1], strlen(fields[1]) }, &a, &target)) {
        check_host(&a);
        if (!target.n || target.p[0] != '/')
            abort();
    }
    if (!authority_parse((struct slice){ fields[0], strlen(fields[0]) }, true, 443, &a)) {
        check_host(&a);
        check_patterns(fields[2], fields[3], &a);
    }
    if (strlen(fields[4]) <= PATH_GLOB_MAX && !strchr(fields[4], '*'))
        check_path(fields[4], fields[3]);
    /* Bytes as they are: a NUL is one of them. */
    if (!authority_parse((struct slice){ (const char *)data, size }, false, 80, &a))
        check_host(&a);
    free(text);
    return 0;
}
