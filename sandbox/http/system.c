/* Routes about the daemon itself: is it there, its counters, its description. */
#include <string.h>
#include "base/clock.h"
#include "sandbox/http/openapi.h"
#include "sandbox/http/private.h"

uint64_t metrics[METRIC_COUNT];

static void get_health(struct http_call *c) { http_reply(c, 200, json_pack("{s:b}", "ok", 1)); }

static void put_route_counts(struct http *h, struct buf *b) {
    buf_printf(b, "# HELP coppice_http_requests_total Requests by route and status (499: the client left before the answer)\n# TYPE coppice_http_requests_total counter\n");
    for (unsigned i = 0; i < h->routes->len; i++) {
        struct compiled *r = h->routes->pdata[i];
        for (unsigned k = 0; k < TALLY && r->tally[k].n; k++)
            buf_printf(b, "coppice_http_requests_total{method=\"%s\",route=\"%s\",status=\"%u\"} %" G_GUINT64_FORMAT "\n", r->r->method, r->r->path, r->tally[k].status, r->tally[k].n);
    }
}

static void put_process(struct http *h, struct buf *b) {
    unsigned long size = 0, rss = 0;
    char *text = NULL;
    if (g_file_get_contents("/proc/self/statm", &text, NULL, NULL) && sscanf(text, "%lu %lu", &size, &rss) == 2)
        buf_printf(b, "# HELP coppice_sandboxd_resident_bytes Memory of sandboxd\n# TYPE coppice_sandboxd_resident_bytes gauge\ncoppice_sandboxd_resident_bytes %lu\n", rss * 4096);
    g_free(text);
    buf_printf(b, "# HELP coppice_http_connections Open connections\n# TYPE coppice_http_connections gauge\ncoppice_http_connections{socket=\"unix\"} %u\ncoppice_http_connections{socket=\"tcp\"} %u\n",
               h->unix_.conns, h->tcp.conns);
    if (h->sd && h->sd->start_ns)
        buf_printf(b, "# HELP coppice_uptime_seconds Time since sandboxd began\n# TYPE coppice_uptime_seconds gauge\ncoppice_uptime_seconds %.3f\n", (double)(clock_mono_ns() - h->sd->start_ns) / 1e9);
}

static void get_metrics(struct http_call *c) {
    static const struct { const char *name, *help; } all[] = {
#define X(id, name, help) { #name, help },
        METRICS(X)
#undef X
    };
    struct buf b = BUF_INIT;
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        buf_printf(&b, "# HELP coppice_%s %s\n# TYPE coppice_%s counter\ncoppice_%s %" G_GUINT64_FORMAT "\n", all[i].name, all[i].help, all[i].name, all[i].name, metrics[i]);
    put_route_counts(c->h, &b);
    put_process(c->h, &b);
    for (unsigned i = 0; i < c->h->metric_fns->len; i++) {
        void (*fn)(struct sandboxd *, struct buf *) = (void (*)(struct sandboxd *, struct buf *))c->h->metric_fns->pdata[i];
        fn(c->h->sd, &b);
    }
    if (buf_err(&b)) http_fail(c, "internal", "out of memory");
    else http_reply_bytes(c, 200, "text/plain; version=0.0.4; charset=utf-8", b.data, b.len);
    buf_fini(&b);
}

void metrics_source(struct http *h, void (*fn)(struct sandboxd *sd, struct buf *out)) { g_ptr_array_add(h->metric_fns, (gpointer)fn); }

static void get_openapi(struct http_call *c) {
    json_t *doc = openapi_document(c->h);
    if (!doc) http_fail(c, "internal", "the description of a route is not valid JSON");
    else http_reply(c, 200, doc);
}

const struct http_route system_routes[] = {
    { "GET", "/health", ROUTE_OPEN, get_health,
      "{\"summary\": \"Is the daemon there\", \"tags\": [\"system\"], \"security\": [], \"responses\": {\"200\": {\"description\": \"It is\", \"content\": {\"application/json\": {\"schema\": "
      "{\"type\": \"object\", \"properties\": {\"ok\": {\"type\": \"boolean\"}}, \"required\": [\"ok\"]}}}}}}" },
    { "GET", "/metrics", 0, get_metrics,
      "{\"summary\": \"Counters and gauges in the text format of Prometheus\", \"tags\": [\"system\"], \"responses\": {\"200\": {\"description\": \"The metrics\", \"content\": "
      "{\"text/plain\": {\"schema\": {\"type\": \"string\"}}}}}}" },
    { "GET", "/v1/openapi.json", 0, get_openapi,
      "{\"summary\": \"This description\", \"tags\": [\"system\"], \"responses\": {\"200\": {\"description\": \"An OpenAPI 3.1 document\", \"content\": {\"application/json\": {\"schema\": "
      "{\"type\": \"object\"}}}}}}" },
    { 0 }
};
