/* Each file has what is durable (as of its last sync) and the list of calls since. Each directory likewise: names that are durable, and
 * changes since its last sync, of which a prefix survives. Of the calls since a file's last sync any may survive, in any combination; a
 * write may survive in parts of 512 bytes. A file is reached by its name only, so one whose name did not survive is lost. */
#include "tests/crash/disk_image.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/crash/shim.h"
#include "tests/model/bytes.h"

enum { SECTOR = 512 };
struct call { struct shim_rec r; const uint8_t *data; };
struct dfile { struct bytes durable; struct call *pending; size_t n, cap; bool dir; };
struct name_op { enum shim_type type; char *from, *to; uint32_t file; };
struct name { char *path; uint32_t file; };
struct disk_image {
    uint8_t *log;
    size_t size, at, records;
    struct dfile *files;                  /* by number */
    size_t file_count;
    struct name *names;                   /* durable */
    size_t name_count;
    struct name_op *ops;                  /* since, in order, of all directories */
    size_t op_count;
};

static struct dfile *file_of(struct disk_image *d, uint32_t id) {
    if (id >= d->file_count) {
        size_t n = id + 64;
        d->files = xrealloc(d->files, n * sizeof *d->files);
        memset(d->files + d->file_count, 0, (n - d->file_count) * sizeof *d->files);
        d->file_count = n;
    }
    return &d->files[id];
}

struct disk_image *disk_image_new(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) return NULL;
    struct disk_image *d = xalloc(sizeof *d);
    d->size = (size_t)st.st_size;
    d->log = mmap(NULL, d->size ? d->size : 1, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    for (size_t at = 0; at + sizeof(struct shim_rec) <= d->size; d->records++) {
        struct shim_rec r;
        memcpy(&r, d->log + at, sizeof r);
        at += sizeof r + r.path_len + r.data_len;
    }
    return d;
}

void disk_image_free(struct disk_image *d) {
    for (size_t i = 0; i < d->file_count; i++) {
        bytes_fini(&d->files[i].durable);
        free(d->files[i].pending);
    }
    for (size_t i = 0; i < d->name_count; i++) free(d->names[i].path);
    for (size_t i = 0; i < d->op_count; i++) {
        free(d->ops[i].from);
        free(d->ops[i].to);
    }
    munmap(d->log, d->size ? d->size : 1);
    free(d->files);
    free(d->names);
    free(d->ops);
    free(d);
}

size_t disk_image_records(const struct disk_image *d) {
    return d->records;
}

static void apply(struct bytes *c, const struct call *k, bool all, struct rng *r) {
    switch (k->r.type) {
    case SHIM_WRITE:
        for (uint64_t at = 0; at < k->r.len;) {
            uint64_t off = k->r.off + at, n = SECTOR - off % SECTOR;
            if (n > k->r.len - at) n = k->r.len - at;
            if (all || rng_chance(r, 50)) bytes_write(c, off, k->data + at, n);
            at += n;
        }
        break;
    case SHIM_TRUNCATE: bytes_truncate(c, k->r.off); break;
    case SHIM_PUNCH: bytes_zero(c, k->r.off, k->r.len); break;
    default:
        if (k->r.off + k->r.len > c->size) c->size = k->r.off + k->r.len;
    }
}

/* --- names --- */

static size_t find_name(const struct name *v, size_t n, const char *path) {
    size_t i = 0;
    while (i < n && strcmp(v[i].path, path)) i++;
    return i;
}

static void set_name(struct name **v, size_t *n, const char *path, uint32_t file) {
    size_t i = find_name(*v, *n, path);
    if (i == *n) {
        *v = xrealloc(*v, (*n + 1) * sizeof **v);
        (*v)[(*n)++].path = xstrdup(path);
    }
    (*v)[i].file = file;
}

static void del_name(struct name *v, size_t *n, const char *path) {
    size_t i = find_name(v, *n, path);
    if (i == *n) return;
    free(v[i].path);
    v[i] = v[--*n];
}

static void apply_name(struct name **v, size_t *n, const struct name_op *o) {
    if (o->type == SHIM_UNLINK) { del_name(*v, n, o->from); return; }
    if (o->type != SHIM_RENAME) { set_name(v, n, o->from, o->file); return; }
    size_t i = find_name(*v, *n, o->from);
    if (i == *n) return;
    uint32_t file = (*v)[i].file;
    del_name(*v, n, o->from);
    set_name(v, n, o->to, file);
}

static bool in_dir(const char *path, const char *dir) {
    size_t n = strlen(dir);
    const char *rest = path;
    if (n) {
        if (strncmp(path, dir, n) || path[n] != '/') return false;
        rest = path + n + 1;
    }
    return !strchr(rest, '/');
}

static void sync_dir(struct disk_image *d, const char *dir) {
    size_t left = 0;
    for (size_t i = 0; i < d->op_count; i++) {
        struct name_op o = d->ops[i];
        if (in_dir(o.from, dir)) {
            apply_name(&d->names, &d->name_count, &o);
            free(o.from);
            free(o.to);
        } else d->ops[left++] = o;
    }
    d->op_count = left;
}

static void add_name_op(struct disk_image *d, const struct shim_rec *r, const char *path) {
    d->ops = xrealloc(d->ops, (d->op_count + 1) * sizeof *d->ops);
    struct name_op *o = &d->ops[d->op_count++];
    *o = (struct name_op){ .type = (enum shim_type)r->type, .from = strndup(path, r->path_len), .file = r->file };
    if (r->type == SHIM_RENAME) o->to = strndup(path + strlen(o->from) + 1, r->path_len - strlen(o->from) - 1);
}

