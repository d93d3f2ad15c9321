/* Walks over the whole index: scrub and totals. */
#include "fs/chunk_internal.h"

#include <errno.h>

#include "base/log.h"
#include "fs/meta.h"

int chunk_each(struct chunks *c, const struct addr *from, chunk_each_fn *fn, void *arg)
{
    static const struct addr first;
    struct meta_iter *it = meta_iter_new(c->meta, CF_CHUNK);
    uint64_t malformed = 0;
    int r = 0;

    if (!it)
        return -ENOMEM;
    for (meta_iter_seek(it, from ? from->b : first.b, ADDR_BYTES); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t kn, vn;
        const uint8_t *k = meta_iter_key(it, &kn), *v = meta_iter_val(it, &vn);
        struct chunk_loc loc;
        struct addr a;

        if (kn != ADDR_BYTES || chunk_loc_decode(v, vn, &loc) < 0) {
            malformed++;
            continue;
        }
        memcpy(a.b, k, ADDR_BYTES);
        r = fn(arg, &a, &loc);
    }
    if (r == 0)
        r = meta_iter_err(it);
    meta_iter_free(it);
    if (malformed)
        log_error("chunks step=scan err=EUCLEAN entries=%llu", (unsigned long long)malformed);
    return r;
}

struct scrub {
    struct chunks *c;
    int (*bad)(void *arg, const struct addr *a, const struct chunk_loc *loc, int err);
    int (*progress)(void *arg, uint64_t done);
    void *arg;
    uint64_t done;
};

static int scrub_one(void *arg, const struct addr *a, const struct chunk_loc *loc)
{
    struct scrub *s = arg;
    struct chunk_loc now = *loc;
    struct chunk_buf *b;
    int r = chunk_load(s->c, a, &b, &now);

    if (r == 0)
        chunk_buf_unref(b);
    else if (r == -EIO)
        r = s->bad(s->arg, a, &now, r);
    else if (r == -ENOENT)
        r = 0;                            /* swept since the scan began */
    s->done++;
    return r == 0 && s->progress ? s->progress(s->arg, s->done) : r;
}

int chunk_scrub(struct chunks *c, int (*bad)(void *arg, const struct addr *a, const struct chunk_loc *loc, int err),
                int (*progress)(void *arg, uint64_t done), void *arg)
{
    struct scrub s = { c, bad, progress, arg, 0 };

    return chunk_each(c, NULL, scrub_one, &s);
}

static int totals_one(void *arg, const struct addr *a, const struct chunk_loc *loc)
{
    struct chunk_totals *t = arg;

    t->chunks++;
    t->raw_bytes += loc->raw_len;
    t->stored_bytes += loc->stored_len;
    t->packed_chunks += loc->codec != CODEC_RAW;
    return 0;
}

int chunk_totals(struct chunks *c, struct chunk_totals *ret)
{
    struct chunk_totals t = { 0 };
    int r = chunk_each(c, NULL, totals_one, &t);

    if (r == 0)
        *ret = t;
    return r;
}
