#include "sandbox/egress/dns.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/wire.h"

enum { HEADER = 12, LABEL_MAX = 63, WIRE_NAME_MAX = 255, HOPS_MAX = 16, RECORDS_MAX = 256, TTL = 60, CLASS_IN = 1, EDNS_SIZE = 1232 };
enum { RCODE_FORMAT = 1, RCODE_NXDOMAIN = 3, RCODE_NOT_IMPLEMENTED = 4, RCODE_BAD_VERSION = 16 };
struct wire_name { uint8_t b[WIRE_NAME_MAX]; size_t n; };       /* uncompressed, with the root's zero */

static uint16_t be16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static void put_be16(uint8_t *p, unsigned v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }

/* The name at *at of the message; *at: behind it. Pointers go backwards only, so that it ends. */
static int read_name(const uint8_t *p, size_t n, size_t *at, bool pointers, struct wire_name *ret)
{
    size_t i = *at, limit = *at;
    bool jumped = false;

    ret->n = 0;
    for (;;) {
        if (i >= n)
            return -EBADMSG;
        uint8_t k = p[i];
        if (k >= 0xc0) {
            if (!pointers || i + 2 > n)
                return -EBADMSG;
            size_t to = be16(p + i) & 0x3fff;
            if (!jumped)
                *at = i + 2;
            if (to >= limit)
                return -EBADMSG;
            limit = i = to;
            jumped = true;
            continue;
        }
        if (k > LABEL_MAX || i + 1 + k > n || ret->n + 1 + k > WIRE_NAME_MAX)
            return -EBADMSG;
        memcpy(ret->b + ret->n, p + i, 1u + k);
        ret->n += 1u + k;
        i += 1u + k;
        if (!k)
            break;
    }
    if (!jumped)
        *at = i;
    return 0;
}

static bool same_name(const struct wire_name *a, const struct wire_name *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (tolower(a->b[i]) != tolower(b->b[i]))
            return false;
    return true;
}

/* For the log: what is not a letter, digit, "-" or "_" is a "?". */
static void name_text(const struct wire_name *w, char ret[DNS_NAME_MAX])
{
    size_t o = 0;

    for (size_t i = 0; i < w->n && w->b[i]; i += 1u + w->b[i]) {
        if (o)
            ret[o++] = '.';
        for (unsigned k = 1; k <= w->b[i]; k++)
            ret[o++] = isalnum(w->b[i + k]) || w->b[i + k] == '-' || w->b[i + k] == '_' ? (char)w->b[i + k] : '?';
    }
    ret[o] = 0;
}

/* --- answering a sandbox --- */

/* The OPT record of a query at `at`, the only one of its additional records. 1: there, *ret_version; 0: none; -EBADMSG. */
static int read_opt(const uint8_t *p, size_t n, size_t at, uint8_t *ret_version)
{
    unsigned count = be16(p + 10);

    if (be16(p + 6) || be16(p + 8) || count > 1 || (!count && at != n))
        return -EBADMSG;
    if (!count)
        return 0;
    if (n - at < 11 || p[at] || be16(p + at + 1) != DNS_OPT || be16(p + at + 9) != n - at - 11)
        return -EBADMSG;
    *ret_version = p[at + 6];
    return 1;
}

static size_t put_address(uint8_t *q, uint16_t type)
{
    put_be16(q, 0xc000 | HEADER);           /* the name of the question */
    put_be16(q + 2, type);
    put_be16(q + 4, CLASS_IN);
    put_be16(q + 6, 0);
    put_be16(q + 8, TTL);
    put_be16(q + 10, type == DNS_A ? 4 : 16);
    inet_pton(type == DNS_A ? AF_INET : AF_INET6, type == DNS_A ? DNS_FAKE_V4 : DNS_FAKE_V6, q + 12);
    return type == DNS_A ? 16 : 28;
}

static size_t put_opt(uint8_t *q, unsigned rcode)
{
    memset(q, 0, 11);
    put_be16(q + 1, DNS_OPT);
    put_be16(q + 3, EDNS_SIZE);
    q[5] = (uint8_t)(rcode >> 4);
    return 11;
}

size_t dns_answer(const uint8_t *p, size_t n, bool v6, uint8_t ret[DNS_ANSWER_MAX], char ret_name[DNS_NAME_MAX], uint16_t *ret_type)
{
    struct wire_name name;
    size_t at = HEADER;
    uint8_t version = 0;
    unsigned rcode = 0;

    ret_name[0] = 0;
    *ret_type = 0;
    if (n < HEADER || p[2] & 0x80)
        return 0;                           /* too short to be answered, or an answer itself */
    memset(ret, 0, HEADER);
    memcpy(ret, p, 2);
    ret[2] = (uint8_t)(0x80 | (p[2] & 0x79));       /* opcode and "recursion desired" as asked */
    if (p[2] & 0x78) {
        ret[3] = 0x80 | RCODE_NOT_IMPLEMENTED;
        return HEADER;
    }
    int opt = be16(p + 4) != 1 || read_name(p, n, &at, false, &name) || n - at < 4 ? -EBADMSG : read_opt(p, n, at + 4, &version);
    if (opt < 0) {
        ret[3] = 0x80 | RCODE_FORMAT;
        return HEADER;
    }
    name_text(&name, ret_name);
    *ret_type = be16(p + at);
    at += 4;
    memcpy(ret + HEADER, p + HEADER, at - HEADER);
    put_be16(ret + 4, 1);
    if (opt && version)
        rcode = RCODE_BAD_VERSION;
    ret[3] = (uint8_t)(0x80 | (rcode & 15));
    if (!rcode && be16(p + at - 2) == CLASS_IN && (*ret_type == DNS_A || (*ret_type == DNS_AAAA && v6))) {
        at += put_address(ret + at, *ret_type);
        put_be16(ret + 6, 1);
    }
    if (opt) {
        at += put_opt(ret + at, rcode);
        put_be16(ret + 10, 1);
    }
    return at;
}

