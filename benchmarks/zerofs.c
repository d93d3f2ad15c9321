/* zerofs: a FUSE file system that does no storage work, the yardstick of our benchmarks.
 *
 * Everything is in memory, nothing is checked, hashed or made durable; so its times are what the FUSE transport itself costs, and a real
 * file system over the same transport can only approach them. The switches are those that coppice uses: infinite entry, attribute and
 * negative timeouts, OPEN, OPENDIR, CREATE, FLUSH, FSYNC, ACCESS and GETXATTR answered ENOSYS, writeback cache, readdirplus always,
 * PARALLEL_DIROPS and HANDLE_KILLPRIV patched into the INIT reply (libfuse 3.14 leaves them out), and N worker threads (4) on the classic
 * device. Usage: zerofs [-t THREADS] [-p] DIR, in the foreground until unmounted. -p: default_permissions.
 *
 * The node id of an inode is its address. One lock orders the name space, a stripe of locks the inodes' contents and attributes; the name
 * space lock comes first. An inode is freed when it has no links and the kernel forgot it. */
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 14)
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 128 * 1024, BUCKETS = 1 << 20, STRIPES = 256, THREADS_MAX = 64 };
#define FOREVER 1e9

struct entry {
    struct entry *hash_next;
    struct node *parent, *child;
    uint32_t hash, pos;                   /* pos: index in the parent's array, and readdir offset - 3 */
    uint16_t name_len;
    char name[];
};
struct node {
    struct stat st;
    uint64_t lookups;                     /* under the name space lock, with nlink */
    struct node *parent;                  /* directories */
    struct entry **entries;               /* directories; NULL where one was removed */
    uint32_t used, cap, live;
    uint8_t **blocks;                     /* files; NULL is a hole */
    size_t block_count, first_cap;        /* first_cap: bytes allocated for block 0 */
    char *target;                         /* symlinks */
};

static struct node root;
static struct entry *buckets[BUCKETS];
static pthread_rwlock_t names = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t stripes[STRIPES];
static uint8_t zeros[BLOCK];

static struct node *node_of(fuse_ino_t ino) { return ino == FUSE_ROOT_ID ? &root : (struct node *)(uintptr_t)ino; }
static fuse_ino_t ino_of(struct node *n) { return n == &root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)n; }
static pthread_mutex_t *stripe_of(struct node *n) { return &stripes[((uintptr_t)n >> 6) % STRIPES]; }

/* --- names --- */
static uint32_t name_hash(struct node *dir, const char *name, size_t n) {
    uint64_t h = 14695981039346656037ull ^ (uintptr_t)dir;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)name[i]) * 1099511628211ull;
    return (uint32_t)(h ^ h >> 32);
}

static struct entry *entry_find(struct node *dir, const char *name) {
    size_t n = strlen(name);
    uint32_t h = name_hash(dir, name, n);
    for (struct entry *e = buckets[h % BUCKETS]; e; e = e->hash_next)
        if (e->hash == h && e->parent == dir && e->name_len == n && !memcmp(e->name, name, n))
            return e;
    return NULL;
}

static int entry_add(struct node *dir, const char *name, struct node *child) {
    size_t n = strlen(name);
    struct entry *e = malloc(sizeof *e + n + 1);
    if (!e)
        return -ENOMEM;
    if (dir->used == dir->cap) {
        uint32_t cap = dir->cap ? dir->cap * 2 : 8;
        struct entry **v = realloc(dir->entries, cap * sizeof *v);
        if (!v) {
            free(e);
            return -ENOMEM;
        }
        dir->entries = v;
        dir->cap = cap;
    }
    memcpy(e->name, name, n + 1);
    e->name_len = (uint16_t)n;
    e->parent = dir;
    e->child = child;
    e->hash = name_hash(dir, name, n);
    e->hash_next = buckets[e->hash % BUCKETS];
    buckets[e->hash % BUCKETS] = e;
    e->pos = dir->used;
    dir->entries[dir->used++] = e;
    dir->live++;
    return 0;
}

static void entry_drop(struct entry *e) {
    struct entry **p = &buckets[e->hash % BUCKETS];
    while (*p != e)
        p = &(*p)->hash_next;
    *p = e->hash_next;
    e->parent->entries[e->pos] = NULL;
    if (--e->parent->live == 0)
        e->parent->used = 0;
    free(e);
}

