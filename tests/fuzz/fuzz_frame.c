/* exec_spec_get and exit_info_get over any bytes: never crash; a spec that is accepted puts the same bytes again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/wire.h"
#include "sandbox/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct exec_spec s;
    struct exit_info e;
    struct buf b = BUF_INIT;
    struct reader r = reader_of(data, size);

    exit_info_get(&r, &e);
    if (r.bad != (size < EXIT_INFO_BYTES))
        abort();
    if (exec_spec_get(data, size, &s))
        return 0;
    exec_spec_put(&b, &s);
    if (buf_err(&b) || b.len != size || memcmp(b.data, data, size))
        abort();
    exec_spec_fini(&s);
    buf_fini(&b);
    return 0;
}