/* --- asking --- */

int dns_query(uint16_t id, const char *name, uint16_t type, uint8_t ret[DNS_QUERY_MAX])
{
    size_t len = strlen(name), at = HEADER;

    if (!len || len >= DNS_NAME_MAX || name[len - 1] == '.')
        return -EINVAL;
    memset(ret, 0, HEADER);
    put_be16(ret, id);
    ret[2] = 1;                             /* recursion desired */
    put_be16(ret + 4, 1);
    put_be16(ret + 10, 1);
    for (const char *s = name; *s;) {
        size_t k = strcspn(s, ".");
        if (!k || k > LABEL_MAX)
            return -EINVAL;
        ret[at++] = (uint8_t)k;
        memcpy(ret + at, s, k);
        at += k;
        s += k + (s[k] == '.');
    }
    ret[at++] = 0;
    put_be16(ret + at, type);
    put_be16(ret + at + 2, CLASS_IN);
    at += 4;
    return (int)(at + put_opt(ret + at, 0));
}

struct record { struct wire_name name; uint16_t type, class; size_t data, data_n; };

static int read_record(const uint8_t *p, size_t n, size_t *at, struct record *ret)
{
    int r = read_name(p, n, at, true, &ret->name);

    if (r || n - *at < 10)
        return -EBADMSG;
    ret->type = be16(p + *at);
    ret->class = be16(p + *at + 2);
    ret->data_n = be16(p + *at + 8);
    ret->data = *at + 10;
    if (n - ret->data < ret->data_n)
        return -EBADMSG;
    *at = ret->data + ret->data_n;
    return 0;
}

static int add_address(const uint8_t *p, const struct record *x, struct dns_addresses *add)
{
    struct sockaddr_storage sa = { 0 };

    if (x->data_n != (x->type == DNS_A ? 4 : 16))
        return -EBADMSG;
    if (x->type == DNS_A) {
        sa.ss_family = AF_INET;
        memcpy(&((struct sockaddr_in *)&sa)->sin_addr, p + x->data, 4);
    } else {
        sa.ss_family = AF_INET6;
        memcpy(&((struct sockaddr_in6 *)&sa)->sin6_addr, p + x->data, 16);
    }
    if (add->count < DNS_ADDRESSES_MAX)
        add->at[add->count++] = sa;
    return 0;
}

/* The records of the answer section that belong to `want`; a CNAME changes it. Records may come in any order, so each hop is a pass of its own. */
static int follow(const uint8_t *p, size_t n, size_t start, unsigned count, uint16_t type, struct wire_name *want, struct dns_addresses *add)
{
    for (unsigned hop = 0; hop < HOPS_MAX; hop++) {
        struct wire_name next = { .n = 0 };
        unsigned before = add->count;
        struct record x;
        size_t at = start;
        for (unsigned i = 0; i < count; i++) {
            if (read_record(p, n, &at, &x))
                return -EBADMSG;
            if (x.class != CLASS_IN || !same_name(&x.name, want))
                continue;
            size_t data = x.data;
            if (x.type == type ? add_address(p, &x, add) : x.type == DNS_CNAME && (read_name(p, n, &data, true, &next) || data != x.data + x.data_n))
                return -EBADMSG;
        }
        if (add->count > before || !next.n)
            return 0;
        *want = next;
    }
    return -EBADMSG;
}

int dns_read(const uint8_t *p, size_t n, const uint8_t *query, size_t query_n, struct dns_addresses *add)
{
    struct wire_name asked, name;
    size_t at = HEADER, q_at = HEADER;

    if (n < HEADER || memcmp(p, query, 2) || !(p[2] & 0x80) || be16(p + 4) != 1 || read_name(query, query_n, &q_at, false, &asked) || read_name(p, n, &at, false, &name) ||
        !same_name(&asked, &name) || n - at < 4 || memcmp(p + at, query + q_at, 4))
        return -EAGAIN;
    uint16_t type = be16(p + at);
    unsigned rcode = p[3] & 15, count = be16(p + 6);
    at += 4;
    if (p[2] & 0x78)
        return -EBADMSG;
    if (rcode == RCODE_NXDOMAIN)
        return -ENOENT;
    if (rcode)
        return -EREMOTEIO;
    if (p[2] & 2)
        return -EMSGSIZE;
    if (count > RECORDS_MAX)
        return -EBADMSG;
    return follow(p, n, at, count, type, &asked, add);
}
