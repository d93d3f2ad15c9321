/* For each name of the model: attributes, bytes, holes, extended attributes, target; for each directory: exactly these names, each once.
 * As the directories have the same names, nothing can be in the other tree that is not in the model. */
#include "tests/model/check.h"
#include "tests/model/op.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WHOLE_MAX = 4 << 20, CHUNK = 256 * 1024 };
struct check { struct model *m; unsigned at; const struct fs_ops *f; void *c; int64_t start_s; char out[600]; };

static void say(struct check *k, const char *path, const char *what) {
    if (k->out[0]) return;
    char p[300] = "";
    struct op o = { .kind = OP_STAT, .at = k->at, .p1 = (char *)path };
    op_print(&o, p, sizeof p);
    snprintf(k->out, sizeof k->out, "tree of place %u: %.290s: %s", k->at, p + 12, what);
}

bool check_seek(const struct bytes *d, uint64_t off, int whence, int64_t res) {
    if (off >= d->size) return res == -ENXIO;
    uint64_t next = bytes_next(d, off);
    if (whence == SEEK_DATA) {
        if (next != UINT64_MAX) return res >= (int64_t)off && (uint64_t)res <= next;
        return res == -ENXIO || (res >= (int64_t)off && (uint64_t)res < d->size);
    }
    if (res < (int64_t)off || (uint64_t)res > d->size) return false;
    static const uint8_t zero[BYTES_PAGE];                /* what follows up to the next page must be zero */
    uint8_t b[BYTES_PAGE];
    size_t n = BYTES_PAGE - (uint64_t)res % BYTES_PAGE;
    bytes_read(d, (uint64_t)res, n, b);
    return (uint64_t)res == d->size || !memcmp(b, zero, n);
}

static bool same_range(struct check *k, const char *path, const struct bytes *d, uint64_t off, uint64_t len) {
    static uint8_t a[CHUNK], b[CHUNK];
    while (len) {
        size_t n = len < CHUNK ? (size_t)len : CHUNK;
        int r = k->f->read(k->c, k->at, path, off, n, b);
        bytes_read(d, off, n, a);
        if (r != (int)n || memcmp(a, b, n)) {
            size_t i = 0;
            while (r == (int)n && a[i] == b[i]) i++;
            char msg[200];
            snprintf(msg, sizeof msg, r != (int)n ? "read at %llu of %zu gave %d" : "wrong byte at %llu (read of %zu): %02x, expected %02x",
                (unsigned long long)off + i, n, r != (int)n ? r : b[i], a[i]);
            say(k, path, msg);
            return false;
        }
        off += n;
        len -= n;
    }
    return true;
}

/* Small: all bytes. Large: what is not zero in the model, by data ranges of the thing under test. Both: holes must be zero. */
static void check_bytes(struct check *k, const char *path, const struct bytes *d) {
    uint8_t past[8];
    if (d->size <= WHOLE_MAX && !same_range(k, path, d, 0, d->size)) return;
    if (k->f->read(k->c, k->at, path, d->size, 8, past) != 0) say(k, path, "bytes past the end");
    uint64_t turned = UINT64_MAX;
    for (uint64_t off = 0; off < d->size;) {
        int64_t data = k->f->data(k->c, k->at, path, off, SEEK_DATA);
        if (!check_seek(d, off, SEEK_DATA, data)) {
            char msg[120];
            snprintf(msg, sizeof msg, "SEEK_DATA from %llu gave %lld", (unsigned long long)off, (long long)data);
            say(k, path, msg);
            return;
        }
        if (data < 0) return;
        int64_t hole = k->f->data(k->c, k->at, path, (uint64_t)data, SEEK_HOLE);
        if (hole == data && (uint64_t)data != turned) {   /* a fold in between made a hole of a unit of zeros that was written: look once more */
            turned = off = (uint64_t)data;
            continue;
        }
        if (hole <= data || !check_seek(d, (uint64_t)data, SEEK_HOLE, hole)) {
            char msg[120];
            snprintf(msg, sizeof msg, "SEEK_HOLE from %lld gave %lld", (long long)data, (long long)hole);
            say(k, path, msg);
            return;
        }
        if (d->size > WHOLE_MAX && hole - data < WHOLE_MAX && !same_range(k, path, d, (uint64_t)data, (uint64_t)(hole - data))) return;
        off = (uint64_t)hole;
    }
}

