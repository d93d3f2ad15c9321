/* Names, and the table of operations. Each runs in a worker with the request in fuse_now, and replies before it returns
 * (except FSYNC, see fuse_sync.c). Permission checks were done by the kernel (default_permissions). */
#include "fs/fuse_call.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/limits.h"

static int name_ok(const char *name)
{
    return strlen(name) > NAME_BYTES_MAX ? -ENAMETOOLONG : 0;
}

static void lookup_reply(fuse_req_t req, uint64_t ino, const struct inode *in)
{
    struct fuse_entry_param e;

    entry_out(fuse_now->m, ino, in, &e);
    e.ino = fuse_look(ino);
    if (!e.ino)
        fuse_reply_err(req, ENOMEM);
    else if (fuse_reply_entry(req, &e))
        fuse_forget(fuse_now->m, e.ino, 1);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct inode in;
    uint64_t ino;
    int r = name_ok(name);

    if (!r)
        r = ws_lookup(fuse_ws(), parent, name, &ino, &in);
    if (!r && !in.nlink)                  /* "." of a file handle: what has no name is for those only who have it open, and of these the kernel knows */
        r = -ENOENT;
    if (!r) {
        lookup_reply(req, ino, &in);
    } else if (r == -ENOENT) {
        fuse_reply_entry(req, &(struct fuse_entry_param){ .entry_timeout = FUSE_FOREVER });   /* negative, remembered */
    } else {
        fuse_reply_err(req, -r);
    }
}

/* Whether they can be opened is for the mount (nodev). Sandboxes get none at all but what overlay file systems make to say "removed", (0, 0). */
static int node_ok(mode_t mode, dev_t rdev)
{
    if (S_ISBLK(mode) || (S_ISCHR(mode) && rdev))
        return fuse_now->m->opts.dev || !fuse_now->m->opts.uid_base ? 0 : -EPERM;
    return 0;
}

static void create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev, const char *target, uint32_t umask)
{
    struct ws_cred cred;
    struct inode in;
    uint64_t ino;
    int r = fuse_ro();

    if (!r)
        r = name_ok(name);
    if (!r)
        r = node_ok(mode, rdev);
    if (!r)
        r = cred_in(umask, &cred);
    if (!r)
        r = ws_create(fuse_ws(), parent, name, mode, (uint32_t)rdev, target, &cred, 0, true, &ino, &in);
    if (r)
        fuse_reply_err(req, -r);
    else
        entry_reply(req, ino, &in);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    create(req, parent, name, mode, rdev, NULL, fuse_req_ctx(req)->umask);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    create(req, parent, name, (mode & 07777) | S_IFDIR, 0, NULL, fuse_req_ctx(req)->umask);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    if (strlen(target) > SYMLINK_MAX)
        fuse_reply_err(req, ENAMETOOLONG);
    else
        create(req, parent, name, S_IFLNK | 0777, 0, target, 0);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct inode in;
    int r = fuse_ro();

    if (!r)
        r = name_ok(name);
    if (!r)
        r = ws_link(fuse_ws(), ino, parent, name, &in);
    if (r) {
        fuse_reply_err(req, -r);
        return;
    }
    ws_nlookup_add(fuse_ws(), ino, 1);
    entry_reply(req, ino, &in);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    int r = fuse_ro();

    fuse_reply_err(req, -(r ? r : ws_unlink(fuse_ws(), parent, name)));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    int r = fuse_ro();

    fuse_reply_err(req, -(r ? r : ws_rmdir(fuse_ws(), parent, name)));
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_dir, const char *to, unsigned flags)
{
    int r = fuse_ro();

    if (!r)
        r = name_ok(to);
    fuse_reply_err(req, -(r ? r : ws_rename(fuse_ws(), parent, name, to_dir, to, flags)));
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
    char *out = (char *)fuse_now->out;
    size_t n;
    int r = ws_readlink(fuse_ws(), ino, out, SYMLINK_MAX, &n);

    if (r)
        fuse_reply_err(req, -r);
    else
        fuse_reply_buf(req, out, n);
}

/* ENOSYS to these turns the messages off for the mount; a created file then comes as MKNOD. With .snap they are wanted: see fuse_snap.c. */
static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!fuse_now->m->snapdir) {
        fuse_reply_err(req, ENOSYS);
    } else if (fuse_now->snap && (fi->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(req, EROFS);
    } else {
        fi->keep_cache = 1;
        fuse_reply_open(req, fi);
    }
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (!fuse_now->m->snapdir) {
        fuse_reply_err(req, ENOSYS);
    } else {
        fi->keep_cache = fi->cache_readdir = 1;      /* as the kernel does by itself */
        fuse_reply_open(req, fi);
    }
}

/* Files of O_TMPFILE, and all of mounts with .snap. There is nothing to do for it. */
static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    fuse_reply_err(req, 0);
}

const struct fuse_lowlevel_ops fuse_ops = {
    .lookup = op_lookup, .mknod = op_mknod, .mkdir = op_mkdir, .symlink = op_symlink, .link = op_link,
    .unlink = op_unlink, .rmdir = op_rmdir, .rename = op_rename, .readlink = op_readlink, .open = op_open, .opendir = op_opendir,
    .release = op_release, .releasedir = op_release,
    .getattr = op_getattr, .setattr = op_setattr, .statfs = op_statfs,
    .getxattr = op_getxattr, .listxattr = op_listxattr, .removexattr = op_removexattr,
    .readdir = op_readdir, .readdirplus = op_readdirplus,
    .read = op_read, .write = op_write, .fsync = op_fsync, .fsyncdir = op_fsync, .fallocate = op_fallocate, .lseek = op_lseek,
    .copy_file_range = op_copy,
};
