#include "sandbox/egress/client_private.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/wire.h"
#include "sandbox/egress/egress_box.h"

DEFINE_CLEANUP(json_t *, json_decref)
enum { SEND_S = 30 };

void client_unref(struct client *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    close(c->fd);
    atomic_fetch_sub(&c->e->clients, 1);
    free(c);
}

/* Takes o. */
int client_say(struct client *c, json_int_t tag, json_t *taken)
{
    _cleanup_(json_decref_p) json_t *o = taken;

    if (!o || json_object_set_new(o, "tag", json_integer(tag)))
        return -ENOMEM;
    _cleanup_free_ char *s = json_dumps(o, JSON_COMPACT);
    size_t n = s ? strlen(s) : 0;
    uint8_t len[4];
    if (!s || n > EGRESS_JSON_MAX)
        return s ? -EMSGSIZE : -ENOMEM;
    put_le32(len, (uint32_t)n);
    pthread_mutex_lock(&c->write_lock);
    int r = io_write_full(c->fd, len, sizeof(len));
    if (!r)
        r = io_write_full(c->fd, s, n);
    pthread_mutex_unlock(&c->write_lock);
    if (r)
        shutdown(c->fd, SHUT_RDWR);                   /* half a message was sent, or nobody reads */
    return r;
}

int client_thread_start(void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t t;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES * 2);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int r = -pthread_create(&t, &attr, run, arg);
    pthread_attr_destroy(&attr);
    return r;
}

static json_t *do_usage(struct egress *e, json_t *req)
{
    const char *id = json_string_value(json_object_get(req, "box"));
    struct egress_box *b = id ? egress_box_get(e, id) : NULL;
    json_t *o = json_pack("{s:{s:I, s:I, s:I, s:I, s:I}}", "ok", "requests", (json_int_t)(b ? atomic_load(&b->requests) : 0), "denied", (json_int_t)(b ? atomic_load(&b->denied) : 0), "bytes_up",
                          (json_int_t)(b ? atomic_load(&b->bytes_up) : 0), "bytes_down", (json_int_t)(b ? atomic_load(&b->bytes_down) : 0), "connections",
                          (json_int_t)(b ? atomic_load(&b->accepted) : 0));

    egress_box_unref(b);
    return o;
}

static json_t *do_status(struct egress *e)
{
    pthread_mutex_lock(&e->lock);
    unsigned boxes = e->box_count;
    pthread_mutex_unlock(&e->lock);
    unsigned connections = atomic_load(&e->connections);
    _cleanup_(json_decref_p) json_t *secrets = secret_list(e->secrets);

    return json_pack("{s:{s:I, s:I, s:I, s:I, s:{s:s, s:s, s:s}, s:I, s:s, s:I, s:I}}", "ok", "boxes", (json_int_t)boxes, "known", (json_int_t)state_boxes(e->state), "connections",
                     (json_int_t)connections, "threads", (json_int_t)connections + 1, "ca", "subject", e->ca.subject, "not_after", e->ca.not_after, "sha256", e->ca.sha256, "secrets",
                     (json_int_t)json_array_size(secrets), "key", e->key_life, "resolver", (json_int_t)e->resolver.count, "roots", (json_int_t)e->tls.roots);
}

/* The answer, or NULL: it was or will be given elsewhere. *ret_memory: there was none. */
static json_t *answer(struct client *c, json_t *req, json_int_t tag, bool *ret_memory)
{
    const char *op = json_string_value(json_object_get(req, "op"));
    json_t *ret = NULL;

    if (!op)
        return state_error("invalid_request", NULL, "no op");
    if (!strcmp(op, "log"))
        return client_log(c, req, tag);
    if (!strcmp(op, "cancel"))
        return client_cancel(c, req);
    if (!strcmp(op, "usage"))
        return do_usage(c->e, req);
    if (!strcmp(op, "status"))
        return do_status(c->e);
    const char *name = json_string_value(json_object_get(req, "name"));
    bool known = name && (!strcmp(op, "secret_put") || !strcmp(op, "secret_delete")) && secret_is(c->e->secrets, name);
    uint64_t rules = state_generation(c->e->state), secrets = secret_generation(c->e->secrets);
    int r = state_op(c->e->state, req, &ret);
    if (r == 1)
        return state_error("invalid_request", NULL, "unknown op");
    *ret_memory = r < 0;
    if (!strcmp(op, "forget") && ret && json_object_get(ret, "ok") && json_is_string(json_object_get(req, "box")))
        audit_forget(c->e->audit, json_string_value(json_object_get(req, "box")));
    bool new_secrets = secret_generation(c->e->secrets) != secrets;
    if (state_generation(c->e->state) != rules || new_secrets)
        egress_recheck(c->e, new_secrets && known);            /* before it is answered: then nothing is open that is not allowed */
    return ret;
}

static int one(struct client *c)
{
    uint8_t len[4];

    int r = io_read_full(c->fd, len, sizeof(len));
    if (r)
        return r;
    size_t n = le32(len);
    if (n > EGRESS_JSON_MAX)
        return -EMSGSIZE;
    _cleanup_free_ char *p = mem_alloc(n + 1);
    if (!p)
        return -ENOMEM;
    r = io_read_full(c->fd, p, n);
    _cleanup_(json_decref_p) json_t *req = r ? NULL : json_loadb(p, n, JSON_REJECT_DUPLICATES, NULL);
    explicit_bzero(p, n);                             /* it may have been a secret */
    json_int_t tag = json_integer_value(json_object_get(req, "tag"));
    if (r || tag <= 0)
        return r ? r : -EBADMSG;
    bool memory = false;
    json_t *a = answer(c, req, tag, &memory);
    if (memory)
        a = state_error("internal", NULL, "no memory");
    return a ? client_say(c, tag, a) : 0;
}

static void *client_thread(void *arg)
{
    struct client *c = arg;

    while (!one(c))
        ;
    shutdown(c->fd, SHUT_RDWR);                       /* its streams end too */
    client_unref(c);
    return NULL;
}

int client_start(struct egress *e, int fd)
{
    struct timeval tv = { .tv_sec = SEND_S };

    if (atomic_load(&e->clients) >= CLIENTS_MAX) {
        close(fd);
        return -EMFILE;
    }
    struct client *c = mem_zalloc(sizeof(*c));
    if (!c) {
        close(fd);
        return -ENOMEM;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    c->e = e;
    c->fd = fd;
    atomic_init(&c->refs, 1);
    pthread_mutex_init(&c->write_lock, NULL);
    pthread_mutex_init(&c->lock, NULL);
    atomic_fetch_add(&e->clients, 1);
    int r = client_thread_start(client_thread, c);
    if (r)
        client_unref(c);
    return r;
}
