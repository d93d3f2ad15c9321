/* TREE_OUT: a directory as an entry stream (base/entry_stream.h): names in byte order, later hard links as LINK, content without holes, user.* attributes. What is no file,
 * directory, symlink or FIFO is left out. Excludes: a pattern without a slash matches a name at any depth, one with a slash the path from the top; * does not match a slash. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/entry_stream.h"
#include "base/io.h"
#include "sandbox/agent/file.h"

enum { DATA_PART = 128 * 1024, VALUE_MAX = 65536, LINKS_MAX = 1 << 20 };
struct seen { dev_t dev; ino_t ino; char *path; struct seen *next; };
enum { BUCKETS = 4096 };
struct tree_out { struct file_job *j; struct buf out; uint64_t entries; struct seen *seen[BUCKETS]; unsigned seen_count; };
static uint8_t data[DATA_PART];

static int flush(struct tree_out *t, bool all)
{
    size_t at = 0;
    int r = buf_err(&t->out);

    while (!r && (t->out.len - at >= FILE_CHUNK_MAX || (all && t->out.len > at))) {
        size_t n = t->out.len - at < FILE_CHUNK_MAX ? t->out.len - at : FILE_CHUNK_MAX;
        r = file_chunk(t->j, t->out.data + at, n);
        at += n;
    }
    if (at) {
        memmove(t->out.data, t->out.data + at, t->out.len - at);
        t->out.len -= at;
    }
    return r;
}

static bool excluded(const struct file_job *j, const struct file_at *at)
{
    for (unsigned i = 0; i < j->q.extra_count; i++) {
        const char *p = j->q.extra[i];
        if (*p && !fnmatch(p, strchr(p, '/') ? at->path : at->name, FNM_PATHNAME))
            return true;
    }
    return false;
}

/* The path of an earlier link to the same file, or NULL (and it is remembered; beyond LINKS_MAX it comes as a file again). */
static const char *earlier(struct tree_out *t, const struct file_at *at)
{
    struct seen **bucket = &t->seen[at->st.st_ino % BUCKETS];

    for (struct seen *s = *bucket; s; s = s->next)
        if (s->ino == at->st.st_ino && s->dev == at->st.st_dev)
            return s->path;
    struct seen *s = t->seen_count < LINKS_MAX ? mem_alloc(sizeof *s) : NULL;
    if (s) {
        *s = (struct seen){ at->st.st_dev, at->st.st_ino, mem_strdup(at->path), *bucket };
        if (!s->path) {
            free(s);
            return NULL;
        }
        *bucket = s;
        t->seen_count++;
    }
    return NULL;
}

static void put_xattrs(struct tree_out *t, int fd)
{
    static char names[65536];
    static uint8_t value[VALUE_MAX];
    ssize_t n = flistxattr(fd, names, sizeof names);

    for (const char *p = names; n > 0 && p < names + n; p += strlen(p) + 1) {
        ssize_t k = strncmp(p, "user.", 5) ? -1 : fgetxattr(fd, p, value, sizeof value);
        if (k >= 0)
            import_put_xattr(&t->out, p, value, (uint32_t)k);
    }
}

/* As many bytes as the entry says; what was cut off meanwhile is a hole. */
static int put_content(struct tree_out *t, int fd, uint64_t size)
{
    uint64_t at = 0;

    while (at < size) {
        off_t next = lseek(fd, (off_t)at, SEEK_DATA);
        if (next < 0 && errno == ENXIO)
            return 0;
        at = next > (off_t)at ? (uint64_t)next : at;
        if (at >= size)
            return 0;
        size_t want = size - at < sizeof data ? (size_t)(size - at) : sizeof data;
        ssize_t n = io_pread_full(fd, data, want, (off_t)at);
        if (n <= 0)
            return (int)n;
        import_put_content(&t->out, at, data, (size_t)n);
        at += (uint64_t)n;
        int r = flush(t, false);
        if (r)
            return r;
    }
    return 0;
}

static void put_entry(struct tree_out *t, const char *path, const struct stat *st, const char *target)
{
    struct entry e = { .path = path, .target = target, .mode = st->st_mode, .uid = st->st_uid > IMPORT_ID_MAX ? 65534 : st->st_uid,
        .gid = st->st_gid > IMPORT_ID_MAX ? 65534 : st->st_gid, .mtime_s = st->st_mtim.tv_sec, .mtime_ns = (uint32_t)st->st_mtim.tv_nsec, .size = (uint64_t)st->st_size };

    entry_put(&t->out, &e);
    t->entries++;
}

/* A regular file or a directory: opened first, so that what is said of it is what is sent. */
static int put_opened(struct tree_out *t, const struct file_at *at)
{
    struct stat st;
    _cleanup_close_ int path = file_find(at->dir, at->name, false);
    _cleanup_close_ int fd = path < 0 ? path : file_reopen(path, O_RDONLY, &st);

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    put_entry(t, at->path, &st, NULL);
    put_xattrs(t, fd);
    return S_ISREG(st.st_mode) ? put_content(t, fd, (uint64_t)st.st_size) : 0;
}

static int put_link(struct tree_out *t, const struct file_at *at)
{
    char target[FILE_PATH_MAX];
    ssize_t n = readlinkat(at->dir, at->name, target, sizeof target - 1);

    if (n <= 0)
        return n < 0 && errno != ENOENT ? -errno : 0;
    target[n] = '\0';
    put_entry(t, at->path, &at->st, target);
    return 0;
}

static int entry(void *arg, struct file_at *at)
{
    struct tree_out *t = arg;
    int r = 0;

    if (excluded(t->j, at))
        return 1;
    const char *first = at->st.st_nlink > 1 && S_ISREG(at->st.st_mode) ? earlier(t, at) : NULL;
    if (first) {
        import_put_link(&t->out, at->path, first);
        t->entries++;
    } else if (S_ISREG(at->st.st_mode) || S_ISDIR(at->st.st_mode)) {
        r = put_opened(t, at);
    } else if (S_ISLNK(at->st.st_mode)) {
        r = put_link(t, at);
    } else if (S_ISFIFO(at->st.st_mode)) {
        put_entry(t, at->path, &at->st, NULL);
    }
    return r ? r : flush(t, false);
}

int file_op_tree_out(struct file_job *j)
{
    static struct tree_out t;
    struct file_stat s;
    struct stat st;
    _cleanup_close_ int fd = file_open_dir(j, &st);

    if (fd < 0)
        return fd;
    t.j = j;
    file_stat_fill(&s, &st);
    int r = file_head(j, &s);
    if (!r) {
        put_entry(&t, "", &st, NULL);
        put_xattrs(&t, fd);
        r = file_walk(fd, IMPORT_DEPTH_MAX, NULL, entry, NULL, &t);
    }
    if (!r) {
        import_put_end(&t.out, t.entries);
        r = flush(&t, true);
    }
    return r ? r : file_chunk(j, NULL, 0);
}
