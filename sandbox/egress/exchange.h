/* One request and its answer: judged, changed as its rule says, sent on with a head of our own, its answer passed back, all written down. */
#pragma once
#include "sandbox/egress/conn.h"
#include "sandbox/egress/http1.h"

/* h: the head at the start of what came from the client (still there). a: who is meant. 1: the connection can have another request; 0: it is to be closed; -errno: broken off: what the
 * client got is not whole, and it must see that. */
int exchange_run(struct conn *c, const struct http1_head *h, struct slice target, const struct authority *a);
/* A request that is refused before it is one: writes it down and says so. */
void exchange_refuse(struct conn *c, const struct http1_head *h, const struct authority *a, unsigned status, const char *error, const char *why);
