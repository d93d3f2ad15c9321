/* Requests that the kernel sends again, since the process that took them went away before it answered. Most can simply be done again. Those that
 * make, remove or rename something cannot (EEXIST, ENOENT): if the redo log says that they were done they are only answered. */
#include "fs/fuse_call.h"

#include <string.h>

#include "fs/redo.h"

/* The answer to what made or linked an inode. */
static void answer_entry(struct fuse_call *c, uint64_t ino)
{
    struct inode in;
    int r = ws_getattr(c->m->ws, ino, &in);

    if (!r)
        ws_nlookup_add(c->m->ws, ino, 1);
    if (r)
        fuse_reply_raw(c, r, NULL, 0);
    else
        raw_entry(c, ino, &in, c->in->opcode == OP_TMPFILE);
}

bool fuse_replayed(struct fuse_call *c)
{
    uint64_t ino = 0;

    switch (c->in->opcode) {
    case FUSE_MKNOD: case FUSE_MKDIR: case FUSE_SYMLINK: case OP_TMPFILE:
        if (!redo_applied(c->m->ws, redo_now.unique, c->in->opcode, &ino))
            return false;
        answer_entry(c, ino);
        return true;
    case FUSE_LINK:
        if (c->len < sizeof *c->in + sizeof ino || !redo_applied(c->m->ws, redo_now.unique, c->in->opcode, &ino))
            return false;
        memcpy(&ino, c->in + 1, sizeof ino);
        answer_entry(c, ino);
        return true;
    case FUSE_UNLINK: case FUSE_RMDIR: case FUSE_RENAME: case FUSE_RENAME2: case FUSE_SETXATTR: case FUSE_REMOVEXATTR:
        if (!redo_applied(c->m->ws, redo_now.unique, c->in->opcode, &ino))
            return false;
        fuse_reply_raw(c, 0, NULL, 0);
        return true;
    default:
        return false;
    }
}
