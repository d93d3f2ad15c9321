/* A whole connection read with http1.h, as the flow reads one: heads and bodies one after the other, bytes as they come. What was understood is written down as text, the same for
 * the same bytes however they came: the tests compare these texts, with each other and with what another parser says. */
#pragma once
#include "base/buf.h"
#include "sandbox/egress/http1.h"

struct http_stream {
    const char *answers;        /* NULL: requests; else responses to this method */
    struct buf in;              /* not yet used */
    size_t seen, used;          /* of in; bytes used so far */
    bool in_body, ended;
    struct http1_head head;
    struct http1_chunks chunks;
    uint64_t left;
    struct buf body;
    struct buf text;            /* NUL-terminated by http_stream_end */
    struct buf outline;         /* "length=5 none 400": the bodies of the messages, and how it ended */
};
void http_stream_init(struct http_stream *s, const char *answers);
void http_stream_feed(struct http_stream *s, const void *p, size_t n);
/* No more bytes: writes the end ("more" inside of a message), and terminates both texts. */
void http_stream_end(struct http_stream *s);
void http_stream_fini(struct http_stream *s);
/* The head written anew by http1_put_* parses to the same. Aborts if not. */
void http_stream_rewrite(const struct http1_head *h, const char *answers);
