/* The records of CF_OBJECT on disk: keys, put, get, delete, each. Codecs are in object.c. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/wire.h"
#include "fs/meta.h"
#include "fs/object.h"

enum { RECORD_MAX = 8192, TEXT_MAX = OBJECT_NAME_MAX + 1 };

struct object_key { uint8_t b[2 + 2 * TEXT_MAX]; size_t len; };

/* A text longer than any name or id is cut one byte late, so that its key is no object's. */
static void key_add_text(struct object_key *k, const char *text)
{
    size_t n = strlen(text);

    if (n > TEXT_MAX)
        n = TEXT_MAX;
    memcpy(k->b + k->len, text, n);
    k->len += n;
}

static struct object_key key_of_text(char kind, const char *text)
{
    struct object_key k = { .b = { (uint8_t)kind }, .len = 1 };

    key_add_text(&k, text);
    return k;
}

static struct object_key key_of_base(uint64_t id)
{
    struct object_key k = { .b = { 'b' }, .len = 9 };

    put_be64(k.b + 1, id);
    return k;
}

static struct object_key key_of_snap_name(const char *ws_id, const char *name)
{
    struct object_key k = key_of_text('m', ws_id);

    k.b[k.len++] = 0;
    key_add_text(&k, name);
    return k;
}

/* A buffer on the stack that the longest record fits into: encoding into it cannot fail. */
#define RECORD_BUF(name) uint8_t name##_bytes[RECORD_MAX]; struct buf name = { .data = name##_bytes, .cap = RECORD_MAX }
_Static_assert(2 * (4 + OBJECT_NAME_MAX) + 3 * (2 + ID_MAX) + 128 + MESSAGE_MAX + LABEL_MAX * (4 + LABEL_KEY_MAX + LABEL_VAL_MAX) < RECORD_MAX, "");

static void put_record(struct batch *b, const struct object_key *k, const struct buf *rec)
{
    batch_put(b, CF_OBJECT, k->b, k->len, rec->data, rec->len);
}

void base_put(struct batch *b, const struct base_rec *r)
{
    struct object_key k = key_of_base(r->id);
    RECORD_BUF(rec);

    base_encode(r, &rec);
    put_record(b, &k, &rec);
}

void ws_rec_put(struct batch *b, const struct ws_rec *r)
{
    struct object_key k = key_of_text('w', r->id);
    RECORD_BUF(rec);

    ws_rec_encode(r, &rec);
    put_record(b, &k, &rec);
}

void snap_rec_put(struct batch *b, const struct snap_rec *r)
{
    struct object_key k = key_of_text('s', r->id);
    RECORD_BUF(rec);

    snap_rec_encode(r, &rec);
    put_record(b, &k, &rec);
    batch_note_snaps(b);
}

static int get_record(struct meta *m, const struct object_key *k, uint8_t **ret, size_t *ret_len)
{
    return meta_get(m, CF_OBJECT, k->b, k->len, ret, ret_len);
}

int base_get(struct meta *m, uint64_t id, struct base_rec *ret)
{
    struct object_key k = key_of_base(id);
    _cleanup_free_ uint8_t *val = NULL;
    struct base_rec rec;
    size_t n;
    int r = get_record(m, &k, &val, &n);

    if (r < 0)
        return r;
    r = base_decode(val, n, &rec);
    if (r < 0 || rec.id != id)
        return -EUCLEAN;
    *ret = rec;
    return 0;
}

int ws_rec_get(struct meta *m, const char *id, struct ws_rec *ret)
{
    struct object_key k = key_of_text('w', id);
    _cleanup_free_ uint8_t *val = NULL;
    struct ws_rec rec;
    size_t n;
    int r = get_record(m, &k, &val, &n);

    if (r < 0)
        return r;
    r = ws_rec_decode(val, n, &rec);
    if (r < 0 || strcmp(rec.id, id) != 0)
        return -EUCLEAN;
    *ret = rec;
    return 0;
}

