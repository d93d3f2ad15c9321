/* REMOVE. A tree of any depth and width in little memory: one open directory, the names on the way down to it, and no list of what is in it: it is read again and again until
 * it is empty. The way up is "..", taken only if it leads where the way down came from. Stops at the first thing that cannot be removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/agent/file.h"

struct up { dev_t dev; ino_t ino; uint16_t name_len; };      /* after the name, in one buffer */

static int down(int *at, struct buf *way, const char *name)
{
    struct stat st;
    int fd;

    if (fstat(*at, &st) < 0)
        return -errno;
    fd = openat(*at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct up u = { .dev = st.st_dev, .ino = st.st_ino, .name_len = (uint16_t)(strlen(name) + 1) };
    buf_put(way, name, u.name_len);
    buf_put(way, &u, sizeof u);
    close(*at);
    *at = fd;
    return buf_err(way);
}

/* To the directory above, and the one that it was goes. */
static int up(int *at, struct buf *way)
{
    struct up u;
    struct stat st;
    int fd = openat(*at, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    close(*at);
    *at = fd;
    way->len -= sizeof u;
    memcpy(&u, way->data + way->len, sizeof u);
    way->len -= u.name_len;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_dev != u.dev || st.st_ino != u.ino)
        return -EBUSY;                       /* it was moved meanwhile */
    return unlinkat(fd, (const char *)way->data + way->len, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

/* One reading of the directory at *at: what is no directory goes. 1: a directory was entered; 0: nothing was left; -errno. */
static int sweep(int *at, struct buf *way)
{
    int fd = openat(*at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    while (!r && (errno = 0, e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (e->d_type != DT_DIR && (!unlinkat(*at, e->d_name, 0) || errno == ENOENT))
            continue;
        if (e->d_type != DT_DIR && errno != EISDIR)
            r = -errno;
        else if (!(r = down(at, way, e->d_name)))
            r = 1;
    }
    if (!r && errno)
        r = -errno;
    closedir(d);
    return r;
}

int file_remove_at(int dir, const char *name)
{
    struct buf way = BUF_INIT;
    int r, at;

    if (!unlinkat(dir, name, 0))
        return 0;
    if (errno != EISDIR)
        return -errno;
    at = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = at < 0 ? -errno : down(&at, &way, name);
    while (!r && way.len) {
        r = sweep(&at, &way);
        r = r > 0 ? 0 : r < 0 ? r : up(&at, &way);
    }
    if (at >= 0)
        close(at);
    buf_fini(&way);
    return r;
}

int file_op_remove(struct file_job *j)
{
    char name[FILE_NAME_MAX + 1];
    struct file_stat s = { 0 };
    struct stat st;
    _cleanup_close_ int dir = -1;
    int r = file_locate(j->q.path, false, false, &dir, name);

    j->step = "remove";
    if (r < 0)
        return r;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    file_stat_fill(&s, &st);
    if (j->q.flags & FILE_RECURSIVE)
        r = file_remove_at(dir, name);
    else
        r = unlinkat(dir, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
    return r ? r : file_head(j, &s);
}
