/* Secrets. In memory each is what it is on the disk: sealed. It is opened for the moment of its use.
 *
 * 1. A change is on the disk before it is in memory, and in memory before it is answered. One writer at a time (`writing`); readers hold `lock` for reading and never wait for the disk.
 * 2. A file that does not open stays where it is, is listed as not usable, and gives -EBADMSG. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include "base/clock.h"
#include "sandbox/egress/durable.h"
#include "sandbox/egress/secret_private.h"

void secret_wipe(char *value, size_t n)
{
    if (value)
        OPENSSL_cleanse(value, n);
    free(value);
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
    struct secret **old = secret_find(s->table, s->count, name);
    json_int_t now = (json_int_t)seconds(), created = old ? json_integer_value(json_object_get((*old)->meta, "created")) : 0;
    json_t *meta = json_pack("{s:b, s:I, s:I}", "plain_http", plain_http, "created", created ? created : now, "updated", now);

    if (meta && hosts && json_object_set_new(meta, "hosts", json_deep_copy(hosts))) {
        json_decref(meta);
        return NULL;
    }
    return meta;
}

int secret_put(struct secrets *s, const char *name, const char *value, size_t n, json_t *hosts, bool plain_http, const char **why)
{
    *why = put_why(name, value, n, hosts);
    if (*why)
        return -EINVAL;
    pthread_mutex_lock(&s->writing);
    json_t *meta = meta_of(s, name, hosts, plain_http);
    int e = meta ? secret_replace(s, SECRET_KIND, name, meta, value, n) : -ENOMEM;
    pthread_mutex_unlock(&s->writing);
    json_decref(meta);
    return e;
}

int secret_delete(struct secrets *s, const char *name)
{
    struct secret *old = NULL;

    pthread_mutex_lock(&s->writing);
    struct secret **at = secret_find(s->table, s->count, name);
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
    bool is = secret_find(s->table, s->count, name);
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
    struct secret **at = secret ? secret_find(s->table, s->count, name) : secret_find(s->blob, s->blob_count, name);
    int e = !at ? -ENOENT : !(*at)->usable ? -EBADMSG : a && !bound_to((*at)->meta, a) ? -EPERM : 0;
    if (!e)
        e = seal_open(s->key, secret ? SECRET_KIND : BLOB_KIND, name, (*at)->sealed, (*at)->n, &meta, &meta_n, ret, ret_n);
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
    int e = secret_replace(s, BLOB_KIND, name, NULL, p, n);
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
