/* Secrets. In memory each is what it is on the disk: sealed. It is opened for the moment of its use.
 *
 * 1. A change is on the disk before it is in memory, and in memory before it is answered. One writer at a time (`writing`); readers hold `lock` for reading and never wait for the disk.
 * 2. A file that does not open stays where it is, is listed as not usable, and gives -EBADMSG. */
#include "sandbox/egress/secret.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "sandbox/egress/durable.h"
#include "sandbox/egress/policy_private.h"
#include "sandbox/egress/seal.h"

#define KIND "secret"
enum { SECRET_HOSTS_MAX = 64, SEALED_MAX = SECRET_VALUE_MAX + SEAL_META_MAX + SEAL_MORE };
struct secret { char name[65]; uint8_t *sealed; size_t n; json_t *meta /* {hosts, plain_http, created, updated} */; bool usable; };
struct secrets {
    int dir, blobs;                       /* -1: in memory only */
    struct seal_key *key;
    pthread_mutex_t writing;              /* before `lock`; held across the disk */
    pthread_rwlock_t lock;                /* guards the tables; nothing is called under it but OpenSSL */
    struct secret *table[SECRETS_MAX];    /* by name */
    unsigned count;
    struct secret *blob[16];              /* of secrets_seal: a handful */
    unsigned blob_count;
    atomic_uint_fast64_t generation;
};

static void secret_free(struct secret *x)
{
    if (!x)
        return;
    free(x->sealed);
    json_decref(x->meta);
    free(x);
}

static struct secret **find(struct secret **table, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++)
        if (!strcmp(table[i]->name, name))
            return &table[i];
    return NULL;
}

void secret_wipe(char *value, size_t n)
{
    if (value)
        OPENSSL_cleanse(value, n);
    free(value);
}

struct loading { struct secrets *s; int dir; const char *kind; };

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
    if (!x->meta)
        x->meta = json_object();
    return x;
}

static int load_one(void *arg, const char *name)
{
    struct loading *l = arg;
    bool secret = !strcmp(l->kind, KIND);
    unsigned *count = secret ? &l->s->count : &l->s->blob_count;
    char *p = NULL;
    size_t n = 0;

    if (!secret_name_ok(name) || *count == (secret ? (unsigned)SECRETS_MAX : 16u)) {
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
            e = durable_each(s->dir, load_one, &(struct loading){ s, s->dir, KIND });
        if (!e)
            e = durable_each(s->blobs, load_one, &(struct loading){ s, s->blobs, "sealed" });
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

static const char *put_why(const char *name, const char *value, size_t n, json_t *hosts)
{
    if (!secret_name_ok(name))
        return "the name of a secret is of letters, digits, \"_\", \"-\", \".\"; 64 at most";
    if (!n || n > SECRET_VALUE_MAX)
        return "the value is of 1 byte to 64 KiB";
    if (!text_plain(value, n))
        return "the value must be printable ASCII: no line break, no NUL, no other control byte, nothing beyond ASCII";
    if (hosts && (!json_is_array(hosts) || !json_array_size(hosts) || json_array_size(hosts) > SECRET_HOSTS_MAX))
        return "hosts must be an array of 1 to 64 host patterns";
    for (size_t i = 0; hosts && i < json_array_size(hosts); i++) {
        const char *p = json_string_value(json_array_get(hosts, i));
        if (!p || pattern_check(p))
            return "hosts must be host patterns, as in rules";
    }
    return NULL;
}

static uint64_t seconds(void)
{
    struct timespec t;
    clock_real(&t);
    return (uint64_t)t.tv_sec;
}

static json_t *meta_of(struct secrets *s, const char *name, json_t *hosts, bool plain_http)
{
    struct secret **old = find(s->table, s->count, name);
    json_int_t now = (json_int_t)seconds(), created = old ? json_integer_value(json_object_get((*old)->meta, "created")) : 0;
    json_t *meta = json_pack("{s:b, s:I, s:I}", "plain_http", plain_http, "created", created ? created : now, "updated", now);

    if (meta && hosts && json_object_set_new(meta, "hosts", json_deep_copy(hosts))) {
        json_decref(meta);
        return NULL;
    }
    return meta;
}

/* The new one is sealed and on the disk, then in the table. With `writing` held. Takes nothing. */
static int replace(struct secrets *s, const char *kind, const char *name, json_t *meta, const void *p, size_t n)
{
    bool secret = !strcmp(kind, KIND);
    struct secret **table = secret ? s->table : s->blob, **at = find(table, secret ? s->count : s->blob_count, name), *old = NULL;
    unsigned *count = secret ? &s->count : &s->blob_count;
    _cleanup_free_ char *text = meta ? json_dumps(meta, JSON_COMPACT) : NULL;
    uint8_t *sealed = NULL;
    size_t sealed_n;

    if (!at && *count == (secret ? (unsigned)SECRETS_MAX : 16u))
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

int secret_put(struct secrets *s, const char *name, const char *value, size_t n, json_t *hosts, bool plain_http, const char **why)
{
    *why = put_why(name, value, n, hosts);
    if (*why)
        return -EINVAL;
    pthread_mutex_lock(&s->writing);
    json_t *meta = meta_of(s, name, hosts, plain_http);
    int e = meta ? replace(s, KIND, name, meta, value, n) : -ENOMEM;
    pthread_mutex_unlock(&s->writing);
    json_decref(meta);
    return e;
}

int secret_delete(struct secrets *s, const char *name)
{
    struct secret *old = NULL;

    pthread_mutex_lock(&s->writing);
    struct secret **at = find(s->table, s->count, name);
    int e = !at ? -ENOENT : s->dir < 0 ? 0 : durable_remove(s->dir, name);
    if (e == -ENOENT && at)
        e = 0;
    if (!e) {
        pthread_rwlock_wrlock(&s->lock);
        old = *at;
        *at = s->table[--s->count];
        atomic_fetch_add(&s->generation, 1);
        pthread_rwlock_unlock(&s->lock);
    }
    pthread_mutex_unlock(&s->writing);
    secret_free(old);
    return e;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct secret *const *)a)->name, (*(struct secret *const *)b)->name);
}

