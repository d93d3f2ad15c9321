/* Theory: threads take jobs from one queue, call snapshotd, and post the job back to the main loop, where its owner is told. A thread gets its connection by posting a wish
 * to the main loop (which alone speaks with the launcher) and waiting for it under `lock`. The pool grows to its size as jobs wait, and never shrinks.
 *
 * Invariants: 1. a job is owned by exactly one of: the queue, a thread, the main loop's idle source. 2. `fn` is called exactly once for each job that ends before stock_free().
 * 3. a thread's client is touched by that thread only, but for the shutdown() of its socket by stock_free(), under `lock`. */
#include "sandbox/stock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "sandbox/launch_client.h"
#include "snapshotd/snap_client.h"

struct job {
    struct job *next;
    struct stock *s;
    json_t *req;
    int fds[STOCK_FDS_MAX], mount_fd;
    unsigned fd_count;
    char *object;                         /* of a mount */
    json_t *options, *result;
    struct fault fault;
    stock_fn *fn;
    void *arg;
};
/* A thread's wish for a socket. fd: >= 0, -errno, or FD_WAITING. */
enum { FD_WAITING = -4096, TRIES_MAX = 300, BROKEN_MAX = 4, MOUNT_GOES_US = 10000 };
struct wish { struct stock *s; int fd; unsigned refs; };
struct worker { struct stock *s; GThread *thread; struct snap_client *client; };

struct stock {
    struct sandboxd *sd;
    GMutex lock;                          /* guards all below */
    GCond changed;
    struct job *first, **last;
    unsigned waiting, idle, count, size;
    struct worker *workers;
    bool quitting;
    unsigned refs;                        /* of the main loop's posts that are on their way, and the owner */
    int (*connect)(void *arg);
    void *connect_arg;
};

static void stock_unref(struct stock *s)
{
    g_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    g_mutex_unlock(&s->lock);
    if (!last)
        return;
    g_mutex_clear(&s->lock);
    g_cond_clear(&s->changed);
    g_free(s->workers);
    g_free(s);
}

static void job_free(struct job *j)
{
    for (unsigned i = 0; i < j->fd_count; i++)
        close_p(&j->fds[i]);
    close_p(&j->mount_fd);
    g_free(j->object);
    json_decref(j->options);
    json_decref(j->result);
    json_decref(j->req);
    g_free(j);
}

/* --- connections --- */

static void wish_unref(struct wish *w)       /* under lock */
{
    if (--w->refs == 0)
        g_free(w);
}

/* Main loop: the launcher's answer. */
static void wish_answer(void *arg, const struct launch_packet *p, int *fds, unsigned fd_count)
{
    struct wish *w = arg;
    struct stock *s = w->s;
    int fd = p->op == LAUNCH_OK && fd_count ? TAKE_FD(fds[0]) : p->err < 0 ? p->err : -ECONNREFUSED;

    for (unsigned i = 0; i < fd_count; i++)
        close_p(&fds[i]);
    if (p->op != LAUNCH_OK)
        log_warn("step=store err=%s launcher=%s", errno_name(p->err), p->text);
    g_mutex_lock(&s->lock);
    if (s->quitting && fd >= 0) {
        close(fd);
        fd = -ESHUTDOWN;
    }
    w->fd = fd;
    wish_unref(w);
    g_cond_broadcast(&s->changed);
    g_mutex_unlock(&s->lock);
    stock_unref(s);
}

static gboolean wish_ask(gpointer arg)
{
    struct wish *w = arg;
    struct launch_packet p = { .op = LAUNCH_STORE };

    launcher_ask(w->s->sd->launcher, &p, NULL, 0, wish_answer, w);
    return G_SOURCE_REMOVE;
}

/* On a worker's thread. */
static int store_socket(struct stock *s)
{
    struct wish *w;
    int fd;

    if (s->connect)
        return s->connect(s->connect_arg);
    g_mutex_lock(&s->lock);
    if (s->quitting) {
        g_mutex_unlock(&s->lock);
        return -ESHUTDOWN;
    }
    w = g_new0(struct wish, 1);
    *w = (struct wish){ s, FD_WAITING, 2 };
    s->refs++;
    g_mutex_unlock(&s->lock);
    g_idle_add_full(G_PRIORITY_HIGH, wish_ask, w, NULL);
    g_mutex_lock(&s->lock);
    while (w->fd == FD_WAITING && !s->quitting)
        g_cond_wait(&s->changed, &s->lock);
    fd = w->fd == FD_WAITING ? -ESHUTDOWN : w->fd;
    wish_unref(w);
    g_mutex_unlock(&s->lock);
    return fd;
}

