/* LIST and ENTRY: the entries of a directory, and of those below it to the depth asked for. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/file.h"

struct list { struct file_job *j; struct buf out; };

static int flush(struct list *l, size_t room)
{
    if (l->out.len + room <= FILE_CHUNK_MAX || !l->out.len)
        return 0;
    int r = file_chunk(l->j, l->out.data, l->out.len);
    buf_clear(&l->out);
    return r;
}

/* Whole entries in each chunk: an entry is smaller than one (names of 64 KiB at most, twice). */
static int entry(void *arg, struct file_at *at)
{
    struct list *l = arg;
    struct file_stat s;
    char target[FILE_PATH_MAX];
    ssize_t n = S_ISLNK(at->st.st_mode) ? readlinkat(at->dir, at->name, target, sizeof target - 1) : 0;
    int r = flush(l, 2 * 65536 + 256 + FILE_ATTR_BYTES + 4 * FILE_ATTRS_MAX);

    if (r)
        return r;
    target[n > 0 ? n : 0] = '\0';
    file_stat_fill(&s, &at->st);
    buf_put_str(&l->out, at->path);
    file_stat_put(&l->out, &s);
    buf_put_str(&l->out, target);
    if (l->j->q.flags & FILE_ATTRS)
        file_attrs_put(&l->out, at->dir, at->name);
    return buf_err(&l->out);
}

/* A symlink's own target is read from its O_PATH descriptor by the empty name. */
int file_op_entry(struct file_job *j)
{
    struct list l = { .j = j };
    struct file_stat s;
    struct file_at at = { .name = "", .path = "" };
    _cleanup_close_ int fd = file_find(AT_FDCWD, j->q.path, false);

    j->step = "stat";
    if (fd < 0)
        return fd;
    if (fstat(fd, &at.st) < 0)
        return -errno;
    at.dir = fd;
    file_stat_fill(&s, &at.st);
    int r = file_head(j, &s);
    if (!r)
        r = entry(&l, &at);
    if (!r)
        r = flush(&l, FILE_CHUNK_MAX);
    buf_fini(&l.out);
    return r ? r : file_chunk(j, NULL, 0);
}

int file_op_list(struct file_job *j)
{
    struct list l = { .j = j };
    struct file_stat s;
    struct stat st;
    _cleanup_close_ int fd = file_open_dir(j, &st);

    if (fd < 0)
        return fd;
    file_stat_fill(&s, &st);
    j->step = "list";
    int r = file_head(j, &s);
    if (!r)
        r = file_walk(fd, j->q.depth ? j->q.depth : 1, NULL, entry, NULL, &l);
    if (!r)
        r = flush(&l, FILE_CHUNK_MAX);
    buf_fini(&l.out);
    return r ? r : file_chunk(j, NULL, 0);
}