static void touch(struct node *n, bool content) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    n->st.st_ctim = now;
    if (content)
        n->st.st_mtim = now;
}

static void node_maybe_free(struct node *n) {
    if (n == &root || n->st.st_nlink || n->lookups)
        return;
    for (size_t i = 0; i < n->block_count; i++)
        free(n->blocks[i]);
    free(n->blocks);
    free(n->entries);
    free(n->target);
    free(n);
}

static void entry_fill(struct node *n, struct fuse_entry_param *e) {
    memset(e, 0, sizeof *e);
    e->ino = ino_of(n);
    pthread_mutex_lock(stripe_of(n));
    e->attr = n->st;
    pthread_mutex_unlock(stripe_of(n));
    e->attr_timeout = e->entry_timeout = FOREVER;
}

static void reply_node(fuse_req_t req, struct node *n) {
    struct fuse_entry_param e;
    entry_fill(n, &e);
    __atomic_add_fetch(&n->lookups, 1, __ATOMIC_RELAXED);
    fuse_reply_entry(req, &e);
}

static void z_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
    pthread_rwlock_rdlock(&names);
    struct entry *e = entry_find(node_of(parent), name);
    if (e) {
        reply_node(req, e->child);
    } else {
        struct fuse_entry_param none = { .entry_timeout = FOREVER };
        fuse_reply_entry(req, &none);
    }
    pthread_rwlock_unlock(&names);
}

static void forget_one(fuse_ino_t ino, uint64_t count) {
    struct node *n = node_of(ino);
    n->lookups -= count < n->lookups ? count : n->lookups;
    node_maybe_free(n);
}

static void z_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
    pthread_rwlock_wrlock(&names);
    forget_one(ino, count);
    pthread_rwlock_unlock(&names);
    fuse_reply_none(req);
}

static void z_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *v) {
    pthread_rwlock_wrlock(&names);
    for (size_t i = 0; i < count; i++)
        forget_one(v[i].ino, v[i].nlookup);
    pthread_rwlock_unlock(&names);
    fuse_reply_none(req);
}

static void make_node(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev, const char *target) {
    struct node *dir = node_of(parent), *n = calloc(1, sizeof *n);
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    if (!n || (target && !(n->target = strdup(target)))) {
        free(n);
        fuse_reply_err(req, ENOMEM);
        return;
    }
    touch(n, true);
    n->st.st_atim = n->st.st_mtim;
    n->st.st_ino = ino_of(n);
    n->st.st_mode = mode;
    n->st.st_rdev = rdev;
    n->st.st_uid = ctx->uid;
    n->st.st_gid = ctx->gid;
    n->st.st_nlink = S_ISDIR(mode) ? 2 : 1;
    n->st.st_blksize = 4096;
    n->st.st_size = target ? (off_t)strlen(target) : 0;
    n->parent = dir;
    pthread_rwlock_wrlock(&names);
    int r = entry_find(dir, name) ? -EEXIST : entry_add(dir, name, n);
    if (r < 0) {
        n->st.st_nlink = 0;
        node_maybe_free(n);
        fuse_reply_err(req, -r);
    } else {
        dir->st.st_nlink += S_ISDIR(mode);
        touch(dir, true);
        reply_node(req, n);
    }
    pthread_rwlock_unlock(&names);
}

static void z_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev) {
    make_node(req, parent, name, mode, rdev, NULL);
}
static void z_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode) { make_node(req, parent, name, mode | S_IFDIR, 0, NULL); }
static void z_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name) {
    make_node(req, parent, name, S_IFLNK | 0777, 0, target);
}
static void z_readlink(fuse_req_t req, fuse_ino_t ino) { fuse_reply_readlink(req, node_of(ino)->target); }

static void z_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name) {
    struct node *n = node_of(ino), *dir = node_of(parent);
    pthread_rwlock_wrlock(&names);
    int r = entry_find(dir, name) ? -EEXIST : entry_add(dir, name, n);
    if (r < 0) {
        fuse_reply_err(req, -r);
    } else {
        n->st.st_nlink++;
        touch(n, false);
        touch(dir, true);
        reply_node(req, n);
    }
    pthread_rwlock_unlock(&names);
}

