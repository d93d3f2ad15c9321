/* TLS on both sides: towards the sandbox with certificates of ours, towards upstreams with full verification. TLS 1.2 and 1.3, HTTP/1.1 only, no resumption anywhere (E32, E35, E47). */
#pragma once
#include <openssl/ssl.h>
#include "sandbox/egress/authority.h"
#include "sandbox/egress/ca.h"

struct tls { SSL_CTX *server, *client; const struct ca *ca; unsigned roots; };
/* roots: PEM text, read once. -EINVAL: not one certificate in it. */
int tls_init(struct tls *t, const struct ca *ca, const char *roots, size_t n);
void tls_fini(struct tls *t);
SSL *tls_accept(const struct tls *t);                                    /* set up for a handshake; its certificate is leaf_use()'s */
SSL *tls_connect(const struct tls *t, const struct authority *to);
/* After the handshake with an upstream: is its chain one that we accept? NULL, or why not (static text). */
const char *tls_refused(const struct tls *t, const SSL *ssl);
/* A fatal alert in the clear, before any handshake: 7 bytes. */
enum { ALERT_BYTES = 7, ALERT_ACCESS_DENIED = 49, ALERT_UNRECOGNIZED_NAME = 112, ALERT_INTERNAL = 80, ALERT_DECODE = 50 };
void tls_alert(uint8_t code, uint8_t ret[ALERT_BYTES]);