int snap_rec_get(struct meta *m, const char *id, struct snap_rec *ret)
{
    struct object_key k = key_of_text('s', id);
    _cleanup_free_ uint8_t *val = NULL;
    struct snap_rec rec;
    size_t n;
    int r = get_record(m, &k, &val, &n);

    if (r < 0)
        return r;
    r = snap_rec_decode(val, n, &rec);
    if (r < 0 || strcmp(rec.id, id) != 0)
        return -EUCLEAN;
    *ret = rec;
    return 0;
}

static void delete_record(struct batch *b, struct object_key k)
{
    batch_delete(b, CF_OBJECT, k.b, k.len);
}

void base_delete(struct batch *b, uint64_t id)
{
    delete_record(b, key_of_base(id));
}

void ws_rec_delete(struct batch *b, const char *id)
{
    delete_record(b, key_of_text('w', id));
}

void snap_rec_delete(struct batch *b, const char *id)
{
    delete_record(b, key_of_text('s', id));
    batch_note_snaps(b);
}

/* Calls one() with the value of every key that starts with kind. */
static int each_record(struct meta *m, char kind, int (*one)(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *p, size_t n), void *ctx)
{
    struct meta_iter *it = meta_iter_new(m, CF_OBJECT);
    int r = 0;

    if (!it)
        return -ENOMEM;
    for (meta_iter_seek(it, &kind, 1); r == 0 && meta_iter_valid(it); meta_iter_next(it)) {
        size_t key_len, n;
        const uint8_t *key = meta_iter_key(it, &key_len), *val = meta_iter_val(it, &n);

        if (key[0] != (uint8_t)kind)
            break;
        r = one(ctx, key, key_len, val, n);
    }
    if (r == 0)
        r = meta_iter_err(it);
    meta_iter_free(it);
    return r;
}

struct base_ctx { int (*fn)(void *arg, const struct base_rec *r); void *arg; };

static int each_base(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *p, size_t n)
{
    struct base_ctx *c = ctx;
    struct base_rec rec;

    if (base_decode(p, n, &rec) < 0 || key_len != 9 || be64(key + 1) != rec.id)
        return -EUCLEAN;
    return c->fn(c->arg, &rec);
}

int base_each(struct meta *m, int (*fn)(void *arg, const struct base_rec *r), void *arg)
{
    struct base_ctx c = { fn, arg };

    return each_record(m, 'b', each_base, &c);
}

static bool key_is_text(const uint8_t *key, size_t key_len, const char *text)
{
    return key_len == 1 + strlen(text) && !memcmp(key + 1, text, key_len - 1);
}

/* naming: NULL, or an id: records without these bytes are passed over unread. */
static bool passes(const char *naming, const uint8_t *p, size_t n)
{
    return !naming || memmem(p, n, naming, strlen(naming));
}

struct ws_ctx { int (*fn)(void *arg, const struct ws_rec *r); void *arg; const char *naming; };

static int each_ws(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *p, size_t n)
{
    struct ws_ctx *c = ctx;
    struct ws_rec rec;

    if (!passes(c->naming, p, n))
        return 0;
    if (ws_rec_decode(p, n, &rec) < 0 || !key_is_text(key, key_len, rec.id))
        return -EUCLEAN;
    return c->fn(c->arg, &rec);
}

int ws_rec_each(struct meta *m, int (*fn)(void *arg, const struct ws_rec *r), void *arg)
{
    struct ws_ctx c = { fn, arg, NULL };

    return each_record(m, 'w', each_ws, &c);
}

int ws_rec_each_naming(struct meta *m, const char *id, int (*fn)(void *arg, const struct ws_rec *r), void *arg)
{
    struct ws_ctx c = { fn, arg, id };

    return each_record(m, 'w', each_ws, &c);
}

struct snap_ctx { int (*fn)(void *arg, const struct snap_rec *r); void *arg; const char *naming; };

static int each_snap(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *p, size_t n)
{
    struct snap_ctx *c = ctx;
    struct snap_rec rec;

    if (!passes(c->naming, p, n))
        return 0;
    if (snap_rec_decode(p, n, &rec) < 0 || !key_is_text(key, key_len, rec.id))
        return -EUCLEAN;
    return c->fn(c->arg, &rec);
}

int snap_rec_each(struct meta *m, int (*fn)(void *arg, const struct snap_rec *r), void *arg)
{
    struct snap_ctx c = { fn, arg, NULL };

    return each_record(m, 's', each_snap, &c);
}

