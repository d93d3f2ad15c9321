/* Certificates of hosts, minted when a verdict was made and kept for a while: at most LEAF_MAX of them, all of one key. Thread-safe. */
#pragma once
#include <openssl/ssl.h>
#include "sandbox/egress/authority.h"
#include "sandbox/egress/bucket.h"
#include "sandbox/egress/ca.h"

enum { LEAF_MAX = 256, LEAF_DAYS = 7 };
struct leaves;
struct leaves *leaves_new(const struct ca *ca);
void leaves_free(struct leaves *l);
/* Gives the connection a certificate for this host. mint: what the box may have minted anew. 0; -EAGAIN: too many; -ENOMEM. */
int leaf_use(struct leaves *l, const struct authority *host, struct bucket *mint, SSL *ssl);
