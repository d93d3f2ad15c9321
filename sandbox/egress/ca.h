/* The store's certificate authority: made once, at rest only sealed under the store's key, in memory only here. Certificates for hosts are minted from it (leaf.h). EC P-256, one year. */
#pragma once
#include <openssl/x509.h>
#include <stdbool.h>
#include "sandbox/egress/secret.h"

enum { CA_DAYS = 365, CA_RENEW_DAYS = 30, CA_SKEW_S = 3600 };
struct ca {
    X509 *cert;
    EVP_PKEY *key, *leaf_key;        /* leaf_key: of all leaves, new with each start */
    char *pem; size_t pem_n;
    char subject[64], sha256[65], not_after[32];
};
/* The stored one; a new one when there is none, or it ends within CA_RENEW_DAYS, or it cannot be opened (said in the log). now: seconds. Single thread; then immutable. */
int ca_open(struct secrets *s, int64_t now, struct ca *ret);
void ca_fini(struct ca *c);
/* A certificate for a host (a name, or an address if `literal`), days from now at most, no longer than the CA's own. Owned. NULL: no memory. */
X509 *ca_mint(const struct ca *c, const char *host, bool literal, int64_t now, unsigned days);
/* Does this chain hold our own key? Then it is no upstream's, whatever the roots say (E35). */
bool ca_is_in(const struct ca *c, const STACK_OF(X509) *chain);
int64_t ca_not_after(const struct ca *c);