int snap_rec_each_naming(struct meta *m, const char *id, int (*fn)(void *arg, const struct snap_rec *r), void *arg)
{
    struct snap_ctx c = { fn, arg, id };

    return each_record(m, 's', each_snap, &c);
}

struct tally { uint64_t n, max; };

static int count_one(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *p, size_t n)
{
    struct tally *t = ctx;

    return ++t->n >= t->max;
}

uint64_t object_count(struct meta *m, uint64_t max)
{
    struct tally t = { .max = max };

    if (each_record(m, 'w', count_one, &t) == 0)
        each_record(m, 's', count_one, &t);
    return t.n;
}

/* --- names: the value is the id as text --- */

static int get_name(struct meta *m, const struct object_key *k, char ret_id[ID_MAX])
{
    _cleanup_free_ uint8_t *val = NULL;
    char id[ID_MAX] = "";
    size_t n;
    int r = get_record(m, k, &val, &n);

    if (r < 0)
        return r;
    if (n >= sizeof id)
        return -EUCLEAN;
    memcpy(id, val, n);
    if (strlen(id) != n || !object_id_is(id))
        return -EUCLEAN;
    memcpy(ret_id, id, ID_MAX);
    return 0;
}

int ws_name_get(struct meta *m, const char *name, char ret_id[ID_MAX])
{
    struct object_key k = key_of_text('n', name);

    return get_name(m, &k, ret_id);
}

void ws_name_put(struct batch *b, const char *name, const char *id)
{
    struct object_key k = key_of_text('n', name);

    batch_put(b, CF_OBJECT, k.b, k.len, id, strlen(id));
}

void ws_name_delete(struct batch *b, const char *name)
{
    delete_record(b, key_of_text('n', name));
}

int snap_name_get(struct meta *m, const char *ws_id, const char *name, char ret_id[ID_MAX])
{
    struct object_key k = key_of_snap_name(ws_id, name);

    return get_name(m, &k, ret_id);
}

void snap_name_put(struct batch *b, const char *ws_id, const char *name, const char *id)
{
    struct object_key k = key_of_snap_name(ws_id, name);

    batch_put(b, CF_OBJECT, k.b, k.len, id, strlen(id));
}

void snap_name_delete(struct batch *b, const char *ws_id, const char *name)
{
    delete_record(b, key_of_snap_name(ws_id, name));
}

struct name_ctx { int (*fn)(void *arg, const char *ws_id, const char *name, const char *id); void *arg; };

/* Key and value as C strings; false if they do not fit or hold what no name does. */
static bool take_text(const uint8_t *p, size_t n, char *out, size_t out_size)
{
    if (n >= out_size || memchr(p, 0, n))
        return false;
    memcpy(out, p, n);
    out[n] = '\0';
    return true;
}

static int each_name(void *ctx, const uint8_t *key, size_t key_len, const uint8_t *p, size_t n)
{
    struct name_ctx *c = ctx;
    char ws_id[ID_MAX] = "", name[OBJECT_NAME_MAX + 1], id[ID_MAX];
    const uint8_t *nul = memchr(key, 0, key_len), *rest = key + 1;

    if (nul && !take_text(rest, (size_t)(nul - rest), ws_id, sizeof ws_id))
        return -EUCLEAN;
    if (nul)
        rest = nul + 1;
    if ((key[0] == 'm') != (nul != NULL) || !take_text(rest, (size_t)(key + key_len - rest), name, sizeof name) || !take_text(p, n, id, sizeof id))
        return -EUCLEAN;
    return c->fn(c->arg, ws_id, name, id);
}

int snap_name_each(struct meta *m, int (*fn)(void *arg, const char *ws_id, const char *name, const char *id), void *arg)
{
    struct name_ctx c = { fn, arg };

    return each_record(m, 'm', each_name, &c);
}

int name_each(struct meta *m, int (*fn)(void *arg, const char *ws_id, const char *name, const char *id), void *arg)
{
    struct name_ctx c = { fn, arg };
    int r = each_record(m, 'n', each_name, &c);

    return r == 0 ? each_record(m, 'm', each_name, &c) : r;
}
