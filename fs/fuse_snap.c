/* Requests that have to do with .snap, the directory of a mount's snapshots (mount_opts.snapdir).
 *
 * Each request is brought down to one tree and inode numbers in it, here and nowhere else: fuse_snap() puts the tree into c->ws and the number into the header, and the operations do not know
 * whether they work on the live tree or on a snapshot; what they tell of inodes goes through fuse_look(), fuse_forget() and attr_out(). A snapshot's tree is read-only (fuse_ro).
 *
 * - .snap is found by its name in the root and stands in no listing. The name is taken: what else a workspace may have there is neither found, listed, made nor changed as long as it is mounted
 *   with the option.
 * - What is in a snapshot never changes, so the kernel may keep all of it for ever. Which snapshots there are does: the names in .snap are asked for each time, its listing is never kept.
 * - Files of such mounts are opened by message, not silently as elsewhere: or the kernel would let root open a snapshot's file for writing, and find out when the pages go out. */
#include "fs/fuse_call.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/snapdir.h"

static bool in_snapdir(uint64_t node)
{
    return node & SNAPDIR_BIT && node != ROOT_NODE;
}

/* .snap itself, as an inode. */
static void dir_inode(struct fuse_call *c, struct inode *ret)
{
    struct itime t = { .sec = snapdir_changed(c->m->snapdir) };

    *ret = (struct inode){ .mode = S_IFDIR | 0555, .nlink = 2, .atime = t, .mtime = t, .ctime = t, .btime = t, .parent = FUSE_ROOT_ID };
}

static void dir_attr(struct fuse_call *c, struct fuse_attr *ret)
{
    struct inode in;
    struct stat st;

    dir_inode(c, &in);
    attr_out(c->m, SNAPDIR_NODE, &in, &st);
    attr_raw(&st, ret);
}

static void answer_dir_entry(struct fuse_call *c)
{
    struct fuse_entry_out out = { .nodeid = SNAPDIR_NODE, .entry_valid = (uint64_t)FUSE_FOREVER };

    dir_attr(c, &out.attr);
    fuse_reply_raw(c, 0, &out, sizeof out);
}

static void answer_dir_attr(struct fuse_call *c)
{
    struct fuse_attr_out out = { 0 };

    dir_attr(c, &out.attr);
    fuse_reply_raw(c, 0, &out, sizeof out);
}

static void lookup_snapshot(struct fuse_call *c, const char *name)
{
    struct fuse_entry_out out = { .attr_valid = (uint64_t)FUSE_FOREVER };
    struct inode in;
    struct stat st;
    int r = name ? snapdir_open(c->m->snapdir, name, &c->snap, &c->snap_ws) : -EINVAL;

    if (!r)
        r = ws_getattr(c->snap_ws, FUSE_ROOT_ID, &in);
    if (!r && !(out.nodeid = fuse_look(FUSE_ROOT_ID)))
        r = -ENOMEM;
    if (r) {
        fuse_reply_raw(c, r, NULL, 0);
        return;
    }
    attr_out(c->m, FUSE_ROOT_ID, &in, &st);
    attr_raw(&st, &out.attr);
    if (fuse_reply_raw(c, 0, &out, sizeof out))
        fuse_forget(c->m, out.nodeid, 1);
}

static void answer_xattr(struct fuse_call *c)
{
    const struct fuse_getxattr_in *in = (const void *)(c->in + 1);
    struct fuse_getxattr_out none = { 0 };

    if (c->in->opcode == FUSE_GETXATTR)
        fuse_reply_raw(c, -ENODATA, NULL, 0);
    else if (c->len >= sizeof *c->in + sizeof *in && !in->size)
        fuse_reply_raw(c, 0, &none, sizeof none);
    else
        fuse_reply_raw(c, 0, NULL, 0);
}

/* A request about .snap itself. True: it is for the operations. */
static bool serve_dir(struct fuse_call *c)
{
    struct fuse_open_out open = { 0 };
    struct inode in;

    switch (c->in->opcode) {
    case FUSE_LOOKUP: {
        const char *name = raw_name(c, 0);
        if (name && !strcmp(name, ".."))
            return ((struct fuse_in_header *)(uintptr_t)c->in)->nodeid = FUSE_ROOT_ID, true;
        if (name && !strcmp(name, "."))
            answer_dir_entry(c);
        else
            lookup_snapshot(c, name);
        return false;
    }
    case FUSE_GETATTR:
        answer_dir_attr(c);
        return false;
    case OP_STATX:
        dir_inode(c, &in);
        raw_statx_reply(c, SNAPDIR_NODE, &in, 0);
        return false;
    case FUSE_OPENDIR:
        fuse_reply_raw(c, 0, &open, sizeof open);
        return false;
    case FUSE_RELEASEDIR: case FUSE_FSYNCDIR:
        fuse_reply_raw(c, 0, NULL, 0);
        return false;
    case FUSE_GETXATTR: case FUSE_LISTXATTR:
        answer_xattr(c);
        return false;
    case FUSE_STATFS:
        ((struct fuse_in_header *)(uintptr_t)c->in)->nodeid = FUSE_ROOT_ID;
        return true;
    case FUSE_READDIR: case FUSE_READDIRPLUS: case FUSE_IOCTL: case FUSE_ACCESS:
        return true;
    default:
        fuse_reply_raw(c, -EROFS, NULL, 0);
        return false;
    }
}

