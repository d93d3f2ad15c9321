/* Patterns of rules: names, "*.name", literals, "*". They are kept in one spelling, so that comparing is comparing bytes. */
#include <string.h>

#include "sandbox/egress/authority.h"

/* "::1" and "[::1]" are the same: without the brackets into `ret`. */
static const char *unbracket(const char *pattern, char ret[HOST_MAX])
{
    size_t n = strlen(pattern);

    if (n < 3 || n >= HOST_MAX || pattern[0] != '[' || pattern[n - 1] != ']')
        return pattern;
    memcpy(ret, pattern + 1, n - 2);
    ret[n - 2] = '\0';
    return ret;
}

/* What the text of a pattern without a star means. */
static const char *read_host(const char *pattern, struct authority *ret)
{
    char bare[HOST_MAX], text[HOST_MAX + 2];
    const char *host = unbracket(pattern, bare);
    size_t n = strlen(host);

    if (n >= HOST_MAX)
        return "the name is longer than 253 bytes";
    if (!strchr(host, ':'))
        return host == pattern ? authority_parse((struct slice){ host, n }, true, 443, ret) : "brackets are for IPv6 addresses";
    if (host == pattern && pattern[0] == '[')
        return "a port in a pattern: ports are a field of their own";
    text[0] = '[';
    memcpy(text + 1, host, n);
    text[n + 1] = ']';
    return authority_parse((struct slice){ text, n + 2 }, true, 443, ret);
}

const char *pattern_check(const char *pattern)
{
    struct authority a;
    char bare[HOST_MAX];
    const char *name = pattern, *why;

    if (pattern[0] == '*' && !pattern[1])
        return NULL;
    if (!strncmp(pattern, "*.", 2))
        name += 2;
    if (strchr(name, '*'))
        return "a star is only allowed alone, or as the first label: \"*.example.com\"";
    if (name != pattern && !strchr(name, '.'))
        return "a star needs two labels behind it: \"*.example.com\"";
    if ((why = read_host(name, &a)))
        return why;
    if (name != pattern && a.kind != HOST_NAME)
        return "a star before an address";
    return strcmp(a.host, unbracket(name, bare)) ? "it has to be written in lower case, without a final dot, an address in its shortest form" : NULL;
}

/* Does `host` end with "." and the name? */
static bool is_below(const char *host, const char *name)
{
    size_t h = strlen(host), n = strlen(name);

    return h > n + 1 && host[h - n - 1] == '.' && !strcmp(host + h - n, name);
}

bool pattern_matches(const char *pattern, const struct authority *a)
{
    char bare[HOST_MAX];

    if (!strcmp(pattern, "*"))
        return a->kind == HOST_NAME;
    if (!strncmp(pattern, "*.", 2))
        return a->kind == HOST_NAME && is_below(a->host, pattern + 2);
    return !strcmp(unbracket(pattern, bare), a->host);
}

static bool is_literal(const char *pattern)
{
    struct authority a;

    return !read_host(pattern, &a) && a.kind != HOST_NAME;
}

bool pattern_covers(const char *wide, const char *narrow)
{
    char wide_bare[HOST_MAX], narrow_bare[HOST_MAX];
    bool many = !strncmp(narrow, "*.", 2);

    if (!strcmp(wide, "*"))
        return !strcmp(narrow, "*") || many || !is_literal(narrow);
    if (!strcmp(narrow, "*"))
        return false;
    if (!strncmp(wide, "*.", 2))
        return (many && !strcmp(narrow + 2, wide + 2)) || (!is_literal(narrow) && is_below(many ? narrow + 2 : narrow, wide + 2));
    return !many && !strcmp(unbracket(wide, wide_bare), unbracket(narrow, narrow_bare));
}
