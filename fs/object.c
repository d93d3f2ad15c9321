/* Names, ids, and the codecs of the records in CF_OBJECT (record.c stores them). Every record starts with a version byte; decoders are strict: what does not come from the
 * encoder is refused, so that a record read is a record that could have been written. Layouts: docs/formats.md "Objects". */
#include "fs/object.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/wire.h"

enum { RECORD_VERSION = 1, MERGE_VERSION = 2 /* of a snapshot's record with `merged`, which only a merge has */, ID_RANDOM = 10 };

/* --- names and ids --- */

static const char id_alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

static bool id_has_prefix(const char *s, const char *prefix)
{
    size_t n = strlen(prefix);

    if (strncmp(s, prefix, n) != 0 || strlen(s + n) != ID_RANDOM)
        return false;
    return strspn(s + n, id_alphabet) == ID_RANDOM;
}

bool object_id_is(const char *s)
{
    return id_has_prefix(s, "ws-") || id_has_prefix(s, "snap-");
}

bool object_name_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789", rest[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(name);

    if (n == 0 || n > OBJECT_NAME_MAX || !strchr(first, name[0]) || strspn(name, rest) != n)
        return false;
    return !object_id_is(name);
}

int object_new_id(const char *prefix, char out[ID_MAX])
{
    uint8_t random[ID_RANDOM];
    size_t n = strlen(prefix);

    if (n + ID_RANDOM >= ID_MAX)
        return -EINVAL;
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return -EIO;
    memcpy(out, prefix, n);
    for (int i = 0; i < ID_RANDOM; i++)
        out[n + (size_t)i] = id_alphabet[random[i] & 31];
    out[n + ID_RANDOM] = '\0';
    return 0;
}

/* --- codecs --- */

static bool get_version(struct reader *r)
{
    return get_u8(r) == RECORD_VERSION;
}

static int finish(const struct reader *r, bool good)
{
    return good && !r->bad && reader_left(r) == 0 ? 0 : -EUCLEAN;
}

void base_encode(const struct base_rec *r, struct buf *out)
{
    buf_put_u8(out, RECORD_VERSION);
    buf_put_u64(out, r->id);
    buf_put(out, r->root.b, ADDR_BYTES);
    buf_put_u64(out, r->parent);
    buf_put_u64(out, r->layer);
    buf_put_u64(out, r->next_ino);
    buf_put_u64(out, r->inodes);
    buf_put_u64(out, r->units);
}

int base_decode(const uint8_t *p, size_t n, struct base_rec *ret)
{
    struct reader r = reader_of(p, n);
    struct base_rec x = { 0 };
    bool good = get_version(&r);
    const uint8_t *root;

    x.id = get_u64(&r);
    root = get_bytes(&r, ADDR_BYTES);
    if (root)
        memcpy(x.root.b, root, ADDR_BYTES);
    x.parent = get_u64(&r);
    x.layer = get_u64(&r);
    x.next_ino = get_u64(&r);
    x.inodes = get_u64(&r);
    x.units = get_u64(&r);
    /* Either a root, or a parent and a layer. */
    good = good && x.id != 0 && (x.layer ? addr_is_zero(&x.root) && x.parent != 0 : x.parent == 0);
    if (finish(&r, good) < 0)
        return -EUCLEAN;
    *ret = x;
    return 0;
}

static void put_labels(struct buf *out, const struct labels *l)
{
    buf_put_u8(out, (uint8_t)l->count);
    for (uint32_t i = 0; i < l->count; i++) {
        buf_put_str(out, l->l[i].key);
        buf_put_str(out, l->l[i].val);
    }
}

static bool get_labels(struct reader *r, struct labels *ret)
{
    uint32_t n = get_u8(r);

    if (n > LABEL_MAX)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        get_str(r, ret->l[i].key, sizeof ret->l[i].key);
        get_str(r, ret->l[i].val, sizeof ret->l[i].val);
        if (!ret->l[i].key[0])
            return false;
        for (uint32_t j = 0; j < i; j++) {
            if (!strcmp(ret->l[j].key, ret->l[i].key))
                return false;
        }
    }
    ret->count = n;
    return true;
}

static bool snap_id_or_empty(const char *id)
{
    return !id[0] || id_has_prefix(id, "snap-");
}

