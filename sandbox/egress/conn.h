/* One connection of a sandbox, and the thread that serves it. */
#pragma once
#include "sandbox/egress/egress_box.h"
#include "sandbox/egress/policy.h"
#include "sandbox/egress/stream.h"

/* The connection to an upstream that a client connection has, at most one at a time; never another client's (E47). */
struct upstream { struct stream s; struct authority to; bool allow_private, used; };
/* What was asked and is still open: rules that change are asked again. target NULL: a tunnel. view: keeps the rule. */
struct open_request { const struct box_view *view; const struct rule *rule; char method[32], *target; bool upgrade; };
struct conn {
    struct egress *e;
    struct egress_box *box;
    enum egress_door door;
    struct stream client;
    struct upstream up;
    /* guarded by box->lock */
    struct conn *next, *prev;
    bool busy, secret;               /* something is open to `now`, allowed as `was`; see conn_secret() */
    struct authority now;
    enum verdict_kind was;
    struct open_request asked;
    struct authority peer;           /* who the upstream's connection goes to, as an address; port 0: there was none yet */
    bool broken;                     /* the client must see that something is missing: no proper end. Of its thread */
    atomic_bool cut;
};
/* Takes fd, an accepted connection. Starts its thread. */
int conn_start(struct egress_box *b, enum egress_door door, int fd);
/* Ends whatever its thread does. box->lock is held. */
void conn_cut(struct conn *c);
/* What is open from now on, for changes of the rules; a change since `v` was taken is looked at. 0; -EPERM: not allowed any more. */
int conn_begin(struct conn *c, const struct box_view *v, const struct authority *to, enum verdict_kind was);
/* The same for a request that was judged by v: also its method, path and upgrade must stay allowed; while it holds a credential (conn_secret), by a rule that gives the same. -ENOMEM too. */
int conn_begin_request(struct conn *c, const struct box_view *v, const struct authority *to, enum verdict_kind was, const struct rule *rule, const struct message *m, bool upgrade);
bool conn_stands(const struct conn *c, const struct box_view *v);     /* would what is open be allowed by v? box->lock is held, or it is c's thread */
int conn_dialled(struct conn *c, const struct authority *peer);       /* the upstream's connection is open. -EPERM: the rules have just denied that address */
void conn_secret(struct conn *c, bool used);    /* what is open is to be cut when a secret changes: one is about to be sent, or opened a WebSocket */
void conn_rest(struct conn *c);      /* nothing is open: between two requests */
/* A deadline so many seconds from now. */
uint64_t in_s(unsigned s);
