/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * coppice-watch: says what changes in a directory of a sandbox. sandboxd has it run inside the sandbox with the rights of a user; descriptor 3 is a stream socket (proto.h). It is a
 * program of its own, under the licence of libinotifytools, which it is linked with; nothing of the rest of coppice is in it.
 *
 * One loop: inotify into the intake, the intake followed, what is due of what is told into a small buffer, the buffer into the socket as that takes it. A client that does not read fills
 * the socket, then the bounded queue of what is told (told.h), and then is told how much was lost. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/watch/inotify.h"
#include "sandbox/watch/proto.h"

enum { CHANNEL = 3, REQUEST_MAX = 1 << 20, OUT_LOW = 128 * 1024, OUT_MAX = OUT_LOW + 2 * WATCH_MESSAGE_MAX, COALESCE_MAX_MS = 10000 };
static uint8_t out[OUT_MAX];
static size_t out_n, out_at;
static char *ready_path;

/* --- messages --- */
static void put(const void *p, size_t n)
{
    memcpy(out + out_n, p, n);
    out_n += n;
}

static void put_number(uint64_t v, unsigned bytes)
{
    for (; bytes--; v >>= 8)
        out[out_n++] = (uint8_t)v;
}

static void put_string(const char *s)
{
    size_t n = s ? strlen(s) : 0;

    put_number(n, 2);
    put(s ? s : "", n);
}

static size_t begin(unsigned kind)
{
    size_t at = out_n;

    out_n += 4;
    put_number(kind, 1);
    return at;
}

static void finish(size_t at)
{
    size_t end = out_n;

    out_n = at;
    put_number(end - at - 4, 4);
    out_n = end;
}

static void say(const struct told_event *e)
{
    size_t at = begin(e->type == TOLD_READY ? WATCH_READY : e->type == TOLD_LOST ? WATCH_LOST : WATCH_EVENT);

    if (e->type == TOLD_READY) {
        put_string(ready_path);
    } else if (e->type == TOLD_LOST) {
        put_number(e->lost, 8);
        put_string(e->path);
    } else {
        put_number((uint64_t)e->type, 1);
        put_number(e->is_dir, 1);
        put_number(e->time_ns, 8);
        put_string(e->path);
        put_string(e->to);
    }
    finish(at);
}

/* However long the socket takes. */
static void flush_all(void)
{
    fcntl(CHANNEL, F_SETFL, 0);
    while (out_at < out_n) {
        ssize_t n = send(CHANNEL, out + out_at, out_n - out_at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            exit(1);
        out_at += n > 0 ? (size_t)n : 0;
    }
    out_at = out_n = 0;
}

/* The last word. */
static _Noreturn void end(const char *code, const char *text)
{
    size_t at = begin(WATCH_END);

    put_string(code);
    put_string(text);
    finish(at);
    flush_all();
    exit(0);
}

static _Noreturn void end_errno(int err, const char *what)
{
    char text[400];

    snprintf(text, sizeof text, "%.200s cannot be watched: %s", what, strerror(err));
    end(err == ENOENT ? "not_found" : err == ENOTDIR ? "not_a_directory" : err == EACCES ? "permission_denied" : err == EMFILE || err == ENFILE || err == ENOMEM ? "too_many" : "internal",
        err == EMFILE ? "there are no more inotify instances for this sandbox: end a watch, or raise fs.inotify.max_user_instances on the host" : text);
}

/* --- orders --- */
struct in { const uint8_t *p; size_t n; };
static uint64_t get_number(struct in *i, unsigned bytes)
{
    uint64_t v = 0;

    if (i->n < bytes)
        exit(2);
    for (unsigned k = 0; k < bytes; k++)
        v |= (uint64_t)i->p[k] << 8 * k;
    i->p += bytes;
    i->n -= bytes;
    return v;
}

static char *get_string(struct in *i)
{
    size_t n = get_number(i, 2);

    if (i->n < n)
        exit(2);
    char *s = strndup((const char *)i->p, n);
    if (!s)
        exit(1);
    i->p += n;
    i->n -= n;
    return s;
}

static char **get_strings(struct in *i, unsigned n)
{
    char **v = calloc(n + 1, sizeof *v);

    if (!v)
        exit(1);
    for (unsigned k = 0; k < n; k++)
        v[k] = get_string(i);
    return v;
}

static uint8_t orders[REQUEST_MAX];
static size_t orders_n;
/* One order, if it is there; the next call takes it away. */
static bool order_next(bool wait, struct in *ret)
{
    static size_t taken;

    memmove(orders, orders + taken, orders_n -= taken);
    taken = 0;
    for (;;) {
        size_t size = 0;
        for (unsigned k = 0; orders_n >= 4 && k < 4; k++)
            size |= (size_t)orders[k] << 8 * k;
        if (orders_n >= 4 && (!size || size > REQUEST_MAX - 4))
            exit(2);
        if (orders_n >= 4 && orders_n - 4 >= size) {
            *ret = (struct in){ orders + 4, size };
            taken = size + 4;
            return true;
        }
        ssize_t n = recv(CHANNEL, orders + orders_n, sizeof orders - orders_n, wait ? 0 : MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!wait)
                return false;
            continue;
        }
        if (n <= 0)
            exit(0);                         /* nobody is there any more */
        orders_n += (size_t)n;
    }
}

