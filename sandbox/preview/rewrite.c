#include "sandbox/preview/rewrite.h"

#include <string.h>

#include <glib.h>

#include "base/buf.h"

#define TEXT(s) ((struct slice){ s, sizeof(s) - 1 })
/* Of the path form: a document gets an origin of its own that shares nothing with the API's. */
#define SANDBOX "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads"

/* Without case, '_' and '.' for '-' as some servers fold them. */
static bool folds_to(struct slice s, const char *name)
{
    size_t i = 0;

    for (; i < s.n && name[i]; i++) {
        char c = s.p[i] == '_' || s.p[i] == '.' ? '-' : g_ascii_tolower(s.p[i]);
        if (c != name[i])
            return false;
    }
    return i == s.n && !name[i];
}

static bool one_of(struct slice s, const char *const *names)
{
    for (; *names; names++)
        if (folds_to(s, *names))
            return true;
    return false;
}

static bool starts(struct slice s, const char *text) { return s.n >= strlen(text) && !g_ascii_strncasecmp(s.p, text, strlen(text)); }

static void put(struct buf *out, const char *name, struct slice value) { http1_put_header(out, (struct slice){ name, strlen(name) }, value); }

/* --- toward the sandbox --- */

static bool is_credential(const struct rewrite *w, const struct http1_header *x)
{
    static const char bearer[] = "Bearer ", mark[] = "e2b_";
    char value[512];
    bool key = folds_to(x->name, "x-api-key");
    size_t front = key ? sizeof(bearer) - 1 : 0, skip = key && starts(x->value, mark) ? sizeof(mark) - 1 : 0;

    if (folds_to(x->name, "e2b-traffic-access-token"))
        return true;
    if ((!key && !folds_to(x->name, "authorization")) || front + x->value.n >= sizeof(value))
        return false;
    memcpy(value, bearer, front);         /* X-API-KEY: TOKEN, or e2b_TOKEN, is the same token said otherwise (http/auth.c) */
    memcpy(value + front, x->value.p + skip, x->value.n - skip);
    value[front + x->value.n - skip] = 0;
    bool it_is = w->is_api_token(w->arg, value);
    explicit_bzero(value, sizeof(value));
    return it_is;
}

static bool is_dropped_up(const struct rewrite *w, const struct http1_head *h, const struct http1_header *x)
{
    static const char *const always[] = { "host", "content-length", "transfer-encoding", "expect", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port",
                                          "x-forwarded-prefix", "x-forwarded-server", "x-real-ip", "via", NULL };

    return http1_is_hop(h, x) || one_of(x->name, always) || (w->path && folds_to(x->name, "cookie")) || is_credential(w, x);
}

void rewrite_request(const struct rewrite *w, const struct http1_head *h, struct slice target, struct buf *out)
{
    char prefix[NAME_LABEL_MAX + 8], length[32];

    http1_put_request(out, h->method, target);
    put(out, "Host", h->host);
    for (unsigned i = 0; i < h->count; i++)
        if (!is_dropped_up(w, h, &h->headers[i]))
            http1_put_header(out, h->headers[i].name, h->headers[i].value);
    put(out, "X-Forwarded-Host", h->host);
    put(out, "X-Forwarded-Proto", w->https ? TEXT("https") : TEXT("http"));
    if (w->path) {
        g_snprintf(prefix, sizeof(prefix), "/p/%s", w->name->label);
        put(out, "X-Forwarded-Prefix", (struct slice){ prefix, strlen(prefix) });
    }
    if (h->body == HTTP1_CHUNKED)
        put(out, "Transfer-Encoding", TEXT("chunked"));
    if (h->body == HTTP1_LENGTH) {
        g_snprintf(length, sizeof(length), "%llu", (unsigned long long)h->length);
        put(out, "Content-Length", (struct slice){ length, strlen(length) });
    }
    if (h->expect_continue)
        put(out, "Expect", TEXT("100-continue"));
    if (h->upgrade) {
        put(out, "Connection", TEXT("Upgrade"));
        put(out, "Upgrade", TEXT("websocket"));
    } else if (http1_has_token(h, "TE", "trailers")) {
        put(out, "Connection", TEXT("TE"));
        put(out, "TE", TEXT("trailers"));
    }
    http1_put_end(out);
}

