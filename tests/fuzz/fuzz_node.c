/* node_decode over any bytes: never crashes; what it accepts is sorted and encodes to the same bytes again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fs/key.h"
#include "fs/node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct node *n;
    struct buf again = BUF_INIT;
    bool exact;

    if (node_decode(data, size, &n))
        return 0;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct node_entry *e = &n->entries[i];
        if (i > 0 && key_cmp(e[-1].key, e[-1].key_len, e->key, e->key_len) >= 0)
            abort();
        if (node_search(n, e->key, e->key_len, &exact) != i || !exact)
            abort();
    }
    node_encode(n->level, n->entries, n->count, &again);
    if (buf_err(&again) || again.len != size || memcmp(again.data, data, size))
        abort();
    buf_fini(&again);
    node_unref(n);
    return 0;
}
