/* AES-256-GCM around small things. A sealed thing: "CSEAL001", nonce (12), length of the metadata (u32), metadata (in the clear), ciphertext, tag (16). Authenticated with it: kind, name and
 * metadata, so that a file put in another's place does not open. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { SEAL_KEY = 32, SEAL_MORE = 8 + 12 + 4 + 16, SEAL_META_MAX = 64 * 1024 };
struct seal_key;                                                            /* in memory that is locked, not dumped, and empty in a child */
int seal_key_new(const uint8_t key[SEAL_KEY], struct seal_key **ret);
void seal_key_free(struct seal_key *k);
/* Owned *ret of *ret_n bytes. 0, -ENOMEM, -EIO (no randomness). */
int seal_close(const struct seal_key *k, const char *kind, const char *name, const void *meta, size_t meta_n, const void *p, size_t n, uint8_t **ret, size_t *ret_n);
/* meta: inside the sealed. *ret owned, with a NUL behind it: wipe it. -EBADMSG: not sealed by this key as this. */
int seal_open(const struct seal_key *k, const char *kind, const char *name, const uint8_t *sealed, size_t sealed_n, const char **ret_meta, size_t *ret_meta_n, char **ret, size_t *ret_n);
/* The metadata before it was authenticated: for lists of what does not open. */
int seal_meta(const uint8_t *sealed, size_t n, const char **ret_meta, size_t *ret_meta_n);
