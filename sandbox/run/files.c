/* One file operation: the client end of file_proto.h's stream.
 *
 *   HEAD_SIZE -> HEAD -> CHUNK_SIZE <-> CHUNK -> DONE       what the worker sends (uploads: DONE after the head)
 * An upload is cut into chunks of what is given; one that the socket does not take whole waits in `out` (at most a chunk), and nothing more is taken until it is gone.
 * Sizes from the worker are checked (it is inside the sandbox); every way to the end calls head or end exactly once more, or neither after file_free(). */
#include "sandbox/files.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib-unix.h>

#include "base/cleanup.h"
#include "sandbox/http/metrics.h"
#include "sandbox/run/exec_private.h"

enum step { HEAD_SIZE, HEAD, CHUNK_SIZE, CHUNK, BROKEN, DONE };
struct file_call {
    struct box *b;
    uint32_t id;
    int sock;
    uint8_t op;
    enum step step;
    bool headed, paused, ending, end_sent, busy, dead, over;   /* busy: one of its ops runs, freeing waits for its return */
    guint in, out_ready;
    uint8_t *buf;                      /* the head being collected, or a piece of a chunk */
    size_t have, want;                 /* of the size or head; of the chunk: what is left */
    uint8_t size[4];
    struct buf out;
    size_t out_off;
    const struct file_ops *ops; void *arg;
};
enum { PIECE = FILE_HEAD_MAX };        /* what is read at once: one buffer serves heads and pieces */

static bool has_body(const struct file_call *f) { return f->op == FILE_READ || f->op == FILE_LIST || f->op == FILE_TREE_OUT || f->op == FILE_ENTRY; }

static void sources_off(struct file_call *f)
{
    if (f->in)
        g_source_remove(f->in);
    if (f->out_ready)
        g_source_remove(f->out_ready);
    f->in = f->out_ready = 0;
}

static void file_close(struct file_call *f)
{
    sources_off(f);
    close_p(&f->sock);
    f->sock = -1;
    if (f->b && f->b->execs)
        g_hash_table_remove(f->b->execs->files, GUINT_TO_POINTER(f->id));
    f->b = NULL;
}

static void file_destroy(struct file_call *f)
{
    file_close(f);
    buf_fini(&f->out);
    g_free(f->buf);
    g_free(f);
}

void file_free(struct file_call *f)
{
    if (!f)
        return;
    file_close(f);
    f->dead = true;
    if (!f->busy)
        file_destroy(f);
}

/* After a callback. False: it was freed meanwhile. */
static bool back(struct file_call *f)
{
    bool dead = f->dead;

    f->busy = false;
    if (dead)
        file_destroy(f);
    return !dead;
}

/* The one end of it: status to head if there was none, else to end. */
static bool finish(struct file_call *f, int status, const char *step)
{
    if (f->over)
        return true;
    f->over = true;
    f->step = DONE;
    file_close(f);
    f->busy = true;
    if (!f->headed)
        f->ops->head(f->arg, status ? status : -EPROTO, step, NULL);
    else if (has_body(f) && f->ops->end)
        f->ops->end(f->arg, status);
    return back(f);
}

void file_failed(struct file_call *f, int err, const char *step) { finish(f, err, step); }

static bool on_head(struct file_call *f)
{
    struct reader r = reader_of(f->buf, f->have);
    int32_t status = (int32_t)get_u32(&r);
    struct file_stat st = { 0 };
    char step[64];

    get_str(&r, step, sizeof(step));
    if (!r.bad && !status)
        file_stat_get(&r, &st);
    if (r.bad || status > 0)
        return finish(f, -EPROTO, "worker");
    if (status)
        return finish(f, status, step);
    f->headed = true;
    f->step = has_body(f) ? CHUNK_SIZE : DONE;
    f->have = 0;
    f->want = 4;
    if (f->step == DONE) {
        f->over = true;
        file_close(f);
    }
    f->busy = true;
    f->ops->head(f->arg, 0, step, &st);
    return back(f);
}

