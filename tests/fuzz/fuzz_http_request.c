/* A connection's bytes as requests: what is understood does not depend on how they were split; each head that is accepted can be written anew and means the same (http_stream.c
 * aborts otherwise); none of its values holds a line's end; who is meant can be told only in one way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/authority.h"
#include "tests/egress/http_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct http_stream *s, const uint8_t *p, size_t n, size_t step)
{
    http_stream_init(s, NULL);
    for (size_t at = 0; at < n; at += step)
        http_stream_feed(s, p + at, step < n - at ? step : n - at);
    http_stream_end(s);
}

/* An authority that is accepted is accepted in its canonical spelling, too, and is the same. */
static void check_authority(struct slice text)
{
    struct authority a, b;
    char again[300];

    if (!text.n || authority_parse(text, true, 443, &a))
        return;
    int n = snprintf(again, sizeof again, a.kind == HOST_V6 ? "[%s]:%u" : "%s:%u", a.host, a.port);
    if (authority_parse((struct slice){ again, (size_t)n }, true, 1, &b) || !authority_same(&a, &b))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http1_head head;
    struct http_stream whole, parts;

    read_all(&whole, data, size, size ? size : 1);
    read_all(&parts, data, size, size ? 1 + data[size - 1] % 7 : 1);
    if (strcmp((char *)whole.text.data, (char *)parts.text.data))
        abort();
    http_stream_fini(&whole);
    http_stream_fini(&parts);
    if (http1_request((const char *)data, size, &head) != HTTP1_OK)
        return 0;
    check_authority(head.form == HTTP1_AUTHORITY ? head.target : head.host);
    return 0;
}
