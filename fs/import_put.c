/* An ENTRY of the stream from an inode. The frames themselves: base/entry_stream.c. */
#include "fs/import.h"

void import_put_entry(struct buf *b, const char *path, const struct inode *in, const char *target)
{
    struct entry e = { .path = path, .target = target, .mode = in->mode, .uid = in->uid, .gid = in->gid, .rdev = in->rdev,
        .mtime_s = in->mtime.sec, .mtime_ns = in->mtime.ns, .size = in->size };

    entry_put(b, &e);
}
