/* The records of an archive, each checked by itself, as changes of a tree. See archive_import.c. */
#include "fs/archive_internal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "fs/chunk.h"
#include "fs/inode.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/view.h"
#include "fs/ws_internal.h"

enum { CHUNKS_PER_BATCH = 512 };

/* --- pass 2: records --- */

int archive_chunks_flush(struct archive_in *in)
{
    int r = 0;

    if (in->chunk_pending == 0)
        return 0;
    r = chunk_put_sync(in->s->chunks);
    if (!r)
        r = meta_write(in->s->meta, in->chunk_batch, false);
    chunk_put_done(in->s->chunks, r == 0);
    batch_clear(in->chunk_batch);
    in->chunk_pending = 0;
    return r ? archive_refuse(in, r, "cannot store content: %s", strerror(-r)) : 0;
}

static int unpack(struct archive_in *in, const uint8_t *p, uint32_t n, uint8_t codec, uint32_t raw_len, const uint8_t **ret)
{
    *ret = p;
    if (codec == CODEC_RAW)
        return n == raw_len ? 0 : archive_bad(in, "chunk length");
    if (codec != CODEC_ZSTD || n >= raw_len)
        return archive_bad(in, "chunk codec");
    *ret = in->raw;
    size_t got = ZSTD_decompressDCtx(in->zstd, in->raw, raw_len, p, n);
    return ZSTD_isError(got) || got != raw_len ? archive_bad(in, "compressed chunk") : 0;
}

