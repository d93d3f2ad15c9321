/* Writes the portable archive. Format: fs/archive.h.
 *
 * A complete archive is one pass of a cursor over the tree, a delta one tree_diff(): both give keys in order, a chunk is written when it is
 * first named, everything goes through one buffer and one running SHA-256. Memory: 56 bytes per distinct chunk. */
#include "fs/archive.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/chunk.h"
#include "fs/inode.h"
#include "fs/key.h"
#include "fs/meta.h"
#include "fs/store.h"
#include "fs/tree.h"
#include "fs/verbs.h"
#include "fs/view.h"

enum { OUT_MAX = 1 << 20, ZSTD_LEVEL = 3 };

struct out {
    struct store *s;
    int fd;
    struct buf b;                            /* not written yet */
    EVP_MD_CTX *sha;
    ZSTD_CCtx *zstd;
    uint8_t *packed;                         /* ZSTD_compressBound(SLOT) */
    struct archive_chunks chunks;
    bool disc;
    uint64_t records, written;
    void (*progress)(void *arg, uint64_t bytes);
    void *arg;
};

bool archive_is(const void *first_bytes, size_t n)
{
    return n >= ARCHIVE_MAGIC_BYTES && !memcmp(first_bytes, ARCHIVE_MAGIC, ARCHIVE_MAGIC_BYTES);
}

/* --- digests and addresses --- */

static const uint8_t *chunk_key(const struct archive_chunks *c, const struct archive_chunk *e)
{
    return c->by_addr ? e->addr.b : e->sha;
}

static struct archive_chunk *chunk_slot(const struct archive_chunks *c, struct archive_chunk *v, size_t cap, const uint8_t *key)
{
    size_t n = c->by_addr ? ADDR_BYTES : ARCHIVE_SHA, i = (size_t)le64(key) & (cap - 1);

    /* Foreign digests may be chosen to share their first bytes only at the price of finding them; probes stay short. */
    while (v[i].raw_len && memcmp(chunk_key(c, &v[i]), key, n))
        i = (i + 1) & (cap - 1);
    return &v[i];
}

struct archive_chunk *archive_chunks_find(struct archive_chunks *c, const void *key)
{
    if (c->count * 4 >= c->cap * 3) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        struct archive_chunk *v = mem_zalloc(cap * sizeof(*v));
        if (!v)
            return NULL;
        for (size_t i = 0; i < c->cap; i++)
            if (c->v[i].raw_len)
                *chunk_slot(c, v, cap, chunk_key(c, &c->v[i])) = c->v[i];
        free(c->v);
        c->v = v;
        c->cap = cap;
    }
    return chunk_slot(c, c->v, c->cap, key);
}

/* --- output --- */

static int flush(struct out *o, size_t keep)
{
    int r = buf_err(&o->b);

    if (r || o->b.len <= keep)
        return r;
    if (EVP_DigestUpdate(o->sha, o->b.data, o->b.len) != 1)
        return -ENOMEM;
    r = io_write_full(o->fd, o->b.data, o->b.len);
    o->written += o->b.len;
    buf_clear(&o->b);
    if (!r && o->progress)
        o->progress(o->arg, o->written);
    return r;
}

static int put_header(struct out *o, const struct view *v, const struct snap_rec *rec, const struct addr *root, const struct addr *base)
{
    struct buf h = BUF_INIT;

    buf_put_u32(&h, base ? ARCHIVE_DELTA : 0);
    buf_put(&h, root->b, ADDR_BYTES);
    static const struct addr none;
    buf_put(&h, base ? base->b : none.b, ADDR_BYTES);
    buf_put_u64(&h, v->rec.next_ino);
    buf_put_u64(&h, v->rec.inodes);
    buf_put_u64(&h, v->rec.units);
    buf_put_u8(&h, rec->kind ? (uint8_t)rec->kind : WS_BARE);
    buf_put_u64(&h, (uint64_t)rec->created);
    buf_put_str(&h, rec->name);
    buf_put_str(&h, rec->message);
    buf_put_u32(&h, rec->labels.count);
    for (uint32_t i = 0; i < rec->labels.count; i++) {
        buf_put_str(&h, rec->labels.l[i].key);
        buf_put_str(&h, rec->labels.l[i].val);
    }
    buf_put(&o->b, ARCHIVE_MAGIC, ARCHIVE_MAGIC_BYTES);
    buf_put_u32(&o->b, ARCHIVE_VERSION);
    buf_put_u32(&o->b, (uint32_t)h.len);
    buf_put(&o->b, h.data, h.len);
    int r = buf_err(&h);
    buf_fini(&h);
    return r ? r : buf_err(&o->b);
}

