#include "tests/soak/daemon_calls.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct { const char *code; int err; } codes[] = {
    { "not_found", ENOENT }, { "exists", EEXIST }, { "busy", EBUSY }, { "not_empty", ENOTEMPTY }, { "no_space", ENOSPC }, { "quota", EDQUOT },
    { "io_error", EIO }, { "damaged", EUCLEAN }, { "invalid", EINVAL }, { "invalid_request", EINVAL }, { "unreachable", EXDEV },
    { "timeout", ETIMEDOUT }, { "not_connected", ENOTCONN }, { "unsupported", EOPNOTSUPP } };

static double now_s(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Between two tries of what can only be asked for. */
static void pause_ms(long ms) {
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static void cut(struct daemon_calls *d) {
    snap_close(d->c);
    d->c = NULL;
    d->broken++;
}

void daemon_calls_end(struct daemon_calls *d) {
    snap_close(d->c);
    d->c = NULL;
}

static int connected(struct daemon_calls *d) {
    double end = now_s() + CALL_AGAIN_S;
    int r = 0;
    if (d->c && snap_alive(d->c)) return 0;
    if (d->c) cut(d);
    while ((r = snap_connect(d->store, &d->c)) && now_s() < end) pause_ms(5);
    if (r) snprintf(d->err.message, sizeof d->err.message, "no daemon for %d s: %s", CALL_AGAIN_S, strerror(-r));
    return r;
}

static bool broke(const struct daemon_calls *d, int r) {
    return r && (r != -EREMOTEIO || !strcmp(d->err.code, "stopping") || !strcmp(d->err.code, "disconnected"));
}

static int err_of(const struct daemon_calls *d, int r) {
    for (size_t i = 0; r == -EREMOTEIO && i < sizeof codes / sizeof *codes; i++)
        if (!strcmp(codes[i].code, d->err.code)) return -codes[i].err;
    return r;
}

int daemon_call(struct daemon_calls *d, json_t *req, int fd, const char *again_ok) {
    double end = now_s() + CALL_AGAIN_S;
    int r = -EINVAL;
    for (unsigned tries = 0; req; tries++) {
        if ((r = connected(d))) break;
        r = snap_call(d->c, json_incref(req), &fd, fd >= 0, NULL, NULL, NULL, &d->err);
        if (tries && r == -EREMOTEIO && again_ok && !strcmp(d->err.code, again_ok)) r = 0;
        if (!broke(d, r) || now_s() > end) break;
        cut(d);
    }
    json_decref(req);
    return err_of(d, r);
}

static int keep(void *arg, int mount_fd) {
    int *fd = arg;
    *fd = fcntl(mount_fd, F_DUPFD_CLOEXEC, 3);
    return *fd < 0 ? -errno : 0;
}

int daemon_mount(struct daemon_calls *d, const char *object, int *ret_fd, uint64_t *ret_id) {
    double end = now_s() + CALL_AGAIN_S;
    for (bool again = false;;) {
        json_t *ok = NULL;
        int fd = -1, r = connected(d);
        if (r) return r;
        r = snap_mount(d->c, object, NULL, NULL, keep, &fd, &ok, &d->err);
        if (!r) {
            *ret_fd = fd;
            *ret_id = (uint64_t)json_integer_value(json_object_get(ok, "mount"));
            json_decref(ok);
            return 0;
        }
        if (fd >= 0) close(fd);
        bool cut_off = broke(d, r), busy = again && err_of(d, r) == -EBUSY;      /* the mount of the try before is going */
        if (cut_off) cut(d), again = true;
        if ((!cut_off && !busy) || now_s() > end) return err_of(d, r);
        if (busy) pause_ms(5);
    }
}
