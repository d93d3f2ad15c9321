/* Paths that rules can judge: each has one spelling only. A path with two would let a rule see one and the server another (E29). */
#include <string.h>

#include "sandbox/egress/authority.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* May stand in a path as it is: pchar of RFC 3986 but ';' (parameters: some servers cut them off), and '/'. */
static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-._~!$&'()*+,=:@/", c));
}

/* UTF-8 byte by byte: *want bytes are to come, the next of them in lo..hi. */
struct utf8 { unsigned want; unsigned char lo, hi; };
static bool utf8_byte(struct utf8 *u, unsigned char c)
{
    if (u->want) {
        bool good = c >= u->lo && c <= u->hi;
        *u = (struct utf8){ u->want - 1, 0x80, 0xbf };
        return good;
    }
    if (c < 0x80)
        return true;
    *u = (struct utf8){ c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1, c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf };
    return c >= 0xc2 && c <= 0xf4;
}

/* Encoded: only what cannot stand there plainly, and is neither a control, nor a delimiter of some server, nor '%' (double encoding). */
static bool encoded_is_fine(unsigned char c)
{
    return c >= 0x20 && c != 0x7f && !is_plain(c) && c != ';' && c != '\\' && c != '%' && c != '?' && c != '#';
}

static bool segments_are_fine(struct slice path)
{
    size_t from = 1;

    for (size_t i = 1; i <= path.n; i++) {
        if (i < path.n && path.p[i] != '/')
            continue;
        struct slice s = { path.p + from, i - from };
        if ((!s.n && i < path.n) || slice_is(s, ".") || slice_is(s, ".."))
            return false;
        from = i + 1;
    }
    return true;
}

bool path_is_canonical(struct slice path)
{
    struct utf8 u = { 0 };

    if (!path.n || path.p[0] != '/')
        return false;
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if (c == '%') {
            int high = i + 2 < path.n ? hex(path.p[i + 1]) : -1, low = i + 2 < path.n ? hex(path.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (unsigned char)(high << 4 | low);
            if (!encoded_is_fine(c))
                return false;
            i += 2;
        } else if (!is_plain(c)) {
            return false;
        }
        if (!utf8_byte(&u, c))
            return false;
    }
    return !u.want && segments_are_fine(path);
}

/* From the first star on, all places of the glob that can be reached are kept, byte by byte of the path: time is glob times path, whatever the path is. */
static bool star_matches(const char *glob, size_t m, struct slice path)
{
    bool at[PATH_GLOB_MAX + 1], next[PATH_GLOB_MAX + 1];

    memset(at, 0, m + 1);
    at[0] = true;
    for (size_t i = 0; i <= path.n; i++) {
        memset(next, 0, m + 1);
        for (size_t j = 0; j < m; j++) {
            if (!at[j])
                continue;
            size_t stars = glob[j] != '*' ? 0 : glob[j + 1] == '*' ? 2 : 1;
            if (stars)
                at[j + stars] = true;     /* it matches nothing more */
            if (i < path.n && (stars == 2 || (stars ? path.p[i] != '/' : glob[j] == path.p[i])))
                next[stars ? j : j + 1] = true;
        }
        if (i < path.n)
            memcpy(at, next, m + 1);
    }
    return at[m];
}

bool path_matches(const char *glob, struct slice path)
{
    size_t m = strlen(glob), i = 0;

    if (m > PATH_GLOB_MAX)
        return false;
    while (i < m && i < path.n && glob[i] != '*' && glob[i] == path.p[i])
        i++;
    return star_matches(glob + i, m - i, (struct slice){ path.p + i, path.n - i });
}
