/* The importer: frames of the entry stream become operations on a workspace.
 *
 * Theory of operation. `levels` is the chain of directories from the root down to the parent of the entry in work; it is at once the
 * lookup cache (streams come sorted, so most entries cost no lookup) and the memory of what the directories' times are to be. A
 * directory's times change when something is made in it; the importer puts them back when it leaves the directory. So nothing has to be
 * kept until END, memory is bounded by the depth, and an unsorted stream only costs more lookups.
 *
 * Invariants:
 *  I1 levels[0] is the root; levels[i] is a directory, the child of levels[i-1] named by path[levels[i-1].path_len ..levels[i].path_len).
 *  I2 A level that is dirty has its times (`saved`) written back before it leaves the chain.
 *  I3 The entry in work (`entry`) is no level; its times are written when it is finished, after its content and attributes.
 *  I4 Nothing in an inode made here depends on the clock: atime = mtime = ctime = btime = the source's mtime. A directory that no entry
 *     describes (missing parents; the root of an empty workspace) has the mtime of the entry that first needed it. So equal streams give
 *     equal trees.
 *  I5 An error is for good: the caller throws the workspace away. */
#include "fs/import_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/limits.h"
#include "fs/workspace.h"

int importer_fail(struct importer *im, int err, const char *path, const char *fmt, ...)
{
    char quoted[320], what[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (path)
        log_quote(quoted, sizeof(quoted), path, strlen(path));
    snprintf(im->error, sizeof(im->error), "%s%s%s", path ? (*path ? quoted : "/") : "", path ? ": " : "", what);
    im->failed = err;
    return err;
}

int importer_fail_op(struct importer *im, int err, const char *op)
{
    return importer_fail(im, err, im->full, "cannot %s: %s", op, strerror(-err));
}

static int bad_frame(struct importer *im, const char *what)
{
    return importer_fail(im, -EINVAL, NULL, "bad import stream: %s", what);
}

/* --- frames --- */

static int entry_check(struct importer *im, const char *path, const struct inode *in, const char *target)
{
    if (in->mode & ~(S_IFMT | 07777u))
        return importer_fail(im, -EINVAL, path, "unknown mode %o", in->mode);
    if (S_ISCHR(in->mode) || S_ISBLK(in->mode))
        return importer_fail(im, -EPERM, path, "device nodes are not imported");
    if (!inode_is_reg(in) && !inode_is_dir(in) && !S_ISLNK(in->mode) && !S_ISFIFO(in->mode) && !S_ISSOCK(in->mode))
        return importer_fail(im, -EINVAL, path, "unknown file type in mode %o", in->mode);
    if (in->uid > IMPORT_ID_MAX || in->gid > IMPORT_ID_MAX)
        return importer_fail(im, -EINVAL, path, "owner %u:%u is above %d", in->uid, in->gid, IMPORT_ID_MAX);
    if (in->mtime.ns >= 1000000000 || in->rdev != 0)
        return importer_fail(im, -EINVAL, path, "bad time or device number");
    if (inode_is_reg(in) ? in->size > FILE_SIZE_MAX : in->size != 0)
        return importer_fail(im, -EFBIG, path, "size %llu", (unsigned long long)in->size);
    if (S_ISLNK(in->mode) ? !*target : *target != 0)
        return importer_fail(im, -EINVAL, path, "%s", *target ? "target of what is no symbolic link" : "symbolic link without a target");
    if (strlen(target) > SYMLINK_MAX)
        return importer_fail(im, -ENAMETOOLONG, path, "symbolic link's target is longer than %d bytes", SYMLINK_MAX);
    return importer_path_check(im, path);
}

/* An entry for the root of the workspace. */
static int place_root(struct importer *im, const struct inode *want)
{
    int r = importer_enter(im, 0, want);

    if (r)
        return r;
    struct inode now;
    r = ws_setattr(im->w, INO_ROOT, WSA_MODE | WSA_UID | WSA_GID, want, &now);
    if (r)
        return importer_fail_op(im, r, "set owner and mode");
    importer_top(im)->saved = *want;
    importer_top(im)->dirty = true;
    return 0;
}

static int on_entry(struct importer *im, struct reader *r)
{
    _cleanup_free_ char *path = mem_alloc(65536), *target = mem_alloc(65536);
    struct inode in = { 0 };

    if (!path || !target)
        return importer_fail(im, -ENOMEM, NULL, "out of memory");
    get_str(r, path, 65536);
    in.mode = get_u32(r);
    in.uid = get_u32(r);
    in.gid = get_u32(r);
    in.rdev = get_u32(r);
    in.mtime.sec = (int64_t)get_u64(r);
    in.mtime.ns = get_u32(r);
    in.size = get_u64(r);
    get_str(r, target, 65536);
    if (r->bad || reader_left(r))
        return bad_frame(im, "malformed ENTRY");
    inode_times_from_mtime(&in);
    int err = entry_check(im, path, &in, target);
    if (!err)
        err = importer_finish_entry(im);
    if (err)
        return err;
    if (!*path && !inode_is_dir(&in))
        return importer_fail(im, -EINVAL, "", "the top must be a directory");
    im->full_len = importer_path_join(im, path, im->full);
    im->entries++;
    if (im->full_len == 0)
        return place_root(im, &in);
    err = importer_enter(im, importer_parent_len(im->full, im->full_len), &in);
    return err ? err : importer_place(im, importer_leaf(im), &in, target);
}

static int on_data(struct importer *im, struct reader *r)
{
    uint64_t off = get_u64(r), end;
    size_t n = reader_left(r);
    struct import_entry *e = &im->entry;

    if (r->bad || n == 0 || n > IMPORT_DATA_MAX)
        return bad_frame(im, "malformed DATA");
    if (!e->open || !inode_is_reg(&e->want))
        return bad_frame(im, "DATA without a regular file");
    if (__builtin_add_overflow(off, n, &end) || end > e->want.size)
        return importer_fail(im, -EINVAL, im->full, "data past its size of %llu bytes", (unsigned long long)e->want.size);
    int err = ws_write(im->w, e->ino, off, r->p, n, false);
    if (err)
        return importer_fail_op(im, err, "write it");
    if (end > e->data_end)
        e->data_end = end;
    im->bytes += n;
    return 0;
}

static bool xattr_allowed(const char *name, uint32_t mode)
{
    if (!strncmp(name, "user.", 5))
        return name[5] && (S_ISREG(mode) || S_ISDIR(mode));
    if (!strcmp(name, "system.posix_acl_access"))
        return !S_ISLNK(mode);
    if (!strcmp(name, "system.posix_acl_default"))
        return S_ISDIR(mode);
    return (!strncmp(name, "security.", 9) && name[9]) || (!strncmp(name, "trusted.", 8) && name[8]);
}

static int on_xattr(struct importer *im, struct reader *r)
{
    _cleanup_free_ char *name = mem_alloc(65536);
    uint64_t ino = im->entry.ino;
    uint32_t mode = im->entry.want.mode;

    if (!name)
        return importer_fail(im, -ENOMEM, NULL, "out of memory");
    get_str(r, name, 65536);
    if (r->bad)
        return bad_frame(im, "malformed XATTR");
    if (!im->entry.open) {
        /* The root has no entry in work: its attributes are those of the only level. */
        if (im->level_count != 1 || im->full_len != 0 || !im->started)
            return bad_frame(im, "XATTR without an entry");
        ino = INO_ROOT;
        mode = S_IFDIR;
    }
    size_t n = reader_left(r);
    if (!*name || strlen(name) > XATTR_NAME_MAX_ || n > XATTR_VALUE_MAX || !xattr_allowed(name, mode))
        return importer_fail(im, -EOPNOTSUPP, im->full, "extended attribute is not one that can be kept");
    int err = ws_setxattr(im->w, ino, name, r->p, n, 0, false);
    if (err)
        return importer_fail_op(im, err, "set an extended attribute");
    if (ino == INO_ROOT && !strcmp(name, "system.posix_acl_default"))
        importer_top(im)->default_acl = true;
    return 0;
}

static int on_link(struct importer *im, struct reader *r)
{
    _cleanup_free_ char *path = mem_alloc(65536), *existing = mem_alloc(65536);
    struct inode old, there;
    uint64_t ino, at_ino;

    if (!path || !existing)
        return importer_fail(im, -ENOMEM, NULL, "out of memory");
    get_str(r, path, 65536);
    get_str(r, existing, 65536);
    if (r->bad || reader_left(r) || !*path || !*existing)
        return bad_frame(im, "malformed LINK");
    int err = importer_path_check(im, path);
    if (!err)
        err = importer_path_check(im, existing);
    if (!err)
        err = importer_finish_entry(im);
    if (err)
        return err;
    im->entries++;
    importer_path_join(im, existing, im->other);
    im->full_len = importer_path_join(im, path, im->full);
    err = ws_path(im->w, im->other, &ino, &old);
    if (err)
        return importer_fail(im, err, im->full, "hard link to a file that is not there: %s", strerror(-err));
    if (inode_is_dir(&old))
        return importer_fail(im, -EPERM, im->full, "hard link to a directory");
    err = importer_enter(im, importer_parent_len(im->full, im->full_len), &old);
    if (err)
        return err;
    importer_top(im)->dirty = true;
    err = ws_lookup(im->w, importer_top(im)->ino, importer_leaf(im), &at_ino, &there);
    if (!err && at_ino == ino)
        return 0;
    if (!err) {
        err = importer_remove(im, importer_leaf(im), at_ino, &there);
        if (err)
            return err;
    } else if (err != -ENOENT) {
        return importer_fail_op(im, err, "look it up");
    }
    err = ws_link(im->w, ino, importer_top(im)->ino, importer_leaf(im), &there);
    if (!err) {
        inode_times_from_mtime(&old);
        err = ws_setattr(im->w, ino, WSA_CTIME, &old, &there);
    }
    return err ? importer_fail_op(im, err, "link it") : 0;
}

static int on_end(struct importer *im, struct reader *r)
{
    uint64_t n = get_u64(r);

    if (r->bad || reader_left(r))
        return bad_frame(im, "malformed END");
    if (n != im->entries)
        return bad_frame(im, "the number of entries in END does not agree");
    int err = importer_finish_entry(im);
    if (!err && im->at_len) {
        struct inode like = { 0 };
        im->full_len = importer_path_join(im, "", im->full);
        err = importer_enter(im, im->full_len, &like);
    }
    if (!err)
        err = importer_pop_to(im, 0);
    im->ended = !err;
    return err;
}

int importer_frame(struct importer *im, const uint8_t *p, size_t n)
{
    struct reader r = reader_of(p, n);

    if (im->failed)
        return im->failed;
    if (im->ended)
        return bad_frame(im, "a frame after END");
    if (n == 0 || n > IMPORT_FRAME_MAX)
        return bad_frame(im, "frame length");
    switch (get_u8(&r)) {
    case IMPORT_ENTRY:
        return on_entry(im, &r);
    case IMPORT_DATA:
        return on_data(im, &r);
    case IMPORT_XATTR:
        return on_xattr(im, &r);
    case IMPORT_LINK:
        return on_link(im, &r);
    case IMPORT_END:
        return on_end(im, &r);
    }
    return bad_frame(im, "unknown frame type");
}

int importer_new(struct workspace *w, const char *at, struct importer **ret)
{
    while (at && *at == '/')
        at++;
    struct importer *im = mem_zalloc(sizeof(*im));
    if (!im)
        return -ENOMEM;
    im->w = workspace_ref(w);
    im->at = mem_strdup(at ? at : "");
    im->path = mem_alloc(IMPORT_PATHS_MAX);
    im->full = mem_alloc(IMPORT_PATHS_MAX);
    im->other = mem_alloc(IMPORT_PATHS_MAX);
    int r = im->at && im->path && im->full && im->other ? 0 : -ENOMEM;
    if (!r) {
        im->full[0] = 0;
        im->at_len = strlen(im->at);
        while (im->at_len && im->at[im->at_len - 1] == '/')
            im->at[--im->at_len] = 0;
        r = im->at_len > 65535 ? -ENAMETOOLONG : importer_path_check(im, im->at);
    }
    if (r) {
        importer_free(im);
        return r;
    }
    *ret = im;
    return 0;
}

const char *importer_error(const struct importer *im)
{
    return im->error;
}

bool importer_ended(const struct importer *im)
{
    return im->ended;
}

uint64_t importer_entries(const struct importer *im)
{
    return im->entries;
}

uint64_t importer_bytes(const struct importer *im)
{
    return im->bytes;
}

void importer_free(struct importer *im)
{
    if (!im)
        return;
    workspace_unref(im->w);
    free(im->levels);
    free(im->at);
    free(im->path);
    free(im->full);
    free(im->other);
    free(im);
}
