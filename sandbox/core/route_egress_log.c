/* The log of a sandbox's egress: one event for each decision (docs/egress.md 5). A follower outlives a restart of egress: it is asked again from the last number. */
#include <string.h>

#include "sandbox/core/route.h"
#include "sandbox/egress_client.h"
#include "sandbox/routes.h"

enum { QUEUED_MAX = 4 << 20 /* for a client that does not read */, TRIES_MAX = 5 };

struct log { struct http_call *c; struct egress_client *e; char box[LAUNCH_NAME]; uint32_t tag; uint64_t since; bool follow, stream; unsigned tries; json_t *all; };

static void log_free(void *p)
{
    struct log *k = p;

    egress_cancel(k->e, k->tag);
    json_decref(k->all);
    g_free(k);
}

static void on_gone(void *p)
{
    struct log *k = p;

    egress_cancel(k->e, k->tag);
    k->tag = 0;
}

static void log_ask(struct log *k);

static void on_event(void *arg, json_t *event)
{
    struct log *k = arg;
    json_t *seq = json_object_get(event, "seq");

    k->tries = 0;
    if (json_is_integer(seq))
        k->since = (uint64_t)json_integer_value(seq);
    if (!k->stream) {
        json_array_append(k->all, event);
    } else if (http_queued(k->c) > QUEUED_MAX) {
        egress_cancel(k->e, k->tag);
        k->tag = 0;
        http_event(k->c, "overflow", json_pack("{s:I}", "since", (json_int_t)k->since - 1), -1);
        http_end(k->c);
    } else {
        http_event(k->c, "egress", json_incref(event), (int64_t)k->since);
    }
}

static void on_end(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    struct log *k = arg;

    k->tag = 0;
    if (f && k->follow && !strcmp(f->code, "unavailable") && k->tries++ < TRIES_MAX && !egress_why(k->e)) {
        log_ask(k);
    } else if (!k->stream && f) {
        http_fault(k->c, f);
    } else if (!k->stream) {
        http_reply(k->c, 200, json_pack("{s:O,s:I}", "events", k->all, "next", (json_int_t)k->since));
    } else {
        if (f)
            http_event(k->c, "error", json_pack("{s:s,s:s}", "code", f->code, "error", f->text), -1);
        else
            http_event(k->c, "end", json_pack("{s:I}", "next", (json_int_t)k->since), -1);
        http_end(k->c);
    }
}

static void log_ask(struct log *k)
{
    json_t *req = json_pack("{s:s,s:s,s:I,s:b}", "op", "log", "box", k->box, "since", (json_int_t)k->since, "follow", k->follow);

    k->tag = egress_follow(k->e, req, on_event, on_end, k);
}

static void log_box(struct http_call *c, struct box *b)
{
    struct log *k = http_state(c);

    if (!http_query_u64(c, "since", &k->since) || !http_query_bool(c, "follow", &k->follow))
        return;
    k->stream = k->follow || !http_wants_json(c);
    if (http_wants_json(c) && k->follow) {
        http_fail(c, "invalid_request", "what is followed has no end: ask for text/event-stream or application/x-ndjson, or leave out follow");
        return;
    }
    g_strlcpy(k->box, b->id, sizeof(k->box));
    if (k->stream) {
        http_on_gone(c, on_gone);
        http_events(c);
    }
    log_ask(k);
    if (http_is_head(c) && k->stream)
        http_end(c);
}

static void get_log(struct http_call *c)
{
    struct log *k = g_new0(struct log, 1);

    *k = (struct log){ .c = c, .e = http_sandboxd(c)->egress, .all = json_array() };
    http_set_state(c, k, log_free);
    route_box(c, log_box);
}

const struct http_route egress_log_routes[] = {
    { "GET", "/v1/sandbox/{id}/egress-log", 0, get_log,
      "{\"summary\": \"What a sandbox asked of the world, and what became of it\", \"description\": \"Events egress{time, seq, kind, host, verdict, ...} with a seq above since, oldest first; then end, or with follow those "
      "that come. overflow: the client did not read; come again with its since. Accept: application/json: one document.\", \"tags\": [\"egress\"], \"parameters\": ["
      DOC_PARAM("since", "integer") ", " DOC_PARAM("follow", "boolean") "], \"responses\": {\"200\": {\"description\": \"Events\", \"content\": {\"text/event-stream\": {}, \"application/x-ndjson\": {}, "
      "\"application/json\": {}}}}}" },
    { 0 }
};
