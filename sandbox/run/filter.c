/* The child has two sockets as stdin and stdout, and a pipe as stderr of which the first line is kept. It ends by itself when its input ends, or by SIGKILL when freed before. */
#include "sandbox/run/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <glib-unix.h>

#include "base/cleanup.h"

enum { PIECE = 64 * 1024, SAID_MAX = 300 };
struct filter {
    pid_t pid;
    int in, out, err;                      /* our ends */
    guint in_source, out_source, child;
    bool paused, out_ended, reaped, busy, dead, in_closed;
    int wait_status;
    char said[SAID_MAX];
    const struct filter_ops *ops; void *arg;
};
static unsigned filters;

static void filter_destroy(struct filter *f)
{
    if (f->in_source)
        g_source_remove(f->in_source);
    if (f->out_source)
        g_source_remove(f->out_source);
    close_p(&f->in);
    close_p(&f->out);
    close_p(&f->err);
    filters--;
    g_free(f);
}

static void reaped_late(GPid pid, gint status, gpointer arg) { g_spawn_close_pid(pid); }

void filter_free(struct filter *f)
{
    if (!f || f->dead)
        return;
    f->dead = true;
    if (!f->reaped) {
        g_source_remove(f->child);
        kill(f->pid, SIGKILL);
        g_child_watch_add(f->pid, reaped_late, NULL);
    }
    if (!f->busy)
        filter_destroy(f);
}

static bool back(struct filter *f)
{
    bool dead = f->dead;

    f->busy = false;
    if (dead)
        filter_destroy(f);
    return !dead;
}

static void read_said(struct filter *f)
{
    ssize_t n = read(f->err, f->said, sizeof(f->said) - 1);

    if (n > 0)
        f->said[n] = 0;
    f->said[strcspn(f->said, "\n")] = 0;
    for (char *p = f->said; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127)
            *p = '?';
}

static void check_end(struct filter *f)
{
    bool ok;

    if (!f->out_ended || !f->reaped)
        return;
    ok = WIFEXITED(f->wait_status) && !WEXITSTATUS(f->wait_status);
    read_said(f);
    f->busy = true;
    f->ops->end(f->arg, ok ? NULL : f->said[0] ? f->said : "the converter of archives ended early", WIFEXITED(f->wait_status) && WEXITSTATUS(f->wait_status) == 1);
    back(f);
}

static void on_child(GPid pid, gint status, gpointer arg)
{
    struct filter *f = arg;

    f->reaped = true;
    f->wait_status = status;
    check_end(f);
}

static gboolean readable(gint fd, GIOCondition cond, gpointer arg)
{
    static uint8_t buf[PIECE];
    struct filter *f = arg;
    ssize_t n = recv(f->out, buf, sizeof(buf), MSG_DONTWAIT);
    bool more;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (n <= 0) {
        f->out_source = 0;
        f->out_ended = true;
        check_end(f);
        return G_SOURCE_REMOVE;
    }
    f->busy = true;
    more = f->ops->data(f->arg, buf, (size_t)n);
    if (!back(f) || more)
        return G_SOURCE_CONTINUE;
    f->paused = true;
    f->out_source = 0;
    return G_SOURCE_REMOVE;
}

void filter_resume(struct filter *f)
{
    if (!f->paused || f->dead)
        return;
    f->paused = false;
    f->out_source = g_unix_fd_add(f->out, G_IO_IN | G_IO_HUP | G_IO_ERR, readable, f);
}

static gboolean writable(gint fd, GIOCondition cond, gpointer arg)
{
    struct filter *f = arg;

    f->in_source = 0;
    f->busy = true;
    f->ops->room(f->arg);
    back(f);
    return G_SOURCE_REMOVE;
}

size_t filter_write(struct filter *f, const void *p, size_t n)
{
    ssize_t r = f->in_closed ? (ssize_t)n : send(f->in, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (r < 0 && errno != EAGAIN && errno != EINTR)
        return n;                          /* it reads no more: its end says why */
    if (r < 0)
        r = 0;
    if ((size_t)r < n && !f->in_source)
        f->in_source = g_unix_fd_add(f->in, G_IO_OUT | G_IO_HUP | G_IO_ERR, writable, f);
    return (size_t)r;
}

void filter_write_end(struct filter *f)
{
    f->in_closed = true;
    shutdown(f->in, SHUT_WR);
}

static const char *program(char *out, size_t n)
{
    const char *given = g_getenv("COPPICE_TAR");
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL), *dir = self ? g_path_get_dirname(self) : NULL;
    static const char *const places[] = { "/coppice-tar", "/../tools/coppice-tar", "/../libexec/coppice/coppice-tar" };

    if (given && *given)
        return given;
    for (unsigned i = 0; dir && i < G_N_ELEMENTS(places); i++) {
        g_autofree char *place = g_strconcat(dir, places[i], NULL);
        if (g_strlcpy(out, place, n) < n && !access(out, X_OK))
            return out;
    }
    return NULL;
}

static int spawn(struct filter *f, const char *path, const char *how, int in, int out, int err)
{
    char *argv[] = { (char *)(uintptr_t)"coppice-tar", (char *)(uintptr_t)how, NULL }, *env[] = { NULL };
    posix_spawn_file_actions_t a;
    posix_spawnattr_t attr;
    sigset_t none, dfl;
    int r;

    sigemptyset(&none);
    sigemptyset(&dfl);
    sigaddset(&dfl, SIGPIPE);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &dfl);
    posix_spawn_file_actions_init(&a);
    posix_spawn_file_actions_adddup2(&a, in, 0);
    posix_spawn_file_actions_adddup2(&a, out, 1);
    posix_spawn_file_actions_adddup2(&a, err, 2);
    r = posix_spawn(&f->pid, path, &a, &attr, argv, env);
    posix_spawn_file_actions_destroy(&a);
    posix_spawnattr_destroy(&attr);
    return r;
}

struct filter *filter_new(const char *how, const struct filter_ops *ops, void *arg, struct fault *ret_fault)
{
    char place[4096];
    const char *path = program(place, sizeof(place));
    int in[2] = { -1, -1 }, out[2] = { -1, -1 }, err[2] = { -1, -1 }, r = ENOENT;
    struct filter *f = g_new0(struct filter, 1);

    f->ops = ops;
    f->arg = arg;
    if (filters >= FILTERS_MAX)
        r = EAGAIN;
    else if (path)
        r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out) || pipe2(err, O_CLOEXEC) ? errno
            : spawn(f, path, how, in[1], out[1], err[1]);
    close_p(&in[1]);
    close_p(&out[1]);
    close_p(&err[1]);
    if (r) {
        fault_set(ret_fault, r == EAGAIN ? "too_many" : "internal", r == EAGAIN ? "%d archives are being converted: try again later%s" : "coppice-tar (%d) cannot be started: %s", FILTERS_MAX,
                  r == EAGAIN ? "" : g_strerror(r));
        close_p(&in[0]);
        close_p(&out[0]);
        close_p(&err[0]);
        g_free(f);
        return NULL;
    }
    f->in = in[0];
    f->out = out[0];
    f->err = err[0];
    g_unix_set_fd_nonblocking(f->err, true, NULL);
    filters++;
    f->out_source = g_unix_fd_add(f->out, G_IO_IN | G_IO_HUP | G_IO_ERR, readable, f);
    f->child = g_child_watch_add(f->pid, on_child, f);
    return f;
}
