/* The address of a file's content. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/alloc.h"
#include "base/io.h"
#include "sandbox/agent/file.h"

enum { HASHED_MAX = 256 << 20, PART = 256 * 1024 };

int file_address(int fd, char ret[FILE_ADDRESS_MAX])
{
    struct stat st;
    static uint8_t part[PART];
    ssize_t n = 0;

    if (fstat(fd, &st) < 0)
        return -errno;
    ret[0] = '\0';
    if (!S_ISREG(st.st_mode))
        return 0;
    if (st.st_size > HASHED_MAX) {
        snprintf(ret, FILE_ADDRESS_MAX, "s%llx-%llx-%llx", (unsigned long long)st.st_size,
            (unsigned long long)st.st_mtim.tv_sec * 1000000000 + (unsigned long long)st.st_mtim.tv_nsec, (unsigned long long)st.st_ino);
        return 0;
    }
    XXH3_state_t *h = XXH3_createState();
    if (!h)
        return -ENOMEM;
    XXH3_128bits_reset(h);
    for (off_t at = 0; (n = io_pread_full(fd, part, sizeof part, at)) > 0; at += n)
        XXH3_128bits_update(h, part, (size_t)n);
    XXH128_hash_t v = XXH3_128bits_digest(h);
    XXH3_freeState(h);
    snprintf(ret, FILE_ADDRESS_MAX, "%016llx%016llx", (unsigned long long)v.high64, (unsigned long long)v.low64);
    return n < 0 ? (int)n : 0;
}
