/* For the comparison with another parser (llhttp.mjs): reads records from stdin (u32 length, one byte 'q' for requests or 'r' for responses to a GET, bytes), and writes for each what
 * http1.h understood (u32 length, text of http_stream.h). For 'p' (paths.mjs): is it a canonical path, "yes" or "no". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "sandbox/egress/authority.h"
#include "tests/egress/http_stream.h"

enum { RECORD_MAX = 1 << 20 };

static void put(const char *text, size_t n)
{
    uint8_t size[4];

    put_le32(size, (uint32_t)n);
    fwrite(size, 4, 1, stdout);
    fwrite(text, n, 1, stdout);
}

static void answer(const uint8_t *p, size_t n)
{
    struct http_stream s;

    if (p[0] == 'p') {
        bool yes = path_is_canonical((struct slice){ (const char *)p + 1, n - 1 });
        put(yes ? "yes" : "no", yes ? 3 : 2);
        return;
    }
    http_stream_init(&s, p[0] == 'r' ? "GET" : NULL);
    http_stream_feed(&s, p + 1, n - 1);
    http_stream_end(&s);
    put((char *)s.text.data, s.text.len - 1);
    http_stream_fini(&s);
}

int main(void)
{
    static uint8_t bytes[RECORD_MAX];
    uint8_t size[4];

    while (fread(size, 4, 1, stdin) == 1) {
        size_t n = le32(size);
        if (!n || n > sizeof bytes || fread(bytes, n, 1, stdin) != 1)
            return 1;
        answer(bytes, n);
    }
    return ferror(stdout) || fflush(stdout);
}
