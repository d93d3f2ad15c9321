/* Who is meant. Bytes outside of a small set are refused first, so that nothing which some reader takes for a delimiter (@ / \ # ? % and so on) is ever looked at. */
#include "sandbox/egress/authority.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static bool is_letter(char c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static const char *parse_port(struct slice s, uint16_t *ret)
{
    unsigned port = 0;

    if (!s.n || s.n > 5 || s.p[0] == '0')
        return "the port is not a number of 1 to 65535 without leading zeros";
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]))
            return "the port is not a number of 1 to 65535 without leading zeros";
        port = port * 10 + (unsigned)(s.p[i] - '0');
    }
    if (port > UINT16_MAX)
        return "the port is not a number of 1 to 65535 without leading zeros";
    *ret = (uint16_t)port;
    return NULL;
}

static const char *parse_label(const char *p, size_t n)
{
    if (!n || n > 63)
        return "a label of the name is empty or longer than 63 bytes";
    for (size_t i = 0; i < n; i++)
        if (!is_letter(p[i]) && !is_digit(p[i]) && p[i] != '-' && p[i] != '_')
            return "a byte that may not be in a name";
    return p[0] == '-' || p[n - 1] == '-' ? "a label of the name begins or ends with a hyphen" : NULL;
}

static const char *parse_name(struct slice s, struct authority *a)
{
    size_t from = 0, dots = 0;
    const char *why, *last;

    if (s.n && s.p[s.n - 1] == '.')
        s.n--;
    if (!s.n || s.n >= HOST_MAX)
        return s.n ? "the name is longer than 253 bytes" : "an empty host";
    for (size_t i = 0; i <= s.n; i++) {
        if (i < s.n && s.p[i] != '.')
            continue;
        if ((why = parse_label(s.p + from, i - from)))
            return why;
        dots += i < s.n;
        from = i < s.n ? i + 1 : from;
    }
    last = s.p + from;
    if (is_digit(*last))                  /* no such name exists, but inet_aton() takes 127.1, 0x7f000001 and the like for addresses */
        return "a number that is not a dotted-decimal address";
    if (memchr(last, '_', s.n - from))
        return "an underscore in the last label of the name";
    if (!dots && !slice_is_case(s, "localhost"))
        return "a name without a dot";
    a->kind = HOST_NAME;
    for (size_t i = 0; i < s.n; i++)
        a->host[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i];
    a->host[s.n] = '\0';
    return NULL;
}

static const char *parse_v6(struct slice s, struct authority *a)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr v6;

    if (!s.n || s.n >= sizeof text)
        return "not an IPv6 address";
    for (size_t i = 0; i < s.n; i++)
        if (!is_hex(s.p[i]) && s.p[i] != ':' && s.p[i] != '.')
            return s.p[i] == '%' ? "an IPv6 address with a zone" : "not an IPv6 address";
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (inet_pton(AF_INET6, text, &v6) != 1 || !inet_ntop(AF_INET6, &v6, a->host, sizeof a->host))
        return "not an IPv6 address";
    a->kind = HOST_V6;
    return NULL;
}

/* Four numbers of 0 to 255 without leading zeros, or else a name. */
static const char *parse_v4_or_name(struct slice s, struct authority *a)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr v4;

    if (!s.n || s.n >= sizeof text)
        return parse_name(s, a);
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    if (strlen(text) != s.n || inet_pton(AF_INET, text, &v4) != 1)
        return parse_name(s, a);
    a->kind = HOST_V4;
    return inet_ntop(AF_INET, &v4, a->host, sizeof a->host) && !strcmp(a->host, text) ? NULL : "not a plain IPv4 address";
}

const char *authority_parse(struct slice text, bool tls, uint16_t default_port, struct authority *ret)
{
    struct authority a = { .tls = tls, .port = default_port };
    bool bracket = text.n && text.p[0] == '[';
    const char *end = text.p + text.n, *stop, *why;

    if (!text.n)
        return "an empty host";
    stop = memchr(text.p, bracket ? ']' : ':', text.n);
    if (bracket && !stop)
        return "a bracket that is not closed";
    why = bracket ? parse_v6((struct slice){ text.p + 1, (size_t)(stop - text.p - 1) }, &a)
                  : parse_v4_or_name((struct slice){ text.p, (size_t)((stop ? stop : end) - text.p) }, &a);
    if (why)
        return why;
    if (bracket)
        stop++;
    if (stop && stop != end) {
        if (*stop != ':')
            return "something behind the bracket";
        if ((why = parse_port((struct slice){ stop + 1, (size_t)(end - stop - 1) }, &a.port)))
            return why;
    }
    *ret = a;
    return NULL;
}

bool authority_same(const struct authority *a, const struct authority *b)
{
    return a->tls == b->tls && a->kind == b->kind && a->port == b->port && !strcmp(a->host, b->host);
}

const char *authority_from_url(struct slice url, struct authority *ret, struct slice *ret_target)
{
    struct authority a;
    const char *why;
    size_t i = 7;

    if (url.n >= 8 && !strncasecmp(url.p, "https://", 8))
        return "https goes through CONNECT";
    if (url.n < 8 || strncasecmp(url.p, "http://", 7))
        return "not an http:// URL";
    while (i < url.n && url.p[i] != '/' && url.p[i] != '?' && url.p[i] != '#')
        i++;
    if (i < url.n && url.p[i] != '/')
        return "a URL without a path";
    if ((why = authority_parse((struct slice){ url.p + 7, i - 7 }, false, 80, &a)))
        return why;
    if (memchr(url.p + i, '#', url.n - i))
        return "a fragment in a URL";
    *ret = a;
    *ret_target = i == url.n ? (struct slice){ "/", 1 } : (struct slice){ url.p + i, url.n - i };
    return NULL;
}
