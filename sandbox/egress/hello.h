/* The first message of a TLS client, looked at before anything answers it: which name it asks for, which protocols it speaks. Strict: what a server might read in two ways is bad. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HELLO_BODY_MAX = 16 * 1024, HELLO_WIRE_MAX = 24 * 1024, HELLO_NAME_MAX = 256 };
enum hello_result { HELLO_BAD = -1, HELLO_MORE = 0, HELLO_OK = 1 };
struct hello {
    char name[HELLO_NAME_MAX];      /* lower case; "" without server_name */
    bool alpn, alpn_http11;         /* protocols were offered; http/1.1 is among them */
    const char *why;                /* BAD: static text */
};
/* p[0..n): what came so far, from the connection's first byte. More than HELLO_WIRE_MAX bytes without a whole message are bad. The bytes are not consumed: a tunnel passes them on. */
int hello_parse(const uint8_t *p, size_t n, struct hello *ret);
