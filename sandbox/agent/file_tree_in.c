/* TREE_IN: an entry stream is applied beneath a directory. Each path is walked by components from there, no symlink is followed, nothing outside is reached whatever the stream
 * says. What is in the way is replaced as tar does: a file by unlinking it, a directory only when it is empty; a directory over a directory keeps what is in it. Owners are
 * the user's (root: as in the stream, where the kernel allows it); setuid, setgid and attributes but user.* are dropped; devices are refused.
 *
 * A directory gets its mode and time at the end (a stream may have one that is read-only, with entries); of more than DIRS_MAX directories the later ones keep theirs 0755. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/entry_stream.h"
#include "base/io.h"
#include "base/wire.h"
#include "sandbox/agent/file.h"

enum { DIRS_MAX = 1 << 20, TEXT_MAX = 65536 };
struct late { char *path; uint32_t mode, uid, gid; struct timespec mtime; };
struct tree_in {
    struct file_job *j;
    int top, fd;                             /* fd: of the last ENTRY, a file or a directory; else -1 */
    bool is_file;
    struct entry_frame last;                 /* numbers only */
    int parent;                              /* of the last path that was walked, whose directory was parent_path */
    char parent_path[TEXT_MAX], name[FILE_NAME_MAX + 1];
    struct late *late;
    size_t late_count, late_cap;
    uint64_t entries;
    bool ended;
    struct buf in;
};

static int step_into(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0 || errno != ENOENT)
        return fd < 0 ? -errno : fd;
    if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int walk_to(struct tree_in *t, const char *dir, size_t n, int *ret)
{
    int at = openat(t->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char name[FILE_NAME_MAX + 1];

    for (size_t done = 0; at >= 0 && done < n;) {
        const char *slash = memchr(dir + done, '/', n - done);
        size_t k = slash ? (size_t)(slash - dir) - done : n - done;
        memcpy(name, dir + done, k);         /* entry_path_ok(): 255 at most */
        name[k] = '\0';
        int next = step_into(at, name);
        close(at);
        if (next < 0)
            return next;
        at = next;
        done += k + 1;
    }
    *ret = at;
    return at < 0 ? -errno : 0;
}

/* t->parent and t->name for a path that is not the top. */
static int find_parent(struct tree_in *t, struct entry_text path)
{
    const char *slash = memrchr(path.p, '/', path.n);
    size_t dir_n = slash ? (size_t)(slash - path.p) : 0, name_at = slash ? dir_n + 1 : 0;

    memcpy(t->name, path.p + name_at, path.n - name_at);
    t->name[path.n - name_at] = '\0';
    if (t->parent >= 0 && strlen(t->parent_path) == dir_n && !memcmp(t->parent_path, path.p, dir_n))
        return 0;
    if (t->parent >= 0)
        close(t->parent);
    t->parent = -1;
    int r = walk_to(t, path.p, dir_n, &t->parent);
    if (r)
        return r;
    memcpy(t->parent_path, path.p, dir_n);
    t->parent_path[dir_n] = '\0';
    return 0;
}

static void finish_last(struct tree_in *t)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { (time_t)t->last.mtime_s, t->last.mtime_ns } };

    if (t->fd < 0)
        return;
    if (t->is_file && (fchmod(t->fd, t->last.mode & 0777) < 0 || futimens(t->fd, times) < 0))
        t->is_file = false;                  /* its own new file: only a file system without times refuses */
    close(t->fd);
    t->fd = -1;
}

