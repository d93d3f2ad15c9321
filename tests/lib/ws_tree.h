/* For tests: random changes of a workspace through its operations, and all of its tree read back the slow way. Header-only. */
#pragma once
#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fs/limits.h"
#include "fs/workspace.h"

#include "tests/lib/seed.h"

static uint64_t rng_state;
static uint64_t rng(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state;
}

static void seed_of(const char *test)
{
    rng_state = test_seed();
    print_message("%s: COPPICE_SEED=%llu\n", test, (unsigned long long)rng_state);
    rng_state |= 1;
}

struct wnode { char path[512]; uint64_t ino, content, xattrs; struct inode in; };
struct wtree { struct wnode *v; size_t n, cap; struct workspace *w; char prefix[512]; };

static uint64_t hash_content(struct workspace *w, uint64_t ino, const struct inode *in)
{
    uint64_t h = 1;
    size_t n;

    if (S_ISREG(in->mode)) {
        uint8_t *p = malloc(in->size + 1);
        assert_int_equal(ws_read(w, ino, 0, in->size, p, &n), 0);
        assert_int_equal(n, in->size);
        h = XXH3_64bits(p, n);
        free(p);
    } else if (S_ISLNK(in->mode)) {
        char target[SYMLINK_MAX + 1];
        assert_int_equal(ws_readlink(w, ino, target, sizeof target, &n), 0);
        h = XXH3_64bits(target, n);
    }
    return h;
}

static uint64_t hash_xattrs(struct workspace *w, uint64_t ino)
{
    char names[4096];
    uint8_t val[4096];
    uint64_t h = 0;
    size_t n, len;

    assert_int_equal(ws_listxattr(w, ino, names, sizeof names, &n), 0);
    for (size_t i = 0; i < n; i += strlen(names + i) + 1) {
        assert_int_equal(ws_getxattr(w, ino, names + i, val, sizeof val, &len), 0);
        h += XXH3_64bits_withSeed(val, len, XXH3_64bits(names + i, strlen(names + i)));
    }
    return h;
}

struct wlist { struct { char name[NAME_BYTES_MAX + 1]; uint64_t ino; } *v; size_t n; };

static int wlist_add(void *arg, const struct ws_dirent *d, const struct inode *in)
{
    struct wlist *l = arg;

    l->v = realloc(l->v, (l->n + 1) * sizeof *l->v);
    memcpy(l->v[l->n].name, d->name, d->name_len + 1);
    l->v[l->n++].ino = d->ino;
    return 0;
}

static void wtree_walk(struct wtree *t, uint64_t dir, const char *at)
{
    struct wlist l = { 0 };

    assert_int_equal(ws_readdir(t->w, dir, 0, false, wlist_add, &l), 0);
    for (size_t i = 0; i < l.n; i++) {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 64;
            t->v = realloc(t->v, t->cap * sizeof *t->v);
        }
        struct wnode *x = &t->v[t->n++];
        assert_true((size_t)snprintf(x->path, sizeof x->path, "%s%s%s", at, *at ? "/" : "", l.v[i].name) < sizeof x->path);
        x->ino = l.v[i].ino;
        assert_int_equal(ws_getattr(t->w, x->ino, &x->in), 0);
        x->content = hash_content(t->w, x->ino, &x->in);
        x->xattrs = hash_xattrs(t->w, x->ino);
        if (S_ISDIR(x->in.mode)) {
            char path[512];
            strcpy(path, x->path);            /* v may move */
            wtree_walk(t, x->ino, path);
        }
    }
    free(l.v);
}

static int wnode_cmp(const void *a, const void *b)
{
    return strcmp(((const struct wnode *)a)->path, ((const struct wnode *)b)->path);
}

/* All names but the root's, sorted by path. */
static struct wtree wtree_read(struct workspace *w)
{
    struct wtree t = { .w = w };

    wtree_walk(&t, INO_ROOT, "");
    if (t.n)
        qsort(t.v, t.n, sizeof *t.v, wnode_cmp);
    return t;
}

static struct wnode *wtree_find(const struct wtree *t, const char *path)
{
    struct wnode key;

    strcpy(key.path, path);
    return t->n ? bsearch(&key, t->v, t->n, sizeof key, wnode_cmp) : NULL;
}

static const struct ws_cred wcred = { .umask = 022 };

static uint64_t wmake(struct workspace *w, const char *path, uint32_t mode, const char *content)
{
    char dir[512];
    uint64_t parent, ino;
    struct inode in;
    const char *slash = strrchr(path, '/');

    snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path) : 0, path);
    assert_int_equal(ws_path(w, dir, &parent, &in), 0);
    assert_int_equal(ws_create(w, parent, slash ? slash + 1 : path, mode, 0, S_ISLNK(mode) ? content : NULL, &wcred, 0, false, &ino, &in), 0);
    if (S_ISREG(mode) && content)
        assert_int_equal(ws_write(w, ino, 0, (const uint8_t *)content, strlen(content), false), 0);
    return ino;
}

