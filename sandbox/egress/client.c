#include "sandbox/egress/client.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/wire.h"
#include "sandbox/egress/egress_box.h"

DEFINE_CLEANUP(json_t *, json_decref)
enum { LOG_BATCH = 100, SEND_S = 30 };

struct stream_of { json_int_t tag; int wake_fd; bool cancelled; };
struct client {
    struct egress *e;
    int fd;
    atomic_uint refs;                                 /* its thread and its streams */
    pthread_mutex_t write_lock;                       /* one message at a time; held across send(), which gives up after SEND_S */
    pthread_mutex_t lock;                             /* guards streams */
    struct stream_of streams[CLIENT_STREAMS_MAX];     /* tag 0: free */
};
struct log_job { struct client *c; json_int_t tag; char box[LAUNCH_NAME] /* "": all */; uint64_t since; bool follow; int wake_fd; };

static void client_unref(struct client *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    close(c->fd);
    atomic_fetch_sub(&c->e->clients, 1);
    free(c);
}

/* Takes o. */
static int say(struct client *c, json_int_t tag, json_t *o)
{
    _cleanup_(json_decref_p) json_t *own = o;

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

/* --- log streams --- */

static bool is_cancelled(struct client *c, json_int_t tag)
{
    bool gone = true;

    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < CLIENT_STREAMS_MAX; i++)
        if (c->streams[i].tag == tag)
            gone = c->streams[i].cancelled;
    pthread_mutex_unlock(&c->lock);
    return gone;
}

static int send_events(struct log_job *j, bool *ret_more)
{
    uint64_t next = j->since;
    bool lost = false;
    size_t i;
    json_t *x;
    _cleanup_(json_decref_p) json_t *all = audit_read(j->c->e->audit, j->box[0] ? j->box : NULL, j->since, LOG_BATCH, &next, &lost);

    if (!all)
        return -ENOMEM;
    *ret_more = json_array_size(all) == LOG_BATCH;
    int r = lost ? say(j->c, j->tag, json_pack("{s:{s:b}}", "event", "lost", true)) : 0;
    json_array_foreach(all, i, x)
        if (!r)
            r = say(j->c, j->tag, json_pack("{s:O}", "event", x));
    j->since = next;
    return r;
}

static void run_log(struct log_job *j)
{
    bool more = true;
    uint64_t count;

    while (more || j->follow) {
        if (is_cancelled(j->c, j->tag) || send_events(j, &more))
            break;
        if (more || !j->follow)
            continue;
        struct pollfd p[2] = { { j->wake_fd, POLLIN, 0 }, { j->c->fd, 0, 0 } };
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[1].revents || (p[0].revents && read(j->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN))
            break;
    }
    say(j->c, j->tag, json_pack("{s:{s:I}}", "ok", "next", (json_int_t)j->since));
}

static void end_stream(struct client *c, json_int_t tag)
{
    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < CLIENT_STREAMS_MAX; i++)
        if (c->streams[i].tag == tag)
            c->streams[i] = (struct stream_of){ 0 };
    pthread_mutex_unlock(&c->lock);
}

static void *log_thread(void *arg)
{
    struct log_job *j = arg;

    run_log(j);
    if (j->follow)
        audit_unwatch(j->c->e->audit, j->box[0] ? j->box : NULL, j->wake_fd);
    end_stream(j->c, j->tag);                         /* nobody writes to wake_fd after that */
    close(j->wake_fd);
    client_unref(j->c);
    free(j);
    return NULL;
}

static int add_stream(struct client *c, json_int_t tag, int wake_fd)
{
    struct stream_of *free_one = NULL;

    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < CLIENT_STREAMS_MAX; i++)
        if (!c->streams[i].tag)
            free_one = &c->streams[i];
    if (free_one)
        *free_one = (struct stream_of){ tag, wake_fd, false };
    pthread_mutex_unlock(&c->lock);
    return free_one ? 0 : -EMFILE;
}

static int start_thread(void *(*run)(void *), void *arg)
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

static json_t *do_log(struct client *c, json_t *req, json_int_t tag)
{
    struct log_job *j = mem_zalloc(sizeof(*j));
    const char *box = json_string_value(json_object_get(req, "box"));

    if (!j || (box && strlen(box) >= sizeof(j->box))) {
        free(j);
        return state_error("invalid_request", NULL, "this is no box's id");
    }
    *j = (struct log_job){ .c = c, .tag = tag, .since = (uint64_t)json_integer_value(json_object_get(req, "since")), .follow = json_is_true(json_object_get(req, "follow")),
                           .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) };
    memcpy(j->box, box ? box : "", box ? strlen(box) : 0);
    int r = j->wake_fd < 0 ? -errno : add_stream(c, tag, j->wake_fd);
    bool added = !r, watched = false;
    if (!r && j->follow) {
        r = audit_watch(c->e->audit, j->box[0] ? j->box : NULL, j->wake_fd);
        watched = !r;
    }
    atomic_fetch_add(&c->refs, 1);
    if (!r)
        r = start_thread(log_thread, j);
    if (!r)
        return NULL;
    if (watched)
        audit_unwatch(c->e->audit, j->box[0] ? j->box : NULL, j->wake_fd);
    if (added)
        end_stream(c, tag);
    if (j->wake_fd >= 0)
        close(j->wake_fd);
    free(j);
    client_unref(c);
    return state_error("too_many", NULL, "too many log streams");
}

static json_t *do_cancel(struct client *c, json_t *req)
{
    json_int_t tag = json_integer_value(json_object_get(req, "of"));
    uint64_t one = 1;

    pthread_mutex_lock(&c->lock);
    for (unsigned i = 0; i < CLIENT_STREAMS_MAX; i++)
        if (tag && c->streams[i].tag == tag) {
            c->streams[i].cancelled = true;
            if (write(c->streams[i].wake_fd, &one, sizeof(one)) < 0)
                log_warn("step=cancel err=%s", errno_name(errno));
        }
    pthread_mutex_unlock(&c->lock);
    return json_pack("{s:{}}", "ok");
}

/* --- the other requests --- */

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
        return do_log(c, req, tag);
    if (!strcmp(op, "cancel"))
        return do_cancel(c, req);
    if (!strcmp(op, "usage"))
        return do_usage(c->e, req);
    if (!strcmp(op, "status"))
        return do_status(c->e);
    uint64_t rules = state_generation(c->e->state), secrets = secret_generation(c->e->secrets);
    int r = state_op(c->e->state, req, &ret);
    if (r == 1)
        return state_error("invalid_request", NULL, "unknown op");
    *ret_memory = r < 0;
    if (!strcmp(op, "forget") && ret && json_object_get(ret, "ok") && json_is_string(json_object_get(req, "box")))
        audit_forget(c->e->audit, json_string_value(json_object_get(req, "box")));
    bool new_secrets = secret_generation(c->e->secrets) != secrets;
    if (state_generation(c->e->state) != rules || new_secrets)
        egress_recheck(c->e, new_secrets);            /* before it is answered: then nothing is open that is not allowed */
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
    return a ? say(c, tag, a) : 0;
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
    int r = start_thread(client_thread, c);
    if (r)
        client_unref(c);
    return r;
}
