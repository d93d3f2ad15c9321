/* A client's connection that is for previews. Main loop only.
 *
 *   HEAD --a head--> LOOKUP --its token is right--> WAKE --running--> DIAL [<-> WAIT] --connected--> RELAY --answered--> HEAD ... or LAST
 *                                                                                                 RELAY --101--> TUNNEL --> LAST
 *   HEAD --a head that is the API's--> back to libsoup.   Any --fail--> LAST (our answer goes out, the connection ends) --> DEAD
 * Invariants:
 *  1. every request is judged by itself: the connection to the inside is used again only for the same name, and only after the box and the token were checked again.
 *  2. `held` is one hold of `box`; outside LOOKUP..TUNNEL there is none, and no reference.
 *  3. what is buffered is bounded (side.h); who does not read slows who writes.
 *  4. `head`'s slices point into client.in, from which nothing is used up until it has been written for the inside. */
#pragma once
#include "sandbox/box.h"
#include "sandbox/http/http.h"
#include "sandbox/preview.h"
#include "sandbox/preview/flow.h"
#include "sandbox/preview/keep.h"
#include "sandbox/preview/rewrite.h"

enum { VISITS_MAX = 1024, VISITS_BOX = 128, VISIT_HEAD_S = 10, VISIT_IDLE_S = 75, VISIT_STALL_S = 300, VISIT_LAST_S = 5, TUNNEL_QUIET_S = 10, KNOWN_MAX = 4096, DOMAINS_MAX = 2 };
enum visit_state { VISIT_HEAD, VISIT_LOOKUP, VISIT_WAKE, VISIT_DIAL, VISIT_WAIT, VISIT_RELAY, VISIT_TUNNEL, VISIT_LAST, VISIT_DEAD };

struct previews {
    struct sandboxd *sd;
    const char *domains[DOMAINS_MAX + 1]; /* ends with NULL; the last is what answers show */
    bool https[DOMAINS_MAX];
    char shown[300];                      /* with the port, if any */
    GQueue visits;
    GHashTable *per_box;                  /* id -> how many visits use it */
    GHashTable *known;                    /* labels that were right: they are not limited by others' guesses */
    double allowance;                     /* wrong names that may still be looked up */
    uint64_t allowance_ns;
    guint tick;
};
struct visit {
    struct previews *p;
    struct http_guest *guest;
    GList link;
    unsigned refs;
    bool tcp, running, again;
    guint later;
    enum visit_state state;
    struct side client, inside;
    uint64_t deadline_ns;                 /* 0: none */
    size_t seen;                          /* bytes of a head that gave no head yet */
    /* the request */
    struct http1_head *head;
    struct preview_name name;
    bool path, https;
    struct slice target;
    char method[32];
    unsigned minor;
    bool keep, upgrade, answered, close, page /* of errors: HTML */;
    bool inside_keep;                     /* the answer lets us use the connection again */
    struct flow up, down;
    struct box *box;
    bool held, waking;
    char counted[LAUNCH_NAME];            /* in per_box; "": not */
    /* the inside */
    char inside_label[NAME_LABEL_MAX + 1];    /* whose it is, while it is kept */
    bool reused, resend;                  /* the connection was there; what was sent on it is sent again (replay) on a new one */
    struct buf replay;                    /* the request's head, when it may be sent again on a new connection */
    uint32_t wait_id;                     /* of a PORT_WAIT */
    uint64_t wait_until_ns;
    uint64_t data_seen, data_ns;          /* of a tunnel: data bytes so far, and when the last came */
};

/* visit.c */
struct visit *visit_new(struct previews *p, struct http_guest *g, bool tcp, int fd, const void *bytes, size_t n);
void visit_run(struct visit *v);          /* goes on as far as it can; v may be gone after it, unless the caller holds a reference */
void visit_die(struct visit *v, bool reset);
void visit_tick(struct visit *v, uint64_t now);
struct visit *visit_ref(struct visit *v);
void visit_unref(struct visit *v);
void visit_leave_box(struct visit *v);    /* hold, reference and count */
/* visit_reach.c: from a name to a connected socket */
void visit_reach(struct visit *v);
void visit_dial(struct visit *v);
void visit_unwait(struct visit *v);
/* visit_relay.c */
void visit_relay_begin(struct visit *v);
bool visit_relay(struct visit *v);
bool visit_tunnel(struct visit *v);
void visit_tunnel_tick(struct visit *v, uint64_t now);
/* answer.c: our own answers, in place of the server's. code: one of http/codes.h */
void visit_fail(struct visit *v, unsigned status, const char *code, const char *text);
void visit_redirect(struct visit *v);     /* the path form without its final slash */
/* previews.c */
enum preview_meant { MEANT_API, MEANT_HOST, MEANT_PATH };
enum preview_meant previews_meant(const struct previews *p, bool tcp, struct slice host, struct slice target, struct preview_name *ret, bool *ret_https, struct slice *ret_target);
bool previews_wants(void *arg, bool tcp, const char *head, size_t n);
bool previews_may_look(struct previews *p, const char *label);     /* counts against the allowance unless it is known */
void previews_right(struct previews *p, const char *label);
void previews_wrong(struct previews *p);
const json_t *previews_keep(const struct box *b);                  /* never NULL; borrowed */
