/* Verbs that look into a snapshot without mounting it: tree (the entries of a directory), read (a file's bytes). */
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "fs/store.h"
#include "fs/view.h"
#include "fs/workspace.h"
#include "snapshotd/call.h"

DEFINE_CLEANUP(struct workspace *, workspace_unref)
DEFINE_CLEANUP(struct view *, view_unref)

enum { TREE_DEPTH_MAX = 1024, PATH_BYTES_MAX = 4096, BATCH = 256, READ_PIECE = 256 * 1024 };

/* The snapshot as a workspace that nothing changes, and the inode at path (bytes or string; "" is the root). */
static int open_at(struct call *c, const char *name, const json_t *path, struct object *o, struct workspace **ret_w, char **ret_path, uint64_t *ret_ino, struct inode *ret)
{
    _cleanup_(view_unref_p) struct view *v = NULL;
    size_t len = 0;
    int r = call_object(c, "look into", name, o);

    if (r)
        return r;
    if (!object_is_snapshot(o))
        return call_fail(c, -EINVAL, "invalid", "cannot look into '%s': it is a workspace; its files are those of its mount or sandbox (or take a snapshot)", name);
    *ret_path = path ? snap_bytes_get(path, &len, &r) : mem_strdup("");
    if (!*ret_path)
        return r == -EINVAL ? call_bad(c, "path is a string or {\"base64\"}") : call_errno(c, -ENOMEM, "look into", name);
    r = view_get(c->store, o->snap.base, &v);
    if (!r)
        r = workspace_open_view(c->store, v, ret_w);
    if (!r)
        r = ws_path(*ret_w, *ret_path, ret_ino, ret);
    if (r == -ENOENT || r == -ENOTDIR)
        return call_fail(c, r, "not_found", "there is no such file in the snapshot '%s'", name);
    if (r == -EINVAL)
        return call_fail(c, r, "invalid", "the path goes up ('..'); paths are relative to the root of the snapshot");
    return r ? call_errno(c, r, "look into", name) : 0;
}

/* --- tree --- */

/* A directory being gone through: entries are taken some at a time, because fn of ws_readdir must not call back. */
struct entry { char name[256]; uint64_t ino, cookie; struct inode in; };
struct batch_of { struct entry *v; unsigned n; };
struct level { uint64_t ino, after; size_t path_len; };

static int take_entry(void *arg, const struct ws_dirent *d, const struct inode *in)
{
    struct batch_of *b = arg;
    struct entry *e = &b->v[b->n];

    if (d->name_len >= sizeof(e->name))
        return -ENAMETOOLONG;
    memcpy(e->name, d->name, d->name_len);
    e->name[d->name_len] = 0;
    e->ino = d->ino;
    e->cookie = d->cookie;
    e->in = *in;
    return ++b->n == BATCH;
}

static const char *type_name(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symlink";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    default: return "device";
    }
}

static int tell_one(struct call *c, struct workspace *w, const char *path, const struct entry *e)
{
    char target[SYMLINK_MAX + 1];
    size_t len;

    json_t *j = json_pack("{s:o,s:s,s:i,s:I,s:I,s:I,s:[I,I]}", "path", snap_bytes(path, strlen(path)), "type", type_name(e->in.mode), "mode", (int)(e->in.mode & 07777), "uid",
                          (json_int_t)e->in.uid, "gid", (json_int_t)e->in.gid, "size", (json_int_t)e->in.size, "mtime", (json_int_t)e->in.mtime.sec, (json_int_t)e->in.mtime.ns);
    if (j && S_ISLNK(e->in.mode)) {
        int r = ws_readlink(w, e->ino, target, sizeof(target), &len);
        if (r) {
            json_decref(j);
            return r;
        }
        json_object_set_new(j, "target", snap_bytes(target, len));
    }
    return call_more(c, "entries", j);
}