/* Takes one name away; the caller holds the name space. */
static void unlink_entry(struct entry *e) {
    struct node *n = e->child, *dir = e->parent;
    entry_drop(e);
    if (S_ISDIR(n->st.st_mode)) {
        n->st.st_nlink = 0;
        dir->st.st_nlink--;
    } else {
        n->st.st_nlink--;
    }
    touch(n, false);
    touch(dir, true);
    node_maybe_free(n);
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name) {
    pthread_rwlock_wrlock(&names);
    struct entry *e = entry_find(node_of(parent), name);
    int err = !e ? ENOENT : e->child->live ? ENOTEMPTY : 0;
    if (!err)
        unlink_entry(e);
    pthread_rwlock_unlock(&names);
    fuse_reply_err(req, err);
}

static void z_rename(fuse_req_t req, fuse_ino_t from, const char *name, fuse_ino_t to, const char *new_name, unsigned flags) {
    struct node *a = node_of(from), *b = node_of(to);
    pthread_rwlock_wrlock(&names);
    struct entry *src = entry_find(a, name), *old = entry_find(b, new_name);
    int err = !src ? ENOENT : flags & ~RENAME_NOREPLACE ? EINVAL : old && flags ? EEXIST : old && old->child->live ? ENOTEMPTY : 0;
    if (!err && !(old && old->child == src->child)) {
        struct node *n = src->child;
        if (old)
            unlink_entry(old);
        err = -entry_add(b, new_name, n);
        if (!err) {
            entry_drop(src);
            if (S_ISDIR(n->st.st_mode)) {
                a->st.st_nlink--;
                b->st.st_nlink++;
                n->parent = b;
            }
            touch(n, false);
            touch(a, true);
            touch(b, true);
        }
    }
    pthread_rwlock_unlock(&names);
    fuse_reply_err(req, err);
}

/* --- contents --- */
static int block_get(struct node *n, size_t index, size_t bytes, uint8_t **ret) {
    if (index >= n->block_count) {
        size_t count = index + 1 > n->block_count * 2 ? index + 1 : n->block_count * 2;
        uint8_t **v = realloc(n->blocks, count * sizeof *v);
        if (!v)
            return -ENOMEM;
        memset(v + n->block_count, 0, (count - n->block_count) * sizeof *v);
        n->blocks = v;
        n->block_count = count;
    }
    if (index == 0 && bytes > n->first_cap) {
        size_t cap = n->first_cap ? n->first_cap : 512;
        while (cap < bytes)
            cap *= 2;
        uint8_t *p = realloc(n->blocks[0], cap);
        if (!p)
            return -ENOMEM;
        memset(p + n->first_cap, 0, cap - n->first_cap);
        n->blocks[0] = p;
        n->first_cap = cap;
    } else if (!n->blocks[index] && !(n->blocks[index] = calloc(1, BLOCK))) {
        return -ENOMEM;
    }
    *ret = n->blocks[index];
    return 0;
}

static void z_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi) {
    struct node *n = node_of(ino);
    size_t done = 0;
    int r = 0;
    (void)fi;
    pthread_mutex_lock(stripe_of(n));
    while (done < size && r == 0) {
        size_t at = (size_t)off + done, in = at % BLOCK, len = BLOCK - in < size - done ? BLOCK - in : size - done;
        uint8_t *p;
        r = block_get(n, at / BLOCK, in + len, &p);
        if (r == 0) {
            memcpy(p + in, buf + done, len);
            done += len;
        }
    }
    if (off + (off_t)done > n->st.st_size)
        n->st.st_size = off + (off_t)done;
    n->st.st_blocks = (n->st.st_size + 511) / 512;
    pthread_mutex_unlock(stripe_of(n));
    if (r < 0)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, done);
}

static void z_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
    struct node *n = node_of(ino);
    struct iovec iov[64];
    int count = 0;
    (void)fi;
    pthread_mutex_lock(stripe_of(n));
    if (off >= n->st.st_size)
        size = 0;
    else if ((off_t)size > n->st.st_size - off)
        size = (size_t)(n->st.st_size - off);
    for (size_t done = 0; done < size && count < 62;) {
        size_t at = (size_t)off + done, in = at % BLOCK, len = BLOCK - in < size - done ? BLOCK - in : size - done;
        uint8_t *p = at / BLOCK < n->block_count ? n->blocks[at / BLOCK] : NULL;
        size_t have = !p ? 0 : at / BLOCK ? BLOCK : n->first_cap;
        size_t real = in < have ? (have - in < len ? have - in : len) : 0;
        if (real)
            iov[count++] = (struct iovec){ p + in, real };
        if (real < len)
            iov[count++] = (struct iovec){ zeros, len - real };
        done += len;
    }
    fuse_reply_iov(req, iov, count);
    pthread_mutex_unlock(stripe_of(n));
}

