#include "snapshotd/holding.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

void holding_none(struct holding *h)
{
    *h = (struct holding){ .sock = -1, .listen_fd = -1 };
}

static void close_all(const int *fds, unsigned n)
{
    while (n)
        close(fds[--n]);
}

static int note_mount(struct holding *h, json_int_t id, json_t *meta, const int *fds, unsigned n)
{
    struct held_mount *v = mem_realloc(h->mounts, (h->count + 1) * sizeof(*v));

    if (!v)
        return -ENOMEM;
    h->mounts = v;
    v[h->count] = (struct held_mount){ .id = (uint64_t)id, .meta = json_incref(meta), .fd_count = n };
    memcpy(v[h->count].fds, fds, n * sizeof(*fds));
    h->count++;
    return 0;
}

/* 1: all was told. Takes the descriptors if 0. */
static int note(struct holding *h, json_t *msg, const int *fds, unsigned n)
{
    json_t *v, *meta = json_object_get(msg, "meta");
    const char *why = "";
    json_int_t lost = 0;
    int restarts = 0, holder = 0, stay = 0;

    if (json_object_get(msg, "go"))
        return 1;
    if (json_is_integer(v = json_object_get(msg, "hold")) && json_is_object(meta) && n)
        return note_mount(h, json_integer_value(v), meta, fds, n);
    if (json_unpack(msg, "{s:{s:i,s:i,s:I,s?b,s:s}}", "start", "restarts", &restarts, "holder", &holder, "lost_ns", &lost, "stay", &stay, "why", &why) || n > 1)
        return -EBADMSG;
    h->restarts = (unsigned)restarts;
    h->holder = holder;
    h->stay = stay;
    h->lost_ns = (uint64_t)lost;
    snprintf(h->why, sizeof(h->why), "%s", why);
    h->listen_fd = n ? fds[0] : -1;
    return 0;
}

int holding_join(struct holding *h, int sock)
{
    int r;

    holding_none(h);
    h->sock = sock;
    do {
        json_t *msg = NULL;
        int fds[HOLD_FDS_MAX];
        unsigned n = 0;
        r = hold_recv(sock, &msg, fds, &n);
        if (!r && (r = note(h, msg, fds, n)))
            close_all(fds, n);
        json_decref(msg);
    } while (!r);
    return r < 0 ? r : 0;
}

void holding_done(struct holding *h)
{
    for (unsigned i = 0; i < h->count; i++)
        json_decref(h->mounts[i].meta);
    free(h->mounts);
    h->mounts = NULL;
    h->count = 0;
}

static bool tell(struct holding *h, json_t *msg, const int *fds, unsigned n)
{
    int r = holding_is(h) ? hold_send(h->sock, msg, fds, n) : 1;

    if (r == 1)
        json_decref(msg);
    if (r < 0 && !atomic_exchange(&h->lost, true))
        log_error("holder=%d lost err=%s what=\"mounts end with this process\"", (int)h->holder, errno_name(r));
    return !r;
}

void holding_listen(struct holding *h, int listen_fd)
{
    tell(h, json_pack("{s:b}", "listen", listen_fd >= 0), &listen_fd, listen_fd >= 0);
}

bool holding_mount(struct holding *h, uint64_t id, json_t *meta, int device_fd, int redo_fd)
{
    int fds[2] = { device_fd, redo_fd };

    return tell(h, json_pack("{s:I,s:o}", "hold", (json_int_t)id, "meta", meta), fds, device_fd < 0 ? 0 : redo_fd < 0 ? 1 : 2);
}

void holding_drop(struct holding *h, uint64_t id)
{
    tell(h, json_pack("{s:I}", "drop", (json_int_t)id), NULL, 0);
}

void holding_ready(struct holding *h)
{
    if (h->lost_ns)
        h->pause_ns = clock_mono_ns() - h->lost_ns;
    tell(h, json_pack("{s:b}", "ready", 1), NULL, 0);
}

void holding_stay(struct holding *h)
{
    tell(h, json_pack("{s:b}", "stay", 1), NULL, 0);
}

void holding_again(struct holding *h, const char *program)
{
    tell(h, json_pack("{s:b,s:s}", "again", 1, "program", program), NULL, 0);
}

void holding_bye(struct holding *h)
{
    tell(h, json_pack("{s:b}", "bye", 1), NULL, 0);
}

bool holding_told(struct holding *h)
{
    json_t *msg = NULL;
    int fds[HOLD_FDS_MAX];
    unsigned n = 0;
    int r = hold_recv(h->sock, &msg, fds, &n);

    if (r) {
        if (!atomic_exchange(&h->lost, true))
            log_error("holder=%d lost err=%s what=\"mounts end with this process\"", (int)h->holder, errno_name(r));
        return false;
    }
    close_all(fds, n);
    bool end = json_object_get(msg, "end");
    json_decref(msg);
    return end;
}
