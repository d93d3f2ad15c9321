/* cp: a file goes as its bytes; a directory as a tar, which children of ours make or take apart (the one from a sandbox is foreign: its reader is confined,
 * and write_dir.h says how its entries are placed). */
#include <errno.h>
#include <fcntl.h>
#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "tools/box.h"
#include "tools/progress.h"
#include "tools/read_archive.h"
#include "tools/read_dir.h"
#include "tools/write_dir.h"
#include "tools/write_tar.h"

/* WS:PATH, split. box NULL: a path of this machine. */
struct place { char *box, *path; };
struct copy { struct api *a; const char *user; };

static struct place place_of(const char *text)
{
    const char *colon = strchr(text, ':'), *slash = strchr(text, '/');

    if (!colon || colon == text || (slash && slash < colon))
        return (struct place){ NULL, g_strdup(text) };
    const char *path = colon + 1;
    return (struct place){ g_strndup(text, (gsize)(colon - text)), *path == '/' ? g_strdup(path) : g_strconcat("/workspace/", path, NULL) };
}

/* ROUTE of a file in the sandbox, with the user. */
static char *route(const struct copy *c, const char *box, const char *what, const char *path, const char *query)
{
    g_autofree char *enc = path ? api_path(path) : NULL, *user = c->user ? api_segment(c->user) : NULL;
    g_autoptr(GString) q = g_string_new(query ? query : "");

    if (user)
        g_string_append_printf(q, "%suser=%s", q->len ? "&" : "", user);
    return api_box(box, "%s%s%s%s%s", what, enc ? "/" : "", enc ? enc : "", q->len ? "?" : "", q->str);
}

static char *last_part(const char *path)
{
    g_autofree char *b = g_path_get_basename(path);
    return strcmp(b, ".") && strcmp(b, "/") && strcmp(b, "..") ? g_steal_pointer(&b) : g_strdup("");
}

/* 1: a directory; 0: something else; -ENOENT: nothing; -EIO: said why. *ret_mode may be NULL. */
static int remote_kind(const struct copy *c, const struct place *p, unsigned *ret_mode)
{
    g_autofree char *path = route(c, p->box, "stat", p->path, NULL);
    struct api_error e;
    json_t *st = NULL;

    if (api_try(c->a, "GET", path, NULL, &st, &e)) {
        bool none = e.status == 404 && strcmp(e.code, "workspace_not_found") && strstr(e.code, "not_found");
        if (!none)
            api_say(c->a->t, &e);
        json_decref(e.details);
        return none ? -ENOENT : -EIO;
    }
    const char *type = field_str(st, "type");
    json_t *mode = json_object_get(st, "mode");
    if (ret_mode)
        *ret_mode = json_is_string(mode) ? (unsigned)strtoul(json_string_value(mode), NULL, 8) & 0777 : (unsigned)json_integer_value(mode) & 0777;
    int r = !strcmp(type, "directory") || !strcmp(type, "dir");
    json_decref(st);
    return r;
}

/* --- out of a sandbox --- */

/* Sends and gives the body's stream, or says why not. */
static GInputStream *fetch(const struct copy *c, SoupMessage *m)
{
    g_autoptr(GError) err = NULL;
    GInputStream *in = soup_session_send(c->a->session, m, NULL, &err);
    struct api_error e;

    if (in && SOUP_STATUS_IS_SUCCESSFUL(soup_message_get_status(m)))
        return in;
    api_error_of(m, in, err, &e);
    api_say(c->a->t, &e);
    json_decref(e.details);
    g_clear_object(&in);
    return NULL;
}

static int pump(GInputStream *in, int fd, const char *what)
{
    g_autoptr(GError) err = NULL;
    g_autofree uint8_t *buf = g_malloc(1 << 16);
    uint64_t total = 0;
    gssize n;

    while ((n = g_input_stream_read(in, buf, 1 << 16, NULL, &err)) > 0) {
        int r = io_write_full(fd, buf, (size_t)n);
        if (r)
            return tool_fail("cannot write %s: %s", what, strerror(-r));
        progress_bytes("copying", 0, total += (uint64_t)n);
    }
    progress_clear();
    return n < 0 ? tool_fail("cannot copy %s: the transfer broke off (%s)", what, err->message) : 0;
}

