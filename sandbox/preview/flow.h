/* The bytes of one message body, or of a tunnel, on their way from one side to the other. What is in a buffer waits there: when the receiver takes no more nothing more is read. */
#pragma once
#include "sandbox/preview/side.h"

enum flow_kind { FLOW_NONE, FLOW_LENGTH, FLOW_CHUNKED, FLOW_CLOSE /* to the end of the connection */ };
/* Follows the frames of a WebSocket in one direction. */
struct frames { uint8_t head[14]; unsigned n; uint64_t left; bool control, closing; uint64_t data /* bytes of data frames that passed */; };
struct flow {
    enum flow_kind kind;
    bool plain;                           /* chunked, and written without its chunks (to a client of HTTP/1.0) */
    bool done;                            /* all of it is written, or waits in to->out */
    bool bad;                             /* the sender broke the format or ended too early: it cannot be finished */
    uint64_t left;
    struct http1_chunks *chunks;
    struct frames *frames;                /* of a WebSocket; NULL */
    uint64_t passed;
};
void flow_init(struct flow *f, enum flow_kind kind, uint64_t length);
void flow_fini(struct flow *f);
/* Moves what can be moved, at most about FLOW_TURN bytes. True: something moved (there may be more). */
enum { FLOW_TURN = 256 * 1024 };
bool flow_run(struct flow *f, struct side *from, struct side *to);
/* What it waits for after flow_run said false. */
bool flow_wants_in(const struct flow *f, const struct side *from, const struct side *to);
void frames_pass(struct frames *w, const uint8_t *p, size_t n);
bool frames_between(const struct frames *w);      /* the last byte that passed was the last of a frame */