/* Depth first; the stack holds one level for each directory on the way, so what a tree costs is its depth. */
static int tell_tree(struct call *c, struct workspace *w, uint64_t root, unsigned depth)
{
    _cleanup_free_ struct level *stack = mem_zalloc(depth * sizeof(*stack));
    _cleanup_free_ struct entry *entries = mem_alloc(BATCH * sizeof(*entries));
    _cleanup_free_ char *path = mem_zalloc(PATH_BYTES_MAX);
    unsigned top = 1;
    int r = 0;

    if (!stack || !entries || !path)
        return -ENOMEM;
    stack[0] = (struct level){ root, 0, 0 };
    while (top && r >= 0) {
        struct level *l = &stack[top - 1];
        struct batch_of b = { entries, 0 };
        bool down = false;
        r = ws_readdir(w, l->ino, l->after, true, take_entry, &b);
        for (unsigned i = 0; r >= 0 && i < b.n && !down; i++) {
            const struct entry *e = &entries[i];
            size_t n = strlen(e->name), at = l->path_len;
            l->after = e->cookie;
            if (at + n + 2 > PATH_BYTES_MAX)
                return -ENAMETOOLONG;
            if (at)
                path[at++] = '/';
            memcpy(path + at, e->name, n + 1);
            int told = tell_one(c, w, path, e);
            if (told < 0)
                return told;
            down = S_ISDIR(e->in.mode) && top < depth;
            if (down)
                stack[top++] = (struct level){ e->ino, 0, at + n };
        }
        if (!down && r == 0)
            top--;
    }
    return r < 0 ? r : 0;
}

int verb_do_tree(struct call *c)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    _cleanup_free_ char *path = NULL;
    json_int_t depth = 1;
    json_t *at = NULL;
    const char *name;
    struct inode in;
    struct object o;
    uint64_t ino;

    int r = call_args(c, ",s:s,s?o,s?I", "object", &name, "path", &at, "depth", &depth);
    if (!r && (depth < 1 || depth > TREE_DEPTH_MAX))
        r = call_bad(c, "depth is from 1 to 1024");
    if (!r)
        r = open_at(c, name, at, &o, &w, &path, &ino, &in);
    if (r)
        return r;
    if (!S_ISDIR(in.mode))
        return call_fail(c, -ENOTDIR, "not_a_directory", "'%s' in the snapshot '%s' is not a directory", path, name);
    r = tell_tree(c, w, ino, (unsigned)depth);
    if (r)
        return c->broken ? c->broken : call_errno(c, r, "list the tree of", name);
    c->result = json_pack("{s:s,s:o,s:[]}", "object", o.snap.id, "path", snap_bytes(path, strlen(path)), "entries");
    return 0;
}

/* --- read --- */

int verb_do_read(struct call *c)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    _cleanup_free_ char *path = NULL;
    _cleanup_free_ uint8_t *piece = mem_alloc(READ_PIECE);
    json_int_t off = 0, len = -1;
    json_t *at = NULL;
    const char *name;
    struct inode in;
    struct object o;
    uint64_t ino, from, end;

    int r = call_args(c, ",s:s,s:o,s?I,s?I", "object", &name, "path", &at, "off", &off, "len", &len);
    if (!r && (off < 0 || len < -1))
        r = call_bad(c, "off and len are not negative");
    if (!r && c->fd_count != 1)
        r = call_bad(c, "one descriptor to write to must come with it");
    if (!r)
        r = piece ? open_at(c, name, at, &o, &w, &path, &ino, &in) : -ENOMEM;
    if (r)
        return r;
    if (!S_ISREG(in.mode))
        return call_fail(c, -EINVAL, S_ISDIR(in.mode) ? "is_a_directory" : "not_a_file", "'%s' in the snapshot '%s' is %s", path, name, S_ISDIR(in.mode) ? "a directory" : "not a regular file");
    from = (uint64_t)off < in.size ? (uint64_t)off : in.size;
    end = len < 0 || in.size - from < (uint64_t)len ? in.size : from + (uint64_t)len;
    for (uint64_t p = from; !r && p < end;) {
        size_t want = end - p < READ_PIECE ? (size_t)(end - p) : READ_PIECE, got = 0;
        r = ws_read(w, ino, p, want, piece, &got);
        if (!r && !got)
            break;
        if (!r)
            r = io_write_full(c->fds[0], piece, got);
        p += got;
    }
    if (r)
        return call_errno(c, r, "read from", name);
    c->result = json_pack("{s:s,s:I,s:I}", "object", o.snap.id, "size", (json_int_t)in.size, "bytes", (json_int_t)(end - from));
    return 0;
}