/* --- toward the client --- */

/* "a=b; Domain=x; Path=/" without the Domain: the cookie is of this host alone. */
static void put_cookie(struct buf *out, struct slice v)
{
    char *text = g_malloc(v.n + 1);
    size_t n = 0;

    for (size_t i = 0, part; i < v.n; i += part + 1) {
        const char *semi = memchr(v.p + i, ';', v.n - i);
        part = semi ? (size_t)(semi - v.p) - i : v.n - i;
        size_t from = i;
        while (from < i + part && (v.p[from] == ' ' || v.p[from] == '\t'))
            from++;
        if (i && starts((struct slice){ v.p + from, i + part - from }, "domain")) {
            size_t after = from + 6;
            while (after < i + part && (v.p[after] == ' ' || v.p[after] == '\t'))
                after++;
            if (after == i + part || v.p[after] == '=')
                continue;
        }
        if (n)
            text[n++] = ';';
        memcpy(text + n, v.p + i, part);
        n += part;
    }
    put(out, "Set-Cookie", (struct slice){ text, n });
    g_free(text);
}

/* "/login" of the path form is below the prefix. */
static void put_location(const struct rewrite *w, struct buf *out, const struct http1_header *x)
{
    char *text;

    if (!w->path || !x->value.n || x->value.p[0] != '/' || (x->value.n > 1 && (x->value.p[1] == '/' || x->value.p[1] == '\\'))) {
        http1_put_header(out, x->name, x->value);
        return;
    }
    text = g_strdup_printf("/p/%s%.*s", w->name->label, (int)x->value.n, x->value.p);
    http1_put_header(out, x->name, (struct slice){ text, strlen(text) });
    g_free(text);
}

static bool is_dropped_down(const struct rewrite *w, const struct http1_head *h, const struct http1_header *x)
{
    static const char *const always[] = { "content-length", "transfer-encoding", "alt-svc", NULL };
    /* of the origin as a whole, which in the path form is the API's */
    static const char *const path[] = { "set-cookie", "set-cookie2", "clear-site-data", "strict-transport-security", "service-worker-allowed", "report-to", "reporting-endpoints", "nel",
                                        "origin-agent-cluster", "public-key-pins", "accept-ch", "critical-ch", NULL };

    return http1_is_hop(h, x) || one_of(x->name, always) || (w->path && one_of(x->name, path));
}

static void put_framing(const struct http1_head *h, unsigned client_minor, bool head_only, bool close, struct buf *out)
{
    const struct http1_header *length = http1_find(h, "Content-Length");

    if (h->status == 101) {
        put(out, "Connection", TEXT("Upgrade"));
        put(out, "Upgrade", TEXT("websocket"));
        return;
    }
    if (h->status < 200)
        return;
    if (length && h->status != 204 && (h->body == HTTP1_LENGTH || h->body == HTTP1_NONE))
        http1_put_header(out, length->name, length->value);
    if (client_minor && (h->body == HTTP1_CHUNKED || (head_only && http1_find(h, "Transfer-Encoding"))))
        put(out, "Transfer-Encoding", TEXT("chunked"));
    if (close)
        put(out, "Connection", TEXT("close"));
    else if (!client_minor)
        put(out, "Connection", TEXT("keep-alive"));
}

void rewrite_response(const struct rewrite *w, const struct http1_head *h, unsigned client_minor, bool head_only, bool close, struct buf *out)
{
    http1_put_status(out, h->status, h->reason);
    for (unsigned i = 0; i < h->count; i++) {
        const struct http1_header *x = &h->headers[i];
        if (is_dropped_down(w, h, x))
            continue;
        if (slice_is_case(x->name, "Set-Cookie"))
            put_cookie(out, x->value);
        else if (slice_is_case(x->name, "Location") || slice_is_case(x->name, "Content-Location"))
            put_location(w, out, x);
        else
            http1_put_header(out, x->name, x->value);
    }
    if (h->status >= 200) {
        if (!http1_find(h, "Referrer-Policy"))
            put(out, "Referrer-Policy", TEXT("no-referrer"));
        if (w->path)
            put(out, "Content-Security-Policy", TEXT(SANDBOX));
    }
    put_framing(h, client_minor, head_only, close, out);
    http1_put_end(out);
}
