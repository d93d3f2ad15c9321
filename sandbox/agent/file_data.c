/* Content and attributes from one file to another. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/io.h"
#include "sandbox/agent/file.h"

enum { PART = 256 * 1024, AT_ONCE = 1 << 30, NAMES_MAX = 65536 };
static uint8_t part[PART];

static int copy_by_bytes(int from, int to, off_t *from_off, off_t *to_off)
{
    ssize_t n;

    while ((n = io_pread_full(from, part, sizeof part, *from_off)) > 0) {
        int r = io_pwrite_full(to, part, (size_t)n, *to_off);
        if (r < 0)
            return r;
        *from_off += n;
        *to_off += n;
    }
    return (int)n;
}

int file_copy_data(int from, int to, off_t *from_off, off_t *to_off)
{
    for (;;) {
        ssize_t n = copy_file_range(from, from_off, to, to_off, AT_ONCE, 0);
        if (n == 0)
            return 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
            return copy_by_bytes(from, to, from_off, to_off);
        if (n < 0)
            return -errno;
    }
}

void file_copy_xattrs(int from, int to)
{
    static char names[NAMES_MAX];
    ssize_t n = flistxattr(from, names, sizeof names);

    for (const char *p = names; n > 0 && p < names + n; p += strlen(p) + 1) {
        ssize_t k = strncmp(p, "user.", 5) ? -1 : fgetxattr(from, p, part, sizeof part);
        if (k >= 0 && fsetxattr(to, p, part, (size_t)k, 0) < 0)
            continue;
    }
}
