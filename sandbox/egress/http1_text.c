/* Bytes, slices and headers by name. */
#include <string.h>
#include <strings.h>

#include "sandbox/egress/http1_private.h"

#define T BYTE_TOKEN
#define H BYTE_HOST
#define M BYTE_METHOD
#define G BYTE_TARGET
#define V BYTE_VALUE
#define ALL (V | G | T)
const uint8_t http1_class[256] = {
    ['\t'] = V, [' '] = V, ['"'] = V | G, ['#'] = V | T, ['('] = V | G, [')'] = V | G, [','] = V | G, ['/'] = V | G, [':'] = V | G | H, [';'] = V | G,
    ['<'] = V | G, ['='] = V | G, ['>'] = V | G, ['?'] = V | G, ['@'] = V | G, ['['] = V | G | H, ['\\'] = V | G, [']'] = V | G | H, ['{'] = V | G, ['}'] = V | G,
    ['!'] = ALL, ['$'] = ALL, ['%'] = ALL, ['&'] = ALL, ['\''] = ALL, ['*'] = ALL, ['+'] = ALL, ['-'] = ALL | H | M, ['.'] = ALL | H, ['^'] = ALL, ['_'] = ALL | H,
    ['`'] = ALL, ['|'] = ALL, ['~'] = ALL,
    ['0' ... '9'] = ALL | H | M, ['A' ... 'Z'] = ALL | H | M, ['a' ... 'z'] = ALL | H, [0x80 ... 0xff] = BYTE_OBS,
};
#undef T
#undef H
#undef M
#undef G
#undef V
#undef ALL

bool slice_is(struct slice s, const char *text)
{
    return s.n == strlen(text) && (!s.n || !memcmp(s.p, text, s.n));
}

bool slice_is_case(struct slice s, const char *text)
{
    return s.n == strlen(text) && (!s.n || !strncasecmp(s.p, text, s.n));
}

static bool all_are(struct slice s, unsigned classes)
{
    for (size_t i = 0; i < s.n; i++)
        if (!byte_is(s.p[i], classes))
            return false;
    return true;
}

bool http1_is_name(struct slice s)
{
    return s.n && all_are(s, BYTE_TOKEN);
}

bool http1_is_value(struct slice s)
{
    if (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        return false;
    return all_are(s, BYTE_VALUE);
}

const struct http1_header *http1_find(const struct http1_head *h, const char *name)
{
    for (unsigned i = 0; i < h->count; i++)
        if (slice_is_case(h->headers[i].name, name))
            return &h->headers[i];
    return NULL;
}

unsigned http1_count(const struct http1_head *h, const char *name)
{
    unsigned n = 0;

    for (unsigned i = 0; i < h->count; i++)
        n += slice_is_case(h->headers[i].name, name);
    return n;
}

static struct slice trim(struct slice s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* Is the token an element of the comma list? */
static bool list_has(struct slice list, struct slice token)
{
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        struct slice one = trim((struct slice){ list.p, n });
        if (one.n == token.n && !strncasecmp(one.p, token.p, token.n))
            return true;
        n += comma != NULL;
        list.p += n;
        list.n -= n;
    }
    return false;
}

static bool head_has(const struct http1_head *h, const char *name, struct slice token)
{
    for (unsigned i = 0; i < h->count; i++)
        if (slice_is_case(h->headers[i].name, name) && list_has(h->headers[i].value, token))
            return true;
    return false;
}

bool http1_has_token(const struct http1_head *h, const char *name, const char *token)
{
    return head_has(h, name, (struct slice){ token, strlen(token) });
}

bool http1_is_hop(const struct http1_head *h, const struct http1_header *x)
{
    static const char *const names[] = { "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_is_case(x->name, names[i]))
            return true;
    return (x->name.n >= 6 && !strncasecmp(x->name.p, "proxy-", 6)) || head_has(h, "connection", x->name);
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* Over bytes that are no letters or digits; were there any? */
static bool skip_marks(struct slice *s)
{
    size_t n = s->n;

    while (s->n && !is_word(*s->p))
        s->p++, s->n--;
    return s->n != n;
}

bool http1_same_folded(struct slice a, struct slice b)
{
    for (bool first = true;; first = false) {
        bool gap_a = skip_marks(&a), gap_b = skip_marks(&b);
        if (!a.n || !b.n)
            return !a.n && !b.n;
        if ((!first && gap_a != gap_b) || (*a.p | 0x20) != (*b.p | 0x20))
            return false;
        a.p++, a.n--;
        b.p++, b.n--;
    }
}

bool http1_is_lookalike(struct slice name)
{
    static const char *const names[] = { "host", "connection", "content-length", "transfer-encoding" };
    struct slice words = name;

    skip_marks(&words);
    if (!words.n || !strchr("hct", *words.p | 0x20))
        return false;                      /* nearly all names */
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (http1_same_folded(name, (struct slice){ names[i], strlen(names[i]) }))
            return !slice_is_case(name, names[i]);
    return false;
}

bool http1_is_trailer(struct slice name)
{
    static const char *const names[] = { "host", "connection", "content-length", "transfer-encoding", "content-encoding", "content-type", "content-range", "trailer", "te",
                                         "upgrade", "keep-alive", "expect", "authorization", "cookie", "set-cookie", "cache-control", "max-forwards", "range", "location", "date",
                                         "www-authenticate", "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (http1_same_folded(name, (struct slice){ names[i], strlen(names[i]) }))
            return false;
    return !(name.n >= 6 && !strncasecmp(name.p, "proxy-", 6)) && !http1_is_lookalike(name);
}
