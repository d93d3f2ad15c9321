/* For tests: a tree that is kept by nothing but the events of a change journal (and bytes read where an event says that they changed), compared with the workspace. Header-only. */
#pragma once
#include "fs/feed.h"
#include "tests/lib/ws_tree.h"

struct mirror_ino { uint64_t ino, size, xattrs; uint32_t mode, uid, gid; struct itime mtime; uint8_t *bytes; char target[64]; };
struct mirror_name { char path[512]; uint64_t ino; };
struct mirror {
    struct workspace *w;
    struct mirror_ino *ino;
    struct mirror_name *name;
    size_t inos, names, ino_cap, name_cap;
    uint64_t events, gaps, marks;
};

static struct mirror_ino *mirror_inode(struct mirror *m, uint64_t ino)
{
    for (size_t i = 0; i < m->inos; i++)
        if (m->ino[i].ino == ino)
            return &m->ino[i];
    if (m->inos == m->ino_cap)
        m->ino = realloc(m->ino, (m->ino_cap = m->ino_cap * 2 + 64) * sizeof *m->ino);
    m->ino[m->inos] = (struct mirror_ino){ .ino = ino };
    return &m->ino[m->inos++];
}

static size_t mirror_find(struct mirror *m, const char *path)
{
    size_t i = 0;

    while (i < m->names && strcmp(m->name[i].path, path) != 0)
        i++;
    return i;
}

static bool is_under(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return n == 0 || (!strncmp(path, dir, n) && (path[n] == '/' || !path[n]));
}

static void mirror_add(struct mirror *m, const char *path, uint64_t ino)
{
    assert_int_equal(mirror_find(m, path), m->names);
    if (m->names == m->name_cap)
        m->name = realloc(m->name, (m->name_cap = m->name_cap * 2 + 64) * sizeof *m->name);
    strcpy(m->name[m->names].path, path);
    m->name[m->names++].ino = ino;
}

static void mirror_remove(struct mirror *m, const char *path, uint64_t ino)
{
    size_t i = mirror_find(m, path);

    assert_true(i < m->names);
    assert_int_equal(m->name[i].ino, ino);
    m->name[i] = m->name[--m->names];
}

static void mirror_move(struct mirror *m, const char *from, const char *to)
{
    for (size_t i = 0; i < m->names; i++) {
        char path[512];
        if (!is_under(m->name[i].path, from))
            continue;
        snprintf(path, sizeof path, "%.200s%.300s", to, m->name[i].path + strlen(from));
        strcpy(m->name[i].path, path);
    }
}

static void mirror_size(struct mirror_ino *x, uint64_t size)
{
    if (size > x->size) {
        x->bytes = realloc(x->bytes, size);
        memset(x->bytes + x->size, 0, size - x->size);
    }
    x->size = size;
}

/* Bytes as the workspace has them now, of what the event says. */
static void mirror_copy(struct mirror *m, struct mirror_ino *x, uint64_t from, uint64_t to)
{
    struct inode in;
    size_t n;

    if (ws_getattr(m->w, x->ino, &in) < 0)
        return;                           /* gone since: a later event says so */
    to = to < in.size ? to : in.size;
    to = to < x->size ? to : x->size;
    if (from >= to)
        return;
    assert_int_equal(ws_read(m->w, x->ino, from, to - from, x->bytes + from, &n), 0);
}

static void mirror_attrs(struct mirror *m, const struct feed_event *e, bool fetch)
{
    struct mirror_ino *x = mirror_inode(m, e->ino);
    struct inode in;

    x->mode = e->mode;
    x->uid = e->uid;
    x->gid = e->gid;
    x->mtime = e->mtime;
    if (fetch && ws_getattr(m->w, e->ino, &in) == 0)
        x->xattrs = hash_xattrs(m->w, e->ino);
}

/* All that is below a path, read anew. */
static void mirror_rescan(struct mirror *m, const char *path)
{
    for (size_t i = 0; i < m->names;)
        if (is_under(m->name[i].path, path))
            m->name[i] = m->name[--m->names];
        else
            i++;
    struct wtree t = wtree_read(m->w);
    for (size_t i = 0; i < t.n; i++) {
        const struct wnode *n = &t.v[i];
        if (!is_under(n->path, path) && !is_under(path, n->path))
            continue;
        if (mirror_find(m, n->path) == m->names)
            mirror_add(m, n->path, n->ino);
        struct mirror_ino *x = mirror_inode(m, n->ino);
        x->mode = n->in.mode;
        x->uid = n->in.uid;
        x->gid = n->in.gid;
        x->mtime = n->in.mtime;
        x->xattrs = n->xattrs;
        if (S_ISREG(n->in.mode)) {
            mirror_size(x, n->in.size);
            mirror_copy(m, x, 0, n->in.size);
        } else if (S_ISLNK(n->in.mode)) {
            size_t len;
            assert_int_equal(ws_readlink(m->w, n->ino, x->target, sizeof x->target - 1, &len), 0);
            x->target[len] = '\0';
        }
    }
    free(t.v);
}