void ws_rec_encode(const struct ws_rec *r, struct buf *out)
{
    buf_put_u8(out, RECORD_VERSION);
    buf_put_str(out, r->id);
    buf_put_str(out, r->name);
    buf_put_u8(out, (uint8_t)r->kind);
    buf_put_u64(out, r->base);
    buf_put_u64(out, r->live);
    buf_put_u64(out, r->next_ino);
    buf_put_u64(out, r->inodes);
    buf_put_u64(out, r->units);
    buf_put_u64(out, r->quota_bytes);
    buf_put_u64(out, r->quota_inodes);
    buf_put_u64(out, (uint64_t)r->created);
    buf_put_u64(out, r->seq);
    buf_put_str(out, r->parent_snap);
    put_labels(out, &r->labels);
}

int ws_rec_decode(const uint8_t *p, size_t n, struct ws_rec *ret)
{
    struct reader r = reader_of(p, n);
    struct ws_rec x = { 0 };
    bool good = get_version(&r);
    uint8_t kind;

    get_str(&r, x.id, sizeof x.id);
    get_str(&r, x.name, sizeof x.name);
    kind = get_u8(&r);
    x.kind = (enum ws_kind)kind;
    x.base = get_u64(&r);
    x.live = get_u64(&r);
    x.next_ino = get_u64(&r);
    x.inodes = get_u64(&r);
    x.units = get_u64(&r);
    x.quota_bytes = get_u64(&r);
    x.quota_inodes = get_u64(&r);
    x.created = (int64_t)get_u64(&r);
    x.seq = get_u64(&r);
    get_str(&r, x.parent_snap, sizeof x.parent_snap);
    good = good && !r.bad && get_labels(&r, &x.labels);
    good = good && id_has_prefix(x.id, "ws-") && object_name_valid(x.name) && kind >= WS_BARE && kind <= WS_HOST;
    good = good && x.base && x.live && snap_id_or_empty(x.parent_snap);
    if (finish(&r, good) < 0)
        return -EUCLEAN;
    *ret = x;
    return 0;
}

void snap_rec_encode(const struct snap_rec *r, struct buf *out)
{
    buf_put_u8(out, r->merged_count ? MERGE_VERSION : RECORD_VERSION);
    buf_put_str(out, r->id);
    buf_put_str(out, r->name);
    buf_put_str(out, r->ws_id);
    buf_put_str(out, r->ws_name);
    buf_put_str(out, r->parent);
    buf_put_u64(out, r->base);
    buf_put_u64(out, r->seq);
    buf_put_u64(out, (uint64_t)r->created);
    buf_put_u8(out, (uint8_t)r->cause);
    buf_put_u8(out, (uint8_t)r->kind);
    buf_put_str(out, r->message);
    put_labels(out, &r->labels);
    if (r->merged_count)
        buf_put_u8(out, (uint8_t)r->merged_count);
    for (uint32_t k = 0; k < r->merged_count; k++)
        buf_put_str(out, r->merged[k]);
}

static bool get_merged(struct reader *r, struct snap_rec *ret)
{
    uint32_t n = get_u8(r);

    if (!n || n > MERGED_MAX)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        get_str(r, ret->merged[i], sizeof ret->merged[i]);
        if (!id_has_prefix(ret->merged[i], "snap-"))
            return false;
    }
    ret->merged_count = n;
    return true;
}

int snap_rec_decode(const uint8_t *p, size_t n, struct snap_rec *ret)
{
    struct reader r = reader_of(p, n);
    struct snap_rec x = { 0 };
    uint8_t version = get_u8(&r), cause, kind;
    bool good = version == RECORD_VERSION || version == MERGE_VERSION;

    get_str(&r, x.id, sizeof x.id);
    get_str(&r, x.name, sizeof x.name);
    get_str(&r, x.ws_id, sizeof x.ws_id);
    get_str(&r, x.ws_name, sizeof x.ws_name);
    get_str(&r, x.parent, sizeof x.parent);
    x.base = get_u64(&r);
    x.seq = get_u64(&r);
    x.created = (int64_t)get_u64(&r);
    cause = get_u8(&r);
    x.cause = (enum snap_cause)cause;
    kind = get_u8(&r);
    x.kind = (enum ws_kind)kind;
    get_str(&r, x.message, sizeof x.message);
    good = good && !r.bad && get_labels(&r, &x.labels) && (version == RECORD_VERSION || get_merged(&r, &x));
    good = good && id_has_prefix(x.id, "snap-") && (!x.name[0] || object_name_valid(x.name)) && id_has_prefix(x.ws_id, "ws-") &&
           object_name_valid(x.ws_name) && snap_id_or_empty(x.parent) && x.base && cause >= SNAP_USER && cause <= SNAP_MERGE && kind <= WS_HOST;
    if (finish(&r, good) < 0)
        return -EUCLEAN;
    *ret = x;
    return 0;
}

