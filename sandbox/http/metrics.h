/* Counters of sandboxd, shown by GET /metrics. No names of workspaces, users or paths: only how many. Main loop only. */
#pragma once
#include "base/buf.h"
#include "sandbox/sandboxd.h"
#define METRICS(X) \
    X(STARTS, starts_total, "Sandboxes started") X(START_FAILURES, start_failures_total, "Starts of sandboxes that failed") X(WAKES, wakes_total, "Frozen sandboxes thawed by a request") \
    X(SLEEPS, sleeps_total, "Sandboxes put to sleep") X(EXECS, execs_total, "Executions started") X(TERMINALS, terminals_total, "Terminals started") \
    X(OUTPUT_BYTES, output_bytes_total, "Bytes of output read from executions") X(STDIN_BYTES, stdin_bytes_total, "Bytes of input given to executions") \
    X(FILE_IN_BYTES, file_written_bytes_total, "Bytes written through the file routes") X(FILE_OUT_BYTES, file_read_bytes_total, "Bytes read through the file routes") \
    X(HTTP_IN_BYTES, http_received_bytes_total, "Bytes received by the HTTP server") X(HTTP_OUT_BYTES, http_sent_bytes_total, "Bytes sent by the HTTP server") \
    X(AUTH_FAILURES, http_auth_failures_total, "Requests refused for their token") X(CONNECTIONS, http_connections_total, "Connections accepted") \
    X(PREVIEW_REQUESTS, preview_requests_total, "Requests to previews") X(PREVIEW_BYTES, preview_bytes_total, "Bytes of bodies and tunnels of previews, both ways")
enum metric {
#define X(id, name, help) METRIC_##id,
    METRICS(X)
#undef X
    METRIC_COUNT
};
extern uint64_t metrics[METRIC_COUNT];
static inline void metrics_add(enum metric m, uint64_t n) { metrics[m] += n; }
/* Further values (gauges): fn appends lines in the text format of Prometheus when /metrics is asked. */
struct http;
void metrics_source(struct http *h, void (*fn)(struct sandboxd *sd, struct buf *out));