static void mirror_apply(struct mirror *m, const struct feed_event *e)
{
    char path[512], aux[512];
    struct mirror_ino *x = e->ino ? mirror_inode(m, e->ino) : NULL;
    size_t i;

    snprintf(path, sizeof path, "%.*s", (int)e->path_len, e->path);
    snprintf(aux, sizeof aux, "%.*s", (int)e->aux_len, e->aux);
    m->events++;
    assert_false(e->what & FEED_PATH_CUT && e->op != FEED_GAP);
    switch (e->op) {
    case FEED_CREATE:
        free(x->bytes);
        *x = (struct mirror_ino){ .ino = e->ino };
        strcpy(x->target, aux);
        mirror_add(m, path, e->ino);
        mirror_attrs(m, e, true);
        break;
    case FEED_LINK:
        mirror_add(m, path, e->ino);
        break;
    case FEED_UNLINK:
        mirror_remove(m, path, e->ino);
        break;
    case FEED_RENAME:
        if (e->other)
            mirror_remove(m, aux, e->other);
        i = mirror_find(m, path);
        assert_true(i < m->names && m->name[i].ino == e->ino);
        mirror_move(m, path, aux);
        break;
    case FEED_EXCHANGE:
        if (!strcmp(path, aux))
            break;
        i = mirror_find(m, aux);
        assert_true(i < m->names && m->name[i].ino == e->other);
        mirror_move(m, path, "?");
        mirror_move(m, aux, path);
        mirror_move(m, "?", aux);
        break;
    case FEED_WRITE: case FEED_CLONE:
        assert_true(mirror_find(m, path) < m->names);
        mirror_size(x, e->size);
        mirror_copy(m, x, e->from, e->to);
        mirror_attrs(m, e, false);
        break;
    case FEED_TRUNCATE:
        mirror_size(x, e->size);
        if (e->from < e->size)
            memset(x->bytes + e->from, 0, (e->to < e->size ? e->to : e->size) - e->from);
        mirror_attrs(m, e, false);
        break;
    case FEED_ATTR: case FEED_XATTR:
        mirror_attrs(m, e, true);
        break;
    case FEED_REPLACE:
        mirror_rescan(m, path);
        break;
    case FEED_GAP:
        m->gaps++;
        mirror_rescan(m, "");
        break;
    default:
        m->marks++;
    }
}

static void mirror_compare(struct mirror *m, bool content)
{
    struct wtree t = wtree_read(m->w);

    assert_int_equal(t.n, m->names);
    for (size_t i = 0; i < t.n; i++) {
        const struct wnode *n = &t.v[i];
        size_t at = mirror_find(m, n->path);
        assert_true(at < m->names);
        assert_int_equal(m->name[at].ino, n->ino);
        const struct mirror_ino *x = mirror_inode(m, n->ino);
        assert_int_equal(x->mode, n->in.mode);
        assert_int_equal(x->uid, n->in.uid);
        assert_int_equal(x->gid, n->in.gid);
        assert_int_equal(x->xattrs, n->xattrs);
        if (S_ISREG(n->in.mode)) {
            assert_int_equal(x->size, n->in.size);
            if (content)
                assert_int_equal(x->size ? XXH3_64bits(x->bytes, x->size) : XXH3_64bits("", 0), n->content);
            assert_int_equal(x->mtime.sec, n->in.mtime.sec);
            assert_int_equal(x->mtime.ns, n->in.mtime.ns);
        } else if (S_ISLNK(n->in.mode)) {
            assert_int_equal(XXH3_64bits(x->target, strlen(x->target)), n->content);
        }
    }
    free(t.v);
}

static void mirror_fini(struct mirror *m)
{
    for (size_t i = 0; i < m->inos; i++)
        free(m->ino[i].bytes);
    free(m->ino);
    free(m->name);
}