int64_t disk_image_step(struct disk_image *d) {
    struct call k;
    memcpy(&k.r, d->log + d->at, sizeof k.r);
    const char *path = (const char *)d->log + d->at + sizeof k.r;
    k.data = (const uint8_t *)path + k.r.path_len;
    d->at += sizeof k.r + k.r.path_len + k.r.data_len;
    struct dfile *f = file_of(d, k.r.file);
    switch (k.r.type) {
    case SHIM_MARK: return (int64_t)k.r.off;
    case SHIM_CREATE: case SHIM_MKDIR: f->dir = k.r.type == SHIM_MKDIR; add_name_op(d, &k.r, path); break;
    case SHIM_RENAME: case SHIM_UNLINK: add_name_op(d, &k.r, path); break;
    case SHIM_SYNC:
        if (getenv("COPPICE_DISK_LIES")) break;            /* to see that this test can fail: a disk that forgets what was synced */
        for (size_t i = 0; i < f->n; i++) apply(&f->durable, &f->pending[i], true, NULL);
        f->n = 0;
        break;
    case SHIM_DIRSYNC: {
        char *dir = strndup(path, k.r.path_len);
        sync_dir(d, dir);
        free(dir);
        break;
    }
    default:
        if (f->n == f->cap) {
            f->cap = f->cap ? f->cap * 2 : 16;
            f->pending = xrealloc(f->pending, f->cap * sizeof *f->pending);
        }
        f->pending[f->n++] = k;
    }
    return -1;
}

/* --- writing out --- */

/* Some sectors of a write survive: each as it was in the page cache after the write, so with what was written to it before. now: all calls so far. */
static void keep_sectors(struct bytes *c, const struct bytes *now, const struct call *k, unsigned percent, struct rng *r) {
    uint8_t b[SECTOR];
    for (uint64_t off = k->r.off - k->r.off % SECTOR; k->r.type == SHIM_WRITE && off < k->r.off + k->r.len; off += SECTOR) {
        uint64_t n = now->size - off < SECTOR ? now->size - off : SECTOR;
        if (!rng_chance(r, percent)) continue;
        bytes_read(now, off, n, b);
        bytes_write(c, off, b, n);
    }
}

/* What happened to the calls since the last sync of one file. */
static struct bytes survive(const struct dfile *f, enum loss loss, struct rng *r) {
    struct bytes c = bytes_clone(&f->durable), now = bytes_clone(&f->durable);
    uint64_t mood = rng_below(r, 4);                       /* all, none, a prefix and a torn one, anything */
    size_t prefix = (size_t)rng_below(r, f->n + 1);
    for (size_t i = 0; i < f->n; i++) {
        if (loss == LOSS_NONE || (loss == LOSS_RANDOM && mood == 0)) apply(&c, &f->pending[i], true, r);
        else if (loss == LOSS_ALL || mood == 1) break;
        else if (mood == 2) {
            if (i < prefix) apply(&c, &f->pending[i], true, r);
            else if (i == prefix) apply(&c, &f->pending[i], false, r);
        } else {
            apply(&now, &f->pending[i], true, r);
            if (!rng_chance(r, 60)) continue;
            if (f->pending[i].r.type == SHIM_WRITE) keep_sectors(&c, &now, &f->pending[i], rng_chance(r, 60) ? 100 : 50, r);
            else apply(&c, &f->pending[i], true, r);
        }
    }
    bytes_fini(&now);
    return c;
}

static int put_file(const char *path, const struct bytes *c) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    uint8_t b[BYTES_PAGE];
    int r = ftruncate(fd, (off_t)c->size) ? -errno : 0;
    for (uint64_t off = 0; !r && (off = bytes_next(c, off)) < c->size; off = off - off % BYTES_PAGE + BYTES_PAGE) {
        off -= off % BYTES_PAGE;
        size_t n = c->size - off < BYTES_PAGE ? (size_t)(c->size - off) : BYTES_PAGE;
        bytes_read(c, off, n, b);
        if (pwrite(fd, b, n, (off_t)off) != (ssize_t)n) r = -EIO;
    }
    close(fd);
    return r;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

int disk_image_write(const struct disk_image *d, enum loss loss, struct rng *r, const char *dir) {
    struct name *v = xalloc((d->name_count + d->op_count + 1) * sizeof *v);
    size_t n = 0;
    for (size_t i = 0; i < d->name_count; i++) v[n++] = (struct name){ xstrdup(d->names[i].path), d->names[i].file };
    /* One cut for all directories would be a journal; each has its own here, by the path's first component. */
    size_t cut[8];
    for (int i = 0; i < 8; i++) cut[i] = loss == LOSS_NONE ? d->op_count : loss == LOSS_ALL ? 0 : (size_t)rng_below(r, d->op_count + 1);
    for (size_t i = 0; i < d->op_count; i++) {
        const char *slash = strchr(d->ops[i].from, '/');
        unsigned group = slash ? 1 + (uint8_t)d->ops[i].from[0] % 7 : 0;
        if (i < cut[group]) apply_name(&v, &n, &d->ops[i]);
    }
    qsort(v, n, sizeof *v, by_path);
    int e = mkdir(dir, 0755) && errno != EEXIST ? -errno : 0;
    for (size_t i = 0; i < n && !e; i++) {
        char path[2048];
        snprintf(path, sizeof path, "%s/%s", dir, v[i].path);
        const struct dfile *f = &d->files[v[i].file];
        if (f->dir) e = mkdir(path, 0755) ? -errno : 0;
        else {
            struct bytes c = survive(f, loss, r);
            e = put_file(path, &c);
            bytes_fini(&c);
        }
        if (e == -ENOENT) e = 0;                           /* its directory did not survive */
    }
    for (size_t i = 0; i < n; i++) free(v[i].path);
    free(v);
    return e;
}
