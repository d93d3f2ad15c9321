/* The socket below TLS, as OpenSSL sees it: first the bytes that were read from it before TLS began, then the socket. Written records are collected while `hold` and sent together, one
 * send() for four of them; what the socket did not take stays first in line. */
#pragma once
#include <openssl/bio.h>
#include <stdbool.h>
#include <stddef.h>

enum { HOLD_BYTES = 72 * 1024 };
struct stream_wire { int fd; char *early; size_t off, n; char *out; size_t out_off, out_n; bool hold; };
/* Once, before threads. */
int stream_wire_init(void);
/* Over fd (borrowed); early: taken with its allocation, n bytes from off. *ret is freed with the BIO. NULL: no memory, nothing is taken. */
BIO *stream_wire_new(int fd, char *early, size_t off, size_t n, struct stream_wire **ret);
/* Sends what was collected. 0, -EAGAIN, -EPIPE. */
int stream_wire_flush(struct stream_wire *w);