static int worker_connect(struct worker *w)
{
    struct snap_client *c = NULL;
    int fd, r;

    if (w->client && snap_alive(w->client))
        return 0;
    g_mutex_lock(&w->s->lock);
    snap_close(w->client);
    w->client = NULL;
    g_mutex_unlock(&w->s->lock);
    fd = store_socket(w->s);
    if (fd < 0)
        return fd;
    r = snap_adopt(fd, &c);
    if (r)
        return r;
    g_mutex_lock(&w->s->lock);
    w->client = c;
    if (w->s->quitting)
        snap_cut(c);
    g_mutex_unlock(&w->s->lock);
    return 0;
}

/* --- a job on its thread --- */

static const struct { const char *snap, *http; } code_map[] = {
    { "not_found", "not_found" }, { "exists", "exists" }, { "ambiguous", "invalid_request" }, { "invalid", "invalid_request" }, { "invalid_request", "invalid_request" },
    { "busy", "busy" }, { "not_empty", "not_empty" }, { "no_space", "no_space" }, { "quota", "no_space" }, { "no_permission", "permission_denied" },
    { "unsupported", "not_supported" }, { "too_many", "invalid_request" }, { "too_big", "payload_too_large" }, { "no_memory", "unavailable" },
    { "no_descriptors", "unavailable" }, { "read_only", "conflict" }, { "disconnected", "unavailable" }, { "stale", "conflict" }, { "stopping", "unavailable" },
    { "timeout", "timeout" }, { "is_a_directory", "is_a_directory" }, { "not_a_directory", "not_a_directory" }, { "not_a_file", "not_a_file" },
};

static void job_fault(struct job *j, const struct snap_error *e)
{
    const char *code = "internal";

    for (size_t i = 0; i < G_N_ELEMENTS(code_map); i++)
        if (!strcmp(code_map[i].snap, e->code))
            code = code_map[i].http;
    fault_set(&j->fault, code, "%.500s", e->message);
}

static int keep_mount(void *arg, int mount_fd)
{
    struct job *j = arg;

    j->mount_fd = fcntl(mount_fd, F_DUPFD_CLOEXEC, 3);
    return j->mount_fd < 0 ? -errno : 0;
}

static int job_try(struct worker *w, struct job *j, struct snap_error *e)
{
    if (j->object)
        return snap_mount(w->client, j->object, NULL, json_incref(j->options), keep_mount, j, &j->result, e);
    return snap_collect(w->client, json_incref(j->req), j->fds, j->fd_count, NULL, NULL, &j->result, e);
}

/* What a broken try had done already: the removal of one object, which is not there any more. */
static bool job_was_done(struct job *j, const struct snap_error *e)
{
    const char *v = j->req ? json_string_value(json_object_get(j->req, "verb")) : NULL;
    json_t *objects = json_object_get(j->req, "objects");

    if (!v || strcmp(v, "rm") || json_array_size(objects) != 1 || strcmp(e->code, "not_found"))
        return false;
    j->result = json_pack("{s:O}", "removed", objects);
    return j->result;
}

/* May a try that ended so be followed by another? A daemon that is ending, or whose connection was broken before the request was sent, has not begun. */
static bool job_again(const struct worker *w, const struct job *j, int r, const struct snap_error *e)
{
    bool removal = json_array_size(json_object_get(j->req, "objects")) == 1;

    if (r == -EREMOTEIO)
        return !strcmp(e->code, "stopping");
    return snap_unsent(w->client) || j->object || removal || snap_repeatable(j->req);
}

static void job_drop_mount(struct job *j)
{
    close_p(&j->mount_fd);
    j->mount_fd = -1;
}

static void job_cut(struct worker *w, struct job *j)
{
    job_drop_mount(j);
    g_mutex_lock(&w->s->lock);
    snap_close(w->client);
    w->client = NULL;
    g_mutex_unlock(&w->s->lock);
}

/* One try. 1: another may follow. *broke: how many ended with their connection; a request that the daemon dies of must not be made for ever. */
static int job_once(struct worker *w, struct job *j, unsigned *broke)
{
    struct snap_error e = { 0 };
    int r = worker_connect(w);

    if (r) {
        fault_set(&j->fault, "unavailable", "the store's daemon (snapshotd) cannot be reached: %s; the launcher's log says more", strerror(-r));
        return r;
    }
    r = job_try(w, j, &e);
    if (!r || (*broke && job_was_done(j, &e)))
        return 0;
    job_fault(j, &e);
    /* The mount of a try that broke goes when its descriptors are closed, ours and those of the daemon that died. */
    if (*broke && j->object && !strcmp(e.code, "busy")) {
        g_usleep(MOUNT_GOES_US);
        return 1;
    }
    bool again = job_again(w, j, r, &e);
    if (r == -EREMOTEIO && !again)
        return r;
    if (!again)
        fault_set(&j->fault, "unavailable", "the store's daemon (snapshotd) was restarted while this was being done: it may be done or not; look, and try again");
    job_cut(w, j);
    return again && ++*broke < BROKEN_MAX ? 1 : r;
}

