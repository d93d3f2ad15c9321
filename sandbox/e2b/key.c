#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/e2b/e2b.h"

enum { KEY_BYTES = 32 };

static int key_read(int dir, uint8_t key[KEY_BYTES])
{
    _cleanup_close_ int fd = openat(dir, "e2b.key", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -errno : io_pread_full(fd, key, KEY_BYTES, 0);

    return n < 0 ? (int)n : n == KEY_BYTES ? 0 : -EBADMSG;
}

/* Whole under another name, then linked: never half a key, and the first one stays. */
static int key_make(int dir)
{
    uint8_t key[KEY_BYTES];
    _cleanup_close_ int fd = -1;
    int r = 0;

    if (getrandom(key, sizeof(key), 0) != sizeof(key))
        return -EIO;
    fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = io_write_full(fd, key, sizeof(key));
    if (!r && fsync(fd))
        r = -errno;
    char self[64];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (!r && linkat(AT_FDCWD, self, dir, "e2b.key", AT_SYMLINK_FOLLOW) && errno != EEXIST)
        r = -errno;
    explicit_bzero(key, sizeof(key));
    return r;
}

/* NULL: none, and it has been logged. */
static const uint8_t *key_of(struct sandboxd *sd)
{
    static uint8_t key[KEY_BYTES];
    static bool have;
    int r;

    if (have)
        return key;
    r = key_read(sd->dir_fd, key);
    if (r == -ENOENT && !(r = key_make(sd->dir_fd)))
        r = key_read(sd->dir_fd, key);
    if (r)
        log_error("e2b: step=key err=%s", errno_name(r));
    have = !r;
    return have ? key : NULL;
}

bool e2b_token_of(const struct box *b, enum e2b_token kind, char ret[E2B_TOKEN])
{
    const uint8_t *key = key_of(b->sd);
    g_autofree char *text = g_strconcat(kind == E2B_TOKEN_ENVD ? "envd:" : "traffic:", b->id, NULL), *hex = NULL;

    if (!key)
        return false;
    hex = g_compute_hmac_for_string(G_CHECKSUM_SHA256, key, KEY_BYTES, text, -1);
    g_strlcpy(ret, hex, E2B_TOKEN);
    return true;
}

static bool same_text(const char *a, const char *b)
{
    size_t n = strlen(a);
    volatile unsigned char diff = 0;

    if (strlen(b) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        diff |= (unsigned char)(a[i] ^ b[i]);
    return !diff;
}

bool e2b_token_right(const struct box *b, enum e2b_token kind, const char *token)
{
    char want[E2B_TOKEN];

    return token && e2b_token_of(b, kind, want) && same_text(want, token);
}

bool e2b_signature_right(const struct box *b, const char *operation, const char *path, const char *user, const char *expiration, const char *signature)
{
    char token[E2B_TOKEN];
    uint8_t sum[32];
    gsize n = sizeof(sum);
    g_autoptr(GChecksum) sha = g_checksum_new(G_CHECKSUM_SHA256);

    if (!e2b_token_of(b, E2B_TOKEN_ENVD, token))
        return false;
    g_autofree char *text = g_strjoin(":", path, operation, user, token, expiration, NULL);
    g_checksum_update(sha, (const guchar *)text, -1);
    g_checksum_get_digest(sha, sum, &n);
    g_autofree char *base64 = g_base64_encode(sum, n), *want = NULL;
    base64[strcspn(base64, "=")] = 0;
    want = g_strconcat("v1_", base64, NULL);
    return same_text(want, signature);
}
