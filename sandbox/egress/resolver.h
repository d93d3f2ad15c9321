/* The names of upstreams, asked of the servers of the host's resolv.conf by ourselves: absolute names only, no search domain, no hosts file, no cache (E49). Random ids and ports.
 * Thread-safe: immutable after it is made. */
#pragma once
#include "sandbox/egress/dns.h"

enum { RESOLVER_SERVERS_MAX = 3, RESOLVER_TRIES = 2, RESOLVER_TIMEOUT_MS = 2000 };
struct resolver { struct sockaddr_storage servers[RESOLVER_SERVERS_MAX]; unsigned count; unsigned timeout_ms; };
/* From the text of a resolv.conf: nameserver lines and "options timeout:"; without one, 127.0.0.1. */
void resolver_init(struct resolver *r, const char *text, size_t n);
/* Both kinds of addresses of a name, in the order they came, v6 first. Waits until the deadline (CLOCK_MONOTONIC ns) at most, and no longer than cut_fd lives (-1: nothing to look at).
 * 0; -ENOENT: no such name, or no address; -ETIMEDOUT, -EREMOTEIO: the servers; -ECANCELED: cut_fd hung up. */
int resolver_lookup(const struct resolver *r, const char *name, int cut_fd, uint64_t deadline_ns, struct dns_addresses *ret);
