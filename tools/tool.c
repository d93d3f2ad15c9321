/* Asking the daemon, and saying what it answers. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotd/snap_proto.h"
#include "tools/progress.h"
#include "tools/text.h"
#include "tools/tool.h"

int tool_fail(const char *fmt, ...)
{
    va_list ap;

    progress_clear();
    fflush(stdout);
    fputs("coppice: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

int tool_error(struct tool *t)
{
    char text[sizeof(t->error.message) * 4];
    return tool_fail("%s", text_safe(text, sizeof(text), t->error.message));
}

static int show_progress(void *arg, struct snap_client *c, const char *kind, json_t *body, int *fds, unsigned fd_count)
{
    json_t *bytes = json_object_get(body, "bytes");

    (void)arg, (void)c, (void)fds, (void)fd_count;
    if (!strcmp(kind, "progress") && bytes)
        progress_bytes("", 0, (uint64_t)json_integer_value(bytes));
    return 0;
}

/* The daemon went away in a call that may be made again: is there one now? */
static bool reopened(struct tool *t, const json_t *req, int r)
{
    bool ending = r == -EREMOTEIO && !strcmp(t->error.code, "stopping");

    if (!ending && (r == -EREMOTEIO || !(snap_unsent(t->client) || snap_repeatable(req))))
        return false;
    struct snap_error first = t->error;
    tool_close(t);
    bool again = !tool_open(t, NEED_STORE);
    t->error = first;
    return again;
}

/* Without words about the error. Steals req. */
static int call_quiet(struct tool *t, json_t *req, const int *fds, unsigned fd_count, json_t **ret)
{
    int r = snap_collect(t->client, json_incref(req), fds, fd_count, show_progress, NULL, ret, &t->error);

    for (int tries = 0; r && tries < 3 && reopened(t, req, r); tries++)
        r = snap_collect(t->client, json_incref(req), fds, fd_count, show_progress, NULL, ret, &t->error);
    json_decref(req);
    progress_clear();
    return r;
}

int tool_call_fd(struct tool *t, json_t *req, const int *fds, unsigned fd_count, json_t **ret)
{
    int r = tool_open(t, NEED_STORE);

    if (r) {
        json_decref(req);
        return r;
    }
    return call_quiet(t, req, fds, fd_count, ret) ? tool_error(t) : 0;
}

int tool_call(struct tool *t, json_t *req, json_t **ret)
{
    return tool_call_fd(t, req, NULL, 0, ret);
}

/* A directory that is the root of the mount with this device. -1: it is not. O_NOFOLLOW: the last component may be of a workload's making. */
static int open_if(const char *path, int64_t dev)
{
    struct stat st;

    if (lstat(path, &st) || (int64_t)st.st_dev != dev)
        return -1;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && !fstat(fd, &st) && (int64_t)st.st_dev == dev ? TAKE_FD(fd) : -1;
}

/* A directory of the process where its namespace has this device mounted: / or /workspace; NULL: nowhere there. Read, not walked to: what else is mounted in other
 * namespaces may be file systems whose servers never answer. */
static const char *place_in(const char *pid, int64_t dev)
{
    char path[64], at[sizeof("/workspace") + 1];
    unsigned major_nr, minor_nr;
    size_t size = 0;
    _cleanup_free_ char *line = NULL;
    const char *place = NULL;

    snprintf(path, sizeof(path), "/proc/%.20s/mountinfo", pid);
    FILE *f = fopen(path, "re");
    while (f && !place && getline(&line, &size, f) >= 0) {
        if (sscanf(line, "%*d %*d %u:%u %*s %11s ", &major_nr, &minor_nr, at) != 3 || (int64_t)makedev(major_nr, minor_nr) != dev)
            continue;
        if (!strcmp(at, "/"))
            place = "/.";
        else if (!strcmp(at, "/workspace"))
            place = "/workspace";
    }
    if (f)
        fclose(f);
    return place;
}

/* A running sandbox has its workspace mounted in a namespace of its own, as / or, of a plain tree, as /workspace: seen through a process in it, which needs root. */
static int sandbox_fd(int64_t dev)
{
    DIR *d = opendir("/proc");
    char path[300];
    int fd = -1;

    for (struct dirent *e; d && fd < 0 && (e = readdir(d));) {
        const char *place = e->d_name[0] >= '0' && e->d_name[0] <= '9' ? place_in(e->d_name, dev) : NULL;
        if (!place)
            continue;
        snprintf(path, sizeof(path), "/proc/%s/root%s", e->d_name, place);
        fd = open_if(path, dev);
    }
    if (d)
        closedir(d);
    return fd;
}

int tool_mount_fd(struct tool *t, const char *object)
{
    json_t *ans = NULL;
    int fd = -1, err;
    size_t len;

    if (call_quiet(t, json_pack("{s:s,s:s}", "verb", "mounts", "object", object), NULL, 0, &ans))
        return -1;
    json_t *m = json_array_get(json_object_get(ans, "mounts"), 0);
    _cleanup_free_ char *dir = snap_bytes_get(json_object_get(m, "dir"), &len, &err);
    if (dir)
        fd = open_if(dir, field_int(m, "dev"));
    if (fd < 0 && m)
        fd = sandbox_fd(field_int(m, "dev"));
    json_decref(ans);
    return fd;
}

int tool_call_states(struct tool *t, json_t *req, const char *const *objects, unsigned count, json_t **ret)
{
    int r = tool_open(t, NEED_STORE), fds[SNAP_FDS_MAX];
    unsigned n = 0;

    if (!r && call_quiet(t, json_incref(req), NULL, 0, ret)) {
        struct snap_error first = t->error;
        for (unsigned i = 0; !strcmp(first.code, "unreachable") && i < count && n < SNAP_FDS_MAX; i++) {
            fds[n] = tool_mount_fd(t, objects[i]);
            n += fds[n] >= 0;
        }
        if (!n)
            t->error = first;
        r = !n || call_quiet(t, json_incref(req), fds, n, ret) ? tool_error(t) : 0;
    }
    while (n)
        close(fds[--n]);
    json_decref(req);
    return r;
}

int tool_call_state(struct tool *t, json_t *req, const char *object, json_t **ret)
{
    return tool_call_states(t, req, &object, 1, ret);
}

json_t *tool_mounts(struct tool *t, const char *name)
{
    json_t *ans, *list;

    if (tool_call(t, json_pack("{s:s,s:s*}", "verb", "mounts", "object", name), &ans))
        return NULL;
    list = json_incref(json_object_get(ans, "mounts"));
    json_decref(ans);
    return list;
}

int tool_print_json(const json_t *v)
{
    json_dumpf(v, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    putchar('\n');
    return 0;
}

const char *field_str(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "";
}

int64_t field_int(const json_t *v, const char *key)
{
    return json_integer_value(json_object_get(v, key));
}

bool field_bool(const json_t *v, const char *key)
{
    return json_is_true(json_object_get(v, key));
}
