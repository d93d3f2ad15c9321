/* SHA-256 (FIPS 180-4), for the launcher's token alone: a library of ciphers is too much to map into a process that forks sandboxes. */
#pragma once
#include <stddef.h>
#include <stdint.h>
void sha256_hex(const void *p, size_t n, char ret[65]);       /* n <= 1 MiB */
