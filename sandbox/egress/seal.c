#include "sandbox/egress/seal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include "base/alloc.h"
#include "base/wire.h"

static const char magic[8] = { 'C', 'S', 'E', 'A', 'L', '0', '0', '1' };
enum { NONCE = 12, TAG = 16, HEAD = 8 + NONCE + 4 };
struct seal_key { uint8_t bytes[SEAL_KEY]; };

int seal_key_new(const uint8_t key[SEAL_KEY], struct seal_key **ret)
{
    struct seal_key *k = mmap(NULL, sizeof *k, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (k == MAP_FAILED)
        return -ENOMEM;
    /* best effort each: a limit on locked memory is no reason not to start */
    mlock(k, sizeof *k);
    madvise(k, sizeof *k, MADV_DONTDUMP);
    madvise(k, sizeof *k, MADV_WIPEONFORK);
    memcpy(k->bytes, key, SEAL_KEY);
    *ret = k;
    return 0;
}

void seal_key_free(struct seal_key *k)
{
    if (!k)
        return;
    OPENSSL_cleanse(k, sizeof *k);
    munmap(k, sizeof *k);
}

/* What is authenticated besides: kind and name with their NULs (neither has one inside), then the metadata. */
static bool aad(EVP_CIPHER_CTX *c, bool seal, const char *kind, const char *name, const void *meta, size_t meta_n)
{
    int n;
    int (*update)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int) = seal ? EVP_EncryptUpdate : EVP_DecryptUpdate;

    return update(c, NULL, &n, (const uint8_t *)kind, (int)strlen(kind) + 1) && update(c, NULL, &n, (const uint8_t *)name, (int)strlen(name) + 1) &&
           (!meta_n || update(c, NULL, &n, meta, (int)meta_n));
}

int seal_close(const struct seal_key *k, const char *kind, const char *name, const void *meta, size_t meta_n, const void *p, size_t n, uint8_t **ret, size_t *ret_n)
{
    size_t size = SEAL_MORE + meta_n + n;
    uint8_t *out = meta_n > SEAL_META_MAX || n > 1 << 20 ? NULL : mem_zalloc(size), *body;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    int part = 0, e = out && c ? 0 : -ENOMEM;

    if (!e) {
        memcpy(out, magic, 8);
        put_le32(out + 8 + NONCE, (uint32_t)meta_n);
        if (meta_n)
            memcpy(out + HEAD, meta, meta_n);
        body = out + HEAD + meta_n;
        if (RAND_bytes(out + 8, NONCE) != 1 || !EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, k->bytes, out + 8) || !aad(c, true, kind, name, meta, meta_n) ||
            (n && !EVP_EncryptUpdate(c, body, &part, p, (int)n)) || !EVP_EncryptFinal_ex(c, body + part, &part) || !EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, body + n))
            e = -EIO;
    }
    EVP_CIPHER_CTX_free(c);
    if (e) {
        free(out);
        return e;
    }
    *ret = out;
    *ret_n = size;
    return 0;
}

int seal_meta(const uint8_t *sealed, size_t n, const char **ret_meta, size_t *ret_meta_n)
{
    if (n < SEAL_MORE || memcmp(sealed, magic, 8))
        return -EBADMSG;
    uint32_t meta_n = le32(sealed + 8 + NONCE);
    if (meta_n > SEAL_META_MAX || meta_n > n - SEAL_MORE)
        return -EBADMSG;
    *ret_meta = (const char *)sealed + HEAD;
    *ret_meta_n = meta_n;
    return 0;
}

int seal_open(const struct seal_key *k, const char *kind, const char *name, const uint8_t *sealed, size_t sealed_n, const char **ret_meta, size_t *ret_meta_n, char **ret, size_t *ret_n)
{
    const char *meta;
    size_t meta_n;

    if (seal_meta(sealed, sealed_n, &meta, &meta_n))
        return -EBADMSG;
    size_t n = sealed_n - SEAL_MORE - meta_n;
    const uint8_t *body = sealed + HEAD + meta_n;
    char *out = n > 1 << 20 ? NULL : mem_zalloc(n + 1);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    uint8_t tag[TAG], last[TAG];
    int part = 0, e = out && c ? 0 : n > 1 << 20 ? -EBADMSG : -ENOMEM;

    memcpy(tag, body + n, TAG);
    if (!e && (!EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, k->bytes, sealed + 8) || !aad(c, false, kind, name, meta, meta_n) ||
               (n && !EVP_DecryptUpdate(c, (uint8_t *)out, &part, body, (int)n)) || !EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) || EVP_DecryptFinal_ex(c, last, &part) != 1))
        e = -EBADMSG;
    EVP_CIPHER_CTX_free(c);
    if (e) {
        if (out)
            OPENSSL_cleanse(out, n);
        free(out);
        return e;
    }
    *ret_meta = meta;
    *ret_meta_n = meta_n;
    *ret = out;
    *ret_n = n;
    return 0;
}
