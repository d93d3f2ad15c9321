/* Attributes of files that clients give and read: user.*, as strings. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <linux/limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/file.h"

enum { NAMES_MAX = 65536 };

int file_attrs_set(int fd, char **pairs, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char name[XATTR_NAME_MAX + 1];
        const char *eq = strchr(pairs[i], '=');
        size_t n = eq ? (size_t)(eq - pairs[i]) : 0;

        if (!eq || n > XATTR_NAME_MAX || strncmp(pairs[i], "user.", 5))
            return -EBADMSG;
        memcpy(name, pairs[i], n);
        name[n] = '\0';
        if (fsetxattr(fd, name, eq + 1, strlen(eq + 1), 0) < 0)
            return -errno;
    }
    return 0;
}

/* By way of /proc/self/fd: O_PATH descriptors have no attributes of their own. */
static int path_of(int dir, const char *name, char out[64], int *ret_fd)
{
    struct stat st;

    *ret_fd = *name ? openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : dir;
    if (*ret_fd < 0 || fstat(*ret_fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        return -1;
    return snprintf(out, 64, "/proc/self/fd/%d", *ret_fd);
}

static unsigned read_all(struct buf *b, const char *path)
{
    static char names[NAMES_MAX];
    char pair[XATTR_NAME_MAX + FILE_ATTR_BYTES + 2];
    ssize_t n = listxattr(path, names, sizeof names);
    unsigned count = 0;
    size_t bytes = 0;

    for (const char *p = names; n > 0 && p < names + n && count < FILE_ATTRS_MAX; p += strlen(p) + 1) {
        const char *key = p + strlen(FILE_ATTR_PREFIX);
        if (strncmp(p, FILE_ATTR_PREFIX, strlen(FILE_ATTR_PREFIX)) || !*key || strchr(key, '='))
            continue;
        size_t k = (size_t)snprintf(pair, sizeof pair, "%s=", key);
        ssize_t v = getxattr(path, p, pair + k, FILE_ATTR_BYTES);
        if (v < 0 || memchr(pair + k, 0, (size_t)v) || bytes + k + (size_t)v > FILE_ATTR_BYTES)
            continue;
        pair[k + (size_t)v] = '\0';
        bytes += k + (size_t)v;
        buf_put_str(b, pair);
        count++;
    }
    return count;
}

void file_attrs_put(struct buf *b, int dir, const char *name)
{
    char path[64];
    struct buf own = BUF_INIT;
    int fd = -1;
    unsigned count = path_of(dir, name, path, &fd) < 0 ? 0 : read_all(&own, path);

    if (fd >= 0 && fd != dir)
        close(fd);
    if (buf_err(&own))
        count = 0;
    buf_put_u16(b, (uint16_t)count);
    if (count)
        buf_put(b, own.data, own.len);
    buf_fini(&own);
}
