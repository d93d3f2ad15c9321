/* AWS Signature Version 4, by "Create a signed AWS API request" (AWS Identity and Access Management, User Guide):
 *   canonical request = METHOD \n path \n query \n name:value\n... \n signed names \n payload hash
 *   string to sign    = AWS4-HMAC-SHA256 \n date \n scope \n hash of that
 *   key               = HMAC chain over date, region, service, "aws4_request"
 * The path is encoded once more than on the wire, but for s3, where it is taken as it is on the wire in its one canonical encoding. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "base/alloc.h"
#include "base/cleanup.h"
#include "sandbox/egress/inject.h"

enum { FIELDS_MAX = HTTP1_HEADERS_MAX + 8, PARTS_MAX = 2048 };
#define UNSIGNED "UNSIGNED-PAYLOAD"

static void hex_of(const unsigned char *p, size_t n, char *ret)
{
    for (size_t i = 0; i < n; i++)
        sprintf(ret + 2 * i, "%02x", p[i]);
}

void sigv4_hash(const void *p, size_t n, char ret[65])
{
    unsigned char d[32] = { 0 };

    EVP_Digest(p, n, d, NULL, EVP_sha256(), NULL);
    hex_of(d, sizeof d, ret);
}

void sigv4_date(time_t now, char ret[17])
{
    struct tm t;

    gmtime_r(&now, &t);
    strftime(ret, 17, "%Y%m%dT%H%M%SZ", &t);
}

/* Dot segments and double slashes go, as all services but s3 do before they look. */
static void put_normal_path(struct buf *b, const char *path, size_t n)
{
    size_t starts[512], depth = 0;
    struct buf out = BUF_INIT;
    bool slash = true;

    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && path[end] != '/')
            end++;
        size_t len = end - i;
        if (len == 2 && !memcmp(path + i, "..", 2)) {
            if (depth)
                out.len = starts[--depth];
        } else if (len && !(len == 1 && path[i] == '.') && depth < 512) {
            starts[depth++] = out.len;
            buf_put_u8(&out, '/');
            buf_put(&out, path + i, len);
        }
        slash = end < n || !len || path[i] == '.';
        i = end + 1;
    }
    if (!out.len || (slash && n && path[n - 1] == '/'))
        buf_put_u8(&out, '/');
    percent_put(b, (char *)out.data, out.len, true);
    if (buf_err(&out))
        b->err = -ENOMEM;
    buf_fini(&out);
}

