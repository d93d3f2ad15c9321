/* The chain of directories of an import, and the paths that lead through it. See import.c. */
#include "fs/import_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "fs/limits.h"
#include "fs/workspace.h"

/* --- paths --- */

/* Components not empty, not "." or "..", each at most a name long. The empty path is the top. */
int importer_path_check(struct importer *im, const char *path)
{
    unsigned depth = 0;

    for (const char *p = path; *p;) {
        const char *slash = strchrnul(p, '/');
        size_t n = (size_t)(slash - p);

        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.') || (*slash && !slash[1]))
            return importer_fail(im, -EINVAL, path, "not a relative path of plain components");
        if (n > NAME_BYTES_MAX)
            return importer_fail(im, -ENAMETOOLONG, path, "a name is longer than %d bytes", NAME_BYTES_MAX);
        if (++depth > IMPORT_DEPTH_MAX)
            return importer_fail(im, -ENAMETOOLONG, path, "more than %d directories deep", IMPORT_DEPTH_MAX);
        p = *slash ? slash + 1 : slash;
    }
    return 0;
}

/* The path within the workspace: `at` and the entry's own. */
size_t importer_path_join(const struct importer *im, const char *path, char *out)
{
    size_t n = strlen(path), at = im->at_len;

    memcpy(out, im->at, at);
    if (at && n)
        out[at++] = '/';
    memcpy(out + at, path, n + 1);
    return at + n;
}

size_t importer_parent_len(const char *path, size_t n)
{
    const char *slash = memrchr(path, '/', n);

    return slash ? (size_t)(slash - path) : 0;
}

const char *importer_leaf(const struct importer *im)
{
    size_t n = importer_parent_len(im->full, im->full_len);

    return im->full + n + (n ? 1 : 0);
}

/* --- the chain of directories --- */

struct import_level *importer_top(struct importer *im)
{
    return &im->levels[im->level_count - 1];
}

static int level_push(struct importer *im, uint64_t ino, size_t path_len, const struct inode *in)
{
    if (im->level_count == im->level_cap) {
        size_t cap = im->level_cap ? im->level_cap * 2 : 16;
        struct import_level *v = mem_realloc(im->levels, cap * sizeof(*v));
        if (!v)
            return importer_fail_op(im, -ENOMEM, "remember the directory");
        im->levels = v;
        im->level_cap = cap;
    }
    size_t n;
    int r = ws_getxattr(im->w, ino, "system.posix_acl_default", NULL, 0, &n);
    if (r && r != -ENODATA && r != -EOPNOTSUPP)
        return importer_fail_op(im, r, "read the default ACL");
    struct import_level *l = &im->levels[im->level_count++];
    *l = (struct import_level){ .ino = ino, .path_len = path_len, .saved = *in, .default_acl = r == 0 };
    memcpy(im->path, im->full, path_len);
    l->path_hash = XXH3_64bits(im->path, path_len);
    return 0;
}

static int level_pop(struct importer *im)
{
    struct import_level *l = importer_top(im);

    if (l->dirty) {
        struct inode now;
        int r = ws_setattr(im->w, l->ino, WSA_ATIME | WSA_MTIME | WSA_CTIME | WSA_BTIME, &l->saved, &now);
        if (r)
            return importer_fail_op(im, r, "set the times of its directory");
    }
    im->level_count--;
    return 0;
}

int importer_pop_to(struct importer *im, size_t count)
{
    while (im->level_count > count) {
        int r = level_pop(im);
        if (r)
            return r;
    }
    return 0;
}

/* How many levels are ancestors of full[0..n), or it itself. */
static size_t common_levels(const struct importer *im, size_t n)
{
    size_t i = 1, same = 0;

    if (im->level_count == 0)
        return 0;
    size_t have = im->levels[im->level_count - 1].path_len, max = have < n ? have : n;
    while (same < max && im->path[same] == im->full[same])
        same++;
    for (; i < im->level_count; i++) {
        size_t l = im->levels[i].path_len;
        if (l > same || (l < n && im->full[l] != '/'))
            break;
    }
    return i;
}


/* Goes from the top level into `name`; makes it if it is missing. like: the entry that needs it. */
static int descend(struct importer *im, const char *name, size_t path_len, const struct inode *like)
{
    struct inode in;
    uint64_t ino;
    int r = ws_lookup(im->w, importer_top(im)->ino, name, &ino, &in);

    if (r == -ENOENT) {
        struct inode dir = { .mode = S_IFDIR | 0755, .uid = like->uid, .gid = like->gid, .mtime = like->mtime };
        r = importer_make(im, name, &dir, NULL, &ino, &in);
        if (r)
            return r;
        in.mtime = like->mtime;
        inode_times_from_mtime(&in);
        r = level_push(im, ino, path_len, &in);
        if (!r)
            importer_top(im)->dirty = true;               /* its times are the clock's so far */
        return r;
    }
    if (r)
        return importer_fail_op(im, r, "look up its directory");
    if (!inode_is_dir(&in))
        return importer_fail(im, -ENOTDIR, im->full, "the path leads through a %s", S_ISLNK(in.mode) ? "symbolic link" : "file");
    return level_push(im, ino, path_len, &in);
}

/* Makes the chain end at the directory full[0..n). */
int importer_enter(struct importer *im, size_t n, const struct inode *like)
{
    int r;

    if (im->level_count == 0) {
        struct inode root;
        r = ws_getattr(im->w, INO_ROOT, &root);
        if (r)
            return importer_fail_op(im, r, "read the root");
        bool fresh = root.size == 0 && !im->started;
        if (fresh) {
            root.mtime = like->mtime;
            inode_times_from_mtime(&root);
        }
        r = level_push(im, INO_ROOT, 0, &root);
        if (r)
            return r;
        importer_top(im)->dirty = fresh;
        im->started = true;
    }
    r = importer_pop_to(im, common_levels(im, n));
    while (!r && importer_top(im)->path_len < n) {
        char name[NAME_BYTES_MAX + 1];
        size_t from = importer_top(im)->path_len + (importer_top(im)->path_len ? 1 : 0);
        const char *slash = memchr(im->full + from, '/', n - from);
        size_t end = slash ? (size_t)(slash - im->full) : n;

        memcpy(name, im->full + from, end - from);
        name[end - from] = 0;
        r = descend(im, name, end, like);
    }
    return r;
}
