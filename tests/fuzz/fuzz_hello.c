/* hello_parse over any bytes: never crashes; a name that it gives is a name; what is whole stays the same with more bytes behind it; what is bad stays bad. */
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello h, part;
    int k = hello_parse(data, size, &h);

    if (k == HELLO_BAD && !h.why)
        abort();
    if (k == HELLO_OK)
        for (const char *p = h.name; *p; p++)
            if (!isalnum((unsigned char)*p) && !strchr(".-_", *p))
                abort();
    size_t cut = size / 2;
    int before = hello_parse(data, cut, &part);
    if ((before == HELLO_BAD && k != HELLO_BAD) || (before == HELLO_OK && (k != HELLO_OK || strcmp(part.name, h.name) != 0)))
        abort();
    return 0;
}
