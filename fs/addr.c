#include "fs/addr.h"

#include <stdio.h>
#include <xxhash.h>

#include "base/wire.h"

struct addr addr_of(const void *bytes, size_t n)
{
    struct addr a = { 0 };
    XXH128_canonical_t c;

    XXH128_canonicalFromHash(&c, XXH3_128bits(bytes, n));
    memcpy(a.b, c.digest, 16);
    return a;
}

uint32_t addr_disc(const struct addr *a)
{
    return (uint32_t)a->b[16] << 24 | a->b[17] << 16 | a->b[18] << 8 | a->b[19];
}

void addr_set_disc(struct addr *a, uint32_t disc)
{
    a->b[16] = (uint8_t)(disc >> 24);
    a->b[17] = (uint8_t)(disc >> 16);
    a->b[18] = (uint8_t)(disc >> 8);
    a->b[19] = (uint8_t)disc;
}

bool addr_matches(const struct addr *a, const void *bytes, size_t n)
{
    struct addr b = addr_of(bytes, n);

    return !memcmp(a->b, b.b, 16);
}

void addr_hex(const struct addr *a, char out[2 * ADDR_BYTES + 1])
{
    for (int i = 0; i < ADDR_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", a->b[i]);
}
