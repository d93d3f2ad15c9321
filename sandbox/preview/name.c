#include "sandbox/preview/name.h"

#include <string.h>
#include <sys/random.h>

#include <glib.h>

#include "sandbox/egress_proto.h"

static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
static const char id_signs[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

bool preview_reserved(unsigned port)
{
    for (size_t i = 0; i < G_N_ELEMENTS(EGRESS_PORTS); i++)
        if (EGRESS_PORTS[i] == port)
            return true;
    return false;
}

bool preview_is_api_port(unsigned port)
{
    return port == 49983 || port == 49999 || port == 50005;
}

/* The token is what follows the last '-', if that looks like one and leaves an id. */
static size_t token_at(const char *rest, size_t n)
{
    const char *dash = n > NAME_TOKEN + 1 ? rest + n - NAME_TOKEN - 1 : NULL;

    return dash && *dash == '-' && strspn(dash + 1, base32) == NAME_TOKEN ? n - NAME_TOKEN : 0;
}

bool preview_name_parse(struct slice label, struct preview_name *ret)
{
    struct preview_name p = { 0 };
    size_t i = 0, n, token;

    if (!label.n || label.n > NAME_LABEL_MAX)
        return false;
    for (i = 0; i < label.n; i++)
        p.label[i] = g_ascii_tolower(label.p[i]);
    if (strlen(p.label) != label.n || p.label[0] == '0')
        return false;
    for (i = 0; g_ascii_isdigit(p.label[i]) && i < 5; i++)
        p.port = p.port * 10 + (unsigned)(p.label[i] - '0');
    if (!i || p.label[i] != '-' || p.port > 65535)
        return false;
    const char *rest = p.label + i + 1;
    n = strlen(rest);
    token = token_at(rest, n);
    if (token) {
        memcpy(p.token, rest + token, NAME_TOKEN);
        n = token - 1;
    }
    if (!n || n >= sizeof(p.id) || strspn(rest, id_signs) < n || rest[0] == '-')
        return false;
    memcpy(p.id, rest, n);
    *ret = p;
    return true;
}

bool preview_name_of_host(struct slice host, const char *const *domains, struct preview_name *ret, unsigned *ret_domain)
{
    const char *colon = memchr(host.p, ':', host.n), *dot;
    size_t n = colon ? (size_t)(colon - host.p) : host.n;

    if (n && host.p[n - 1] == '.')
        n--;
    dot = memchr(host.p, '.', n);
    if (!dot)
        return false;
    size_t label = (size_t)(dot - host.p), rest = n - label - 1;
    for (unsigned i = 0; domains[i]; i++)
        if (strlen(domains[i]) == rest && !g_ascii_strncasecmp(dot + 1, domains[i], rest) && preview_name_parse((struct slice){ host.p, label }, ret)) {
            *ret_domain = i;
            return true;
        }
    return false;
}

bool preview_name_of_path(struct slice target, struct preview_name *ret, struct slice *ret_rest)
{
    size_t n = 3;

    if (target.n < 4 || memcmp(target.p, "/p/", 3))
        return false;
    while (n < target.n && target.p[n] != '/' && target.p[n] != '?')
        n++;
    if (!preview_name_parse((struct slice){ target.p + 3, n - 3 }, ret) || strlen(ret->label) != n - 3 || memcmp(ret->label, target.p + 3, n - 3))
        return false;                     /* paths do not fold case */
    *ret_rest = (struct slice){ target.p + n, target.n - n };
    return true;
}

void preview_token_make(char ret[NAME_TOKEN + 1])
{
    uint8_t r[16];
    unsigned bits = 0, have = 0, n = 0;

    if (getrandom(r, sizeof(r), 0) != sizeof(r))
        g_error("getrandom gives nothing");        /* the kernel's generator was ready long before */
    for (unsigned i = 0; i < sizeof(r); i++) {
        bits = bits << 8 | r[i];
        for (have += 8; have >= 5; have -= 5)
            ret[n++] = base32[bits >> (have - 5) & 31];
    }
    ret[n++] = base32[bits << (5 - have) & 31];
    ret[n] = 0;
}

void preview_token_hash(const char *token, char ret[TOKEN_HASH + 1])
{
    char *hex = g_compute_checksum_for_string(G_CHECKSUM_SHA256, token, -1);

    g_strlcpy(ret, hex, TOKEN_HASH + 1);
    g_free(hex);
}

bool preview_same(const char *a, const char *b, size_t n)
{
    volatile uint8_t diff = 0;

    for (size_t i = 0; i < n; i++)
        diff |= (uint8_t)(a[i] ^ b[i]);
    return !diff;
}
