/* Events over a stream: SSE, one JSON document per line, or frames. */
#include <string.h>
#include "base/clock.h"
#include "base/wire.h"
#include "sandbox/http/private.h"

void http_events(struct http_call *c) {
    c->events = true;
    c->ndjson = c->frames || http_wants_ndjson(c);
    http_stream(c, 200, c->frames ? HTTP_FRAMES_TYPE : c->ndjson ? "application/x-ndjson" : "text/event-stream; charset=utf-8", -1);
}

void http_output_events(struct http_call *c) {
    const char *accept = http_header(c, "Accept");
    c->frames = accept && soup_header_contains(accept, HTTP_FRAMES_TYPE);
    http_events(c);
}

static void frame_head(uint8_t h[HTTP_FRAME_HEAD], enum http_frame_kind kind, size_t n, int64_t id) {
    put_le32(h, kind);
    put_le32(h + 4, (uint32_t)n);
    put_le64(h + 8, id < 0 ? 0 : (uint64_t)id);
}

/* data: a JSON object. */
static void event_text(struct http_call *c, const char *name, const char *data, size_t n, int64_t id) {
    struct buf b = BUF_INIT;
    c->spoke_ns = clock_mono_ns();
    if (c->frames) buf_extend(&b, HTTP_FRAME_HEAD);
    if (c->ndjson) {
        buf_printf(&b, "{\"event\":\"%s\"", name);
        if (id >= 0) buf_printf(&b, ",\"id\":%" G_GINT64_FORMAT, id);
        buf_printf(&b, "%s", n > 2 ? "," : "");
        buf_put(&b, data + 1, n - 1);
        if (!c->frames) buf_printf(&b, "\n");
    } else {
        buf_printf(&b, "event: %s\n", name);
        if (id >= 0) buf_printf(&b, "id: %" G_GINT64_FORMAT "\n", id);
        buf_printf(&b, "data: ");
        buf_put(&b, data, n);
        buf_printf(&b, "\n\n");
    }
    if (c->frames && !buf_err(&b)) frame_head(b.data, HTTP_FRAME_EVENT, b.len - HTTP_FRAME_HEAD, id);
    if (!buf_err(&b)) http_write(c, b.data, b.len);
    else http_abort(c);
    buf_fini(&b);
}

void http_event(struct http_call *c, const char *name, json_t *data, int64_t id) {
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(data);
    event_text(c, name, text ? text : "{}", text ? strlen(text) : 2, id);
    free(text);
}

/* Made where it is written from: program output is most of what goes through here. */
void http_event_bytes(struct http_call *c, const char *name, enum http_frame_kind kind, const void *p, size_t n, int64_t id) {
    char before[128], *out;
    c->spoke_ns = clock_mono_ns();
    if (c->frames) {
        out = g_malloc(HTTP_FRAME_HEAD + n);
        frame_head((uint8_t *)out, kind, n, id);
        memcpy(out + HTTP_FRAME_HEAD, p, n);
        http_write_take(c, out, HTTP_FRAME_HEAD + n);
        return;
    }
    const char *after = c->ndjson ? "\"}\n" : "\n\n";
    size_t head = (size_t)g_snprintf(before, sizeof before, c->ndjson ? "{\"event\":\"%s\",\"id\":%" G_GINT64_FORMAT ",\"data\":\"" : "event: %s\nid: %" G_GINT64_FORMAT "\ndata: ", name, id);
    size_t tail = strlen(after);
    gint state = 0, save = 0;
    out = g_malloc(head + (n / 3 + 2) * 4 + tail);
    memcpy(out, before, head);
    size_t at = head + g_base64_encode_step(p, n, FALSE, out + head, &state, &save);
    at += g_base64_encode_close(FALSE, out + at, &state, &save);
    memcpy(out + at, after, tail);
    http_write_take(c, out, at + tail);
}
