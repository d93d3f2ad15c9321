/* The address of a chunk or node: XXH3-128 of its bytes and a discriminator (0 but for collisions). */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { ADDR_BYTES = 20 };
struct addr { uint8_t b[ADDR_BYTES]; };   /* hash (16, canonical big-endian form of xxHash), discriminator (4, big-endian) */

struct addr addr_of(const void *bytes, size_t n);             /* discriminator 0 */
uint32_t addr_disc(const struct addr *a);
void addr_set_disc(struct addr *a, uint32_t disc);
/* True if the bytes hash to this address (discriminator not looked at). */
bool addr_matches(const struct addr *a, const void *bytes, size_t n);
static inline bool addr_eq(const struct addr *a, const struct addr *b) { return !memcmp(a->b, b->b, ADDR_BYTES); }
static inline bool addr_is_zero(const struct addr *a) { static const struct addr z; return addr_eq(a, &z); }   /* the empty tree */
void addr_hex(const struct addr *a, char out[2 * ADDR_BYTES + 1]);
