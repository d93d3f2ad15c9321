/* The query of a request's target. */
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "base/alloc.h"
#include "sandbox/egress/inject.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t percent_decode(const char *p, size_t n, char *out)
{
    size_t o = 0;

    for (size_t i = 0; i < n; i++)
        if (p[i] == '%' && i + 2 < n && hex(p[i + 1]) >= 0 && hex(p[i + 2]) >= 0) {
            out[o++] = (char)(hex(p[i + 1]) * 16 + hex(p[i + 2]));
            i += 2;
        } else
            out[o++] = p[i];
    return o;
}

void percent_put(struct buf *b, const char *p, size_t n, bool slash)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_' || c == '~' || (slash && c == '/');
        if (plain)
            buf_put_u8(b, c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

void buf_wipe(struct buf *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->cap);
    buf_fini(b);
}

/* What PHP and others make of a name: spaces before it go, it ends at "[" or NUL, " " "+" "." are "_". Which of them the server does nobody knows: all are taken. */
static bool named(const char *p, size_t n, const char *name)
{
    char text[HTTP1_TARGET_MAX], once[HTTP1_TARGET_MAX];

    n = memchr(p, '=', n) ? (size_t)((const char *)memchr(p, '=', n) - p) : n;
    if (n > sizeof text)
        return true;                        /* no target is that long */
    n = percent_decode(p, n, once);
    n = percent_decode(once, n, text);
    size_t begin = 0, end = 0;
    while (begin < n && (text[begin] == ' ' || text[begin] == '+' || text[begin] == '\t'))
        begin++;
    for (size_t i = begin; i < n; i++)
        if (text[i] == ' ' || text[i] == '+')
            text[i] = '_';
    for (end = begin; end < n && text[end] && text[end] != '[';)
        end++;
    return text_folds_to(text + begin, end - begin, name);
}

/* The next parameter at or after *at: its begin; *ret_n its length; *at is moved past it. NULL: no more. */
static const char *next(const char **at, size_t *ret_n)
{
    const char *p = *at;

    if (!*p)
        return NULL;
    *ret_n = strcspn(p, "&;");
    *at = p + *ret_n + (p[*ret_n] ? 1 : 0);
    return p;
}

bool query_has(const char *target, const char *name)
{
    const char *at = strchr(target, '?'), *p;
    size_t n;

    for (at = at ? at + 1 : ""; (p = next(&at, &n));)
        if (named(p, n, name))
            return true;
    return false;
}

void query_remove(char *target, const char *name)
{
    char *query = strchr(target, '?'), *out;
    const char *at, *p;
    size_t n;

    if (!query || !query_has(target, name))
        return;
    out = query + 1;
    for (at = query + 1; (p = next(&at, &n));) {
        size_t whole = (size_t)(at - p);
        if (!named(p, n, name)) {
            memmove(out, p, whole);
            out += whole;
        }
    }
    while (out > query && (out[-1] == '&' || out[-1] == ';' || out[-1] == '?'))
        out--;
    *out = 0;
}

int query_append(char **target, const char *name, const char *value)
{
    struct buf b = BUF_INIT;

    buf_put(&b, *target, strlen(*target));
    buf_put_u8(&b, strchr(*target, '?') ? '&' : '?');
    percent_put(&b, name, strlen(name), false);
    buf_put_u8(&b, '=');
    percent_put(&b, value, strlen(value), false);
    buf_put_u8(&b, 0);
    char *text = buf_err(&b) ? NULL : mem_strdup((char *)b.data);
    buf_wipe(&b);
    if (!text)
        return -ENOMEM;
    OPENSSL_cleanse(*target, strlen(*target));
    free(*target);
    *target = text;
    return 0;
}
