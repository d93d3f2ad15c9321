/* Events over a stream: SSE, or one JSON document per line. */
#include <string.h>
#include "base/clock.h"
#include "sandbox/http/private.h"

void http_events(struct http_call *c) {
    c->events = true;
    c->ndjson = http_wants_ndjson(c);
    http_stream(c, 200, c->ndjson ? "application/x-ndjson" : "text/event-stream; charset=utf-8", -1);
}

void http_event_raw(struct http_call *c, const char *name, const char *data, size_t n, int64_t id) {
    struct buf b = BUF_INIT;
    c->spoke_ns = clock_mono_ns();
    if (c->ndjson) {
        buf_printf(&b, "{\"event\":\"%s\",", name);
        if (id >= 0) buf_printf(&b, "\"id\":%" G_GINT64_FORMAT ",", id);
        if (n && data[0] == '{') {
            if (n > 2) buf_put(&b, data + 1, n - 1);
            else { b.data[b.len - 1] = '}'; }
        } else {                          /* raw text, as base64 is: a field of its own */
            buf_printf(&b, "\"data\":\"");
            buf_put(&b, data, n);
            buf_printf(&b, "\"}");
        }
        buf_printf(&b, "\n");
    } else {
        buf_printf(&b, "event: %s\n", name);
        if (id >= 0) buf_printf(&b, "id: %" G_GINT64_FORMAT "\n", id);
        buf_printf(&b, "data: ");
        buf_put(&b, data, n);
        buf_printf(&b, "\n\n");
    }
    if (!buf_err(&b)) http_write(c, b.data, b.len);
    else http_abort(c);
    buf_fini(&b);
}

void http_event(struct http_call *c, const char *name, json_t *data, int64_t id) {
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(data);
    http_event_raw(c, name, text ? text : "{}", text ? strlen(text) : 2, id);
    free(text);
}