static int take_chunk(struct archive_in *in)
{
    uint8_t head[ARCHIVE_SHA + 9], sha[EVP_MAX_MD_SIZE];
    const uint8_t *p;
    bool shared;
    int r = archive_take(in, sizeof(head), &p);

    if (r)
        return r;
    memcpy(head, p, sizeof(head));
    uint32_t raw_len = le32(head + ARCHIVE_SHA), n = le32(head + ARCHIVE_SHA + 5);
    if (in->chunk_waiting || raw_len == 0 || raw_len > SLOT || n == 0 || n > raw_len)
        return archive_bad(in, "chunk header");
    r = archive_take(in, n, &p);
    if (!r)
        r = unpack(in, p, n, head[ARCHIVE_SHA + 4], raw_len, &p);
    if (r)
        return r;
    if (EVP_Digest(p, raw_len, sha, NULL, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    if (memcmp(sha, head, ARCHIVE_SHA) || p[raw_len - 1] == 0)
        return archive_bad(in, "chunk content");
    struct archive_chunk *c = archive_chunks_find(&in->chunks, sha);
    if (!c)
        return -ENOMEM;
    if (c->raw_len)
        return archive_bad(in, "a chunk comes twice");
    struct chunk_place none = { 0 };
    r = chunk_put(in->s->chunks, in->chunk_batch, p, raw_len, &none, &c->addr, &shared);
    if (r)
        return archive_refuse(in, r, "cannot store content: %s", strerror(-r));
    memcpy(c->sha, sha, ARCHIVE_SHA);
    c->raw_len = raw_len;
    in->chunks.count++;
    in->disc |= addr_disc(&c->addr) != 0;
    memcpy(in->waiting, sha, ARCHIVE_SHA);
    in->chunk_waiting = true;
    return ++in->chunk_pending >= CHUNKS_PER_BATCH ? archive_chunks_flush(in) : 0;
}

static int take_key(struct archive_in *in)
{
    const uint8_t *p;
    int r = archive_take(in, 2, &p);

    if (r)
        return r;
    size_t n = le16(p);
    if (n > KEY_MAX)
        return archive_bad(in, "key length");
    r = archive_take(in, n, &p);
    if (r)
        return r;
    if (!key_valid(p, n) || (in->any_key && key_cmp(p, n, in->last_key.b, in->last_key.len) <= 0))
        return archive_bad(in, "a key is malformed or out of order");
    memcpy(in->key.b, p, n);
    in->key.len = (uint16_t)n;
    in->last_key = in->key;
    in->any_key = true;
    return 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

/* The name and value of an extended attribute must be ones that ws_setxattr() would take. */
static bool xattr_valid(const struct key *k, const uint8_t *v, size_t n)
{
    char name[XATTR_NAME_MAX_ + 1];
    size_t len = k->len - 9u;

    memcpy(name, k->b + 9, len);
    name[len] = 0;
    if (!strcmp(name, "system.posix_acl_access") || !strcmp(name, "system.posix_acl_default"))
        return n <= XATTR_VALUE_MAX && acl_check(v, n) == 0;
    return n <= XATTR_VALUE_MAX && ((!strncmp(name, "user.", 5) && len > 5) || (!strncmp(name, "trusted.", 8) && len > 8) ||
                                    (!strncmp(name, "security.", 9) && len > 9));
}

/* A value by its kind alone; how values fit together is tree_check()'s. */
static bool value_valid(const struct key *k, const uint8_t *v, size_t n)
{
    struct inode in;

    switch (key_kind_of(k->b)) {
    case KEY_INODE:
        return inode_decode(v, n, &in) == 0;
    case KEY_BODY:
        return n > 0 && n <= INLINE_MAX && v[n - 1] != 0;
    case KEY_SYMLINK:
        return n > 0 && n <= SYMLINK_MAX && !memchr(v, 0, n);
    case KEY_XATTR:
        return xattr_valid(k, v, n);
    case KEY_LINK:
        return n == 0;
    case KEY_DIRENT:
        return n == 9 && le64(v) != 0 && le64(v) >> 63 == 0;
    case KEY_EXTENT:
        return n == ARCHIVE_EXTENT_BYTES && !all_zero(v, n);
    }
    return false;
}

static int take_value(struct archive_in *in)
{
    const uint8_t *p;
    int r = archive_take(in, 4, &p);

    if (r)
        return r;
    uint32_t n = le32(p);
    if (n > XATTR_VALUE_MAX)
        return archive_bad(in, "value length");
    r = archive_take(in, n, &p);
    if (r)
        return r;
    if (!value_valid(&in->key, p, n))
        return archive_bad(in, "a value is malformed");
    bool extent = key_kind_of(in->key.b) == KEY_EXTENT;
    if (in->chunk_waiting && (!extent || memcmp(p, in->waiting, ARCHIVE_SHA)))
        return archive_bad(in, "a chunk that is not named next");
    in->chunk_waiting = false;
    buf_clear(&in->val);
    if (!extent) {
        buf_put(&in->val, p, n);
        return buf_err(&in->val);
    }
    const struct archive_chunk *c = archive_chunks_find(&in->chunks, p);
    if (!c)
        return -ENOMEM;
    if (!c->raw_len || c->raw_len != le32(p + ARCHIVE_SHA))
        return archive_bad(in, "an extent names a chunk that is not there");
    buf_put(&in->val, c->addr.b, ADDR_BYTES);
    buf_put_u32(&in->val, c->raw_len);
    return buf_err(&in->val);
}

static int take_end(struct archive_in *in)
{
    const uint8_t *p;
    int r = archive_take(in, 9, &p);

    if (r)
        return r;
    if (le64(p) != in->records || p[8] & ~ARCHIVE_DISC || in->chunk_waiting || !archive_at_end(in))
        return archive_bad(in, "its end");
    in->disc |= p[8] & ARCHIVE_DISC;
    return 0;
}

int archive_next_change(struct tree_changes *self, struct tree_change *ret)
{
    struct archive_in *in = (struct archive_in *)self;

    for (;;) {
        const uint8_t *p;
        int r = archive_take(in, 1, &p);
        if (r)
            return r;
        uint8_t type = *p;
        switch (type) {
        case 'C':
            r = take_chunk(in);
            break;
        case 'P':
            r = take_key(in);
            if (!r)
                r = take_value(in);
            break;
        case 'D':
            r = in->h.delta && !in->chunk_waiting ? take_key(in) : archive_bad(in, "a deletion where none may be");
            break;
        case 'E':
            return take_end(in);
        default:
            return archive_bad(in, "unknown record");
        }
        if (r)
            return r;
        in->records++;
        if (type == 'C')
            continue;
        *ret = (struct tree_change){ .op = type == 'P' ? TREE_PUT : TREE_DEL, .key = in->key.b, .key_len = in->key.len,
                                     .val = type == 'P' ? in->val.data : NULL, .val_len = type == 'P' ? in->val.len : 0 };
        return 1;
    }
}