/* --- what is watched --- */
/* Absolute, as it was asked for: without double slashes, "." and a slash at the end; symlinks and ".." stay. */
static char *make_absolute(const char *path)
{
    char *cwd = *path == '/' ? NULL : getcwd(NULL, 0), *all = malloc((cwd ? strlen(cwd) : 0) + strlen(path) + 3), *to;

    if (!all || (*path != '/' && !cwd))
        end_errno(errno, path);
    sprintf(all, "%s/%s", cwd ? cwd : "", path);
    to = all;
    for (const char *p = all; *p;) {
        size_t n = strcspn(p += strspn(p, "/"), "/");
        if (n && !(n == 1 && *p == '.')) {
            *to++ = '/';
            memmove(to, p, n);
            to += n;
        }
        p += n;
    }
    *to = '\0';
    if (to == all)
        strcpy(all, "/");
    free(cwd);
    return all;
}

static void take_request(struct follow *f, struct kernel *k)
{
    struct in i;
    struct stat st;

    order_next(true, &i);
    if (get_number(&i, 1) != WATCH_REQUEST)
        exit(2);
    f->recursive = get_number(&i, 1);
    f->types = (unsigned)get_number(&i, 4);
    uint64_t coalesce_ms = get_number(&i, 4);
    char *path = get_string(&i), *dir;
    unsigned includes = (unsigned)get_number(&i, 2), excludes = (unsigned)get_number(&i, 2);
    f->include = get_strings(&i, includes);
    f->exclude = get_strings(&i, excludes);
    ready_path = make_absolute(path);
    dir = strdup(ready_path);
    if (!dir || stat(ready_path, &st))
        end_errno(errno, ready_path);
    if (!S_ISDIR(st.st_mode)) {
        char *slash = strrchr(dir, '/');
        *slash = '\0';
        f->only = slash + 1;
        f->recursive = false;
    }
    f->prefix = *dir ? dir : "/";
    told_init(&f->out, (coalesce_ms > COALESCE_MAX_MS ? COALESCE_MAX_MS : coalesce_ms) * 1000000);
    int r = inotify_open(f->prefix, k);
    if (r)
        end_errno(-r, ready_path);
    f->kernel = k;
    free(path);
}

static void take_orders(struct follow *f)
{
    struct in i;

    while (order_next(false, &i))
        if (get_number(&i, 1) == WATCH_AGAIN) {
            char *reason = get_string(&i);
            follow_again(f, 0, reason);
            free(reason);
        }
}

/* --- the loop --- */
static void fill(struct follow *f)
{
    struct told_event *e;

    if (out_at == out_n)
        out_at = out_n = 0;
    while (!out_at && out_n < OUT_LOW && (e = told_take(&f->out, f->kernel->now_ns(NULL)))) {
        say(e);
        told_free(e);
    }
}

static void flush(void)
{
    while (out_at < out_n) {
        ssize_t n = send(CHANNEL, out + out_at, out_n - out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0)
            exit(1);
        out_at += (size_t)n;
    }
}

static int wait_ms(const struct follow *f)
{
    uint64_t now = f->kernel->now_ns(NULL), due = follow_due_ns(f), told = out_at < out_n ? UINT64_MAX : told_due_ns(&f->out);

    due = told < due ? told : due;
    return due == UINT64_MAX ? -1 : due <= now ? 0 : (int)((due - now + 999999) / 1000000);
}

int main(void)
{
    static struct follow f;
    static struct kernel k;

    take_request(&f, &k);
    follow_start(&f);
    for (bool more = true;;) {
        struct pollfd p[2] = { { inotify_poll_fd(), intake_full(&f.in) ? 0 : POLLIN, 0 }, { CHANNEL, (short)(POLLIN | (out_at < out_n ? POLLOUT : 0)), 0 } };
        if (poll(p, 2, more ? 0 : wait_ms(&f)) < 0 && errno != EINTR)
            exit(1);
        if (p[1].revents & (POLLIN | POLLHUP | POLLERR))
            take_orders(&f);
        more = follow_work(&f);
        do {
            fill(&f);
            flush();
        } while (out_at == out_n && told_due_ns(&f.out) <= k.now_ns(NULL));
        if (f.end_code) {
            flush_all();
            for (struct told_event *e; (e = told_take(&f.out, UINT64_MAX)); told_free(e)) {
                say(e);
                flush_all();
            }
            end(f.end_code, f.end_text);
        }
    }
}
