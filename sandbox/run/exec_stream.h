/* The output of an execution as the body of an answer: events (SSE or NDJSON) with back-pressure, or one bounded JSON document. Embedded in a route's state. */
#pragma once
#include "sandbox/exec.h"
#include "sandbox/http/http.h"

enum { DOCUMENT_MAX = 4 << 20 };           /* kept of each stream in a document; what comes after is read and dropped (truncated: true) */
struct exec_stream {
    struct http_call *c;                   /* NULL: over */
    struct exec_reader *r;
    struct exec *e;                        /* a reference */
    bool document, to_end;                 /* to_end: until nothing more comes (children too), not only until it exits */
    size_t given;                          /* bytes handed to HTTP and not yet taken from the reader */
    GByteArray *out[2];                    /* of a document: stdout (and a terminal), stderr */
    bool truncated[2], exited;
    struct exit_info info;                 /* if exited */
    uint64_t lost;
};
extern const struct exec_reader_ops exec_stream_ops;      /* arg: the struct exec_stream */
/* Begins: c's state must begin such that `s` can be found from http_on_sent: state is given. document: by Accept: application/json. */
void exec_stream_init(struct exec_stream *s, struct http_call *c);
/* It has started. Sends the `start` event (events) if started is true. r: its reader (NULL: the first reader). */
void exec_stream_begin(struct exec_stream *s, struct exec *e, struct exec_reader *r, bool start_event);
void exec_stream_sent(struct exec_stream *s);             /* from the http_on_sent hook */
void exec_stream_over(struct exec_stream *s);             /* the call is over: lets go of the reader; the execution goes on */
void exec_stream_fini(struct exec_stream *s);
