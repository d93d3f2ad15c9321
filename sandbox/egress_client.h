/* sandboxd's side of the JSON protocol of egress_proto.h: requests in flight by tag. Main loop only.
 * The connection comes from the launcher, and anew when egress was started again: what was asked is then asked again, but for what must not be done twice. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include "sandbox/sandboxd.h"

struct egress_client;
enum { EGRESS_ASKS_WAITING_MAX = 8192, EGRESS_ANSWER_S = 20 };
/* Exactly one of ok and fault. ok is borrowed. details (NULL or borrowed): what the error says beside its text. */
typedef void egress_fn(void *arg, json_t *ok, const struct fault *fault, json_t *details);
typedef void egress_event_fn(void *arg, json_t *event);
struct egress_client *egress_client_new(struct sandboxd *sd);
void egress_client_free(struct egress_client *c);          /* not from within a callback; nobody is called any more */
/* fn at each new connection: the egress behind it may be a new one, that knows only what it wrote down. What fn asks goes before all that waits. */
void egress_client_begun(struct egress_client *c, void (*fn)(void *arg), void *arg);
/* req: stolen, with "op". once: lost with its connection it fails (unavailable) instead of being asked again. Answered within EGRESS_ANSWER_S, or fault timeout. */
void egress_ask(struct egress_client *c, json_t *req, bool once, egress_fn *fn, void *arg);
/* A log: each event; fn when it is over. The number is for egress_cancel(), after which neither is called. No deadline. A connection that is lost ends it (unavailable). */
uint32_t egress_follow(struct egress_client *c, json_t *req, egress_event_fn *event, egress_fn *fn, void *arg);
void egress_cancel(struct egress_client *c, uint32_t tag);
/* NULL: there is an egress; else why not, for people. While it is being started: what it was before. */
const char *egress_why(const struct egress_client *c);
