/* Secrets: set once, never given out again. At rest each is a file SECRET/NAME in egress's directory, AES-256-GCM under the store's key, its name and metadata authenticated with it;
 * the key comes from the launcher and lives outside the store. In memory only while used; wiped after. Thread-safe. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { SECRET_KEY_BYTES = 32, SECRET_VALUE_MAX = 64 * 1024, SECRETS_MAX = 1024 };
struct secrets;
/* dir_fd borrowed, -1: in memory only. key: 32 bytes, copied to locked memory. -EBADMSG: a file does not open under this key (it is kept, named in the log, and not usable). */
int secrets_open(int dir_fd, const uint8_t key[SECRET_KEY_BYTES], struct secrets **ret);
void secrets_free(struct secrets *s);
/* hosts: patterns that the secret may go to (NULL: any host whose rule names it); https only unless plain_http. Durable when it returns. -EINVAL: name, or a value with CR, LF, NUL,
 * or that is not printable ASCII or empty; why is a static text. */
int secret_put(struct secrets *s, const char *name, const char *value, size_t n, json_t *hosts, bool plain_http, const char **why);
int secret_delete(struct secrets *s, const char *name);
json_t *secret_list(struct secrets *s);     /* [{name, hosts, created, updated}]: never a value or a hash. Owned */
bool secret_is(struct secrets *s, const char *name);
struct authority;
/* The value for a request to `a`: owned, wipe with secret_wipe(). -ENOENT; -EPERM: not bound to this host or scheme. */
int secret_get(struct secrets *s, const char *name, const struct authority *a, char **ret, size_t *ret_n);
void secret_wipe(char *value, size_t n);
uint64_t secret_generation(const struct secrets *s);      /* changes with every put and delete */
/* Other things at rest under the same key (the CA's): sealed blob of name. Owned. */
int secrets_seal(struct secrets *s, const char *name, const void *p, size_t n);
int secrets_unseal(struct secrets *s, const char *name, void **ret, size_t *ret_n);      /* -ENOENT, -EBADMSG */
