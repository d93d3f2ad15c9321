/* Addresses that are ours: those of this machine's interfaces, looked at again every few seconds, and the API's own (EGRESS_SELF). Thread-safe. */
#pragma once
#include <netinet/in.h>
#include <stdbool.h>

enum { OWN_MAX = 256, OWN_SELF_MAX = 8, OWN_FRESH_S = 5 };
/* self: "ADDR:PORT ..."; a wildcard address is every address with that port. -EINVAL: not understood. Once, before threads. */
int own_init(const char *self);
/* May it be dialled? Public addresses that are not this machine's; with allow_private also private, loopback and this machine's ones; never the API, never what is no host's. */
bool own_may_dial(const struct sockaddr_storage *to, bool allow_private);