static void truncate_blocks(struct node *n, off_t size) {
    size_t keep = ((size_t)size + BLOCK - 1) / BLOCK;
    for (size_t i = keep; i < n->block_count; i++) {
        free(n->blocks[i]);
        n->blocks[i] = NULL;
        if (i == 0)
            n->first_cap = 0;
    }
    size_t in = (size_t)size % BLOCK, last = (size_t)size / BLOCK;
    size_t have = last ? BLOCK : n->first_cap;
    if (in && in < have && last < n->block_count && n->blocks[last])
        memset(n->blocks[last] + in, 0, have - in);
}

static void z_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct node *n = node_of(ino);
    (void)fi;
    pthread_mutex_lock(stripe_of(n));
    struct stat st = n->st;
    pthread_mutex_unlock(stripe_of(n));
    fuse_reply_attr(req, &st, FOREVER);
}

static void z_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *in, int valid, struct fuse_file_info *fi) {
    struct node *n = node_of(ino);
    struct timespec now;
    (void)fi;
    clock_gettime(CLOCK_REALTIME, &now);
    pthread_mutex_lock(stripe_of(n));
    if (valid & FUSE_SET_ATTR_MODE)
        n->st.st_mode = (n->st.st_mode & S_IFMT) | (in->st_mode & 07777);
    if (valid & FUSE_SET_ATTR_UID)
        n->st.st_uid = in->st_uid;
    if (valid & FUSE_SET_ATTR_GID)
        n->st.st_gid = in->st_gid;
    if (valid & FUSE_SET_ATTR_SIZE) {
        if (in->st_size < n->st.st_size)
            truncate_blocks(n, in->st_size);
        n->st.st_size = in->st_size;
        n->st.st_blocks = (n->st.st_size + 511) / 512;
        n->st.st_mtim = now;
    }
    if (valid & FUSE_SET_ATTR_ATIME)
        n->st.st_atim = valid & FUSE_SET_ATTR_ATIME_NOW ? now : in->st_atim;
    if (valid & FUSE_SET_ATTR_MTIME)
        n->st.st_mtim = valid & FUSE_SET_ATTR_MTIME_NOW ? now : in->st_mtim;
    n->st.st_ctim = valid & FUSE_SET_ATTR_CTIME ? in->st_ctim : now;
    struct stat st = n->st;
    pthread_mutex_unlock(stripe_of(n));
    fuse_reply_attr(req, &st, FOREVER);
}

/* --- directories --- */
static size_t dir_put(fuse_req_t req, char *out, size_t room, struct node *n, const char *name, off_t next, bool lookup) {
    struct fuse_entry_param e;
    entry_fill(n, &e);
    size_t len = fuse_add_direntry_plus(req, out, room, name, &e, next);
    if (len <= room && lookup)
        __atomic_add_fetch(&n->lookups, 1, __ATOMIC_RELAXED);
    return len;
}

static void z_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi) {
    struct node *dir = node_of(ino);
    char *out = malloc(size);
    size_t len = 0;
    (void)fi;
    if (!out) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    pthread_rwlock_rdlock(&names);
    for (off_t at = off;; at++) {
        size_t n = 0;
        if (at == 0)
            n = dir_put(req, out + len, size - len, dir, ".", 1, false);
        else if (at == 1)
            n = dir_put(req, out + len, size - len, dir->parent ? dir->parent : dir, "..", 2, false);
        else if (at - 2 >= (off_t)dir->used)
            break;
        else if (dir->entries[at - 2])
            n = dir_put(req, out + len, size - len, dir->entries[at - 2]->child, dir->entries[at - 2]->name, at + 1, true);
        if (n > size - len)
            break;
        len += n;
    }
    fuse_reply_buf(req, out, len);
    pthread_rwlock_unlock(&names);
    free(out);
}

