/* Bytes from one stream to another, with the framing of one HTTP message or none, in bounded memory: what was read is written before more is read. Two halves, one for each direction, are
 * run by one thread that waits for both. */
#pragma once
#include "sandbox/egress/conn.h"
#include "sandbox/egress/http1.h"

enum { PUMP_BYTES = 64 * 1024, PUMP_CHUNK = 16 * 1024, PUMP_FRONT = 16 };
struct half {
    struct stream *from, *to;
    enum http1_body in, out;         /* in CLOSE and out CLOSE: as it is, an end is passed on as an end */
    uint64_t left;                   /* of LENGTH */
    struct http1_chunks *chunks;     /* of CHUNKED; owned */
    bool no_trailers;                /* they are dropped */
    struct limiter *limiter; const struct rule *rule; bool up;      /* rule NULL: no limit */
    uint64_t limited, owed, not_before_ns;       /* owed: read, but not accounted for yet */
    char *buf; size_t off, n;        /* to be written */
    bool last, ended, done;          /* the last chunk was seen; the source has given all; all was written */
    bool reading;                    /* what it last had to wait for is the source */
    uint64_t bytes, active_ns;       /* of the body; last progress */
    uint64_t window_ns, window_bytes;/* for the least rate of a sandbox that sends */
    int failed_write;                /* the error is the sink's */
};
/* in NONE is done at once. -ENOMEM. */
int half_init(struct half *h, struct stream *from, struct stream *to, enum http1_body in, uint64_t length, enum http1_body out);
void half_fini(struct half *h);
/* Goes on without waiting. 1: something was done; 0: it must wait (or is done); -errno: broken (-ECONNRESET, -EPROTO: by the source, or -EPIPE: by the sink; -EDQUOT: the rule's limit). */
int half_step(struct half *h);
/* Waits until one of them can go on; `also`: a stream that is waited for too (NULL: none). 0; -ETIMEDOUT: nothing for SILENCE_S, or what `slow` (NULL: nobody) sends is too little;
 * -ECANCELED: the client is gone, or was cut. */
int pump_wait(struct conn *c, struct half *a, struct half *b, struct stream *also, struct half *slow);
/* Both directions until both have ended, or one is broken. */
int pump_run(struct conn *c, struct half *a, struct half *b);
