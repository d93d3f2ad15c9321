/* Extended attributes. POSIX ACLs name users and groups, so their ids are mapped like those of inodes. */
#include "fs/fuse_call.h"

#include <errno.h>
#include <string.h>

#include "base/wire.h"

/* struct posix_acl_xattr: version (4), then entries: tag (2), permissions (2), id (4); little-endian. */
enum { ACL_HEAD = 4, ACL_ENTRY = 8, ACL_TAG_USER = 2, ACL_TAG_GROUP = 8 };

bool is_acl_name(const char *name)
{
    return !strcmp(name, "system.posix_acl_access") || !strcmp(name, "system.posix_acl_default");
}

static bool has_id(const uint8_t *entry)
{
    return le16(entry) == ACL_TAG_USER || le16(entry) == ACL_TAG_GROUP;
}

int acl_ids_in(const struct mount *m, uint8_t *val, size_t len)
{
    uint32_t id;

    if (!len)
        return 0;
    if (len < ACL_HEAD || (len - ACL_HEAD) % ACL_ENTRY)
        return -EINVAL;
    for (uint8_t *p = val + ACL_HEAD; p < val + len; p += ACL_ENTRY) {
        if (!has_id(p))
            continue;
        if (id_in(m, le32(p + 4), &id))
            return -EOVERFLOW;
        put_le32(p + 4, id);
    }
    return 0;
}

void acl_ids_out(const struct mount *m, uint8_t *val, size_t len)
{
    for (size_t i = ACL_HEAD; i + ACL_ENTRY <= len; i += ACL_ENTRY)
        if (has_id(val + i))
            put_le32(val + i + 4, id_out(m, le32(val + i + 4)));
}

static size_t clip(size_t size)
{
    return size < FUSE_PAYLOAD ? size : FUSE_PAYLOAD;
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    uint8_t *out = fuse_now->out;
    size_t n;
    int r = ws_getxattr(fuse_ws(), ino, name, out, clip(size), &n);

    if (r) {
        fuse_reply_err(req, -r);
    } else if (!size) {
        fuse_reply_xattr(req, n);
    } else {
        if (is_acl_name(name))
            acl_ids_out(fuse_now->m, out, n);
        fuse_reply_buf(req, (char *)out, n);
    }
}

/* What only root can read is not told to others, as on other file systems; the kernel leaves that to us. Returns the new length. */
static size_t drop_trusted(char *list, size_t n)
{
    size_t kept = 0;

    for (size_t i = 0, len; i < n; i += len) {
        len = strlen(list + i) + 1;
        if (!strncmp(list + i, "trusted.", 8))
            continue;
        memmove(list + kept, list + i, len);
        kept += len;
    }
    return kept;
}

/* The whole list is made in any case, and its length then known. */
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    char *out = (char *)fuse_now->out;
    size_t n;
    int r = ws_listxattr(fuse_ws(), ino, out, FUSE_PAYLOAD, &n);

    if (!r && fuse_now->in->uid)
        n = drop_trusted(out, n);
    if (!r && size && n > size)
        r = -ERANGE;
    if (r)
        fuse_reply_err(req, -r);
    else if (!size)
        fuse_reply_xattr(req, n);
    else
        fuse_reply_buf(req, out, n);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    int r = fuse_ro();

    if (!r)
        r = ws_removexattr(fuse_ws(), ino, name);
    if (r == -ENODATA && is_acl_name(name))
        r = 0;                            /* no ACL is what was asked for: as everywhere else (fs/posix_acl.c, vfs_remove_acl) */
    fuse_reply_err(req, -r);
}
