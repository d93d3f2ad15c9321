/* Reading the host for the template. Every name is opened beneath a directory that is open already and without following symbolic links, and
 * looked at before it is read; a link of the host is copied as a link if it stays within /usr and /etc, so it can show inside only what is there
 * anyway. All times are one fixed time and all owners root, so that a host that only touched a file gives the same tree. */
#include "snapshotd/host_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/import.h"

enum { HOST_TIME = 1735689600, LINK_MAX_BYTES = 4095 };      /* 2025-01-01: some formats know no time before 1980 */

static int fail(struct host_tree *t, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct host_tree *t, int err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(t->error, sizeof(t->error), fmt, ap);
    va_end(ap);
    return err;
}

/* --- frames --- */

static int put(struct host_tree *t, const char *path, uint32_t mode, uint32_t uid, uint32_t gid, const char *target, const void *p, size_t n)
{
    struct inode in = { .mode = mode, .uid = uid, .gid = gid, .size = n, .mtime.sec = HOST_TIME };

    import_put_entry(&t->frames, path, &in, target);
    import_put_content(&t->frames, 0, p, n);
    t->entries++;
    if (buf_err(&t->frames))
        return fail(t, -ENOMEM, "out of memory");
    return t->frames.len > HOST_TREE_MAX ? fail(t, -EFBIG, "what is to be copied of /etc is over %d MiB", HOST_TREE_MAX >> 20) : 0;
}

/* --- what was looked at --- */

static int remember(struct host_tree *t, const char *path, const struct stat *st)
{
    struct host_inputs *in = &t->inputs;

    if (in->n == in->cap) {
        size_t cap = in->cap ? in->cap * 2 : 128;
        struct host_input *v = mem_realloc(in->v, cap * sizeof(*v));
        if (!v)
            return fail(t, -ENOMEM, "out of memory");
        in->v = v;
        in->cap = cap;
    }
    struct host_input *i = &in->v[in->n];
    *i = (struct host_input){ .dev = st->st_dev, .ino = st->st_ino, .size = (uint64_t)st->st_size, .mode = st->st_mode,
                              .mtime_ns = st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec,
                              .ctime_ns = st->st_ctim.tv_sec * 1000000000ll + st->st_ctim.tv_nsec };
    if (asprintf(&i->path, "%s/%s", t->root, path) < 0)
        return fail(t, -ENOMEM, "out of memory");
    in->n++;
    return 0;
}

bool host_inputs_same(const struct host_inputs *in)
{
    struct stat st;

    for (size_t i = 0; i < in->n; i++) {
        const struct host_input *h = &in->v[i];
        if (lstat(h->path, &st) || st.st_dev != h->dev || st.st_ino != h->ino || (uint64_t)st.st_size != h->size || st.st_mode != h->mode ||
            st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec != h->mtime_ns ||
            st.st_ctim.tv_sec * 1000000000ll + st.st_ctim.tv_nsec != h->ctime_ns)
            return false;
    }
    return in->n > 0;
}

/* --- copying --- */

static bool secret(const char *name)
{
    return !strcmp(name, "private") || !strcmp(name, "keystore") || fnmatch("*.key", name, 0) == 0 || fnmatch("*shadow*", name, 0) == 0 ||
           fnmatch("*~", name, 0) == 0 || fnmatch("*.dpkg-*", name, 0) == 0;
}

/* Everybody may read it, and only root could have written it. */
static bool open_to_all(const struct stat *st)
{
    bool dir = S_ISDIR(st->st_mode);
    return st->st_uid == 0 && (st->st_mode & (dir ? 0005 : 0004)) == (dir ? 0005u : 0004u) && !(st->st_mode & 0002);
}

/* A link's target from the directory `path` is in (without leading slash) must stay in /usr or /etc. */
static bool target_stays(const char *path, const char *target)
{
    char at[2 * LINK_MAX_BYTES + 2] = "";
    size_t n = 0;

    if (target[0] != '/') {
        const char *slash = strrchr(path, '/');
        n = slash ? (size_t)(slash - path) : 0;
        if (n > LINK_MAX_BYTES)
            return false;
        memcpy(at, path, n);
    }
    for (const char *p = target; *p;) {
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            while (n && at[n - 1] != '/')
                n--;
            n -= n > 0;
        } else if (len && !(len == 1 && p[0] == '.')) {
            if (n)
                at[n++] = '/';
            memcpy(at + n, p, len);
            n += len;
        }
        p += len + (p[len] == '/');
    }
    at[n] = 0;
    return !strncmp(at, "usr/", 4) || !strncmp(at, "etc/", 4) || !strncmp(at, "lib/", 4) || !strncmp(at, "bin/", 4);
}

