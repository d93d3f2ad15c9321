/* Records of CF_OBJECT, slot records and inode records over any bytes: never crash; what they accept encodes to the same bytes again.
 * First byte: which. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "fs/inode.h"
#include "fs/object.h"
#include "fs/view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(struct buf *again, const uint8_t *p, size_t n)
{
    if (buf_err(again) || again->len != n || memcmp(again->data, p, n))
        abort();
    buf_fini(again);
}

/* The runs cover the slot, in order. */
static void slot_covers(const struct slot *s)
{
    unsigned at = 0;

    for (unsigned i = 0; i < s->count; i++) {
        if (s->runs[i].start != at || s->runs[i].count == 0)
            abort();
        at += s->runs[i].count;
    }
    if (at != SLOT_UNITS)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ws_rec ws;
    static struct snap_rec snap;
    struct buf again = BUF_INIT;
    struct base_rec base;
    struct inode in;
    struct slot slot;
    uint8_t bytes[INODE_BYTES];

    if (size == 0)
        return 0;
    const uint8_t *p = data + 1;
    size_t n = size - 1;
    switch (data[0] % 5) {
    case 0:
        if (base_decode(p, n, &base) == 0) {
            base_encode(&base, &again);
            same(&again, p, n);
        }
        break;
    case 1:
        if (ws_rec_decode(p, n, &ws) == 0) {
            ws_rec_encode(&ws, &again);
            same(&again, p, n);
        }
        break;
    case 2:
        if (snap_rec_decode(p, n, &snap) == 0) {
            snap_rec_encode(&snap, &again);
            same(&again, p, n);
        }
        break;
    case 3:
        if (slot_decode(p, n, &slot) == 0) {
            slot_covers(&slot);
            slot_encode(&slot, &again);
            same(&again, p, n);
        }
        break;
    default:
        if (inode_decode(p, n, &in) == 0) {
            inode_encode(&in, bytes);
            if (n != INODE_BYTES || memcmp(bytes, p, n))
                abort();
        }
    }
    return 0;
}
