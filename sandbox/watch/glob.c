/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sandbox/watch/glob.h"

#include <fnmatch.h>
#include <string.h>

enum { NAME_MAX_BYTES = 4096 };

static size_t name_length(const char *p) { return strcspn(p, "/"); }
static const char *name_next(const char *p) { p += name_length(p); return p + strspn(p, "/"); }
static bool is_any(const char *p) { return name_length(p) == 2 && p[0] == '*' && p[1] == '*'; }

static bool name_match(const char *pattern, const char *name)
{
    char a[NAME_MAX_BYTES], b[NAME_MAX_BYTES];
    size_t n = name_length(pattern), m = name_length(name);

    if (n >= sizeof a || m >= sizeof b)
        return false;
    memcpy(a, pattern, n);
    memcpy(b, name, m);
    a[n] = b[m] = '\0';
    return !fnmatch(a, b, 0);
}

/* As stars within a name are matched: only the last "**" is ever tried again, so the work is at most the product of both lengths. */
static bool names_match(const char *p, const char *s)
{
    const char *again_p = NULL, *again_s = NULL;

    while (*s) {
        if (*p && is_any(p)) {
            p = name_next(p);
            if (!*p)
                return true;
            again_p = p;
            again_s = s;
        } else if (*p && name_match(p, s)) {
            p = name_next(p);
            s = name_next(s);
        } else if (again_p) {
            p = again_p;
            s = again_s = name_next(again_s);
        } else {
            return false;
        }
    }
    return !*p;                              /* "a" is not within "a" followed by two stars */
}

bool glob_match(const char *pattern, const char *path)
{
    const char *slash = strchr(pattern, '/');

    if (slash && slash[strspn(slash, "/")]) {
        pattern += strspn(pattern, "/");
        return names_match(pattern, path);
    }
    if (slash == pattern)
        return false;
    const char *last = strrchr(path, '/');
    last = last ? last + 1 : path;
    return *last && (is_any(pattern) || name_match(pattern, last));
}

bool glob_hides(const char *pattern, const char *dir)
{
    size_t n = strlen(pattern);
    char most[NAME_MAX_BYTES];

    if (glob_match(pattern, dir))
        return true;
    if (n < 4 || n >= sizeof most || strcmp(pattern + n - 3, "/**"))
        return false;
    memcpy(most, pattern, n - 3);
    most[n - 3] = '\0';
    const char *p = most + strspn(most, "/");
    return *p && names_match(p, dir);
}