static int copy_link(struct host_tree *t, int dir, const char *name, const char *path)
{
    char target[LINK_MAX_BYTES + 1];
    ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

    if (n <= 0 || n == sizeof(target) - 1)
        return 0;                            /* gone meanwhile, or longer than any that is meant */
    target[n] = 0;
    return target_stays(path, target) ? put(t, path, S_IFLNK | 0777, 0, 0, target, NULL, 0) : 0;
}

static int copy_file(struct host_tree *t, int fd, const struct stat *st, const char *path)
{
    if (st->st_size > HOST_FILE_MAX)
        return 0;
    _cleanup_free_ uint8_t *p = mem_alloc((size_t)st->st_size + 1);
    if (!p)
        return fail(t, -ENOMEM, "out of memory");
    int r = remember(t, path, st);
    ssize_t n = r ? 0 : io_pread_full(fd, p, (size_t)st->st_size, 0);
    if (n < 0)
        return fail(t, (int)n, "reading /%s: %s", path, strerror((int)-n));
    return r ? r : put(t, path, S_IFREG | (st->st_mode & 0111 ? 0755 : 0644), 0, 0, NULL, p, (size_t)n);
}

static int copy_any(struct host_tree *t, int dir, const char *name, const char *path, unsigned depth);

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* The entries of a directory that match, in the order of their bytes. */
static int copy_entries(struct host_tree *t, int fd, const char *path, const char *match, unsigned depth)
{
    struct dirent **list;
    int n = scandirat(fd, ".", &list, NULL, by_name), r = 0;

    if (n < 0)
        return fail(t, -errno, "reading /%s: %s", path, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = list[i]->d_name;
        _cleanup_free_ char *sub = NULL;
        if (!r && strcmp(name, ".") && strcmp(name, "..") && !secret(name) && (!match || fnmatch(match, name, 0) == 0))
            r = asprintf(&sub, "%s/%s", path, name) < 0 ? fail(t, -ENOMEM, "out of memory") : copy_any(t, fd, name, sub, depth + 1);
        free(list[i]);
    }
    free(list);
    return r;
}

/* One name of an open directory. What is not there, may not be read by all, or is neither file, directory nor link is left out. */
static int copy_any(struct host_tree *t, int dir, const char *name, const char *path, unsigned depth)
{
    struct stat st;

    if (depth > HOST_DEPTH_MAX || strlen(path) > LINK_MAX_BYTES || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
        return 0;
    if (S_ISLNK(st.st_mode))
        return copy_link(t, dir, name, path);
    if (!open_to_all(&st) || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return 0;
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !open_to_all(&st))
        return 0;
    if (S_ISREG(st.st_mode))
        return copy_file(t, fd, &st, path);
    if (!S_ISDIR(st.st_mode))
        return 0;
    int r = remember(t, path, &st);
    if (!r)
        r = put(t, path, S_IFDIR | 0755, 0, 0, NULL, NULL, 0);
    return r ? r : copy_entries(t, fd, path, NULL, depth);
}

/* "ssl/certs" or "python3*" beneath /etc. */
static int copy_listed(struct host_tree *t, int etc, const char *what)
{
    const char *slash = strrchr(what, '/'), *name = slash ? slash + 1 : what;
    _cleanup_free_ char *dir = NULL;
    struct stat st;

    if (asprintf(&dir, "etc%s%.*s", slash ? "/" : "", slash ? (int)(slash - what) : 0, what) < 0)
        return fail(t, -ENOMEM, "out of memory");
    _cleanup_close_ int fd = openat(etc, slash ? dir + 4 : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !open_to_all(&st))
        return 0;
    int r = slash ? remember(t, dir, &st) : 0;
    return r ? r : copy_entries(t, fd, dir, name, 0);
}

static int copy_etc(struct host_tree *t)
{
    char path[4096];
    struct stat st;

    snprintf(path, sizeof(path), "%s/etc", t->root);
    _cleanup_close_ int etc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (etc < 0 || fstat(etc, &st))
        return fail(t, -errno, "reading %s: %s", path, strerror(errno));
    int r = remember(t, "etc", &st);
    for (size_t i = 0; !r && host_copies[i]; i++)
        r = copy_listed(t, etc, host_copies[i]);
    return r;
}

/* --- what is neither made nor simply copied --- */

/* /bin and its like must be links into /usr, as on every merged system; they are made the same. */
static int put_merged(struct host_tree *t)
{
    static const char *const names[] = { "bin", "sbin", "lib", "lib32", "lib64", "libx32" };
    char path[4096], target[64];
    struct stat st;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", t->root, names[i]);
        if (lstat(path, &st))
            continue;
        ssize_t n = S_ISLNK(st.st_mode) ? readlink(path, target, sizeof(target) - 1) : -1;
        target[n > 0 ? n : 0] = 0;
        const char *to = target + (target[0] == '/');
        if (strncmp(to, "usr/", 4) || strchr(to + 4, '/'))
            return fail(t, -ENOTSUP, "this host's /%s is not a link into /usr (it is not \"usr-merged\"); make sandboxes from a root file system instead: "
                                     "`coppice import --kind root ROOTFS.tar NAME`, then `create WS --from NAME`", names[i]);
        int r = put(t, names[i], S_IFLNK | 0777, 0, 0, to, NULL, 0);
        if (r)
            return r;
    }
    return 0;
}

