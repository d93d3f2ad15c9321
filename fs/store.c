/* The store's directory: what makes it one, who may use it, and the order in which its parts come up and go down.
 *
 * `format` is the last file that init makes, by rename after all else is durable: a directory without it is no store, and init may be run again
 * over what an interrupted one left. `lock` carries an exclusive OFD lock for as long as the store is open (or being made). */
#include "fs/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "fs/chunk.h"
#include "fs/feed.h"
#include "fs/fold.h"
#include "fs/meta.h"
#include "fs/node.h"
#include "fs/object.h"
#include "fs/segment.h"
#include "fs/view.h"
#include "fs/workspace.h"

static const char format_name[] = "format", format_temp[] = "format.tmp", format_head[] = "coppice store ", format_instance[] = "instance ";
enum { FORMAT_VERSION = 1, INSTANCE_HEX = 32, FORMAT_MAX = 256 };

const struct store_options store_defaults = { .node_cache_bytes = 128 << 20, .chunk_cache_bytes = 64 << 20, .commit_interval_ms = 5000 };

/* --- format and lock --- */

static int write_format(int dirfd)
{
    uint8_t random[INSTANCE_HEX / 2];
    char text[FORMAT_MAX];
    int n, r;

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return -EIO;
    n = snprintf(text, sizeof text, "%s%d\n%s", format_head, FORMAT_VERSION, format_instance);
    for (size_t i = 0; i < sizeof random; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%02x", random[i]);
    text[n++] = '\n';
    _cleanup_close_ int fd = disk->open(dirfd, format_temp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return fd;
    r = io_pwrite_full(fd, text, (size_t)n, 0);
    if (r == 0)
        r = disk->fsync(fd);
    if (r == 0)
        r = disk->fsync(dirfd);
    if (r == 0)
        r = disk->rename(dirfd, format_temp, format_name);
    if (r == 0)
        r = disk->fsync(dirfd);
    return r;
}

/* -ENOENT; -EPROTONOSUPPORT: a version that we do not know; -EUCLEAN: not what we ever write. */
static int read_format(int dirfd, char ret_instance[INSTANCE_HEX + 1])
{
    char text[FORMAT_MAX + 1], *end;
    const char *id;
    _cleanup_close_ int fd = disk->open(dirfd, format_name, O_RDONLY, 0);

    if (fd < 0)
        return fd;
    ssize_t n = io_pread_full(fd, text, FORMAT_MAX, 0);
    if (n < 0)
        return (int)n;
    text[n] = '\0';
    if (strncmp(text, format_head, strlen(format_head)) != 0)
        return -EUCLEAN;
    unsigned long version = strtoul(text + strlen(format_head), &end, 10);
    if (end == text + strlen(format_head) || version == 0)
        return -EUCLEAN;
    if (version != FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    if (*end != '\n' || strncmp(end + 1, format_instance, strlen(format_instance)) != 0)
        return -EUCLEAN;
    id = end + 1 + strlen(format_instance);
    if (strspn(id, "0123456789abcdef") != INSTANCE_HEX || strcmp(id + INSTANCE_HEX, "\n") != 0)
        return -EUCLEAN;
    memcpy(ret_instance, id, INSTANCE_HEX);
    ret_instance[INSTANCE_HEX] = '\0';
    return 0;
}

static int take_lock(int dirfd)
{
    struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    _cleanup_close_ int fd = disk->open(dirfd, "lock", O_RDWR | O_CREAT, 0600);

    if (fd < 0)
        return fd;
    if (fcntl(fd, F_OFD_SETLK, &fl) < 0)
        return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
    return TAKE_FD(fd);
}

/* --- init --- */

static bool left_by_init(const char *name)
{
    static const char *const names[] = { ".", "..", "lock", "meta", "data", format_temp, "lost+found" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i]))
            return true;
    }
    return false;
}