static int wrename(struct workspace *w, const char *from, const char *to, unsigned flags)
{
    char dir[512];
    uint64_t d1, d2;
    struct inode in;
    const char *s1 = strrchr(from, '/'), *s2 = strrchr(to, '/');

    snprintf(dir, sizeof dir, "%.*s", s1 ? (int)(s1 - from) : 0, from);
    assert_int_equal(ws_path(w, dir, &d1, &in), 0);
    snprintf(dir, sizeof dir, "%.*s", s2 ? (int)(s2 - to) : 0, to);
    assert_int_equal(ws_path(w, dir, &d2, &in), 0);
    return ws_rename(w, d1, s1 ? s1 + 1 : from, d2, s2 ? s2 + 1 : to, flags);
}

static void wwrite(struct workspace *w, const char *path, uint64_t off, const char *content)
{
    uint64_t ino;
    struct inode in;

    assert_int_equal(ws_path(w, path, &ino, &in), 0);
    assert_int_equal(ws_write(w, ino, off, (const uint8_t *)content, strlen(content), false), 0);
}

static void random_write(struct workspace *w, uint64_t ino, const struct inode *in)
{
    static uint8_t data[200000];
    size_t len = rng() % 4 ? rng() % 3000 : rng() % sizeof data;
    uint64_t off = rng() % 3 ? 0 : rng() % 300000;

    memset(data, (int)(rng() % 4), len);              /* few values: equal contents, zeros */
    for (size_t i = 0; i < len; i += 1 + rng() % 8192)
        data[i] = (uint8_t)(rng() % 3);
    assert_int_equal(ws_write(w, ino, off, data, len, false), 0);
}

/* One random operation; which may be refused, as long as it is by a sensible error. Names are few, so that they meet. */
static void random_op(struct workspace *w)
{
    struct wtree t = wtree_read(w);
    struct wnode root = { .ino = INO_ROOT }, *x = t.n ? &t.v[rng() % t.n] : &root, *y = t.n ? &t.v[rng() % t.n] : &root;
    char name[8], *slash = strrchr(x->path, '/');
    uint64_t dir, parent, ino;
    struct inode in, want;
    int r = 0;

    snprintf(name, sizeof name, "%c%c", (char)('a' + rng() % 4), (char)('0' + rng() % 3));
    if (t.n == 0 || rng() % 5 == 0)
        y = &root;
    dir = y == &root || S_ISDIR(y->in.mode) ? y->ino : y->in.parent;
    if (x == &root || !slash)
        parent = INO_ROOT;
    else {
        *slash = '\0';
        parent = wtree_find(&t, x->path)->ino;
        *slash = '/';
    }
    const char *base = slash ? slash + 1 : x->path;
    unsigned op = t.n < 5 ? (unsigned)(rng() % 3) : (unsigned)(rng() % 17);
    switch (op) {
    case 0: case 1:
        r = ws_create(w, dir, name, S_IFDIR | 0755, 0, NULL, &wcred, 0, false, &ino, &in);
        break;
    case 2: case 3: case 4:
        r = ws_create(w, dir, name, S_IFREG | 0644, 0, NULL, &wcred, 0, false, &ino, &in);
        if (!r && rng() % 4)
            random_write(w, ino, &in);
        break;
    case 5:
        r = ws_create(w, dir, name, S_IFLNK | 0777, 0, rng() % 2 ? "target" : "other", &wcred, 0, false, &ino, &in);
        break;
    case 6: case 7:
        if (S_ISREG(x->in.mode))
            random_write(w, x->ino, &x->in);
        break;
    case 8:
        want.size = rng() % 3 ? rng() % 5000 : rng() % 300000;
        if (S_ISREG(x->in.mode))
            r = ws_setattr(w, x->ino, WSA_SIZE, &want, &in);
        break;
    case 9:
        r = ws_unlink(w, parent, base);
        break;
    case 10:
        r = ws_rmdir(w, parent, base);
        break;
    case 11: case 12:
        r = ws_rename(w, parent, base, dir, name, rng() % 4 ? 0 : RENAME_NOREPLACE);
        break;
    case 13:
        r = ws_rename(w, parent, base, dir, name, RENAME_EXCHANGE);
        break;
    case 14:
        r = ws_link(w, x->ino, dir, name, &in);
        break;
    case 15:
        want = (struct inode){ .mode = 0600 + rng() % 2, .uid = rng() % 3, .mtime = { .sec = (int64_t)(rng() % 3) } };
        r = ws_setattr(w, x->ino, rng() % 3 == 0 ? WSA_MODE : rng() % 2 ? WSA_UID : WSA_MTIME, &want, &in);
        break;
    case 16:
        r = rng() % 3 ? ws_setxattr(w, x->ino, rng() % 2 ? "user.a" : "user.b", (const uint8_t *)"value", rng() % 5, 0, false)
                      : ws_removexattr(w, x->ino, "user.a");
        break;
    }
    switch (r) {
    case 0: case -EEXIST: case -ENOTDIR: case -EISDIR: case -ENOTEMPTY: case -EINVAL: case -EPERM: case -ENOENT: case -ENODATA: case -EOPNOTSUPP:
        break;
    default:
        fail_msg("operation %u: %d", op, r);
    }
    free(t.v);
}
