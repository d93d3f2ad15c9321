#include "base/wire.h"

void get_str(struct reader *r, char *out, size_t out_size)
{
    size_t n = get_u16(r);
    const uint8_t *p = get_bytes(r, n);

    out[0] = '\0';
    if (!p)
        return;
    if (n >= out_size || memchr(p, 0, n)) {
        r->bad = true;
        return;
    }
    memcpy(out, p, n);
    out[n] = '\0';
}
