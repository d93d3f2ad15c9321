/* What a run of code says, as the body of an answer: events (SSE or NDJSON) with back-pressure, or one bounded JSON document. Embedded in a route's state. */
#pragma once
#include "sandbox/code/context.h"
#include "sandbox/http/http.h"

enum { CODE_DOCUMENT_TEXT = 4 << 20, CODE_DOCUMENT_RESULTS = 16 << 20 };    /* kept of each stream, of results together; what comes after is dropped (truncated: true) */
struct code_stream {
    struct http_call *c;                   /* NULL: over */
    struct code_run *run;
    bool document, begun, truncated;
    GString *text[2];
    json_t *results, *error, *context;
    size_t results_size;
    bool fresh;
};
extern const struct code_run_ops code_stream_ops;          /* arg: the struct code_stream */
void code_stream_init(struct code_stream *s, struct http_call *c);    /* document: by Accept: application/json */
void code_stream_sent(struct code_stream *s);              /* from the http_on_sent hook */
void code_stream_over(struct code_stream *s);              /* the call is over: the code goes on */
void code_stream_fini(struct code_stream *s);
