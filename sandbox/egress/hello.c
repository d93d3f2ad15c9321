#include "sandbox/egress/hello.h"

#include <ctype.h>
#include <string.h>

#include "base/wire.h"

enum { RECORD_HANDSHAKE = 22, RECORD_MAX = 16384, CLIENT_HELLO = 1, EXT_SERVER_NAME = 0, EXT_ALPN = 16 };

static int bad(struct hello *h, const char *why)
{
    h->why = why;
    return HELLO_BAD;
}

static uint16_t get_be16(struct reader *r)
{
    const uint8_t *q = get_bytes(r, 2);
    return q ? (uint16_t)(q[0] << 8 | q[1]) : 0;
}

/* The handshake bytes of the records, one after the other. OK when the message is whole: *ret_n bytes of it. */
static int join_records(const uint8_t *p, size_t n, uint8_t body[HELLO_BODY_MAX], size_t *ret_n, struct hello *h)
{
    size_t got = 0, need = 4;

    for (size_t at = 0;;) {
        if (at < n && p[at] != RECORD_HANDSHAKE)
            return bad(h, "not TLS");
        if (at + 1 < n && p[at + 1] != 3)
            return bad(h, "not a version of TLS");
        if (n - at < 5)
            return n >= HELLO_WIRE_MAX ? bad(h, "the ClientHello is too long") : HELLO_MORE;
        size_t len = (size_t)(p[at + 3] << 8 | p[at + 4]);
        if (!len || len > RECORD_MAX)
            return bad(h, "a record of a wrong length");
        size_t have = n - at - 5 < len ? n - at - 5 : len;
        if (got + have > HELLO_BODY_MAX)
            return bad(h, "the ClientHello is too long");
        memcpy(body + got, p + at + 5, have);
        got += have;
        if (got && body[0] != CLIENT_HELLO)
            return bad(h, "not a ClientHello");
        if (got >= 4)
            need = 4 + (size_t)(body[1] << 16 | body[2] << 8 | body[3]);
        if (need > HELLO_BODY_MAX)
            return bad(h, "the ClientHello is too long");
        if (got > need || (got == need && have < len))
            return bad(h, "bytes after the ClientHello in its record");
        if (got == need) {
            *ret_n = got;
            return HELLO_OK;
        }
        at += 5 + len;
        if (at > n)
            return n >= HELLO_WIRE_MAX ? bad(h, "the ClientHello is too long") : HELLO_MORE;
    }
}

/* One host_name of letters, digits, ".", "-" and "_", without a final dot. */
static int read_name(struct reader r, struct hello *h)
{
    struct reader list = { .bad = true };
    uint16_t n = get_be16(&r);
    const uint8_t *q = get_bytes(&r, n);

    if (q && !reader_left(&r))
        list = reader_of(q, n);
    uint8_t type = get_u8(&list);
    n = get_be16(&list);
    q = get_bytes(&list, n);
    if (list.bad || reader_left(&list) || type || !n)
        return bad(h, "a server name that is not one name");
    if (n >= HELLO_NAME_MAX || q[n - 1] == '.')
        return bad(h, "a server name that is no name");
    for (unsigned i = 0; i < n; i++) {
        if (q[i] >= 0x80 || (!isalnum(q[i]) && !strchr(".-_", q[i])) || !q[i])
            return bad(h, "a server name that is no name");
        h->name[i] = (char)tolower(q[i]);
    }
    h->name[n] = 0;
    return HELLO_OK;
}

static int read_alpn(struct reader r, struct hello *h)
{
    uint16_t n = get_be16(&r);

    if (r.bad || !n || n != reader_left(&r))
        return bad(h, "a list of protocols that is none");
    h->alpn = true;
    while (reader_left(&r)) {
        uint8_t k = get_u8(&r);
        const uint8_t *q = get_bytes(&r, k);
        if (!q || !k)
            return bad(h, "a list of protocols that is none");
        h->alpn_http11 |= k == 8 && !memcmp(q, "http/1.1", 8);
    }
    return HELLO_OK;
}

static int read_extensions(struct reader r, struct hello *h)
{
    bool seen_name = false, seen_alpn = false;

    while (!r.bad && reader_left(&r)) {
        uint16_t type = get_be16(&r), n = get_be16(&r);
        const uint8_t *q = get_bytes(&r, n);
        int k = HELLO_OK;
        if (!q)
            break;
        bool *seen = type == EXT_SERVER_NAME ? &seen_name : type == EXT_ALPN ? &seen_alpn : NULL;
        if (seen && *seen)
            return bad(h, "an extension twice");
        if (seen) {
            *seen = true;
            k = type == EXT_ALPN ? read_alpn(reader_of(q, n), h) : read_name(reader_of(q, n), h);
        }
        if (k != HELLO_OK)
            return k;
    }
    return r.bad ? bad(h, "lengths that do not fit") : HELLO_OK;
}

int hello_parse(const uint8_t *p, size_t n, struct hello *ret)
{
    uint8_t body[HELLO_BODY_MAX];
    size_t len;

    *ret = (struct hello){ 0 };
    int k = join_records(p, n, body, &len, ret);
    if (k != HELLO_OK)
        return k;
    struct reader r = reader_of(body + 4, len - 4);
    get_bytes(&r, 2 + 32);                          /* version, random */
    uint8_t session = get_u8(&r);
    get_bytes(&r, session);
    uint16_t suites = get_be16(&r);
    get_bytes(&r, suites);
    uint8_t compressions = get_u8(&r);
    get_bytes(&r, compressions);
    if (r.bad || session > 32 || !suites || suites % 2 || !compressions)
        return bad(ret, "lengths that do not fit");
    if (!reader_left(&r))
        return HELLO_OK;                            /* no extensions */
    uint16_t extensions = get_be16(&r);
    if (r.bad || extensions != reader_left(&r))
        return bad(ret, "lengths that do not fit");
    return read_extensions(r, ret);
}
