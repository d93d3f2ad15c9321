/* For the comparison with another parser (llhttp.mjs): reads records from stdin (u32 length, one byte 'q' for requests or 'r' for responses to a GET, bytes), and writes for each what
 * http1.h understood (u32 length, text of http_stream.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "tests/egress/http_stream.h"

enum { RECORD_MAX = 1 << 20 };

int main(void)
{
    static uint8_t bytes[RECORD_MAX];
    uint8_t size[4];

    while (fread(size, 4, 1, stdin) == 1) {
        struct http_stream s;
        size_t n = le32(size);
        if (!n || n > sizeof bytes || fread(bytes, n, 1, stdin) != 1)
            return 1;
        http_stream_init(&s, bytes[0] == 'r' ? "GET" : NULL);
        http_stream_feed(&s, bytes + 1, n - 1);
        http_stream_end(&s);
        put_le32(size, (uint32_t)s.text.len - 1);
        fwrite(size, 4, 1, stdout);
        fwrite(s.text.data, s.text.len - 1, 1, stdout);
        http_stream_fini(&s);
    }
    return ferror(stdout) || fflush(stdout);
}