/* Writes the chunk record unless it was written before. */
static int put_chunk(struct out *o, const struct addr *a, const struct archive_chunk **ret)
{
    struct archive_chunk *e = archive_chunks_find(&o->chunks, a->b);
    struct chunk_data d;

    if (!e)
        return -ENOMEM;
    *ret = e;
    if (e->raw_len)
        return 0;
    int r = chunk_get(o->s->chunks, a, &d);
    if (r)
        return r;
    size_t n = ZSTD_compressCCtx(o->zstd, o->packed, ZSTD_compressBound(SLOT), d.p, d.n, ZSTD_LEVEL);
    bool raw = ZSTD_isError(n) || n > d.n - d.n / 16;
    struct archive_chunk made = { .addr = *a, .raw_len = d.n };
    if (d.n > SLOT || EVP_Digest(d.p, d.n, made.sha, NULL, EVP_sha256(), NULL) != 1)
        r = -EIO;
    buf_put_u8(&o->b, 'C');
    buf_put(&o->b, made.sha, ARCHIVE_SHA);
    buf_put_u32(&o->b, d.n);
    buf_put_u8(&o->b, raw ? CODEC_RAW : CODEC_ZSTD);
    buf_put_u32(&o->b, raw ? d.n : (uint32_t)n);
    buf_put(&o->b, raw ? d.p : o->packed, raw ? d.n : n);
    chunk_data_done(&d);
    if (r)
        return r;
    *e = made;
    o->chunks.count++;
    o->records++;
    return 0;
}

static int put_key(struct out *o, const struct node_entry *e)
{
    uint8_t extent[ARCHIVE_EXTENT_BYTES];
    const uint8_t *val = e->val;
    uint32_t val_len = e->val_len;

    if (e->key_len < 9)
        return -EUCLEAN;
    if (key_kind_of(e->key) == KEY_EXTENT) {
        const struct archive_chunk *c;
        struct addr a;
        if (e->val_len != EXTENT_BYTES)
            return -EUCLEAN;
        memcpy(a.b, e->val, ADDR_BYTES);
        o->disc |= addr_disc(&a) != 0;
        int r = put_chunk(o, &a, &c);
        if (r)
            return r;
        if (c->raw_len != le32(e->val + ADDR_BYTES))
            return -EUCLEAN;
        memcpy(extent, c->sha, ARCHIVE_SHA);
        put_le32(extent + ARCHIVE_SHA, c->raw_len);
        val = extent;
        val_len = sizeof(extent);
    }
    buf_put_u8(&o->b, 'P');
    buf_put_u16(&o->b, e->key_len);
    buf_put(&o->b, e->key, e->key_len);
    buf_put_u32(&o->b, val_len);
    buf_put(&o->b, val, val_len);
    o->records++;
    return flush(o, OUT_MAX);
}

static int put_difference(void *arg, const struct node_entry *a, const struct node_entry *b)
{
    struct out *o = arg;

    if (b)
        return put_key(o, b);
    buf_put_u8(&o->b, 'D');
    buf_put_u16(&o->b, a->key_len);
    buf_put(&o->b, a->key, a->key_len);
    o->records++;
    return flush(o, OUT_MAX);
}

static int put_all(struct out *o, const struct addr *root)
{
    struct tree_cursor cur;
    const struct node *leaf = NULL;

    if (addr_is_zero(root))
        return 0;
    tree_cursor_init(&cur, o->s->nodes, root);
    int r = tree_cursor_seek(&cur, "", 0);
    while (r == 1) {
        if (cur.depth > 0 && cur.at[cur.depth - 1].n != leaf) {
            for (int i = 0; i < cur.depth; i++)
                o->disc |= addr_disc(&cur.at[i].n->addr) != 0;
            leaf = cur.at[cur.depth - 1].n;
        }
        r = put_key(o, tree_cursor_entry(&cur));
        if (!r)
            r = tree_cursor_next(&cur);
    }
    tree_cursor_fini(&cur);
    return r;
}

static int put_end(struct out *o)
{
    uint8_t sha[EVP_MAX_MD_SIZE];

    buf_put_u8(&o->b, 'E');
    buf_put_u64(&o->b, o->records);
    buf_put_u8(&o->b, o->disc ? ARCHIVE_DISC : 0);
    int r = flush(o, 0);
    if (r)
        return r;
    if (EVP_DigestFinal_ex(o->sha, sha, NULL) != 1)
        return -ENOMEM;
    r = io_write_full(o->fd, sha, ARCHIVE_SHA);
    o->written += ARCHIVE_SHA;
    if (!r && o->progress)
        o->progress(o->arg, o->written);
    return r;
}

int archive_export(struct store *s, struct view *v, const struct snap_rec *rec, struct view *since, int fd,
                   void (*progress)(void *arg, uint64_t bytes), void *arg)
{
    struct out o = { .s = s, .fd = fd, .chunks.by_addr = true, .progress = progress, .arg = arg };
    struct addr root, base;
    int r = view_fold_now(s, v, &root);

    if (!r && since)
        r = view_fold_now(s, since, &base);
    if (r)
        return r;
    o.sha = EVP_MD_CTX_new();
    o.zstd = ZSTD_createCCtx();
    o.packed = mem_alloc(ZSTD_compressBound(SLOT));
    r = o.sha && o.zstd && o.packed && EVP_DigestInit_ex(o.sha, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
    if (!r)
        r = put_header(&o, v, rec, &root, since ? &base : NULL);
    o.disc = addr_disc(&root) != 0;
    if (!r)
        r = since ? tree_diff(s->nodes, &base, &root, put_difference, &o) : put_all(&o, &root);
    if (!r)
        r = put_end(&o);
    EVP_MD_CTX_free(o.sha);
    ZSTD_freeCCtx(o.zstd);
    free(o.packed);
    free(o.chunks.v);
    buf_fini(&o.b);
    return r;
}
