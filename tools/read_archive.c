/* Reads a tar through libarchive, in a child.
 *
 * The child (read_archive_child.c) has the archive as its stdin and a pipe as its stdout; what it writes are frames of the entry stream,
 * and three more types that stay between the two: NOTE, REPORT and FAIL. The parent believes none of it: it checks lengths and types, and
 * hands the frames on to the importer, which checks the rest. If the child dies without END, the import has failed. */
#include "tools/read_archive.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/import.h"
#include "tools/read_archive_child.h"

struct parent {
    int fd;
    emit_fn *emit;
    void *arg;
    struct read_report *rep;
    struct buf frame;                        /* with its length */
    bool ended;
};

static int fail(struct parent *p, int err, const char *path, const char *what)
{
    char quoted[320], text[480];

    log_quote(quoted, sizeof(quoted), path, strlen(path));
    for (size_t i = 0; (text[i] = i + 1 < sizeof(text) ? what[i] : 0) != 0; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
    snprintf(p->rep->error, sizeof(p->rep->error), "%s%s%.180s", *path ? quoted : "", *path ? ": " : "", text);
    return err;
}

static int on_text(struct parent *p, uint8_t type, struct reader *r)
{
    _cleanup_free_ char *path = mem_alloc(65536), *what = mem_alloc(65536);

    if (!path || !what)
        return fail(p, -ENOMEM, "", "out of memory");
    get_str(r, path, 65536);
    get_str(r, what, 65536);
    if (r->bad || reader_left(r))
        return fail(p, -EPROTO, "", "the archive reader answered nonsense");
    if (type == FRAME_FAIL)
        return fail(p, -EUCLEAN, path, what);
    if (p->rep->warn)
        p->rep->warn(p->rep->warn_arg, path, what);
    return 0;
}

static int on_frame(struct parent *p)
{
    struct reader r = reader_of(p->frame.data + 4, p->frame.len - 4);
    uint8_t type = get_u8(&r);

    switch (type) {
    case IMPORT_ENTRY: case IMPORT_DATA: case IMPORT_XATTR: case IMPORT_LINK:
        return p->emit(p->arg, p->frame.data, p->frame.len);
    case IMPORT_END:
        p->ended = true;
        return p->emit(p->arg, p->frame.data, p->frame.len);
    case FRAME_NOTE: case FRAME_FAIL:
        return on_text(p, type, &r);
    case FRAME_REPORT:
        p->rep->entries = get_u64(&r);
        p->rep->bytes = get_u64(&r);
        p->rep->devices = get_u64(&r);
        p->rep->ids = get_u64(&r);
        p->rep->attributes = get_u64(&r);
        return r.bad ? fail(p, -EPROTO, "", "the archive reader answered nonsense") : 0;
    }
    return fail(p, -EPROTO, "", "the archive reader answered nonsense");
}

static int receive(struct parent *p)
{
    uint8_t head[4];

    while (!p->ended) {
        int r = io_read_full(p->fd, head, 4);
        if (r == -ENODATA || r == -EPIPE)
            return fail(p, -EIO, "", "the archive reader ended early (damaged archive, or it needs more than 1 GiB of memory)");
        if (r)
            return fail(p, r, "", strerror(-r));
        uint32_t n = le32(head);
        if (n == 0 || n > IMPORT_FRAME_MAX)
            return fail(p, -EPROTO, "", "the archive reader answered nonsense");
        buf_clear(&p->frame);
        buf_put(&p->frame, head, 4);
        uint8_t *at = buf_extend(&p->frame, n);
        if (!at)
            return fail(p, -ENOMEM, "", "out of memory");
        r = io_read_full(p->fd, at, n);
        if (r)
            return fail(p, -EIO, "", "the archive reader ended early");
        r = on_frame(p);
        if (r)
            return r;
    }
    return 0;
}

int read_archive(int fd, emit_fn *emit, void *arg, struct read_report *rep)
{
    struct parent p = { .emit = emit, .arg = arg, .rep = rep };
    int pipes[2], status;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return fail(&p, -errno, "", "cannot make a pipe");
    fcntl(pipes[1], F_SETPIPE_SZ, FRAME_PIPE_BYTES);
    pid_t pid = fork();
    if (pid == 0)
        read_archive_child(fd, pipes[1], false);
    close(pipes[1]);
    p.fd = pipes[0];
    int r = pid < 0 ? fail(&p, -errno, "", "cannot start the archive reader") : receive(&p);
    close(pipes[0]);
    buf_fini(&p.frame);
    if (pid > 0) {
        if (r)
            kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    }
    return r;
}