/* What is in the way of something that is no directory. */
static int clear_way(struct tree_in *t)
{
    if (!unlinkat(t->parent, t->name, 0) || errno == ENOENT)
        return 0;
    if (errno != EISDIR)
        return -errno;
    return unlinkat(t->parent, t->name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int late_add(struct tree_in *t, struct entry_text path, const struct entry_frame *f)
{
    if (t->late_count == DIRS_MAX)
        return 0;
    if (t->late_count == t->late_cap) {
        size_t cap = t->late_cap ? t->late_cap * 2 : 64;
        struct late *p = mem_realloc(t->late, cap * sizeof *p);
        if (!p)
            return -ENOMEM;
        t->late = p;
        t->late_cap = cap;
    }
    char *copy = mem_alloc(path.n + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, path.p, path.n);
    copy[path.n] = '\0';
    t->late[t->late_count++] = (struct late){ copy, f->mode & 01777, f->uid, f->gid, { (time_t)f->mtime_s, f->mtime_ns } };
    return 0;
}

static int put_dir(struct tree_in *t, const struct entry_frame *f)
{
    if (f->path.n) {
        if (mkdirat(t->parent, t->name, 0755) < 0) {
            struct stat st;
            if (errno != EEXIST || fstatat(t->parent, t->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
            if (!S_ISDIR(st.st_mode) && (unlinkat(t->parent, t->name, 0) < 0 || mkdirat(t->parent, t->name, 0755) < 0))
                return -errno;
        }
        t->fd = openat(t->parent, t->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    } else {
        t->fd = openat(t->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return t->fd < 0 ? -errno : late_add(t, f->path, f);
}

static int put_file(struct tree_in *t, const struct entry_frame *f)
{
    int r = clear_way(t);

    if (r)
        return r;
    t->fd = openat(t->parent, t->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (t->fd < 0 || (f->size && ftruncate(t->fd, (off_t)f->size) < 0))
        return -errno;
    t->is_file = true;
    return 0;
}

static int put_other(struct tree_in *t, const struct entry_frame *f)
{
    char target[FILE_PATH_MAX];
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { (time_t)f->mtime_s, f->mtime_ns } };
    int r = f->other.n < sizeof target ? clear_way(t) : -ENAMETOOLONG;

    if (r)
        return r;
    if (S_ISLNK(f->mode)) {
        memcpy(target, f->other.p, f->other.n);
        target[f->other.n] = '\0';
        r = symlinkat(target, t->parent, t->name);
    } else {
        r = mknodat(t->parent, t->name, f->mode & (S_IFMT | 0777), 0);
    }
    if (r < 0)
        return -errno;
    return utimensat(t->parent, t->name, times, AT_SYMLINK_NOFOLLOW) < 0 && errno != EOPNOTSUPP ? -errno : 0;
}

/* As tar does for root; here root may give away nothing that its user namespace does not let it, and then keeps it. */
static void own(struct tree_in *t, const struct entry_frame *f)
{
    if (t->j->user.uid == 0 && (f->uid || f->gid) && f->path.n && fchownat(t->parent, t->name, f->uid, f->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return;
}

static int on_entry(struct tree_in *t, const struct entry_frame *f)
{
    int r = f->path.n ? find_parent(t, f->path) : 0;

    if (r)
        return r;
    if (S_ISCHR(f->mode) || S_ISBLK(f->mode))
        return -EPERM;
    t->entries++;
    t->last = *f;
    t->is_file = false;
    r = S_ISDIR(f->mode) ? put_dir(t, f) : S_ISREG(f->mode) ? put_file(t, f) : put_other(t, f);
    if (!r)
        own(t, f);
    return r;
}

static int on_link(struct tree_in *t, const struct entry_frame *f)
{
    char from_name[FILE_NAME_MAX + 1];
    int r = find_parent(t, f->other);

    if (r)
        return r;
    memcpy(from_name, t->name, sizeof from_name);
    _cleanup_close_ int from = fcntl(t->parent, F_DUPFD_CLOEXEC, 3);
    if (from < 0)
        return -errno;
    if ((r = find_parent(t, f->path)))
        return r;
    t->entries++;
    struct stat a, b;
    if (fstatat(from, from_name, &a, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!fstatat(t->parent, t->name, &b, AT_SYMLINK_NOFOLLOW) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return 0;                            /* it is that link already */
    if ((r = clear_way(t)))
        return r;
    return linkat(from, from_name, t->parent, t->name, 0) < 0 ? -errno : 0;
}

static int on_data(struct tree_in *t, const struct entry_frame *f)
{
    if (t->fd < 0 || !t->is_file || f->size > t->last.size || f->n > t->last.size - f->size)
        return -EBADMSG;
    return io_pwrite_full(t->fd, f->bytes, f->n, (off_t)f->size);
}

static int on_xattr(struct tree_in *t, const struct entry_frame *f)
{
    char name[256];

    if (!t->entries)
        return -EBADMSG;
    if (t->fd < 0 || f->path.n < 6 || memcmp(f->path.p, "user.", 5))
        return 0;
    memcpy(name, f->path.p, f->path.n);
    name[f->path.n] = '\0';
    return fsetxattr(t->fd, name, f->bytes, f->n, 0) < 0 && errno != EOPNOTSUPP ? -errno : 0;
}

static int on_frame(struct tree_in *t, const uint8_t *p, size_t n)
{
    struct entry_frame f;
    int r = t->ended ? -EBADMSG : entry_frame_get(p, n, &f);

    if (r)
        return r;
    if (f.type == IMPORT_DATA)
        return on_data(t, &f);
    if (f.type == IMPORT_XATTR)
        return on_xattr(t, &f);
    finish_last(t);
    if (f.type == IMPORT_ENTRY)
        return on_entry(t, &f);
    if (f.type == IMPORT_LINK)
        return on_link(t, &f);
    t->ended = true;
    return f.size == t->entries ? 0 : -EBADMSG;
}

/* Whole frames out of what has come. */
static int take(struct tree_in *t)
{
    size_t at = 0;
    int r = 0;

    while (!r && t->in.len - at >= 4) {
        uint32_t n = le32(t->in.data + at);
        if (n == 0 || n > IMPORT_FRAME_MAX)
            return -EBADMSG;
        if (t->in.len - at - 4 < n)
            break;
        r = on_frame(t, t->in.data + at + 4, n);
        at += 4 + (size_t)n;
    }
    if (at) {
        memmove(t->in.data, t->in.data + at, t->in.len - at);
        t->in.len -= at;
    }
    return r;
}

/* Deepest first, so that a mode closes nothing that is still to be reached. A directory that has gone meanwhile, or is not the user's, is left. */
static void finish_dirs(struct tree_in *t)
{
    while (t->late_count) {
        struct late *l = &t->late[--t->late_count];
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, l->mtime };
        int fd = -1;
        if (!walk_to(t, l->path, strlen(l->path), &fd) && !fchmod(fd, l->mode) && futimens(fd, times) < 0)
            l->mode = 0;
        if (fd >= 0)
            close(fd);
        free(l->path);
    }
}

static int receive(struct tree_in *t)
{
    for (;;) {
        uint8_t *p = buf_extend(&t->in, FILE_CHUNK_MAX);
        if (!p)
            return -ENOMEM;
        ssize_t n = file_chunk_recv(t->j, p);
        t->in.len -= FILE_CHUNK_MAX - (n > 0 ? (size_t)n : 0);
        if (n < 0)
            return (int)n;
        int r = n ? take(t) : t->ended && !t->in.len ? 0 : -EBADMSG;
        if (r || !n)
            return r;
    }
}

int file_op_tree_in(struct file_job *j)
{
    static struct tree_in t;
    struct file_stat s;
    struct stat st;

    j->step = "open";
    if (j->q.flags & FILE_PARENTS) {
        char name[FILE_NAME_MAX + 1];
        int dir, r = file_locate(j->q.path, true, true, &dir, name);
        if (!r) {
            if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
                r = -errno;
            close(dir);
        }
        if (r && r != -EINVAL)
            return r;
    }
    t.j = j;
    t.top = file_open_dir(j, &st);
    t.fd = t.parent = -1;
    if (t.top < 0)
        return t.top;
    j->step = "apply";
    int r = receive(&t);
    finish_last(&t);
    finish_dirs(&t);
    if (r)
        return r;
    if (fstat(t.top, &st) < 0)
        return -errno;
    file_stat_fill(&s, &st);
    return file_head(j, &s);
}
