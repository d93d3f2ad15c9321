#include "snapshotd/holder_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"

void held_table_init(struct held_table *t)
{
    *t = (struct held_table){ .listen_fd = -1 };
}

static struct held **find(struct held_table *t, json_int_t id)
{
    struct held **at = &t->list;

    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

int held_put(struct held_table *t, json_int_t id, json_t *meta, const int *fds, unsigned fd_count)
{
    struct held *h = mem_zalloc(sizeof(*h));

    held_drop(t, id);
    for (unsigned i = 0; i < fd_count && !h; i++)
        close(fds[i]);
    if (!h)
        return -ENOMEM;
    *h = (struct held){ .id = id, .meta = json_incref(meta), .fd_count = fd_count };
    memcpy(h->fds, fds, fd_count * sizeof(*fds));
    *find(t, id) = h;
    t->count++;
    return 0;
}

void held_drop(struct held_table *t, json_int_t id)
{
    struct held **at = find(t, id), *h = *at;

    if (!h)
        return;
    *at = h->next;
    t->count--;
    json_decref(h->meta);
    for (unsigned i = 0; i < h->fd_count; i++)
        close(h->fds[i]);
    free(h);
}

/* fusectl mounted for this moment only, so that it need not be mounted anywhere. */
static int fusectl(void)
{
    _cleanup_close_ int fs = fsopen("fusectl", FSOPEN_CLOEXEC);

    if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        return -1;
    return fsmount(fs, FSMOUNT_CLOEXEC, 0);
}

static void abort_one(const struct held *h)
{
    _cleanup_close_ int dir = fusectl(), fd = -1;
    json_t *device = json_object_get(json_object_get(h->meta, "state"), "device");
    char path[32];

    snprintf(path, sizeof(path), "%u/abort", minor((dev_t)json_integer_value(device)));
    fd = dir < 0 ? -1 : openat(dir, path, O_WRONLY | O_CLOEXEC);
    if ((fd < 0 && errno != ENOENT) || (fd >= 0 && write(fd, "1", 1) != 1))   /* ENOENT: the kernel has done it */
        log_warn("holder: mount=%lld not cut err=%s", (long long)h->id, errno_name(errno));
}

void held_abort(const struct held_table *t)
{
    for (const struct held *h = t->list; h; h = h->next)
        if (!json_is_true(json_object_get(h->meta, "log_only")))   /* its number may be somebody else's by now */
            abort_one(h);
}

void held_cut(struct held_table *t)
{
    struct held *next;

    for (struct held *h = t->list; h; h = next) {
        next = h->next;
        if (h->fd_count)
            continue;
        abort_one(h);
        held_drop(t, h->id);
    }
}

void held_drop_devices(struct held_table *t)
{
    struct held *next;

    for (struct held *h = t->list; h; h = next) {
        next = h->next;
        if (h->fd_count == 2) {
            close(h->fds[0]);
            h->fds[0] = h->fds[1];
            h->fd_count = 1;
            json_object_set_new(h->meta, "log_only", json_true());
        } else if (!json_is_true(json_object_get(h->meta, "log_only"))) {
            held_drop(t, h->id);
        }
    }
}

void held_drop_all(struct held_table *t)
{
    while (t->list)
        held_drop(t, t->list->id);
}

int held_tell(const struct held_table *t, int sock)
{
    int r = 0;

    for (const struct held *h = t->list; h && !r; h = h->next)
        r = hold_send(sock, json_pack("{s:I,s:O}", "hold", h->id, "meta", h->meta), h->fds, h->fd_count);
    return r;
}

static int survive(int fd)
{
    return fd >= 0 && fcntl(fd, F_SETFD, 0) ? -errno : 0;
}

int held_save(const struct held_table *t, int *ret_fd)
{
    json_t *all = json_array(), *doc = json_pack("{s:i,s:i,s:I,s:b,s:o}", "listen", t->listen_fd, "restarts", (int)t->restarts, "lost_ns", (json_int_t)t->lost_ns, "stay", t->stay, "held", all);
    _cleanup_close_ int fd = memfd_create("coppice-holder", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : survive(t->listen_fd);

    for (const struct held *h = t->list; h && !r; h = h->next) {
        json_t *fds = json_array();
        for (unsigned i = 0; i < h->fd_count && !r; i++) {
            json_array_append_new(fds, json_integer(h->fds[i]));
            r = survive(h->fds[i]);
        }
        json_array_append_new(all, json_pack("{s:I,s:O,s:o}", "id", h->id, "meta", h->meta, "fds", fds));
    }
    if (!r && (!doc || json_dumpfd(doc, fd, JSON_COMPACT)))
        r = -ENOMEM;
    json_decref(doc);
    if (!r && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    if (!r)
        r = survive(fd);
    if (!r)
        *ret_fd = TAKE_FD(fd);
    return r;
}

/* A descriptor of the program before. */
static int inherited(json_int_t fd)
{
    return fd >= 3 && fd < INT32_MAX && !fcntl((int)fd, F_SETFD, FD_CLOEXEC) ? (int)fd : -1;
}

static int load_one(struct held_table *t, json_t *one)
{
    json_int_t id;
    json_t *meta, *list, *v;
    int fds[HOLD_FDS_MAX];
    unsigned n = 0;
    size_t i;

    if (json_unpack(one, "{s:I,s:o,s:o}", "id", &id, "meta", &meta, "fds", &list) || !json_is_object(meta))
        return -EBADMSG;
    json_array_foreach(list, i, v)
        if (n < HOLD_FDS_MAX && (fds[n] = inherited(json_integer_value(v))) >= 0)
            n++;
    return n == json_array_size(list) ? held_put(t, id, meta, fds, n) : -EBADF;
}

int held_load(int fd, struct held_table *ret)
{
    json_t *doc = json_loadfd(fd, 0, NULL), *all = NULL, *one;
    int listen_fd = -1, restarts = 0, stay = 0, r = 0;
    json_int_t lost_ns = 0;
    size_t i;

    held_table_init(ret);
    if (!doc || json_unpack(doc, "{s:i,s:i,s:I,s?b,s:o}", "listen", &listen_fd, "restarts", &restarts, "lost_ns", &lost_ns, "stay", &stay, "held", &all))
        r = -EBADMSG;
    ret->listen_fd = r ? -1 : inherited(listen_fd);
    ret->restarts = (unsigned)restarts;
    ret->stay = stay;
    ret->lost_ns = (uint64_t)lost_ns;
    json_array_foreach(all, i, one)
        if (!r)
            r = load_one(ret, one);
    json_decref(doc);
    return r;
}
