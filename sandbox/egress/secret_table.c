/* The tables of secrets and of other sealed things, and their files. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/egress/durable.h"
#include "sandbox/egress/secret_private.h"

void secret_free(struct secret *x)
{
    if (!x)
        return;
    free(x->sealed);
    json_decref(x->meta);
    free(x);
}

struct secret **secret_find(struct secret **table, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(table[i]->name, name))
            return &table[i];
    return NULL;
}

struct loading { struct secrets *s; int dir; const char *kind; };

/* A field that is not known may be a bound of a newer coppice: the secret is not used without it (A26). */
static bool meta_ok(json_t *meta)
{
    json_t *hosts = NULL, *x;
    json_int_t time;
    size_t i;
    int plain;

    if (json_unpack_ex(meta, NULL, JSON_STRICT, "{s:b, s:I, s:I, s?o}", "plain_http", &plain, "created", &time, "updated", &time, "hosts", &hosts) || (hosts && !json_array_size(hosts)))
        return false;
    json_array_foreach (hosts, i, x)
        if (!json_is_string(x) || pattern_check(json_string_value(x)))
            return false;
    return true;
}

/* Takes sealed. It is in the table, usable or not; NULL: no memory. */
static struct secret *secret_of(struct secrets *s, const char *kind, const char *name, uint8_t *sealed, size_t n)
{
    struct secret *x = mem_zalloc(sizeof *x);
    const char *meta = NULL;
    char *value = NULL;
    size_t meta_n = 0, value_n = 0;

    if (!x) {
        free(sealed);
        return NULL;
    }
    memcpy(x->name, name, strlen(name) + 1);
    x->sealed = sealed;
    x->n = n;
    int e = seal_open(s->key, kind, name, sealed, n, &meta, &meta_n, &value, &value_n);
    if (e == -ENOMEM) {
        secret_free(x);
        return NULL;
    }
    x->usable = !e;
    x->meta = x->usable && meta_n ? json_loadb(meta, meta_n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    secret_wipe(value, value_n);
    x->usable = x->usable && (strcmp(kind, SECRET_KIND) || meta_ok(x->meta));
    if (!x->meta)
        x->meta = json_object();
    return x;
}

static int load_one(void *arg, const char *name)
{
    struct loading *l = arg;
    bool secret = !strcmp(l->kind, SECRET_KIND);
    unsigned *count = secret ? &l->s->count : &l->s->blob_count;
    char *p = NULL;
    size_t n = 0;

    if (!secret_name_ok(name) || *count == (secret ? (unsigned)SECRETS_MAX : (unsigned)BLOBS_MAX)) {
        log_warn("egress=secrets step=load what=\"a file that is none of ours\"");
        return 0;
    }
    int e = durable_get(l->dir, name, SEALED_MAX, &p, &n);
    if (e == -ENOMEM)
        return e;
    if (e)
        p = NULL;
    struct secret *x = secret_of(l->s, l->kind, name, (uint8_t *)p, e ? 0 : n);
    if (!x)
        return -ENOMEM;
    if (!x->usable)
        log_error("egress=secrets step=load kind=%s name=%s err=%s text=\"does not open under this key; it is kept, and not used\"", l->kind, name, errno_name(e ? e : -EBADMSG));
    *(secret ? &l->s->table[*count] : &l->s->blob[*count]) = x;
    ++*count;
    return 0;
}

int secrets_open(int dir_fd, const uint8_t key[SECRET_KEY_BYTES], struct secrets **ret)
{
    struct secrets *s = mem_zalloc(sizeof *s);

    if (!s)
        return -ENOMEM;
    s->dir = s->blobs = -1;
    pthread_mutex_init(&s->writing, NULL);
    pthread_rwlock_init(&s->lock, NULL);
    int e = seal_key_new(key, &s->key);
    if (!e && dir_fd >= 0) {
        s->dir = durable_dir(dir_fd, "secret");
        s->blobs = durable_dir(dir_fd, "sealed");
        e = s->dir < 0 ? s->dir : s->blobs < 0 ? s->blobs : 0;
        if (!e)
            e = durable_each(s->dir, load_one, &(struct loading){ s, s->dir, SECRET_KIND });
        if (!e)
            e = durable_each(s->blobs, load_one, &(struct loading){ s, s->blobs, BLOB_KIND });
    }
    if (e) {
        secrets_free(s);
        return e;
    }
    *ret = s;
    return 0;
}

void secrets_free(struct secrets *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->count; i++)
        secret_free(s->table[i]);
    for (unsigned i = 0; i < s->blob_count; i++)
        secret_free(s->blob[i]);
    seal_key_free(s->key);
    if (s->dir >= 0)
        close(s->dir);
    if (s->blobs >= 0)
        close(s->blobs);
    pthread_mutex_destroy(&s->writing);
    pthread_rwlock_destroy(&s->lock);
    free(s);
}

int secret_replace(struct secrets *s, const char *kind, const char *name, json_t *meta, const void *p, size_t n)
{
    bool secret = !strcmp(kind, SECRET_KIND);
    struct secret **table = secret ? s->table : s->blob, **at = secret_find(table, secret ? s->count : s->blob_count, name), *old = NULL;
    unsigned *count = secret ? &s->count : &s->blob_count;
    _cleanup_free_ char *text = meta ? json_dumps(meta, JSON_COMPACT) : NULL;
    uint8_t *sealed = NULL;
    size_t sealed_n;

    if (!at && *count == (secret ? (unsigned)SECRETS_MAX : (unsigned)BLOBS_MAX))
        return -EDQUOT;
    if (meta && !text)
        return -ENOMEM;
    int e = seal_close(s->key, kind, name, text, text ? strlen(text) : 0, p, n, &sealed, &sealed_n);
    if (e)
        return e;
    struct secret *x = secret_of(s, kind, name, sealed, sealed_n);
    if (!x)
        return -ENOMEM;
    e = s->dir < 0 ? 0 : durable_put(secret ? s->dir : s->blobs, name, x->sealed, x->n);
    if (e) {
        secret_free(x);
        return e;
    }
    pthread_rwlock_wrlock(&s->lock);
    if (at)
        old = *at;
    else
        at = &table[(*count)++];
    *at = x;
    atomic_fetch_add(&s->generation, 1);
    pthread_rwlock_unlock(&s->lock);
    secret_free(old);
    return 0;
}