static int check_empty(int dirfd)
{
    int fd = disk->open(dirfd, ".", O_RDONLY | O_DIRECTORY, 0);
    int r = 0;
    DIR *d;

    if (fd < 0)
        return fd;
    d = fdopendir(fd);
    if (!d) {
        r = -errno;
        close(fd);
        return r;
    }
    for (struct dirent *e = readdir(d); e && r == 0; e = readdir(d)) {
        if (!strcmp(e->d_name, format_name))
            r = -EEXIST;
    }
    rewinddir(d);
    for (struct dirent *e = readdir(d); e && r == 0; e = readdir(d)) {
        if (!left_by_init(e->d_name))
            r = -ENOTEMPTY;
    }
    closedir(d);
    return r;
}

static int make_subdir(int dirfd, const char *name)
{
    return mkdirat(dirfd, name, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int open_meta(const char *dir, bool create, struct meta **ret)
{
    _cleanup_free_ char *real = realpath(dir, NULL);     /* RocksDB keeps the path; the process may change its directory */
    _cleanup_free_ char *path = NULL;

    if (!real)
        return -errno;
    path = mem_alloc(strlen(real) + sizeof "/meta");
    if (!path)
        return -ENOMEM;
    strcpy(path, real);
    strcat(path, "/meta");
    return meta_open(path, create, ret);
}

static int make_meta(const char *dir)
{
    struct meta *m;
    int r = open_meta(dir, true, &m);

    if (r == 0)
        meta_close(m);
    return r;
}

int store_init(const char *dir)
{
    int r;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    _cleanup_close_ int dirfd = disk->open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
    if (dirfd < 0)
        return dirfd;
    r = check_empty(dirfd);
    if (r < 0)
        return r;
    _cleanup_close_ int lockfd = take_lock(dirfd);
    if (lockfd < 0)
        return lockfd;
    r = check_empty(dirfd);          /* another init may have finished before we had the lock */
    if (r == 0)
        r = make_subdir(dirfd, "meta");
    if (r == 0)
        r = make_subdir(dirfd, "data");
    if (r == 0)
        r = make_meta(dir);
    if (r == 0)
        r = write_format(dirfd);
    if (r < 0)
        return r;
    _cleanup_close_ int parent = disk->open(dirfd, "..", O_RDONLY | O_DIRECTORY, 0);
    return parent < 0 ? parent : disk->fsync(parent);
}

/* --- open --- */

struct unfolded { struct store *s; uint64_t *bases, *layers; size_t count, cap; };

static int grow_ids(uint64_t **ids, size_t cap)
{
    uint64_t *p = mem_realloc(*ids, cap * sizeof *p);

    if (p)
        *ids = p;
    return p ? 0 : -ENOMEM;
}

static int note_unfolded(void *arg, const struct base_rec *r)
{
    struct unfolded *u = arg;

    if (!r->layer)
        return 0;
    if (u->count == u->cap) {
        size_t cap = u->cap ? u->cap * 2 : 64;

        if (grow_ids(&u->bases, cap) < 0 || grow_ids(&u->layers, cap) < 0)
            return -ENOMEM;
        u->cap = cap;
    }
    u->layers[u->count] = r->layer;
    u->bases[u->count++] = r->id;        /* base_each ascends: sorted */
    return 0;
}

static int cmp_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* A view that cannot be loaded must not keep the rest of the store from opening: it is named here and by fsck. */
static int queue_if_unfolded(struct unfolded *u, uint64_t base)
{
    struct view *v;
    int r;

    if (!bsearch(&base, u->bases, u->count, sizeof base, cmp_id))
        return 0;
    r = view_get(u->s, base, &v);
    if (r == -ENOMEM)
        return r;
    if (r < 0) {
        log_error("store base=%llu step=load_view err=%s", (unsigned long long)base, errno_name(r));
        return 0;
    }
    folder_queue(u->s, v);
    view_unref(v);
    return 0;
}

static int queue_ws(void *arg, const struct ws_rec *r)
{
    return queue_if_unfolded(arg, r->base);
}

static int queue_snap(void *arg, const struct snap_rec *r)
{
    return queue_if_unfolded(arg, r->base);
}

/* Parents come along: a view brings its parent, and folding it folds the parent first. */
static int note_and_queue_unfolded(struct store *s)
{
    struct unfolded u = { .s = s };
    int r = base_each(s->meta, note_unfolded, &u);

    if (u.count)
        qsort(u.layers, u.count, sizeof *u.layers, cmp_id);
    free(s->frozen_at_open);
    s->frozen_at_open = u.layers;
    s->frozen_at_open_count = u.count;
    if (r == 0 && u.count && s->folder)
        r = ws_rec_each(s->meta, queue_ws, &u);
    if (r == 0 && u.count && s->folder)
        r = snap_rec_each(s->meta, queue_snap, &u);
    free(u.bases);
    return r;
}

int store_begin(struct store *s)
{
    int r = folder_start(s, s->commit_interval_ms, &s->folder);

    return r < 0 ? r : note_and_queue_unfolded(s);
}

static int next_segment_id(void *counter, uint64_t *ret)
{
    return counter_next(counter, ret);
}

static int open_parts(struct store *s, const char *dir, const struct store_options *opt)
{
    _cleanup_close_ int data = -1;
    int r;

    s->dirfd = disk->open(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0);
    if (s->dirfd < 0)
        return s->dirfd;
    r = read_format(s->dirfd, s->instance);
    if (r < 0)
        return r;
    s->lockfd = take_lock(s->dirfd);
    if (s->lockfd < 0)
        return s->lockfd;
    data = disk->open(s->dirfd, "data", O_RDONLY | O_DIRECTORY, 0);
    if (data < 0)
        return data == -ENOENT ? -EUCLEAN : data;
    r = open_meta(dir, false, &s->meta);
    if (r < 0)
        return r == -ENOENT ? -EUCLEAN : r;
    r = segments_open(data, &s->segments);
    if (r == 0)
        r = chunks_open(s->meta, s->segments, opt->chunk_cache_bytes, &s->chunks);
    if (r == 0)
        r = counter_open(s->meta, &s->counter);
    if (r < 0)
        return r;
    chunks_set_id_source(s->chunks, next_segment_id, s->counter);
    s->nodes = node_cache_new(s->meta, opt->node_cache_bytes);
    if (!s->nodes)
        return -ENOMEM;
    r = counter_next(s->counter, &s->opened_at);
    s->commit_interval_ms = opt->no_background ? 0 : opt->commit_interval_ms;
    if (r == 0)
        feed_clean(s);
    return r < 0 ? r : opt->late ? note_and_queue_unfolded(s) : store_begin(s);
}

int store_open(const char *dir, const struct store_options *opt, struct store **ret)
{
    struct store *s = mem_zalloc(sizeof *s);
    pthread_rwlockattr_t attr;
    int r;

    if (!s)
        return -ENOMEM;
    s->dirfd = s->lockfd = -1;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&s->view_lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->fold_lock, NULL);
    r = open_parts(s, dir, opt ? opt : &store_defaults);
    if (r < 0) {
        store_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

/* Commits what is open, and drops references until the table is empty: whoever still held one has no use for it any more. */
static void close_workspaces(struct store *s)
{
    for (;;) {
        pthread_mutex_lock(&s->lock);
        struct workspace *w = s->workspaces;
        pthread_mutex_unlock(&s->lock);
        if (!w)
            return;
        int r = workspace_commit(w);
        if (r < 0)
            log_error("store workspace=%s step=close_commit err=%s", w->rec.id, errno_name(r));
        workspace_unref(w);
    }
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (s->folder)
        folder_stop(s->folder);
    s->folder = NULL;
    close_workspaces(s);
    node_cache_free(s->nodes);
    counter_close(s->counter);
    chunks_close(s->chunks);
    segments_close(s->segments);
    meta_close(s->meta);
    close_p(&s->lockfd);
    close_p(&s->dirfd);
    free(s->frozen_at_open);
    pthread_mutex_destroy(&s->fold_lock);
    pthread_mutex_destroy(&s->lock);
    pthread_rwlock_destroy(&s->view_lock);
    free(s);
}
