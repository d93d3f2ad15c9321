/* File contents. */
#include "fs/fuse_call.h"

#include <errno.h>

#include "fs/limits.h"

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    size_t n = 0;
    int r;

    fuse_invite(fuse_now->m);
    r = ws_read(fuse_ws(), ino, (uint64_t)off, size < FUSE_PAYLOAD ? size : FUSE_PAYLOAD, fuse_now->out, &n);
    if (r)
        fuse_reply_err(req, -r);
    else
        fuse_reply_buf(req, (char *)fuse_now->out, n);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off, struct fuse_file_info *fi)
{
    const struct fuse_write_in *raw = (const void *)(fuse_now->in + 1);
    int r = fuse_ro();

    bool back = raw->write_flags & FUSE_WRITE_CACHE;

    bool kill = !back && raw->write_flags & FUSE_WRITE_KILL_SUIDGID;

    if (!r && kill)
        r = caller_change(ino, true);
    if (!r)
        r = ws_write(fuse_ws(), ino, (uint64_t)off, (const uint8_t *)data, size, WS_KEEP_TIMES | (kill ? WS_KILL_PRIV : 0u));
    if (back && r == -EDQUOT)
        r = -ENOSPC;                      /* what close(2) then says; of any other error the kernel makes EIO there (mapping_set_error) */
    if (r)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, size);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    fuse_sync(fuse_now, req, ino, datasync);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    int r = fuse_ro();

    if (!r)
        r = caller_change(ino, false);
    if (!r)
        r = ws_fallocate(fuse_ws(), ino, mode, (uint64_t)off, (uint64_t)len, WS_KEEP_TIMES);
    fuse_reply_err(req, -r);
}

void op_copy(fuse_req_t req, fuse_ino_t from, off_t from_off, struct fuse_file_info *fi, fuse_ino_t to, off_t to_off,
             struct fuse_file_info *fo, size_t len, int flags)
{
    uint64_t done = 0;
    int r = fuse_ro();

    if (len > UINT32_MAX)
        len = UINT32_MAX - (SLOT - 1);    /* the reply has 32 bits; whole slots can be shared */
    if (!r && len)
        r = caller_change(to, false);
    if (!r) {
        fuse_invite(fuse_now->m);
        r = ws_copy(fuse_ws(), from, (uint64_t)from_off, to, (uint64_t)to_off, len, WS_KEEP_TIMES, &done);
    }
    if (r)
        fuse_reply_err(req, -r);
    else
        fuse_reply_write(req, done);
}