/* Collected: a size, the head, or the errno of a broken body. True: go on reading. */
static bool on_collected(struct file_call *f)
{
    uint32_t n = le32(f->size);

    if (f->step == HEAD) {
        return on_head(f) && f->step != DONE;
    } else if (f->step == BROKEN) {
        int32_t err = (int32_t)n;
        finish(f, err < 0 ? err : -EIO, "worker");
        return false;
    } else if (f->step == HEAD_SIZE) {
        if (n > FILE_HEAD_MAX || n < 6)
            return finish(f, -EPROTO, "worker"), false;
        f->step = HEAD;
    } else if (!n) {
        finish(f, 0, "");
        return false;
    } else if (n == FILE_BROKEN) {
        f->step = BROKEN;
        n = 4;
    } else if (n > FILE_CHUNK_MAX) {
        return finish(f, -EPROTO, "worker"), false;
    } else {
        f->step = CHUNK;
    }
    f->have = 0;
    f->want = n;
    return true;
}

/* One read of the socket. True: go on. */
static bool read_some(struct file_call *f)
{
    uint8_t *at = f->step == HEAD ? f->buf + f->have : f->step == CHUNK ? f->buf : f->size + f->have;
    size_t n = f->step == CHUNK ? MIN(f->want, (size_t)PIECE) : f->want - f->have;
    ssize_t r = recv(f->sock, at, n, MSG_DONTWAIT);
    bool more;

    if (r < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (r <= 0)
        return finish(f, -EPIPE, "worker"), false;
    if (f->step != CHUNK) {
        f->have += (size_t)r;
        return f->have < f->want || on_collected(f);
    }
    f->want -= (size_t)r;
    if (!f->want) {
        f->step = CHUNK_SIZE;
        f->have = 0;
        f->want = 4;
    }
    metrics_add(METRIC_FILE_OUT_BYTES, (uint64_t)r);
    f->busy = true;
    more = f->ops->data(f->arg, f->buf, (size_t)r);
    if (!back(f))
        return false;
    if (!more) {
        f->paused = true;
        if (f->in)
            g_source_remove(f->in);
        f->in = 0;
    }
    return more;
}

static gboolean readable(gint fd, GIOCondition cond, gpointer arg)
{
    struct file_call *f = arg;

    for (unsigned i = 0; i < 16; i++)
        if (!read_some(f))
            break;
    return G_SOURCE_CONTINUE;          /* f may be gone, and with it this source: removed already */
}

void file_resume(struct file_call *f)
{
    if (!f->paused || f->over)
        return;
    f->paused = false;
    f->in = g_unix_fd_add(f->sock, G_IO_IN | G_IO_HUP | G_IO_ERR, readable, f);
}

/* --- uploads --- */
/* 0: all that waited is out; -EAGAIN: not yet; else the worker reads no more (its head says why). */
static int flush(struct file_call *f)
{
    while (f->out_off < f->out.len) {
        ssize_t r = send(f->sock, f->out.data + f->out_off, f->out.len - f->out_off, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (r < 0 && errno == EAGAIN)
            return -EAGAIN;
        if (r < 0 && errno != EINTR)
            return -errno;
        if (r > 0)
            f->out_off += (size_t)r;
    }
    buf_clear(&f->out);
    f->out_off = 0;
    return 0;
}

static void write_end_now(struct file_call *f)
{
    if (f->end_sent)
        return;
    f->end_sent = true;
    buf_put_u32(&f->out, 0);
}

static gboolean writable(gint fd, GIOCondition cond, gpointer arg)
{
    struct file_call *f = arg;
    int r = flush(f);

    if (r == -EAGAIN)
        return G_SOURCE_CONTINUE;
    if (!r && f->ending && !f->end_sent) {
        write_end_now(f);
        return G_SOURCE_CONTINUE;
    }
    f->out_ready = 0;
    f->busy = true;
    if (f->ops->room)
        f->ops->room(f->arg);
    back(f);
    return G_SOURCE_REMOVE;
}

static void want_writable(struct file_call *f)
{
    if (!f->out_ready)
        f->out_ready = g_unix_fd_add(f->sock, G_IO_OUT | G_IO_HUP | G_IO_ERR, writable, f);
}

size_t file_write(struct file_call *f, const void *p, size_t n)
{
    size_t part = MIN(n, (size_t)FILE_CHUNK_MAX);

    if (f->over || f->ending)
        return n;
    if (f->out.len || !n)
        return 0;
    buf_put_u32(&f->out, (uint32_t)part);
    buf_put(&f->out, p, part);
    metrics_add(METRIC_FILE_IN_BYTES, part);
    if (flush(f) == -EAGAIN)
        want_writable(f);
    else
        buf_clear(&f->out), f->out_off = 0;
    return part;
}

void file_write_end(struct file_call *f)
{
    if (f->over || f->ending)
        return;
    f->ending = true;
    if (!f->out.len) {
        write_end_now(f);
        if (flush(f) != -EAGAIN)
            return;
    }
    want_writable(f);
}

/* --- the start --- */
struct file_call *file_start(struct box *b, const char *user, const struct file_request *q, const struct file_ops *ops, void *arg, struct fault *ret_fault)
{
    _cleanup_(buf_fini) struct buf body = BUF_INIT;
    struct file_call *f;
    int pair[2], r;

    if (!b->link || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        fault_set(ret_fault, b->link ? "unavailable" : "not_running", b->link ? "too many files are open: try again in a moment" : "sandbox %s is not running", b->name);
        return NULL;
    }
    f = g_new0(struct file_call, 1);
    *f = (struct file_call){ .b = b, .id = agent_link_id(b->link), .sock = pair[0], .op = q->op, .want = 4, .ops = ops, .arg = arg };
    f->buf = g_malloc(FILE_HEAD_MAX);
    buf_put_str(&body, user ? user : box_default_user(b));
    file_request_put(&body, q);
    r = buf_err(&body) || body.len > FRAME_BODY_MAX ? -E2BIG : agent_link_send(b->link, FRAME_FILE_OP, 0, f->id, 0, body.data, body.len, pair[1]);
    close(pair[1]);
    if (r < 0) {
        fault_set(ret_fault, r == -E2BIG ? "invalid_request" : "agent_lost", r == -E2BIG ? "the request about this file is too long" : "the sandbox went away: try again");
        file_destroy(f);
        return NULL;
    }
    g_hash_table_insert(execs_of(b)->files, GUINT_TO_POINTER(f->id), f);
    f->in = g_unix_fd_add(f->sock, G_IO_IN | G_IO_HUP | G_IO_ERR, readable, f);
    return f;
}

void files_stopping(struct box *b, const struct fault *why)
{
    while (g_hash_table_size(b->execs->files)) {
        GHashTableIter i;
        gpointer f;

        g_hash_table_iter_init(&i, b->execs->files);
        g_hash_table_iter_next(&i, NULL, &f);
        finish(f, -EPIPE, "agent");
    }
}

void file_fault(struct fault *ret, int err, const char *step, const char *path)
{
    static const struct { int err; const char *code, *text; } known[] = {
        { ENOENT, "not_found", "there is no such file or directory" }, { ENOTDIR, "not_a_directory", "a part of the path that must be a directory is none" },
        { EISDIR, "is_a_directory", "it is a directory" }, { EEXIST, "exists", "it is there already" }, { ENOTEMPTY, "not_empty", "the directory is not empty: ?recursive=1 removes all of it" },
        { EACCES, "permission_denied", "the user may not do this there" }, { EPERM, "permission_denied", "the user may not do this there" },
        { EROFS, "permission_denied", "it is on a read-only mount" }, { ELOOP, "not_a_file", "a symbolic link stands where none may (or they form a loop)" },
        { ESTALE, "precondition_failed", "it has changed: its address is not the one given" }, { ENOSPC, "no_space", "the sandbox's disk is full" },
        { EDQUOT, "no_space", "the sandbox's disk quota is used up" }, { ENAMETOOLONG, "invalid_request", "a name in the path is too long" },
        { EINVAL, "invalid_request", "the path is not usable, or it is neither a regular file nor a directory" }, { ERANGE, "out_of_range", "the range begins behind its end" }, { EFBIG, "no_space", "the file would be too large" },
        { ENXIO, "not_a_file", "it is neither a regular file nor a directory" }, { EMEDIUMTYPE, "not_a_file", "it is neither a regular file nor a directory" },
        { EXDEV, "not_supported", "it lies on another mount" }, { EAGAIN, "too_many", "too many file operations run in the sandbox: try again" },
        { EPIPE, "agent_lost", "the file worker in the sandbox ended early" }, { EBUSY, "busy", "it is in use" }, { ETXTBSY, "busy", "it is being executed" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
        if (known[i].err == -err) {
            fault_set(ret, known[i].code, "%.300s: %s", path, known[i].text);
            return;
        }
    fault_set(ret, "internal", "%.300s: step %.40s failed: %s", path, step, g_strerror(-err));
}