/* To a new file beside the wanted one, which takes its place when all of it is there. */
static int file_out(const struct copy *c, const struct place *from, const char *to, unsigned mode)
{
    g_autofree char *path = route(c, from->box, "file", from->path, NULL), *part = g_strconcat(to, ".part-XXXXXX", NULL);
    g_autoptr(SoupMessage) m = api_message(c->a, "GET", path, NULL, NULL);
    g_autoptr(GInputStream) in = fetch(c, m);

    if (!in)
        return 1;
    if (!strcmp(to, "-"))
        return pump(in, 1, "standard output");
    _cleanup_close_ int fd = mkostemp(part, O_CLOEXEC);
    if (fd < 0)
        return tool_fail("cannot write %s: %s", to, strerror(errno));
    int r = pump(in, fd, to);
    if (!r && (fchmod(fd, mode) || rename(part, to)))
        r = tool_fail("cannot write %s: %s", to, strerror(errno));
    if (r)
        unlink(part);
    return r;
}

/* A child takes the tar apart while we bring it. */
static int dir_out(const struct copy *c, const struct place *from, const char *to)
{
    g_autofree char *path = NULL, *seg = api_segment(from->path), *query = g_strconcat("root=", seg, NULL);
    int p[2], status = 0;

    if (mkdir(to, 0755) && errno != EEXIST)
        return tool_fail("cannot make %s: %s", to, strerror(errno));
    _cleanup_close_ int dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || pipe2(p, O_CLOEXEC))
        return tool_fail("cannot write into %s: %s", to, strerror(errno));
    path = route(c, from->box, "persist", NULL, query);
    g_autoptr(SoupMessage) m = api_message(c->a, "POST", path, NULL, NULL);
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        struct read_report rep = { 0 };
        struct write_dir w;
        close(p[1]);
        write_dir_init(&w, dir);
        int r = read_archive(p[0], write_dir_frames, &w, &rep);
        write_dir_fini(&w);
        /* A tar that is cut off was cut off by the transfer, of which our parent tells. */
        if (r)
            tool_fail("cannot copy into %s: %s", to, w.error[0] ? w.error : rep.error);
        _exit(r != 0);
    }
    close(p[0]);
    g_autoptr(GInputStream) in = pid < 0 ? NULL : fetch(c, m);
    int r = in ? pump(in, p[1], to) : 1;
    close(p[1]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return r || !WIFEXITED(status) || WEXITSTATUS(status) ? 1 : 0;
}

static int copy_out(const struct copy *c, const struct place *from, const char *to)
{
    unsigned mode = 0644;
    struct stat st;
    int kind = remote_kind(c, from, &mode);

    if (kind == -ENOENT)
        return tool_fail("cannot copy %s:%s: there is no such file", from->box, from->path);
    if (kind < 0)
        return 1;
    g_autofree char *name = last_part(from->path);
    bool into = strcmp(to, "-") && !stat(to, &st) && S_ISDIR(st.st_mode);
    g_autofree char *full = into ? g_build_filename(to, name, NULL) : g_strdup(to);
    if (kind && !strcmp(to, "-"))
        return tool_fail("cannot copy %s:%s to standard output: it is a directory", from->box, from->path);
    return kind ? dir_out(c, from, full) : file_out(c, from, full, mode);
}

/* --- into a sandbox --- */

static int deliver(const struct copy *c, SoupMessage *m)
{
    g_autoptr(GInputStream) in = fetch(c, m);

    progress_clear();
    return in ? 0 : 1;
}

static int file_in(const struct copy *c, int fd, const struct stat *st, const struct place *to)
{
    g_autofree char *query = S_ISREG(st->st_mode) ? g_strdup_printf("mode=%o", st->st_mode & 0777) : NULL;
    g_autofree char *path = route(c, to->box, "file", to->path, query);
    g_autoptr(SoupMessage) m = api_message(c->a, "PUT", path, NULL, "application/json");
    g_autoptr(GInputStream) in = g_unix_input_stream_new(fd, FALSE);

    soup_message_set_request_body(m, "application/octet-stream", in, S_ISREG(st->st_mode) ? st->st_size : -1);
    return deliver(c, m);
}

static int put_frames(void *arg, const void *p, size_t n)
{
    return io_write_full(*(int *)arg, p, n);
}