static void check_xattrs(struct check *k, const char *path, const struct mnode *n) {
    static char list[LIST_BYTES];
    static uint8_t val[VALUE_BYTES];
    int len = k->f->listxattr(k->c, k->at, path, list, sizeof list);
    if (len < 0) { say(k, path, "listxattr failed"); return; }
    size_t seen = 0;
    for (char *p = list; p < list + len; p += strlen(p) + 1) seen++;
    if (seen != n->xattr_count) say(k, path, "another number of extended attributes");
    for (size_t i = 0; i < n->xattr_count; i++) {
        int r = k->f->getxattr(k->c, k->at, path, n->xattrs[i].name, val, sizeof val);
        if (r != (int)n->xattrs[i].n || memcmp(val, n->xattrs[i].v, n->xattrs[i].n)) say(k, path, "extended attribute differs");
    }
}

struct names { struct mnode *dir; unsigned mark, count; bool strange; };
static int names_fn(void *arg, const char *name, uint8_t type) {
    struct names *s = arg;
    s->count++;
    for (size_t i = 0; i < s->dir->ent_count; i++)
        if (!strcmp(s->dir->ents[i].name, name)) {
            if (((s->dir->ents[i].node->mode & S_IFMT) >> 12) != type) s->strange = true;
            return 0;
        }
    s->strange = true;
    return 0;
}

static void check_node(void *arg, const char *path, struct mnode *n) {
    struct check *k = arg;
    struct st a, b;
    if (k->out[0]) return;
    if (!n->parent && S_ISDIR(n->mode)) abort();
    int r = k->f->stat(k->c, k->at, path, &b);
    if (r) {
        say(k, path, strerror(-r));
        return;
    }
    model_ops.stat(k->m, k->at, path, &a);
    const char *d = st_differs(&a, &b, k->start_s);
    if (d) say(k, path, d);
    if ((k->f->caps & CAP_INO) && !mtree_saw(&k->m->place[k->at], b.ino, a.ino)) say(k, path, "inode number is another than before, or that of another file");
    if (S_ISREG(n->mode)) check_bytes(k, path, &n->data);
    check_xattrs(k, path, n);
    if (S_ISLNK(n->mode)) {
        char t[4097];
        r = k->f->readlink(k->c, k->at, path, t, 4096);
        if (r < 0 || (size_t)r != strlen(n->target) || memcmp(t, n->target, (size_t)r)) say(k, path, "another target");
    }
    if (!S_ISDIR(n->mode)) return;
    struct names s = { .dir = n };
    r = k->f->readdir(k->c, k->at, path, (unsigned)(1 + n->ent_count / 2), names_fn, &s);
    if (r) say(k, path, "readdir failed");
    else if (s.strange || s.count != n->ent_count) {
        char msg[100];
        snprintf(msg, sizeof msg, "readdir gave %u names, expected %zu%s", s.count, n->ent_count, s.strange ? ", and strange ones" : "");
        say(k, path, msg);
    }
}

const char *check_place(struct model *m, unsigned at, const struct fs_ops *f, void *c, int64_t start_s) {
    static struct check k;
    k = (struct check){ .m = m, .at = at, .f = f, .c = c, .start_s = start_s };
    mtree_each(&m->place[at], check_node, &k);
    return k.out[0] ? k.out : NULL;
}

const char *check_all(struct model *m, const struct fs_ops *f, void *c, int64_t start_s) {
    for (unsigned i = 0; i < PLACES; i++) {
        const char *d = m->place[i].root ? check_place(m, i, f, c, start_s) : NULL;
        if (d) return d;
    }
    for (unsigned h = 0; h < HANDLES; h++) {              /* also what has no name any more */
        if (!m->h[h].n) continue;
        static uint8_t a[CHUNK], b[CHUNK];
        static char out[200];
        const struct bytes *d = &m->h[h].n->data;
        for (uint64_t off = 0; off < d->size && off < WHOLE_MAX; off += CHUNK) {
            int want = model_ops.pread(m, h, off, CHUNK, a), got = f->pread(c, h, off, CHUNK, b);
            if (want == got && !memcmp(a, b, (size_t)want)) continue;
            snprintf(out, sizeof out, "open file of handle %u: other bytes at %llu (%d read, expected %d)", h, (unsigned long long)off, got, want);
            return out;
        }
    }
    return NULL;
}

/* --- loading --- */

struct load { unsigned at; uint64_t *number; const struct fs_ops *f; void *c; struct mtree *t; struct mnode **files; size_t count; };

static int load_node(struct load *l, const char *path, struct mnode **ret);

/* Names first, then what they are: a readdir callback must not ask the file system anything. */
struct name_list { char **v; size_t n; };
static int list_fn(void *arg, const char *name, uint8_t type) {
    struct name_list *l = arg;
    l->v = xrealloc(l->v, (l->n + 1) * sizeof *l->v);
    l->v[l->n++] = xstrdup(name);
    return 0;
}

