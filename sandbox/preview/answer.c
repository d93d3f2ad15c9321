/* Our own answers: a page for people, JSON for programs. Fixed texts: who opens a preview learns nothing of the host or of other sandboxes. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/preview/visit.h"

static const char *phrase(unsigned status)
{
    static const struct { unsigned status; const char *text; } all[] = {
        { 308, "Permanent Redirect" }, { 400, "Bad Request" }, { 403, "Forbidden" }, { 404, "Not Found" }, { 405, "Method Not Allowed" }, { 414, "URI Too Long" },
        { 417, "Expectation Failed" }, { 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" }, { 501, "Not Implemented" }, { 502, "Bad Gateway" },
        { 503, "Service Unavailable" }, { 504, "Gateway Timeout" }, { 505, "HTTP Version Not Supported" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if (all[i].status == status)
            return all[i].text;
    return "Error";
}

/* The request, and what it had of the sandbox, are over; after the answer the connection ends. */
static void begin_last(struct visit *v)
{
    visit_leave_box(v);
    side_close(&v->inside, true);
    flow_fini(&v->up);
    flow_fini(&v->down);
    v->state = VISIT_LAST;
    v->deadline_ns = clock_mono_ns() + (uint64_t)VISIT_LAST_S * 1000000000ull;
}

static void put_answer(struct visit *v, unsigned status, const char *code, const char *more, const char *type, const char *body)
{
    struct buf *out = &v->client.out;

    buf_printf(out, "HTTP/1.1 %u %s\r\n%sContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n"
                    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors *; sandbox\r\nCoppice-Preview-Error: %s\r\nConnection: close\r\n\r\n",
               status, phrase(status), more, type, strlen(body), code);
    if (strcmp(v->method, "HEAD"))
        buf_put(out, body, strlen(body));
}

void visit_fail(struct visit *v, unsigned status, const char *code, const char *text)
{
    bool page = v->page;
    char *body;

    if (page)
        body = g_markup_printf_escaped("<!doctype html><meta charset=utf-8><title>%u %s</title><style>body{font:16px/1.5 system-ui,sans-serif;max-width:38em;margin:15vh auto;padding:0 1em;color:#222}"
                                       "h1{font-size:1.3em}p{margin:.6em 0}small{color:#777}</style><h1>%s</h1><p>%s</p><small>coppice preview: %s</small>\n",
                                       status, phrase(status), phrase(status), text, code);
    else {
        json_t *j = json_pack("{s:s,s:s,s:{}}", "error", text, "code", code, "details");
        char *compact = json_dumps(j, 0);
        body = g_strconcat(compact, "\n", NULL);
        free(compact);
        json_decref(j);
    }
    begin_last(v);
    put_answer(v, status, code, status == 429 || status == 503 ? "Retry-After: 2\r\n" : "", page ? "text/html; charset=utf-8" : "application/json", body);
    g_free(body);
    visit_run(v);
}

void visit_redirect(struct visit *v)
{
    char *more = g_strdup_printf("Location: /p/%s/%.*s\r\n", v->name.label, (int)v->target.n, v->target.p);

    begin_last(v);
    put_answer(v, 308, "slash", more, "text/plain", "");
    g_free(more);
    visit_run(v);
}
