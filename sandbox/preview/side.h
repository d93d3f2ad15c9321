/* One socket of a visit: what was read and not yet used, what is still to be written, and its place in the main loop. All calls return at once whatever the other end did to the
 * socket (MSG_DONTWAIT): the one in the sandbox shares its flags with an agent that may be hostile. Bounded: IN bytes in, about 2 * OUT bytes out. */
#pragma once
#include <glib.h>
#include <stdbool.h>
#include "base/buf.h"
#include "sandbox/egress/http1.h"

enum { SIDE_IN = HTTP1_HEAD_MAX, SIDE_OUT = 32 * 1024 };
typedef void side_fn(void *arg, GIOCondition got);
struct side {
    int fd;                               /* -1: none */
    GSource *source;
    gpointer tag;
    GIOCondition want;
    side_fn *fn;
    void *arg;
    char *in;
    size_t at, n;                         /* in[at..n) is not yet used */
    struct buf out;
    size_t out_at;
    bool eof;                             /* the other end sent its last byte */
    bool shut;                            /* we did */
    bool full;                            /* the socket takes no more for now */
    bool hung;                            /* it hung up: poll would say so for ever */
    bool foreign;                         /* somebody else may hold the same socket: it is closed so that nothing can make us wait */
    bool broken;                          /* nothing can be written any more */
    bool lost;                            /* eof was an error */
    uint64_t moved_ns;                    /* when bytes last passed */
};
/* Is what somebody else gave us a connected TCP socket? Makes it ready for use. */
bool side_is_connection(int fd);
void side_init(struct side *s);
void side_open(struct side *s, int fd, side_fn *fn, void *arg);     /* takes fd */
void side_close(struct side *s, bool reset);      /* reset: the other end sees that it was not orderly */
int side_take_fd(struct side *s);                 /* gives the socket away; what was read stays until side_close */
void side_want(struct side *s, GIOCondition want);
/* Reads what there is and fits. 1: something; 0: nothing now (or no room); -1: the end or an error (eof, broken). */
int side_fill(struct side *s);
void side_used(struct side *s, size_t n);
void side_trim(struct side *s);                   /* nothing is read or to be written: it costs no memory */
static inline size_t side_ready(const struct side *s) { return s->n - s->at; }
static inline size_t side_pending(const struct side *s) { return s->out.len - s->out_at; }
/* Writes what is to be written. True: nothing is left. */
bool side_drain(struct side *s);
/* Writes these at once, if nothing waits before them: how many went. */
size_t side_send(struct side *s, const char *p, size_t n);
void side_shut(struct side *s);                   /* when all is written: no more comes from us */
