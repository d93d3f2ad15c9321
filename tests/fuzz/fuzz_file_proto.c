/* file_request_get and file_stat_get over any bytes: never crash; what is accepted puts the same bytes again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/wire.h"
#include "sandbox/file_proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct file_request q;
    struct file_stat s;
    struct buf b = BUF_INIT;
    struct reader r = reader_of(data, size);

    file_stat_get(&r, &s);
    if (!r.bad) {
        file_stat_put(&b, &s);
        if (b.len != size - reader_left(&r) || memcmp(b.data, data, b.len))
            abort();
        buf_clear(&b);
    }
    r = reader_of(data, size);
    if (!file_request_get(&r, &q)) {
        file_request_put(&b, &q);
        if (buf_err(&b) || b.len != size - reader_left(&r) || memcmp(b.data, data, b.len))
            abort();
        file_request_fini(&q);
    }
    buf_fini(&b);
    return 0;
}
