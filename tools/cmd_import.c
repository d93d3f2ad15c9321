/* A tree comes in as a stream of frames (fs/import.h): read here, checked and stored by the daemon. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "fs/archive.h"
#include "snapshotd/snap_proto.h"
#include "tools/args.h"
#include "tools/progress.h"
#include "tools/read_archive.h"
#include "tools/read_dir.h"
#include "tools/text.h"

struct feed { int out; struct read_report rep; };

static int emit(void *arg, const void *p, size_t n)
{
    struct feed *f = arg;

    progress_bytes("importing", f->rep.entries, f->rep.bytes);
    return io_write_full(f->out, p, n);
}

static void warn(void *arg, const char *path, const char *what)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;

    (void)arg;
    text_quote(&b, path, strlen(path));
    buf_put_u8(&b, 0);
    progress_clear();
    fprintf(stderr, "coppice: %s: %s\n", buf_err(&b) ? "?" : (char *)b.data, what);
}

static void tell_skipped(const struct read_report *rep)
{
    static const char *const fmt = "coppice: %llu %s\n";
    if (rep->devices)
        fprintf(stderr, fmt, (unsigned long long)rep->devices, "device nodes were left out");
    if (rep->mounts)
        fprintf(stderr, fmt, (unsigned long long)rep->mounts,
                "directories are other file systems and were left empty (--cross-mounts enters them)");
    if (rep->ids)
        fprintf(stderr, fmt, (unsigned long long)rep->ids, "owners above 65535 became 65534");
    if (rep->attributes)
        fprintf(stderr, fmt, (unsigned long long)rep->attributes, "extended attributes were left out");
    if (rep->changed)
        fprintf(stderr, fmt, (unsigned long long)rep->changed, "files changed while they were read");
    if (rep->vanished)
        fprintf(stderr, fmt, (unsigned long long)rep->vanished, "files vanished while they were read");
}

/* Reads the source into the pipe, then hears what the daemon says of it. */
static int feed_tree(struct tool *t, int src, bool is_dir, bool cross, int out, json_t **ret)
{
    struct feed f = { .out = out, .rep = { .warn = warn } };
    struct read_dir_opts o = { .cross_mounts = cross };

    int r = is_dir ? read_dir(src, &o, emit, &f, &f.rep) : read_archive(src, emit, &f, &f.rep);
    close(out);
    progress_clear();
    int ans = snap_answer(t->client, NULL, NULL, ret, &t->error);
    /* A broken pipe is the daemon's refusal: it says why. Any other failure is ours to explain. */
    if (r && r != -EPIPE)
        r = tool_fail("cannot import: %s; nothing was kept", f.rep.error[0] ? f.rep.error : strerror(-r));
    else
        r = ans ? tool_error(t) : 0;
    if (!r)
        tell_skipped(&f.rep);
    return r;
}

/* As the options say. */
struct wish { const char *at, *message, *kind; bool cross; };

static int import_tree(struct tool *t, const char *ws, const struct wish *o, int src, bool is_dir, json_t **ret)
{
    json_t *req = json_pack("{s:s,s:s,s:s*,s:s*}", "verb", "import", "name", ws, "message", o->message, "kind", o->kind);
    int p[2];

    if (!req || pipe2(p, O_CLOEXEC)) {
        json_decref(req);
        return tool_fail("cannot import into '%s': %s", ws, req ? strerror(errno) : "the name or message is not UTF-8");
    }
    /* Fewer wake-ups; the default is 64 KiB. */
    fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
    if (o->at)
        json_object_set_new(req, "at", snap_bytes(o->at, strlen(o->at)));
    int r = snap_request(t->client, req, p, 1, &t->error);
    close(p[0]);
    if (r) {
        close(p[1]);
        return tool_error(t);
    }
    return feed_tree(t, src, is_dir, o->cross, p[1], ret);
}

/* What is to be read, and whether it is one of coppice's own archives. */
struct source { int fd; bool archive, relayed; };