static int put_links(struct host_tree *t)
{
    static const char *const links[][2] = {
        { "var/run", "/run" }, { "var/lock", "/run/lock" }, { "etc/mtab", "/proc/self/mounts" },
    };
    int r = 0;

    for (size_t i = 0; !r && i < sizeof(links) / sizeof(links[0]); i++)
        r = put(t, links[i][0], S_IFLNK | 0777, 0, 0, links[i][1], NULL, 0);
    return r;
}

/* /etc/localtime as what it is, since a link may lead where nothing is inside. */
static int put_localtime(struct host_tree *t)
{
    char path[4096];
    struct stat st;

    snprintf(path, sizeof(path), "%s/etc/localtime", t->root);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || !open_to_all(&st) || st.st_size > 65536)
        return 0;
    return copy_file(t, fd, &st, "etc/localtime");
}

/* The files that a new user gets; root's are the same. */
static int put_home(struct host_tree *t, const char *home, uint32_t id)
{
    static const char *const names[] = { ".bashrc", ".profile", ".bash_logout" };
    char from[4096], to[256];
    int r = 0;

    for (size_t i = 0; !r && i < sizeof(names) / sizeof(names[0]); i++) {
        struct stat st;
        snprintf(from, sizeof(from), "%s/etc/skel/%s", t->root, names[i]);
        snprintf(to, sizeof(to), "%s/%s", home, names[i]);
        _cleanup_close_ int fd = open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || !open_to_all(&st) || st.st_size > 65536)
            continue;
        uint8_t text[65536];
        ssize_t n = io_pread_full(fd, text, (size_t)st.st_size, 0);
        if (n >= 0)
            r = put(t, to, S_IFREG | 0644, id, id, NULL, text, (size_t)n);
    }
    return r;
}

/* Login shells: bash where there is one. */
static int put_text(struct host_tree *t, const struct host_text *h, bool bash)
{
    static const char sh[] = ":/bin/sh\n";
    struct buf b = BUF_INIT;

    if (!h->text)
        return put(t, h->path, S_IFDIR | h->mode, h->uid, h->gid, NULL, NULL, 0);
    for (const char *p = h->text; *p;) {
        const char *at = bash ? strstr(p, sh) : NULL;
        buf_put(&b, p, at ? (size_t)(at - p) : strlen(p));
        if (!at)
            break;
        buf_put(&b, ":/bin/bash\n", 11);
        p = at + sizeof(sh) - 1;
    }
    int r = buf_err(&b) ? fail(t, -ENOMEM, "out of memory") : put(t, h->path, S_IFREG | h->mode, h->uid, h->gid, NULL, b.data, b.len);
    buf_fini(&b);
    return r;
}

int host_tree_read(const char *root, struct host_tree *ret)
{
    char shell[4096];
    int r = 0;

    *ret = (struct host_tree){ .root = root };
    snprintf(shell, sizeof(shell), "%s/usr/bin/bash", root);
    bool bash = !access(shell, X_OK);
    r = put_merged(ret);
    for (size_t i = 0; !r && host_texts[i].path; i++)
        r = put_text(ret, &host_texts[i], bash);
    if (!r)
        r = put_links(ret);
    if (!r)
        r = copy_etc(ret);
    if (!r)
        r = put_localtime(ret);
    if (!r)
        r = put_home(ret, "root", 0);
    if (!r)
        r = put_home(ret, "home/user", 1000);
    if (!r)
        import_put_end(&ret->frames, ret->entries);
    return r ? r : buf_err(&ret->frames);
}

void host_tree_fini(struct host_tree *t)
{
    for (size_t i = 0; i < t->inputs.n; i++)
        free(t->inputs.v[i].path);
    free(t->inputs.v);
    t->inputs = (struct host_inputs){ 0 };
    buf_fini(&t->frames);
}
