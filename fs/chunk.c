/* Reading chunks: where one lies, its bytes verified, the shared cache.
 *
 * A chunk's location may change while somebody reads at the old one (pack, sweep): the index is changed durably first, the old place
 * punched then. A reader that comes late sees bytes that do not match, asks for the location again, and finds another one. If it finds the
 * same, the chunk is bad. No lock is held while reading.
 *
 * An address names bytes together with its discriminator: XXH3 can be made to collide at will, so equal hashes prove nothing. Verification
 * only finds accidents (a disk that answers wrongly); chunk_put compares bytes.
 */
#include "fs/chunk_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/meta.h"

struct addr (*chunk_hash)(const void *bytes, size_t n) = addr_of;

void chunk_loc_encode(const struct chunk_loc *loc, uint8_t out[CHUNK_LOC_BYTES])
{
    put_le64(out, loc->seg);
    put_le64(out + 8, loc->off);
    put_le32(out + 16, loc->stored_len);
    put_le32(out + 20, loc->raw_len);
    out[24] = loc->codec;
}

int chunk_loc_decode(const uint8_t *p, size_t n, struct chunk_loc *ret)
{
    struct reader r = reader_of(p, n);
    struct chunk_loc l;

    l.seg = get_u64(&r);
    l.off = get_u64(&r);
    l.stored_len = get_u32(&r);
    l.raw_len = get_u32(&r);
    l.codec = get_u8(&r);
    if (r.bad || reader_left(&r) || l.codec > CODEC_STORED || l.off > INT64_MAX - SLOT || l.raw_len == 0 || l.raw_len > SLOT ||
        l.stored_len == 0 || l.stored_len > l.raw_len || (l.codec != CODEC_ZSTD && l.stored_len != l.raw_len))
        return -EUCLEAN;
    *ret = l;
    return 0;
}

bool chunk_matches(const struct addr *a, const void *bytes, size_t n)
{
    struct addr b = chunk_hash(bytes, n);

    return !memcmp(a->b, b.b, ADDR_BYTES - 4);
}

int chunks_open(struct meta *m, struct segments *segs, size_t cache_bytes, struct chunks **ret)
{
    struct chunks *c = mem_zalloc(sizeof *c);

    if (!c)
        return -ENOMEM;
    c->meta = m;
    c->segs = segs;
    c->maybe_raw = true;
    pthread_mutex_init(&c->put_lock, NULL);
    pthread_mutex_init(&c->lock, NULL);
    c->cache = chunk_cache_new(cache_bytes);
    c->compare = mem_alloc(SLOT);
    if (!c->cache || !c->compare) {
        chunks_close(c);
        return -ENOMEM;
    }
    *ret = c;
    return 0;
}

void chunks_close(struct chunks *c)
{
    if (!c)
        return;
    chunk_put_done(c, false);
    segment_unref(c->pack);
    for (unsigned i = 0; i < c->unzipper_count; i++)
        ZSTD_freeDCtx(c->unzippers[i]);
    chunk_cache_free(c->cache);
    free(c->new_segs);
    free(c->compare);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->put_lock);
    free(c);
}

void chunks_set_id_source(struct chunks *c, int (*next)(void *arg, uint64_t *ret), void *arg)
{
    c->next_id = next;
    c->next_id_arg = arg;
}

static bool pending_get(struct chunks *c, const struct addr *a, struct chunk_loc *ret)
{
    struct pending *p;

    if (c->pending_count == 0)
        return false;
    pthread_mutex_lock(&c->lock);
    for (p = c->pending[le32(a->b) % PENDING_BUCKETS]; p && !addr_eq(&p->addr, a);)
        p = p->next;
    if (p)
        *ret = p->loc;
    pthread_mutex_unlock(&c->lock);
    return p != NULL;
}

/* Pending first: an entry leaves there only after it is in the database. */
int chunk_stat(struct chunks *c, const struct addr *a, struct chunk_loc *ret)
{
    uint8_t *val;
    size_t n;
    int r;

    if (pending_get(c, a, ret))
        return 0;
    r = meta_get(c->meta, CF_CHUNK, a->b, ADDR_BYTES, &val, &n);
    if (r < 0)
        return r;
    r = chunk_loc_decode(val, n, ret);
    free(val);
    return r < 0 ? -EIO : 0;
}

static unzipper *unzipper_get(struct chunks *c)
{
    unzipper *u = NULL;

    pthread_mutex_lock(&c->lock);
    if (c->unzipper_count)
        u = c->unzippers[--c->unzipper_count];
    pthread_mutex_unlock(&c->lock);
    return u ? u : ZSTD_createDCtx();
}