static void z_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    (void)fi;
    fuse_reply_err(req, ENOSYS);
}

static void z_statfs(fuse_req_t req, fuse_ino_t ino) {
    struct statvfs v = { .f_bsize = 4096, .f_frsize = 4096, .f_blocks = 1 << 28, .f_bfree = 1 << 27, .f_bavail = 1 << 27, .f_files = 1 << 28,
        .f_ffree = 1 << 27, .f_namemax = 255 };
    (void)ino;
    fuse_reply_statfs(req, &v);
}

static void z_init(void *userdata, struct fuse_conn_info *c) {
    (void)userdata;
    c->max_write = c->max_readahead = 1 << 20;
    c->max_background = 64;
    c->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_SPLICE_READ |
                           FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
    c->want |= c->capable & (FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_READDIRPLUS | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_ASYNC_READ |
                             FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_NO_OPENDIR_SUPPORT);
}

static const struct fuse_lowlevel_ops ops = {
    .init = z_init, .lookup = z_lookup, .forget = z_forget, .forget_multi = z_forget_multi, .getattr = z_getattr, .setattr = z_setattr,
    .readlink = z_readlink, .mknod = z_mknod, .mkdir = z_mkdir, .symlink = z_symlink, .unlink = remove_name, .rmdir = remove_name,
    .rename = z_rename, .link = z_link, .open = z_open, .opendir = z_open, .read = z_read, .write = z_write, .readdirplus = z_readdirplus,
    .statfs = z_statfs,
};

/* --- transport --- */
static ssize_t raw_read(int fd, void *buf, size_t n, void *userdata) {
    (void)userdata;
    return read(fd, buf, n);
}

/* The first reply of a session is that to INIT: adds the flags that libfuse 3.14 does not pass on. */
static ssize_t raw_writev(int fd, struct iovec *iov, int count, void *userdata) {
    bool *init_done = userdata;
    if (!*init_done && count == 2 && iov[1].iov_len >= 24) {
        struct fuse_init_out *out = iov[1].iov_base;
        out->flags |= FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV;
        *init_done = true;
    }
    return writev(fd, iov, count);
}

static void *worker(void *arg) {
    struct fuse_session *se = arg;
    struct fuse_buf buf = { 0 };
    while (!fuse_session_exited(se)) {
        int r = fuse_session_receive_buf(se, &buf);
        if (r == -EINTR)
            continue;
        if (r <= 0)
            break;
        fuse_session_process_buf(se, &buf);
    }
    fuse_session_exit(se);
    free(buf.mem);
    return NULL;
}

static int fail(const char *what) {
    perror(what);
    return 1;
}

int main(int argc, char **argv) {
    int threads = 4, opt;
    bool permissions = false, init_done = false;
    char *args_v[] = { argv[0], NULL }, text[160];
    struct fuse_args args = FUSE_ARGS_INIT(1, args_v);
    static const struct fuse_custom_io io = { .read = raw_read, .writev = raw_writev };
    pthread_t ids[THREADS_MAX];

    while ((opt = getopt(argc, argv, "t:p")) != -1) {
        if (opt == 't')
            threads = atoi(optarg);
        else if (opt == 'p')
            permissions = true;
        else
            return 2;
    }
    if (optind + 1 != argc || threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: zerofs [-t THREADS] [-p] DIR\n");
        return 2;
    }
    root.st = (struct stat){ .st_mode = S_IFDIR | 0755, .st_nlink = 2, .st_ino = 1, .st_blksize = 4096 };
    touch(&root, true);
    for (int i = 0; i < STRIPES; i++)
        pthread_mutex_init(&stripes[i], NULL);
    int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return fail("zerofs: /dev/fuse");
    snprintf(text, sizeof text, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other%s", fd, permissions ? ",default_permissions" : "");
    struct fuse_session *se = fuse_session_new(&args, &ops, sizeof ops, &init_done);
    if (!se || fuse_session_custom_io(se, &io, fd) < 0)
        return fail("zerofs: session");
    if (mount("zerofs", argv[optind], "fuse.zerofs", MS_NOSUID | MS_NODEV, text) < 0)
        return fail("zerofs: mount");
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, worker, se))
            return fail("zerofs: thread");
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    fuse_session_destroy(se);
    return 0;
}