static bool is_archive(const void *head, ssize_t n)
{
    return n >= ARCHIVE_MAGIC_BYTES && !memcmp(head, ARCHIVE_MAGIC, ARCHIVE_MAGIC_BYTES);
}

static _Noreturn void relay_child(const void *head, size_t n, int out)
{
    static char buf[1 << 17];
    ssize_t k = (ssize_t)n;

    signal(SIGPIPE, SIG_DFL);
    if (io_write_full(out, head, n))
        _exit(1);
    while ((k = read(0, buf, sizeof(buf))) > 0 || (k < 0 && errno == EINTR))
        if (k > 0 && io_write_full(out, buf, (size_t)k))
            _exit(1);
    _exit(k < 0);
}

/* Standard input that cannot seek: its first bytes tell its kind, and a child hands them on in front of the rest. */
static int relay(struct source *ret)
{
    char head[ARCHIVE_MAGIC_BYTES];
    size_t n = 0;
    ssize_t k = 1;
    int p[2];

    while (n < sizeof(head) && k) {
        k = read(0, head + n, sizeof(head) - n);
        if (k < 0 && errno != EINTR)
            return -errno;
        n += k > 0 ? (size_t)k : 0;
    }
    if (pipe2(p, O_CLOEXEC))
        return -errno;
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        close(p[0]);
        relay_child(head, n, p[1]);
    }
    close(p[1]);
    if (pid < 0) {
        close(p[0]);
        return -EAGAIN;
    }
    *ret = (struct source){ p[0], is_archive(head, (ssize_t)n), true };
    return 0;
}

static int open_source(const char *name, struct source *ret)
{
    char head[ARCHIVE_MAGIC_BYTES];
    bool from_stdin = !strcmp(name, "-");

    if (from_stdin && lseek(0, 0, SEEK_CUR) < 0)
        return relay(ret);
    int fd = from_stdin ? fcntl(0, F_DUPFD_CLOEXEC, 3) : open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    *ret = (struct source){ fd, is_archive(head, pread(fd, head, sizeof(head), lseek(fd, 0, SEEK_CUR))), false };
    return 0;
}

static int import_source(struct tool *t, const struct args *a, const struct wish *o, const struct source *src, json_t **ret)
{
    struct stat st;

    if (fstat(src->fd, &st))
        return tool_fail("cannot import %s: %s", a->v[0], strerror(errno));
    if (!src->relayed && !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return tool_fail("cannot import %s: it is neither a directory nor a file", a->v[0]);
    if (src->archive) {
        if (o->at || o->message || o->kind)
            return args_usage("import", "--at, --kind and -m do not go with an archive of coppice, which is taken as it is");
        return tool_call_fd(t, json_pack("{s:s,s:s}", "verb", "import_archive", "name", a->v[1]), &src->fd, 1, ret);
    }
    return import_tree(t, a->v[1], o, src->fd, S_ISDIR(st.st_mode), ret);
}

int cmd_import(struct tool *t, int argc, char **argv)
{
    struct wish o = { 0 };
    const struct arg_option options[] = {
        { "at", 0, .val = &o.at }, { "message", 'm', .val = &o.message }, { "kind", 0, .val = &o.kind },
        { "cross-mounts", 0, .flag = &o.cross }, { 0 },
    };
    json_t *ans = NULL;
    struct args a;

    int r = args_parse(t, "import", argc, argv, options, 2, 2, &a);
    if (!r && o.kind && strcmp(o.kind, "bare") && strcmp(o.kind, "root"))
        r = args_usage("import", "--kind is bare or root, not '%s'", o.kind);
    if (r)
        return r;
    struct source src = { .fd = -1 };
    r = open_source(a.v[0], &src);
    if (r)
        return tool_fail("cannot import %s: %s", a.v[0], strerror(-r));
    r = tool_open(t, NEED_CREATE);
    if (!r)
        r = import_source(t, &a, &o, &src, &ans);
    close(src.fd);
    if (r)
        return r;
    if (t->json)
        tool_print_json(ans);
    else
        puts(field_str(ans, "id"));
    json_decref(ans);
    return 0;
}
