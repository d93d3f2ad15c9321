/* archive_import over any bytes: never crashes; what it accepts can be walked and exported whole. The input is an archive without its last 32
 * bytes: the digest is added here, so that the parser and the check of the tree are reached. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fs/archive.h"
#include "fs/import.h"
#include "tests/fuzz/fuzz_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t sha[EVP_MAX_MD_SIZE];
    struct snap_rec sn;
    struct ws_rec w;
    char err[256];
    int fd = memfd_create("fuzz", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);

    fuzz_store_ready();
    EVP_Digest(data, size, sha, NULL, EVP_sha256(), NULL);
    if (write(fd, data, size) != (ssize_t)size || write(fd, sha, ARCHIVE_SHA) != ARCHIVE_SHA || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    int r = archive_import(fuzz_store, fd, "fuzz", &w, &sn, err, sizeof(err), NULL, NULL);
    if (r && !*err)
        abort();
    if (r == 0) {
        struct view *v;
        if (view_get(fuzz_store, sn.base, &v))
            abort();
        int walked = export_stream(fuzz_store, v, "", out, NULL, NULL), again = archive_export(fuzz_store, v, &sn, NULL, out, NULL, NULL);
        if (walked || again) {
            fprintf(stderr, "export_stream %d, archive_export %d\n", walked, again);
            abort();
        }
        view_unref(v);
        fuzz_remove("fuzz");
    }
    close(fd);
    close(out);
    return 0;
}
