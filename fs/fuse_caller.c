/* Whether the caller's change of a file ends its setuid and setgid bits. For WRITE and SETATTR the kernel says it, but not what depends on the group
 * (setgid on a file that its group may not execute); for FALLOCATE and COPY_FILE_RANGE it says nothing (fs/fuse/file.c). What is missing, the
 * caller's capabilities and groups, stands in /proc. It waits in its call, so what is read there is its own. Asked only for files with such bits. */
#include "fs/fuse_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

enum { FOWNER = 3, FSETID = 4 };          /* CAP_... */

static bool among(const char *list, uint32_t gid)
{
    char *end;

    for (const char *p = list; ; p = end) {
        unsigned long v = strtoul(p, &end, 10);
        if (end == p)
            return false;
        if (v == gid)
            return true;
    }
}

/* The caller's capabilities, and whether it is a member of the group (as a mount shows it). False: it cannot be seen. */
static bool caller_read(uint32_t pid, uint32_t gid, uint64_t *ret_caps, bool *ret_member)
{
    _cleanup_free_ char *line = NULL;
    bool seen = false;
    size_t cap = 0;
    char path[32];

    snprintf(path, sizeof path, "/proc/%u/status", pid);
    FILE *f = pid ? fopen(path, "re") : NULL;
    while (f && getline(&line, &cap, f) > 0) {
        if (!strncmp(line, "CapEff:", 7)) {
            *ret_caps = strtoull(line + 7, NULL, 16);
            seen = true;
        } else if (!strncmp(line, "Groups:", 7)) {
            *ret_member |= among(line + 7, gid);
        }
    }
    if (f)
        fclose(f);
    return seen;
}

unsigned caller_ends(uint64_t ino, bool told)
{
    const struct fuse_in_header *h = fuse_now->in;
    struct inode in;
    uint64_t caps = 0;

    if (ws_getattr(fuse_ws(), ino, &in) || inode_is_dir(&in) || !(in.mode & (S_ISUID | S_ISGID)))
        return 0;
    bool any = in.mode & S_ISGID && !(in.mode & S_IXGRP), member = h->gid == id_out(fuse_now->m, in.gid);
    if (told && (!any || member))
        return WSA_KILL_PRIV;
    bool seen = caller_read(h->pid, id_out(fuse_now->m, in.gid), &caps, &member), able = seen && caps >> FSETID & 1;
    if (!told && able && h->uid == 0)     /* capable(): of the machine's root, not of a sandbox's */
        return 0;
    return WSA_KILL_PRIV | (any && !member && !able ? WSA_KILL_SGID : 0u);
}

/* fs/fuse/dir.c, fuse_setattr: what is left of chown(-1, -1) is the ctime of a regular file, of others nothing. (Nothing for a regular file is left of a
 * write that ends the bits, and the WRITE says so.) The check that only owners may comes there after they were taken out of the question. */
int caller_chown_nothing(uint64_t ino, bool with_ctime, unsigned *ret_ends)
{
    const struct fuse_in_header *h = fuse_now->in;
    unsigned ends = caller_ends(ino, true);
    bool member = false;
    struct inode in;
    uint64_t caps = 0;
    int r = ws_getattr(fuse_ws(), ino, &in);

    if (r || !ends || inode_is_reg(&in) != with_ctime)
        return r;
    bool changes = in.mode & S_ISUID || (in.mode & S_ISGID && (in.mode & S_IXGRP || ends & WSA_KILL_SGID));
    if (changes && h->uid != id_out(fuse_now->m, in.uid)) {
        bool root = h->uid == fuse_now->m->opts.uid_base && caller_read(h->pid, 0, &caps, &member) && caps >> FOWNER & 1;
        if (!root)
            return -EPERM;
    }
    *ret_ends |= ends;
    return 0;
}

int caller_change(uint64_t ino, bool told)
{
    unsigned ends = caller_ends(ino, told);
    struct inode now;

    if (told && !(ends & WSA_KILL_SGID))
        return 0;                         /* the change itself sees to it */
    return ends ? ws_setattr(fuse_ws(), ino, ends, &(struct inode){ 0 }, &now) : 0;
}
