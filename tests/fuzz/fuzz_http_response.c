/* The bytes of an upstream as responses to a request (its method: the first byte): as fuzz_http_request.c. */
#include <stdlib.h>
#include <string.h>

#include "tests/egress/http_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct http_stream *s, const char *method, const uint8_t *p, size_t n, size_t step)
{
    http_stream_init(s, method);
    for (size_t at = 0; at < n; at += step)
        http_stream_feed(s, p + at, step < n - at ? step : n - at);
    http_stream_end(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const methods[] = { "GET", "HEAD", "POST", "CONNECT" };
    struct http_stream whole, parts;

    if (size < 2)
        return 0;
    const char *method = methods[data[0] % 4];
    data++;
    size--;
    read_all(&whole, method, data, size, size);
    read_all(&parts, method, data, size, 1 + data[size - 1] % 7);
    if (strcmp((char *)whole.text.data, (char *)parts.text.data))
        abort();
    http_stream_fini(&whole);
    http_stream_fini(&parts);
    return 0;
}
