#include "sandbox/egress/reply.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

enum { LINGER_BYTES = 256 * 1024 };

static struct slice text(const char *s)
{
    return (struct slice){ s, strlen(s) };
}

const char *reply_reason(unsigned status)
{
    static const struct { unsigned status; const char *text; } all[] = {
        { 101, "Switching Protocols" }, { 200, "OK" }, { 201, "Created" }, { 204, "No Content" }, { 206, "Partial Content" }, { 304, "Not Modified" }, { 400, "Bad Request" }, { 401, "Unauthorized" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 408, "Request Timeout" }, { 413, "Content Too Large" }, { 414, "URI Too Long" },
        { 417, "Expectation Failed" }, { 421, "Misdirected Request" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" }, { 501, "Not Implemented" },
        { 502, "Bad Gateway" }, { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
    };
    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i].status == status)
            return all[i].text;
    return "Answer";
}

static int send_all(struct conn *c, struct buf *head, const char *body, size_t n)
{
    buf_put(head, body, n);
    return buf_err(head) ? buf_err(head) : stream_write_all(&c->client, head->data, head->len, in_s(SAY_S));
}

static void put_rest(struct buf *b, unsigned status, size_t n, bool keep)
{
    char length[24];

    snprintf(length, sizeof(length), "%zu", n);
    if (status != 204 && status != 304)
        http1_put_header(b, text("Content-Length"), text(length));
    if (!keep)
        http1_put_header(b, text("Connection"), text("close"));
    http1_put_end(b);
}

static char *refusal_json(const struct refusal *r)
{
    char how[256] = "";

    json_t *o = json_pack("{s:s, s:s}", "error", r->error, "why", r->why ? r->why : "");
    if (!o)
        return NULL;
    if (r->to) {
        char host[HOST_MAX + 16];
        bool usual = r->to->port == (r->to->tls ? 443 : 80), v6 = r->to->kind == HOST_V6;
        snprintf(host, sizeof(host), usual ? "%s%s%s" : "%s%s%s:%u", v6 ? "[" : "", r->to->host, v6 ? "]" : "", r->to->port);
        json_object_set_new(o, "host", json_string(host));
        json_object_set_new(o, "scheme", json_string(r->to->tls ? "https" : "http"));
    }
    if (r->status == 403 || r->status == 405 || r->status == 429)
        json_object_set_new(o, "rule", r->rule && *r->rule ? json_string(r->rule) : json_string("default"));
    if (r->name && r->status == 403) {
        snprintf(how, sizeof(how), "Only the operator can allow it: `coppice rules %s` on the host shows and changes what this sandbox may reach.", r->name);
        json_object_set_new(o, "how", json_string(how));
    }
    char *s = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return s;
}

int reply_refuse(struct conn *c, const struct refusal *r, bool head, bool keep)
{
    _cleanup_free_ char *body = refusal_json(r);
    struct buf b = BUF_INIT;
    char retry[16];

    if (!body)
        return -ENOMEM;
    size_t n = strlen(body);
    http1_put_status(&b, r->status, text(reply_reason(r->status)));
    http1_put_header(&b, text("Content-Type"), text("application/json"));
    http1_put_header(&b, text("Cache-Control"), text("no-store"));
    if (r->retry_s) {
        snprintf(retry, sizeof(retry), "%u", r->retry_s);
        http1_put_header(&b, text("Retry-After"), text(retry));
    }
    put_rest(&b, r->status, n, keep);
    int k = send_all(c, &b, body, head ? 0 : n);
    buf_fini(&b);
    return k;
}

int reply_message(struct conn *c, const struct message *m, bool head, bool keep)
{
    struct buf b = BUF_INIT;

    bool empty = head || m->status == 204 || m->status == 304 || !m->body;
    http1_put_status(&b, m->status, text(m->reason ? m->reason : reply_reason(m->status)));
    message_put_fields(m, &b);
    put_rest(&b, m->status, m->body ? m->body_n : 0, keep);
    int k = send_all(c, &b, m->body, empty ? 0 : m->body_n);
    buf_fini(&b);
    return k;
}

void reply_linger(struct conn *c)
{
    uint64_t until = clock_mono_ns() + LINGER_MS * 1000000ull;
    char skip[2048];
    size_t n = 0;

    stream_shut(&c->client);
    while (n < LINGER_BYTES) {
        long k = stream_read(&c->client, skip, sizeof(skip));
        if (k == -EAGAIN)
            k = stream_wait(&c->client, until);
        else if (k <= 0)
            return;
        if (k < 0)
            return;
        n += (size_t)k;
    }
}
