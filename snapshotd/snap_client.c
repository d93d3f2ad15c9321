#include "snapshotd/snap_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "snapshotd/snap_proto.h"

struct snap_client {
    int sock;
    bool unsent;          /* the last request found the connection broken */
};

static int fail(struct snap_error *e, int err, const char *code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int fail(struct snap_error *e, int err, const char *code, const char *fmt, ...)
{
    va_list ap;

    snprintf(e->code, sizeof(e->code), "%s", code);
    va_start(ap, fmt);
    vsnprintf(e->message, sizeof(e->message), fmt, ap);
    va_end(ap);
    return err;
}

int snap_connect(const char *store, struct snap_client **ret)
{
    _cleanup_close_ int sock = -1;
    int r = snap_socket(store, -1, &sock);

    if (r == -ENOENT && !access(store, F_OK))
        r = -ECONNREFUSED;
    if (r)
        return r;
    return snap_adopt(TAKE_FD(sock), ret);
}

int snap_adopt(int sock, struct snap_client **ret)
{
    struct snap_client *c = mem_zalloc(sizeof(*c));

    if (!c) {
        close(sock);
        return -ENOMEM;
    }
    c->sock = sock;
    *ret = c;
    return 0;
}

bool snap_alive(const struct snap_client *c)
{
    struct pollfd p = { .fd = c->sock, .events = POLLIN };

    /* Between calls nothing is to be read but an end. */
    return poll(&p, 1, 0) == 0;
}

bool snap_unsent(const struct snap_client *c)
{
    return c->unsent;
}

bool snap_repeatable(const json_t *req)
{
    static const char *const verbs[] = { "ping", "list", "show", "log", "mounts", "wait_gone", "stats", "gc", "fsck", "scrub", "label", "auto", "tree" };
    const char *v = json_string_value(json_object_get(req, "verb"));

    for (size_t i = 0; v && i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (!strcmp(v, verbs[i]))
            return true;
    /* It answers with the snapshot that the first try took, unless something was changed since: then one more is no harm. */
    return v && !strcmp(v, "snapshot") && json_is_true(json_object_get(req, "if_changed"));
}

void snap_cut(struct snap_client *c)
{
    if (c)
        shutdown(c->sock, SHUT_RDWR);
}

void snap_close(struct snap_client *c)
{
    if (!c)
        return;
    close(c->sock);
    free(c);
}

static int broken(struct snap_error *e, int r)
{
    if (r == -ENODATA || r == -EPIPE || r == -ECONNRESET)
        return fail(e, r, "disconnected", "snapshotd ended the connection; look into the store's %s", SNAP_LOG);
    return fail(e, r, "disconnected", "talking to snapshotd failed: %s", strerror(-r));
}

int snap_request(struct snap_client *c, json_t *req, const int *fds, unsigned fd_count, struct snap_error *ret_err)
{
    if (!req)
        return fail(ret_err, -EINVAL, "invalid_request", "a name or text is not UTF-8 (or there is no memory for the request)");
    int r = snap_send(c->sock, req, fds, fd_count);
    json_decref(req);
    c->unsent = r == -EPIPE || r == -ECONNRESET;
    if (r == -EMSGSIZE)
        return fail(ret_err, r, "too_big", "the request is larger than %d bytes", SNAP_FRAME_MAX);
    /* A daemon that refuses a connection (busy) says so and closes: its word is still to be read. */
    if (c->unsent)
        return 0;
    return r ? broken(ret_err, r) : 0;
}

static int answer_error(const json_t *e, struct snap_error *ret_err)
{
    const char *code = json_string_value(json_object_get(e, "code")), *text = json_string_value(json_object_get(e, "message"));
    return fail(ret_err, -EREMOTEIO, code ? code : "internal", "%s", text ? text : "snapshotd gave no reason");
}

/* The body of the frame if it is {kind: {...}} alone. */
static json_t *body_of(json_t *msg, const char **ret_kind)
{
    void *it = json_object_size(msg) == 1 ? json_object_iter(msg) : NULL;

    *ret_kind = it ? json_object_iter_key(it) : "";
    return it && json_is_object(json_object_iter_value(it)) ? json_object_iter_value(it) : NULL;
}

/* 1: a part was handled; 0: the end, *ret; negative. */
static int answer_frame(struct snap_client *c, json_t *msg, int *fds, unsigned fd_count, snap_part_fn *fn, void *arg, json_t **ret,
                        struct snap_error *ret_err)
{
    const char *kind;
    json_t *body = body_of(msg, &kind);

    if (!body)
        return fail(ret_err, -EPROTO, "disconnected", "snapshotd sent an answer that is none; is it another version?");
    if (!strcmp(kind, "ok")) {
        if (ret)
            *ret = json_incref(body);
        return 0;
    }
    if (!strcmp(kind, "error"))
        return answer_error(body, ret_err);
    int r = fn ? fn(arg, c, kind, body, fds, fd_count) : 0;
    if (r < 0)
        return ret_err->message[0] ? r : fail(ret_err, r, "interrupted", "given up: %s", strerror(-r));
    return 1;
}

int snap_answer(struct snap_client *c, snap_part_fn *fn, void *arg, json_t **ret, struct snap_error *ret_err)
{
    int r;

    ret_err->message[0] = ret_err->code[0] = 0;
    do {
        json_t *msg = NULL;
        int fds[SNAP_FDS_MAX];
        unsigned n = 0;
        r = snap_recv(c->sock, &msg, fds, &n);
        if (r)
            return broken(ret_err, r);
        r = answer_frame(c, msg, fds, n, fn, arg, ret, ret_err);
        json_decref(msg);
        for (unsigned i = 0; i < n; i++)
            close_p(&fds[i]);
    } while (r == 1);
    return r;
}

int snap_call(struct snap_client *c, json_t *req, const int *fds, unsigned fd_count, snap_part_fn *fn, void *arg, json_t **ret,
              struct snap_error *ret_err)
{
    int r = snap_request(c, req, fds, fd_count, ret_err);
    return r ? r : snap_answer(c, fn, arg, ret, ret_err);
}

struct collect { snap_part_fn *fn; void *arg; json_t *all; };

static int collect_part(void *arg, struct snap_client *c, const char *kind, json_t *body, int *fds, unsigned fd_count)
{
    struct collect *k = arg;
    const char *key;
    json_t *items;

    if (strcmp(kind, "more"))
        return k->fn ? k->fn(k->arg, c, kind, body, fds, fd_count) : 0;
    json_object_foreach(body, key, items) {
        json_t *to = json_object_get(k->all, key);
        if (!to && json_object_set_new(k->all, key, to = json_array()))
            return -ENOMEM;
        if (json_array_extend(to, items))
            return -ENOMEM;
    }
    return 0;
}

int snap_collect(struct snap_client *c, json_t *req, const int *fds, unsigned fd_count, snap_part_fn *fn, void *arg, json_t **ret,
                 struct snap_error *ret_err)
{
    struct collect k = { fn, arg, json_object() };
    json_t *ok = NULL;
    int r = snap_call(c, req, fds, fd_count, collect_part, &k, &ok, ret_err);

    /* What came first stays first: the arrays, then what "ok" adds. */
    if (!r && (!k.all || json_object_update_missing(k.all, ok)))
        r = fail(ret_err, -ENOMEM, "internal", "out of memory");
    json_decref(ok);
    if (r)
        json_decref(k.all);
    else
        *ret = k.all;
    return r;
}

int snap_client_raw(struct snap_client *c, void *p, size_t n)
{
    return snap_recv_raw(c->sock, p, n);
}

int snap_client_send(struct snap_client *c, json_t *msg)
{
    int r = msg ? snap_send(c->sock, msg, NULL, 0) : -ENOMEM;
    json_decref(msg);
    return r;
}

/* --- mount --- */

struct attach { snap_attach_fn *fn; void *arg; const char *dir; int err; };

static int attach_part(void *arg, struct snap_client *c, const char *kind, json_t *body, int *fds, unsigned fd_count)
{
    struct attach *a = arg;

    if (strcmp(kind, "mount"))
        return 0;
    if (fd_count != 1)
        a->err = -EPROTO;
    else if (a->fn)
        a->err = a->fn(a->arg, fds[0]);
    else
        a->err = move_mount(fds[0], "", AT_FDCWD, a->dir, MOVE_MOUNT_F_EMPTY_PATH) ? -errno : 0;
    /* Ours is closed before we speak: when it failed, the mount is then gone for good. */
    if (fd_count) {
        close(fds[0]);
        fds[0] = -1;
    }
    return snap_client_send(c, json_pack("{s:b}", "attached", !a->err));
}

int snap_mount(struct snap_client *c, const char *object, const char *dir, json_t *options, snap_attach_fn *attach, void *arg, json_t **ret,
               struct snap_error *ret_err)
{
    struct attach a = { attach, arg, dir, 0 };
    json_t *req = json_pack("{s:s,s:s,s:o*}", "verb", "mount", "object", object, "options", options);
    if (req && dir)
        json_object_set_new(req, "dir", snap_bytes(dir, strlen(dir)));
    int r = snap_call(c, req, NULL, 0, attach_part, &a, ret, ret_err);

    if (a.err)
        return fail(ret_err, a.err, "not_attached", "cannot mount '%s' at %s: %s%s", object, dir ? dir : "the given place",
                    strerror(-a.err), a.err == -EPERM ? "; mounting needs root (CAP_SYS_ADMIN in this mount namespace)" : "");
    return r;
}
