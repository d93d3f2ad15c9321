/* snap_frame_parse over any bytes: never crashes; what it accepts can be put again, and parses to the same; bytes in it survive both ways. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "snapshotd/snap_proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_bytes(const json_t *v)
{
    size_t n, again_n;
    int err;
    char *p = snap_bytes_get(v, &n, &err), *again;

    if (!p)
        return;
    if (strlen(p) != n)
        abort();
    json_t *back = snap_bytes(p, n);
    again = back ? snap_bytes_get(back, &again_n, &err) : NULL;
    if (!again || again_n != n || memcmp(again, p, n))
        abort();
    json_decref(back);
    free(again);
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf b = BUF_INIT;
    json_t *first, *second, *v;
    const char *key;
    size_t used;

    if (snap_frame_parse(data, size, &first, &used))
        return 0;
    if (used > size || used < 6)
        abort();
    json_object_foreach(first, key, v)
        check_bytes(v);
    /* Escapes may make it longer than a frame: that is an answer, too. */
    if (!snap_frame_put(&b, first)) {
        if (snap_frame_parse(b.data, b.len, &second, &used) || used != b.len || !json_equal(first, second))
            abort();
        json_decref(second);
    }
    json_decref(first);
    buf_fini(&b);
    return 0;
}