static void job_run(struct worker *w, struct job *j)
{
    unsigned broke = 0;

    for (unsigned tries = 0; tries < TRIES_MAX && job_once(w, j, &broke) == 1; tries++)
        ;
    if (!j->result)
        job_drop_mount(j);
}

static gboolean job_done(gpointer arg)
{
    struct job *j = arg;
    struct stock *s = j->s;

    if (!s->quitting)                     /* set by this thread only */
        j->fn(j->arg, j->result, TAKE_FD(j->mount_fd), j->result ? NULL : &j->fault);
    job_free(j);
    stock_unref(s);
    return G_SOURCE_REMOVE;
}

static gpointer worker_main(gpointer arg)
{
    struct worker *w = arg;
    struct stock *s = w->s;
    struct job *j;

    for (;;) {
        g_mutex_lock(&s->lock);
        s->idle++;
        while (!s->first && !s->quitting)
            g_cond_wait(&s->changed, &s->lock);
        s->idle--;
        if (s->quitting) {
            g_mutex_unlock(&s->lock);
            return NULL;
        }
        j = s->first;
        if (!(s->first = j->next))
            s->last = &s->first;
        s->waiting--;
        s->refs++;
        g_mutex_unlock(&s->lock);
        job_run(w, j);
        g_idle_add_full(G_PRIORITY_DEFAULT, job_done, j, NULL);
    }
}

/* --- the main loop's side --- */

static gboolean job_refused(gpointer arg)
{
    struct job *j = arg;

    fault_set(&j->fault, "unavailable", "too many calls wait for the store's daemon (%d); try again", STOCK_WAITING_MAX);
    return job_done(j);
}

static void job_add(struct stock *s, struct job *j, stock_fn *fn, void *arg)
{
    j->s = s;
    j->fn = fn;
    j->arg = arg;
    g_mutex_lock(&s->lock);
    bool full = s->waiting == STOCK_WAITING_MAX;
    if (full) {
        s->refs++;
    } else {
        *s->last = j;
        s->last = &j->next;
        s->waiting++;
        if (s->waiting > s->idle && s->count < s->size) {
            struct worker *w = &s->workers[s->count++];
            w->s = s;
            w->thread = g_thread_new("stock", worker_main, w);
        }
        g_cond_signal(&s->changed);
    }
    g_mutex_unlock(&s->lock);
    if (full)
        g_idle_add(job_refused, j);
}

void stock_call(struct stock *s, json_t *req, const int *fds, unsigned fd_count, stock_fn *fn, void *arg)
{
    struct job *j = g_new0(struct job, 1);

    j->mount_fd = -1;
    j->req = req ? req : json_null();     /* text that is not UTF-8: snap_client says so */
    for (unsigned i = 0; i < fd_count && i < STOCK_FDS_MAX; i++)
        if (fds[i] >= 0 && (j->fds[j->fd_count] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3)) >= 0)
            j->fd_count++;
    job_add(s, j, fn, arg);
}

void stock_mount(struct stock *s, const char *object, json_t *options, stock_fn *fn, void *arg)
{
    struct job *j = g_new0(struct job, 1);

    j->mount_fd = -1;
    j->object = g_strdup(object);
    j->options = options;
    job_add(s, j, fn, arg);
}

struct stock *stock_new(struct sandboxd *sd, unsigned threads)
{
    struct stock *s = g_new0(struct stock, 1);

    s->sd = sd;
    g_mutex_init(&s->lock);
    g_cond_init(&s->changed);
    s->last = &s->first;
    s->size = threads;
    s->workers = g_new0(struct worker, threads);
    s->refs = 1;
    return s;
}

void stock_set_connect(struct stock *s, int (*fn)(void *arg), void *arg)
{
    s->connect = fn;
    s->connect_arg = arg;
}

void stock_free(struct stock *s)
{
    if (!s)
        return;
    g_mutex_lock(&s->lock);
    s->quitting = true;
    for (unsigned i = 0; i < s->count; i++)
        snap_cut(s->workers[i].client);
    g_cond_broadcast(&s->changed);
    g_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < s->count; i++)
        g_thread_join(s->workers[i].thread);
    for (unsigned i = 0; i < s->count; i++)
        snap_close(s->workers[i].client);
    s->count = 0;
    while (s->first) {
        struct job *j = s->first;
        s->first = j->next;
        job_free(j);
    }
    stock_unref(s);
}
