/* Heads on their way through a preview: whatever a client or a server sends, what is written for the other side reads as one head that means the same, and holds nothing it must not. The first byte
 * of the data says which way and which form; "\n\n" and the like are not needed: the corpus is the one of HTTP. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "sandbox/preview/flow.h"
#include "sandbox/preview/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_token(void *arg, const char *authorization) { return strstr(authorization, "secret") != NULL; }

static void must(bool good)
{
    if (!good)
        abort();
}

static const struct preview_name name = { 3000, "ws-aaaaaaaaaa", "abcdefghijklmnopqrstuvwxyz", "3000-ws-aaaaaaaaaa-abcdefghijklmnopqrstuvwxyz" };

static void request(const char *p, size_t n, bool path)
{
    static struct http1_head a, b;
    struct rewrite w = { .path = path, .name = &name, .is_api_token = is_token };
    struct slice rest;
    struct preview_name who;
    struct buf out = BUF_INIT;

    preview_name_of_path((struct slice){ p, n }, &who, &rest);
    if (http1_request(p, n, &a) != HTTP1_OK || a.form != HTTP1_ORIGIN)
        return;
    rewrite_request(&w, &a, a.target, &out);
    must(!buf_err(&out));
    must(http1_request((char *)out.data, out.len, &b) == HTTP1_OK && b.bytes == out.len);
    must(b.body == a.body && (a.body != HTTP1_LENGTH || b.length == a.length) && b.upgrade == a.upgrade && b.expect_continue == a.expect_continue);
    must(b.host.n == a.host.n && !memcmp(b.host.p, a.host.p, a.host.n) && b.target.n == a.target.n);
    const struct http1_header *auth = http1_find(&b, "Authorization");
    must(!auth || !memmem(auth->value.p, auth->value.n, "secret", 6));
    must(!path || !http1_find(&b, "Cookie"));
    must(http1_count(&b, "X-Forwarded-Host") == 1 && http1_count(&b, "X-Forwarded-Proto") == 1 && !http1_find(&b, "X-Forwarded-For"));
    buf_fini(&out);
}

static void response(const char *p, size_t n, bool path, const char *method)
{
    static struct http1_head a, b;
    struct rewrite w = { .path = path, .name = &name };
    struct buf out = BUF_INIT;

    if (http1_response(p, n, method, &a) != HTTP1_OK || (a.status == 101 && !a.upgrade))
        return;
    rewrite_response(&w, &a, 1, !strcmp(method, "HEAD"), a.body == HTTP1_CLOSE, &out);
    must(!buf_err(&out));
    must(http1_response((char *)out.data, out.len, method, &b) == HTTP1_OK && b.bytes == out.len);
    must(b.status == a.status && b.body == a.body && (a.body != HTTP1_LENGTH || b.length == a.length));
    must(!http1_find(&b, "Alt-Svc") && (!path || a.status < 200 || (http1_find(&b, "Content-Security-Policy") && !http1_find(&b, "Set-Cookie"))));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frames whole = { 0 }, parts = { 0 };
    const char *p = (const char *)data;

    for (int path = 0; path < 2; path++) {
        request(p, size, path);
        response(p, size, path, "GET");
        response(p, size, path, "HEAD");
    }
    frames_pass(&whole, data, size);
    for (size_t at = 0; at < size; at += 3)
        frames_pass(&parts, data + at, size - at < 3 ? size - at : 3);
    must(whole.data == parts.data && whole.left == parts.left && whole.n == parts.n);
    return 0;
}
