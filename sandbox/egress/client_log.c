#include "sandbox/egress/client_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"

DEFINE_CLEANUP(json_t *, json_decref)
enum { LOG_BATCH = 100 };
struct log_job { struct client *c; json_int_t tag; char box[LAUNCH_NAME] /* "": all */; uint64_t since; bool follow; int wake_fd; };

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
    int r = lost ? client_say(j->c, j->tag, json_pack("{s:{s:b}}", "event", "lost", true)) : 0;
    json_array_foreach(all, i, x)
        if (!r)
            r = client_say(j->c, j->tag, json_pack("{s:O}", "event", x));
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
    client_say(j->c, j->tag, json_pack("{s:{s:I}}", "ok", "next", (json_int_t)j->since));
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

json_t *client_log(struct client *c, json_t *req, json_int_t tag)
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
        r = client_thread_start(log_thread, j);
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

json_t *client_cancel(struct client *c, json_t *req)
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