static void unzipper_put(struct chunks *c, unzipper *u)
{
    pthread_mutex_lock(&c->lock);
    if (c->unzipper_count < UNZIPPERS_MAX) {
        c->unzippers[c->unzipper_count++] = u;
        u = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    ZSTD_freeDCtx(u);
}

int chunk_read_stored(struct chunks *c, const struct chunk_loc *loc, uint8_t *out)
{
    struct segment *seg;
    int r = segment_get(c->segs, loc->seg, false, &seg);

    if (r == 0) {
        r = segment_read(seg, out, loc->stored_len, loc->off);
        segment_unref(seg);
    }
    return r == -ENOENT ? -EIO : r;
}

int chunk_expand(struct chunks *c, const struct chunk_loc *loc, const uint8_t *stored, uint8_t *out)
{
    unzipper *u;
    size_t n;

    if (loc->codec != CODEC_ZSTD) {
        memcpy(out, stored, loc->raw_len);
        return 0;
    }
    u = unzipper_get(c);
    if (!u)
        return -ENOMEM;
    n = ZSTD_decompressDCtx(u, out, loc->raw_len, stored, loc->stored_len);
    unzipper_put(c, u);
    return n == loc->raw_len ? 0 : -EIO;
}

int chunk_read_raw(struct chunks *c, const struct chunk_loc *loc, uint8_t *out)
{
    _cleanup_free_ uint8_t *stored = NULL;
    int r;

    if (loc->codec != CODEC_ZSTD)
        return chunk_read_stored(c, loc, out);
    stored = mem_alloc(loc->stored_len);
    if (!stored)
        return -ENOMEM;
    r = chunk_read_stored(c, loc, stored);
    return r < 0 ? r : chunk_expand(c, loc, stored, out);
}

static int load_at(struct chunks *c, const struct addr *a, const struct chunk_loc *loc, struct chunk_buf **ret)
{
    struct chunk_buf *b = chunk_buf_new(loc->raw_len);
    int r = b ? chunk_read_raw(c, loc, b->data) : -ENOMEM;

    if (r == 0 && !chunk_matches(a, b->data, b->n))
        r = -EIO;
    if (r < 0) {
        chunk_buf_unref(b);
        return r;
    }
    b->addr = *a;
    *ret = b;
    return 0;
}

int chunk_load(struct chunks *c, const struct addr *a, struct chunk_buf **ret, struct chunk_loc *ret_loc)
{
    struct chunk_loc loc;
    int r = chunk_stat(c, a, &loc);

    while (r == 0) {
        *ret_loc = loc;
        r = load_at(c, a, ret_loc, ret);
        if (r != -EIO)
            break;
        if (chunk_stat(c, a, &loc) < 0 || chunk_loc_eq(&loc, ret_loc))
            break;
        r = 0;
    }
    return r;
}

static bool logged_before(struct chunks *c, const struct addr *a)
{
    unsigned kept;
    bool found = false;

    pthread_mutex_lock(&c->lock);
    kept = c->logged_count < LOGGED_MAX ? c->logged_count : LOGGED_MAX;
    for (unsigned i = 0; i < kept && !found; i++)
        found = addr_eq(&c->logged[i], a);
    if (!found)
        c->logged[c->logged_count++ % LOGGED_MAX] = *a;
    pthread_mutex_unlock(&c->lock);
    return found;
}

static void log_bad(struct chunks *c, const struct addr *a, const struct chunk_loc *loc, int err)
{
    char hex[2 * ADDR_BYTES + 1];

    if (logged_before(c, a))
        return;
    addr_hex(a, hex);
    if (err == -ENOENT)
        log_error("chunk=%s step=get err=ENOENT", hex);
    else
        log_error("chunk=%s step=get err=%s segment=%016llx off=%llu", hex, errno_name(err), (unsigned long long)loc->seg,
                  (unsigned long long)loc->off);
}

int chunk_get(struct chunks *c, const struct addr *a, struct chunk_data *ret)
{
    struct chunk_buf *b = chunk_cache_get(c->cache, a);
    struct chunk_loc loc = { 0 };
    int r;

    if (!b) {
        r = chunk_load(c, a, &b, &loc);
        if (r == -ENOENT || r == -EIO) {
            log_bad(c, a, &loc, r);
            r = -EIO;
        }
        if (r < 0)
            return r;
        chunk_cache_put(c->cache, b);
    }
    *ret = (struct chunk_data){ .p = b->data, .n = b->n, .pin = b };
    return 0;
}

void chunk_data_done(struct chunk_data *d)
{
    chunk_buf_unref(d->pin);
    d->pin = NULL;
}
