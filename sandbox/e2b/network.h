/* E2B's network options as rules of egress (docs/egress.md 2, docs/e2b.md). */
#pragma once
#include "sandbox/e2b/e2b.h"
/* network: {allowOut, denyOut, rules, ...} or NULL; internet: allow_internet_access, may be NULL (then yes). The document, owned; NULL: fault. Pure. */
json_t *e2b_network_rules(const json_t *network, const json_t *internet, struct fault *fault);
/* Puts what the box's configuration says into force; fn when it is. Without an egress proxy a sandbox that asked for nothing goes on, with no network. */
void e2b_network_apply(struct box *b, void (*fn)(void *arg, const struct fault *fault), void *arg);
