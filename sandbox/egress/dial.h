/* A TCP connection to who was allowed: the name is resolved once, addresses that may not be dialled are dropped, and who answers is who was dialled (E11, E13). */
#pragma once
#include "sandbox/egress/policy.h"
#include "sandbox/egress/resolver.h"

enum { DIAL_STAGGER_MS = 250, DIAL_TRIES_MAX = 8 };
/* Which addresses: those of own_may_dial(), but for what the rules deny. */
struct dial_allow { bool private_; const struct policy *policy; const struct policy_box *box; };
/* A connected non-blocking socket in *ret_fd, and who it is connected to: an address with to's port and scheme. -ENOENT: no such name; -EPERM: none of its addresses may be dialled; -ETIMEDOUT, -ECONNREFUSED, -EHOSTUNREACH ...; -ECANCELED: cut_fd hung up. */
int dial(const struct resolver *r, const struct authority *to, const struct dial_allow *allow, int cut_fd, uint64_t deadline_ns, int *ret_fd, struct authority *ret_peer);