static void put_path(struct buf *b, const struct sigv4 *s)
{
    size_t n = strcspn(s->target, "?");

    if (strcmp(s->service, "s3")) {
        put_normal_path(b, s->target, n);
        return;
    }
    char *plain = mem_alloc(n + 1);
    if (!plain) {
        b->err = -ENOMEM;
        return;
    }
    percent_put(b, plain, percent_decode(s->target, n, plain), true);
    free(plain);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* One parameter as "name=value", both in their canonical encoding. A NUL-terminated copy; NULL: no memory. */
static char *parameter(const char *p, size_t n)
{
    const char *eq = memchr(p, '=', n);
    size_t name_n = eq ? (size_t)(eq - p) : n, value_n = eq ? n - name_n - 1 : 0;
    _cleanup_free_ char *plain = mem_alloc(n + 1);
    struct buf b = BUF_INIT;

    if (!plain)
        return NULL;
    percent_put(&b, plain, percent_decode(p, name_n, plain), false);
    /* sorts as name, then value: "=" would be after "-" and "." */
    buf_put_u8(&b, 1);
    percent_put(&b, plain, percent_decode(eq ? eq + 1 : p, value_n, plain), false);
    buf_put_u8(&b, 0);
    if (buf_err(&b))
        buf_fini(&b);
    return (char *)b.data;
}

static void put_query(struct buf *b, const char *target)
{
    const char *q = strchr(target, '?');
    char *parts[PARTS_MAX];
    unsigned n = 0;

    for (q = q ? q + 1 : ""; *q && n < PARTS_MAX;) {
        size_t len = strcspn(q, "&");
        if (len && !(parts[n++] = parameter(q, len)))
            b->err = -ENOMEM;
        q += len + (q[len] ? 1 : 0);
    }
    if (*q)
        b->err = -ENOMEM;
    if (!b->err)
        qsort(parts, n, sizeof *parts, by_text);
    for (unsigned i = 0; i < n; i++) {
        char *sep = parts[i] ? strchr(parts[i], 1) : NULL;
        if (sep)
            *sep = '=';
        if (parts[i])
            buf_printf(b, "%s%s", i ? "&" : "", parts[i]);
        free(parts[i]);
    }
}

static void put_value(struct buf *b, const char *v)
{
    bool space = false;

    v += strspn(v, " \t");
    for (; *v; v++) {
        if (*v == ' ' || *v == '\t') {
            space = true;
            continue;
        }
        if (space)
            buf_put_u8(b, ' ');
        space = false;
        buf_put_u8(b, (uint8_t)*v);
    }
}

/* The index of each name once, in order of names; equal names keep theirs. */
static unsigned sort_fields(const struct sigv4 *s, unsigned order[FIELDS_MAX])
{
    unsigned n = s->count < FIELDS_MAX ? s->count : FIELDS_MAX;

    for (unsigned i = 0; i < n; i++) {
        unsigned k = i;
        for (; k && strcasecmp(s->fields[order[k - 1]].name, s->fields[i].name) > 0; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    return n;
}

static void put_lower(struct buf *b, const char *p)
{
    for (; *p; p++)
        buf_put_u8(b, *p >= 'A' && *p <= 'Z' ? (uint8_t)(*p + 32) : (uint8_t)*p);
}

static void put_fields(struct buf *b, struct buf *names, const struct sigv4 *s)
{
    unsigned order[FIELDS_MAX], n = sort_fields(s, order);

    for (unsigned i = 0; i < n; i++) {
        const struct sigv4_field *f = &s->fields[order[i]];
        bool more = i && !strcasecmp(s->fields[order[i - 1]].name, f->name);
        if (!more) {
            if (i) {
                buf_put_u8(b, '\n');
                buf_put_u8(names, ';');
            }
            put_lower(b, f->name);
            put_lower(names, f->name);
        }
        buf_put_u8(b, more ? ',' : ':');
        put_value(b, f->value);
    }
    buf_put(b, "\n\n", 2);
}

static void mac(unsigned char key[32], size_t key_n, const void *with, const char *text, size_t n)
{
    unsigned char out[32];
    unsigned len = 0;

    HMAC(EVP_sha256(), with, (int)key_n, (const unsigned char *)text, n, out, &len);
    memcpy(key, out, sizeof out);
    OPENSSL_cleanse(out, sizeof out);
}

static int sign(const struct sigv4 *s, const char *text, size_t n, char ret[65])
{
    unsigned char key[32];
    struct buf first = BUF_INIT;

    buf_printf(&first, "AWS4%s", s->secret_key);
    if (buf_err(&first))
        return -ENOMEM;
    mac(key, first.len, first.data, s->date, 8);
    buf_wipe(&first);
    mac(key, 32, key, s->region, strlen(s->region));
    mac(key, 32, key, s->service, strlen(s->service));
    mac(key, 32, key, "aws4_request", 12);
    mac(key, 32, key, text, n);
    hex_of(key, sizeof key, ret);
    OPENSSL_cleanse(key, sizeof key);
    return 0;
}

char *sigv4_authorization(const struct sigv4 *s)
{
    struct buf request = BUF_INIT, names = BUF_INIT, text = BUF_INIT, out = BUF_INIT;
    char hash[65], signature[65];

    buf_printf(&request, "%s\n", s->method);
    put_path(&request, s);
    buf_put_u8(&request, '\n');
    put_query(&request, s->target);
    buf_put_u8(&request, '\n');
    put_fields(&request, &names, s);
    buf_put(&request, names.data, names.len);
    buf_printf(&request, "\n%s", s->payload);
    sigv4_hash(request.data, request.len, hash);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s", s->date, s->date, s->region, s->service, hash);
    if (!buf_err(&request) && !buf_err(&names) && !buf_err(&text) && !sign(s, (char *)text.data, text.len, signature))
        buf_printf(&out, "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, SignedHeaders=%.*s, Signature=%s", s->access_key, s->date, s->region, s->service, (int)names.len,
                   (char *)names.data, signature);
    char *ret = buf_err(&out) || !out.len ? NULL : mem_zalloc(out.len + 1);
    if (ret)
        memcpy(ret, out.data, out.len);
    buf_wipe(&request);
    buf_wipe(&text);
    buf_fini(&names);
    buf_fini(&out);
    return ret;
}