/* Two children: one reads the directory, one makes the tar of it. */
static pid_t reader_child(int dir, int out, int other)
{
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        struct read_dir_opts o = { 0 };
        struct read_report rep = { 0 };
        close(other);
        int r = read_dir(dir, &o, put_frames, &out, &rep);
        if (r && r != -EPIPE)
            tool_fail("cannot read it: %s", rep.error[0] ? rep.error : strerror(-r));
        _exit(r != 0);
    }
    return pid;
}

static pid_t tar_child(int in, int out, const int other[2])
{
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        struct read_report rep = { 0 };
        close(other[0]);
        close(other[1]);
        _exit(write_tar(in, out, &rep) != 0);
    }
    return pid;
}

static bool child_good(pid_t pid)
{
    int status = 1;

    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return pid > 0 && WIFEXITED(status) && !WEXITSTATUS(status);
}

static int dir_in(const struct copy *c, int fd, const struct place *to)
{
    g_autofree char *mkdir_path = route(c, to->box, "dir", to->path, NULL), *seg = api_segment(to->path), *query = g_strconcat("root=", seg, NULL);
    g_autofree char *path = route(c, to->box, "hydrate", NULL, query);
    struct api_error e;
    int frames[2], tar[2];

    if (api_try(c->a, "POST", mkdir_path, NULL, NULL, &e) && strcmp(e.code, "exists"))
        return api_say(c->a->t, &e);
    if (pipe2(frames, O_CLOEXEC))
        return tool_fail("cannot make a pipe: %s", strerror(errno));
    if (pipe2(tar, O_CLOEXEC)) {
        close(frames[0]);
        close(frames[1]);
        return tool_fail("cannot make a pipe: %s", strerror(errno));
    }
    const int others[2] = { frames[1], tar[0] };
    pid_t packer = tar_child(frames[0], tar[1], others);
    close(frames[0]);
    close(tar[1]);
    pid_t reader = reader_child(fd, frames[1], tar[0]);
    close(frames[1]);
    g_autoptr(SoupMessage) m = api_message(c->a, "POST", path, NULL, "application/json");
    g_autoptr(GInputStream) in = g_unix_input_stream_new(tar[0], TRUE);
    soup_message_set_request_body(m, "application/octet-stream", in, -1);
    int r = deliver(c, m);
    g_input_stream_close(in, NULL, NULL);
    bool read_all = child_good(reader), packed = child_good(packer);
    return r || !read_all || !packed;
}

static int copy_in(const struct copy *c, const char *from, struct place *to)
{
    bool from_stdin = !strcmp(from, "-");
    _cleanup_close_ int fd = from_stdin ? fcntl(0, F_DUPFD_CLOEXEC, 3) : open(from, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st))
        return tool_fail("cannot copy %s: %s", from, strerror(errno));
    bool slash = *to->path && to->path[strlen(to->path) - 1] == '/';
    int kind = remote_kind(c, to, NULL);
    if (kind == -EIO)
        return 1;
    if (kind == 1 || slash) {
        g_autofree char *name = last_part(from);
        if (from_stdin)
            return tool_fail("cannot copy standard input to %s:%s: it is a directory; name a file", to->box, to->path);
        char *full = g_build_filename(to->path, name, NULL);
        g_free(to->path);
        to->path = full;
    }
    if (S_ISDIR(st.st_mode))
        return dir_in(c, fd, to);
    if (!S_ISREG(st.st_mode) && !from_stdin)
        return tool_fail("cannot copy %s: it is neither a file nor a directory", from);
    return file_in(c, fd, &st, to);
}

int box_cp(struct tool *t, int argc, char **argv)
{
    struct copy c = { 0 };
    const struct arg_option options[] = { { "user", 'u', .val = &c.user }, { 0 } };
    struct args args;
    struct api a;

    int r = args_parse(t, "cp", argc, argv, options, 2, 2, &args);
    if (r)
        return r;
    struct place from = place_of(args.v[0]), to = place_of(args.v[1]);
    if (!from.box == !to.box)
        return args_usage("cp", from.box ? "both are in sandboxes: copy by way of this machine" : "one of the two must be WS:PATH");
    r = api_open(t, &a);
    if (!r) {
        c.a = &a;
        r = from.box ? copy_out(&c, &from, to.path) : copy_in(&c, from.path, &to);
        api_close(&a);
    }
    g_free(from.box);
    g_free(from.path);
    g_free(to.box);
    g_free(to.path);
    return r;
}