static int load_dir(struct load *l, const char *path, struct mnode *dir) {
    struct name_list names = {0};
    int r = l->f->readdir(l->c, l->at, path, 0, list_fn, &names);
    for (size_t i = 0; i < names.n; i++) {
        char *sub = xalloc(strlen(path) + strlen(names.v[i]) + 2);
        struct mnode *c;
        sprintf(sub, "%s%s%s", path, *path ? "/" : "", names.v[i]);
        if (!r && !(r = load_node(l, sub, &c))) mnode_add(dir, names.v[i], c);
        free(sub);
        free(names.v[i]);
    }
    free(names.v);
    return r;
}

static int load_bytes(struct load *l, const char *path, uint64_t size, struct bytes *d) {
    static uint8_t b[CHUNK];
    for (uint64_t off = 0; off < size;) {
        int64_t data = l->f->data(l->c, l->at, path, off, SEEK_DATA);
        if (data < 0) break;
        int64_t hole = l->f->data(l->c, l->at, path, (uint64_t)data, SEEK_HOLE);
        if (hole < 0) return (int)hole;
        for (off = (uint64_t)data; off < (uint64_t)hole; off += CHUNK) {
            size_t n = (uint64_t)hole - off < CHUNK ? (size_t)((uint64_t)hole - off) : CHUNK;
            int r = l->f->read(l->c, l->at, path, off, n, b);
            if (r != (int)n) return r < 0 ? r : -EIO;
            bytes_write(d, off, b, n);
        }
        off = (uint64_t)hole;
    }
    d->size = size;
    return 0;
}

static int load_xattrs(struct load *l, const char *path, struct mnode *n) {
    static char list[LIST_BYTES];
    int len = l->f->listxattr(l->c, l->at, path, list, sizeof list);
    if (len < 0) return len;
    for (char *p = list; p < list + len; p += strlen(p) + 1) {
        n->xattrs = xrealloc(n->xattrs, (n->xattr_count + 1) * sizeof *n->xattrs);
        struct mxattr *x = &n->xattrs[n->xattr_count++];
        x->name = xstrdup(p);
        x->v = xalloc(VALUE_BYTES);
        int r = l->f->getxattr(l->c, l->at, path, p, x->v, VALUE_BYTES);
        if (r < 0) return r;
        x->n = (size_t)r;
        x->v = xrealloc(x->v, x->n);
    }
    return 0;
}

static struct mnode *same_ino(const struct load *l, uint64_t ino) {
    for (size_t i = 0; i < l->count; i++)
        if (l->files[i]->uid_ == ino) return l->files[i];
    return NULL;
}

/* The real inode number is used as the model's, so that links find each other; numbers from a model's counter must be above. */
static int load_node(struct load *l, const char *path, struct mnode **ret) {
    struct st st;
    int r = l->f->stat(l->c, l->at, path, &st);
    if (r) return r;
    if (!S_ISDIR(st.mode) && st.nlink > 1) {
        *ret = same_ino(l, st.ino);
        if (*ret) return (*ret)->nlink++, 0;
    }
    struct mnode *n = mnode_new(st.ino, st.mode);
    n->uid = st.uid, n->gid = st.gid, n->rdev = st.rdev;
    n->mtime_s = st.mtime_s, n->mtime_ns = st.mtime_ns, n->mtime_rule = TIME_EXACT;
    n->nlink = S_ISDIR(st.mode) ? st.nlink : 1;
    if (st.ino >= *l->number) *l->number = st.ino + 1;
    if (S_ISREG(st.mode) && (r = load_bytes(l, path, st.size, &n->data))) return r;
    if (S_ISLNK(st.mode)) {
        n->target = xalloc(4097);
        if ((r = l->f->readlink(l->c, l->at, path, n->target, 4096)) < 0) return r;
    }
    if ((r = load_xattrs(l, path, n))) return r;
    *ret = n;
    if (!S_ISDIR(st.mode)) {
        l->files = xrealloc(l->files, (l->count + 1) * sizeof *l->files);
        l->files[l->count++] = n;
        return 0;
    }
    if (!l->t->root) l->t->root = n, n->parent = n;
    return load_dir(l, path, n);
}

int check_load(struct mtree *t, unsigned at, uint64_t *number, const struct fs_ops *f, void *c) {
    struct load l = { .at = at, .number = number, .f = f, .c = c, .t = t };
    struct mnode *root;
    t->root = NULL;
    int r = load_node(&l, "", &root);
    free(l.files);
    return r;
}