/* Bytes in front of a name in requests that give or take one in the directory of the header; -1: not such a request. */
static int before_name(uint32_t op)
{
    switch (op) {
    case FUSE_LOOKUP: case FUSE_UNLINK: case FUSE_RMDIR: case FUSE_SYMLINK: return 0;
    case FUSE_MKNOD: return sizeof(struct fuse_mknod_in);
    case FUSE_MKDIR: return sizeof(struct fuse_mkdir_in);
    case FUSE_CREATE: return sizeof(struct fuse_create_in);
    case FUSE_LINK: return sizeof(struct fuse_link_in);
    case FUSE_RENAME: return sizeof(struct fuse_rename_in);
    case FUSE_RENAME2: return sizeof(struct fuse_rename2_in);
    default: return -1;
    }
}

static bool is_name(const char *name)
{
    return name && !strcmp(name, SNAPDIR_NAME);
}

static bool is_rename(uint32_t op)
{
    return op == FUSE_RENAME || op == FUSE_RENAME2;
}

/* A name of the live tree that may be .snap. True: answered. The second name of a rename follows the first; its directory was looked at by root_node(). */
static bool serve_name(struct fuse_call *c)
{
    uint32_t op = c->in->opcode;
    int before = before_name(op);
    const char *name = before < 0 ? NULL : raw_name(c, (size_t)before), *to = NULL;
    int r;

    if (!name)
        return false;
    if (is_rename(op) && *(const uint64_t *)(c->in + 1) == FUSE_ROOT_ID)
        to = raw_name(c, (size_t)before + strlen(name) + 1);
    if (!(c->in->nodeid == FUSE_ROOT_ID && is_name(name)) && !is_name(to))
        return false;
    if (op == FUSE_LOOKUP) {
        answer_dir_entry(c);
        return true;
    }
    r = op == FUSE_UNLINK || op == FUSE_RMDIR || is_rename(op) ? -EROFS : op == FUSE_CREATE ? -ENOSYS : -EEXIST;
    fuse_reply_raw(c, r, NULL, 0);
    return true;
}

/* The other inode that a request names, in front of its other arguments. */
static uint64_t second_node(const struct fuse_call *c)
{
    const void *p = c->in + 1;

    switch (c->in->opcode) {
    case FUSE_LINK: return c->len < sizeof *c->in + sizeof(struct fuse_link_in) ? 0 : ((const struct fuse_link_in *)p)->oldnodeid;
    case FUSE_RENAME: case FUSE_RENAME2: return c->len < sizeof *c->in + sizeof(uint64_t) ? 0 : *(const uint64_t *)p;
    case FUSE_COPY_FILE_RANGE: case OP_COPY_FILE_RANGE_64:
        return c->len < sizeof *c->in + sizeof(struct fuse_copy_file_range_in) ? 0 : ((const struct fuse_copy_file_range_in *)p)->nodeid_out;
    default: return 0;
    }
}

/* A request of two inodes, of which one at least is in .snap: what would be changed there is refused as read-only, between the trees it is as between file systems. */
static int refuse_two(const struct fuse_call *c, bool first, bool second)
{
    if (!first && !second)
        return 0;
    if (first && second)
        return -EROFS;
    return c->in->opcode == FUSE_LINK && first ? -EROFS : -EXDEV;
}

/* A node of a snapshot. True: it is for the operations. */
static bool serve_node(struct fuse_call *c)
{
    struct fuse_in_header *in = (struct fuse_in_header *)(uintptr_t)c->in;
    const char *name;
    uint64_t ino;
    int r = snapdir_get(c->m->snapdir, in->nodeid, &c->snap, &c->snap_ws, &ino);

    if (r) {
        fuse_reply_raw(c, r, NULL, 0);
        return false;
    }
    in->nodeid = ino;
    c->ws = c->snap_ws;
    if (in->opcode == FUSE_FSYNC || in->opcode == FUSE_FSYNCDIR) {
        fuse_reply_raw(c, 0, NULL, 0);
        return false;
    }
    name = in->opcode == FUSE_LOOKUP && ino == FUSE_ROOT_ID ? raw_name(c, 0) : NULL;
    if (name && !strcmp(name, "..")) {
        answer_dir_entry(c);
        return false;
    }
    return true;
}

bool fuse_snap(struct fuse_call *c)
{
    uint32_t op = c->in->opcode;
    uint64_t node = c->in->nodeid, second = second_node(c);
    int r;

    if (op == FUSE_FORGET || op == FUSE_BATCH_FORGET)
        return true;
    if (second) {
        r = refuse_two(c, in_snapdir(node), in_snapdir(second));
        if (r) {
            fuse_reply_raw(c, r, NULL, 0);
            return false;
        }
    }
    if (!in_snapdir(node))
        return !serve_name(c);
    return node == SNAPDIR_NODE ? serve_dir(c) : serve_node(c);
}

void fuse_snap_end(struct fuse_call *c)
{
    if (c->snap)
        snapdir_put(c->m->snapdir, c->snap, c->snap_ws);
}
