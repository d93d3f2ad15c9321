/* The importer over any bytes taken as frames: never crashes; what it accepts up to END, exports, and the export imports to the same tree. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/wire.h"
#include "fs/import.h"
#include "tests/fuzz/fuzz_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool feed(struct workspace *w, const uint8_t *data, size_t size)
{
    struct importer *im;
    size_t at = 0;
    int r = 0;

    if (importer_new(w, "", &im))
        abort();
    while (!r && size - at >= 4) {
        uint32_t n = le32(data + at);
        if (n > size - at - 4)
            n = (uint32_t)(size - at - 4);   /* so that wrong lengths still say something */
        r = importer_frame(im, data + at + 4, n);
        at += 4 + n;
        if (r && !*importer_error(im))
            abort();
    }
    bool ended = importer_ended(im);
    importer_free(im);
    return ended;
}

static void export_tree(struct workspace *w, struct buf *out, struct addr *ret_root)
{
    struct view *v = fuzz_snapshot(w);
    int fd = memfd_create("fuzz", MFD_CLOEXEC);

    if (view_fold_now(fuzz_store, v, ret_root) || export_stream(fuzz_store, v, "", fd, NULL, NULL))
        abort();
    size_t n = (size_t)lseek(fd, 0, SEEK_END);
    uint8_t *p = buf_extend(out, n);
    if (!p || pread(fd, p, n, 0) != (ssize_t)n)
        abort();
    close(fd);
    view_unref(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf one = BUF_INIT, two = BUF_INIT;
    struct addr root1, root2;

    fuzz_store_ready();
    struct workspace *w = fuzz_ws("one");
    if (feed(w, data, size)) {
        export_tree(w, &one, &root1);
        struct workspace *w2 = fuzz_ws("two");
        if (!feed(w2, one.data, one.len))
            abort();
        export_tree(w2, &two, &root2);
        if (one.len != two.len || memcmp(one.data, two.data, one.len))
            abort();
        workspace_unref(w2);
        fuzz_remove("two");
    }
    workspace_unref(w);
    fuzz_remove("one");
    buf_fini(&one);
    buf_fini(&two);
    return 0;
}
