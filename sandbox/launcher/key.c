#include "sandbox/launcher/key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/launcher/launch.h"

enum { KEY_BYTES = 32, ID_BYTES = 8 };

/* STORE/sandbox/id: a number of the store that stays when it is moved. */
static int store_id(int dir_fd, char out[2 * ID_BYTES + 1])
{
    uint8_t random[ID_BYTES];

    _cleanup_close_ int fd = openat(dir_fd, "id", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    ssize_t n = io_pread_full(fd, out, 2 * ID_BYTES, 0);
    if (n == 2 * ID_BYTES && strspn(out, "0123456789abcdef") >= 2 * ID_BYTES) {
        out[2 * ID_BYTES] = 0;
        return 0;
    }
    if (n < 0 || getrandom(random, sizeof(random), 0) != sizeof(random))
        return n < 0 ? (int)n : -EIO;
    for (unsigned i = 0; i < ID_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", random[i]);
    int r = io_pwrite_full(fd, out, 2 * ID_BYTES, 0);
    return r ? r : fsync(fd) ? -errno : 0;
}

static int seal(const uint8_t key[KEY_BYTES])
{
    _cleanup_close_ int fd = memfd_create("key", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0)
        return -errno;
    int r = io_write_full(fd, key, KEY_BYTES);
    if (r || fchmod(fd, 0400) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
        return r ? r : -errno;
    return TAKE_FD(fd);
}

static int why_not(char *out, size_t size, int err, const char *path, const char *text)
{
    snprintf(out, size, "the key of the secrets, %s: %s (--secret-key FILE names another, --secret-key memory keeps none)", path, text);
    return err;
}

/* Complete or not there: written beside, synced, renamed. */
static int key_make(const char *path, uint8_t key[KEY_BYTES])
{
    char temp[PATH_MAX + 8];

    if (getrandom(key, KEY_BYTES, 0) != KEY_BYTES)
        return -EIO;
    snprintf(temp, sizeof(temp), "%s.new", path);
    unlink(temp);
    _cleanup_close_ int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = fd < 0 ? -errno : io_write_full(fd, key, KEY_BYTES);
    if (!r && (fsync(fd) || link(temp, path)))        /* link: never over one that is there */
        r = -errno;
    unlink(temp);
    return r;
}

static int key_file(const char *path, char *ret_why, size_t size)
{
    uint8_t key[KEY_BYTES + 1];
    struct stat st;

    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int r = fd < 0 ? -errno : 0;
    if (r == -ENOENT) {
        r = key_make(path, key);
        if (!r)
            log_info("step=key path=%s made", path);
    } else if (!r) {
        if (fstat(fd, &st))
            return why_not(ret_why, size, -errno, path, strerror(errno));
        if (!S_ISREG(st.st_mode) || st.st_uid || (st.st_mode & 077))
            return why_not(ret_why, size, -EPERM, path, "others than root may read or change it, or it is not a file: chown root and chmod 600 it");
        ssize_t n = io_pread_full(fd, key, sizeof(key), 0);
        if (n != KEY_BYTES)
            return why_not(ret_why, size, n < 0 ? (int)n : -EBADMSG, path, n < 0 ? strerror((int)-n) : "it is not 32 bytes long");
    }
    if (!r)
        r = seal(key);
    explicit_bzero(key, sizeof(key));
    return r < 0 ? why_not(ret_why, size, r, path, strerror(-r)) : r;
}

int key_open(struct launch *l, char *ret_why, size_t size)
{
    const char *given = l->options.secret_key;
    char id[2 * ID_BYTES + 1], path[PATH_MAX];
    uint8_t key[KEY_BYTES];

    if (given && !strcmp(given, "memory")) {
        int r = getrandom(key, KEY_BYTES, 0) == KEY_BYTES ? seal(key) : -EIO;
        explicit_bzero(key, sizeof(key));
        return r < 0 ? why_not(ret_why, size, r, "memory", strerror(-r)) : r;
    }
    if (given)
        return key_file(given, ret_why, size);
    int r = store_id(l->dir_fd, id);
    if (r)
        return why_not(ret_why, size, r, "sandbox/id in the store", strerror(-r));
    if ((mkdir("/etc/coppice", 0755) && errno != EEXIST) || (mkdir(KEY_DIR, 0700) && errno != EEXIST))
        return why_not(ret_why, size, -errno, KEY_DIR, strerror(errno));
    snprintf(path, sizeof(path), KEY_DIR "/%s", id);
    return key_file(path, ret_why, size);
}
