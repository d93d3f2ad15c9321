/* READ: a range of a regular file. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "sandbox/agent/file.h"

static uint8_t part[FILE_CHUNK_MAX];

/* What the head says is what comes: a file that shrinks meanwhile breaks the stream, one that grows is cut. */
static int send_range(struct file_job *j, int fd, uint64_t off, uint64_t len)
{
    while (len) {
        size_t want = len < sizeof part ? (size_t)len : sizeof part;
        ssize_t n = io_pread_full(fd, part, want, (off_t)off);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return -ESTALE;
        int r = file_chunk(j, part, (size_t)n);
        if (r < 0)
            return r;
        off += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return file_chunk(j, NULL, 0);
}

int file_op_read(struct file_job *j)
{
    struct stat st;
    struct file_stat s;
    _cleanup_close_ int path = file_find(AT_FDCWD, j->q.path, true);

    j->step = "open";
    if (path < 0)
        return path;
    _cleanup_close_ int fd = file_reopen(path, O_RDONLY, &st);
    if (fd == -EINVAL)
        j->step = "type";
    if (fd < 0)
        return fd;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (fstat(fd, &st) < 0)
        return -errno;
    file_stat_fill(&s, &st);
    j->step = "read";
    int r = j->q.flags & FILE_ADDRESS ? file_address(fd, s.address) : 0;
    uint64_t left = j->q.off < s.size ? s.size - j->q.off : 0;
    if (!r)
        r = file_head(j, &s);
    return r ? r : send_range(j, fd, j->q.off, j->q.len < left ? j->q.len : left);
}