json_t *secret_list(struct secrets *s)
{
    json_t *list = json_array();
    struct secret *sorted[SECRETS_MAX];

    pthread_rwlock_rdlock(&s->lock);
    unsigned n = s->count;
    memcpy(sorted, s->table, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_name);
    for (unsigned i = 0; i < n; i++) {
        json_t *x = json_deep_copy(sorted[i]->meta);
        json_object_set_new(x, "name", json_string(sorted[i]->name));
        json_object_set_new(x, "usable", json_boolean(sorted[i]->usable));
        json_array_append_new(list, x);
    }
    pthread_rwlock_unlock(&s->lock);
    return list;
}

bool secret_is(struct secrets *s, const char *name)
{
    pthread_rwlock_rdlock(&s->lock);
    bool is = find(s->table, s->count, name);
    pthread_rwlock_unlock(&s->lock);
    return is;
}

static bool bound_to(const json_t *meta, const struct authority *a)
{
    const json_t *hosts = json_object_get(meta, "hosts");

    if (!a->tls && !json_is_true(json_object_get(meta, "plain_http")))
        return false;
    for (size_t i = 0; hosts && i < json_array_size(hosts); i++)
        if (pattern_matches(json_string_value(json_array_get(hosts, i)), a))
            return true;
    return !hosts;
}

static int open_named(struct secrets *s, bool secret, const char *name, const struct authority *a, char **ret, size_t *ret_n)
{
    const char *meta;
    size_t meta_n;

    pthread_rwlock_rdlock(&s->lock);
    struct secret **at = secret ? find(s->table, s->count, name) : find(s->blob, s->blob_count, name);
    int e = !at ? -ENOENT : !(*at)->usable ? -EBADMSG : a && !bound_to((*at)->meta, a) ? -EPERM : 0;
    if (!e)
        e = seal_open(s->key, secret ? KIND : "sealed", name, (*at)->sealed, (*at)->n, &meta, &meta_n, ret, ret_n);
    pthread_rwlock_unlock(&s->lock);
    return e;
}

int secret_get(struct secrets *s, const char *name, const struct authority *a, char **ret, size_t *ret_n)
{
    return open_named(s, true, name, a, ret, ret_n);
}

uint64_t secret_generation(const struct secrets *s)
{
    return atomic_load(&s->generation);
}

int secrets_seal(struct secrets *s, const char *name, const void *p, size_t n)
{
    if (!secret_name_ok(name))
        return -EINVAL;
    pthread_mutex_lock(&s->writing);
    int e = replace(s, "sealed", name, NULL, p, n);
    pthread_mutex_unlock(&s->writing);
    return e;
}

int secrets_unseal(struct secrets *s, const char *name, void **ret, size_t *ret_n)
{
    char *p = NULL;
    int e = open_named(s, false, name, NULL, &p, ret_n);

    if (!e)
        *ret = p;
    return e;
}
