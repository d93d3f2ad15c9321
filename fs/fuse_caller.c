/* Whether the caller's change of a file ends its setuid and setgid bits. For WRITE and SETATTR the kernel says it, but not what depends on the group
 * (setgid on a file that its group may not execute); for FALLOCATE and COPY_FILE_RANGE it says nothing (fs/fuse/file.c). What is missing, the
 * caller's capabilities and groups, stands in /proc. It waits in its call, so what is read there is its own. Asked only for files with such bits. */
#include "fs/fuse_call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

enum { FSETID = 4 };                      /* CAP_FSETID */

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

    if (ws_getattr(fuse_ws(), ino, &in) || !inode_is_reg(&in) || !(in.mode & (S_ISUID | S_ISGID)))
        return 0;
    bool any = in.mode & S_ISGID && !(in.mode & S_IXGRP), member = h->gid == id_out(fuse_now->m, in.gid);
    if (told && (!any || member))
        return WSA_KILL_PRIV;
    bool seen = caller_read(h->pid, id_out(fuse_now->m, in.gid), &caps, &member), able = seen && caps >> FSETID & 1;
    if (!told && able && h->uid == 0)     /* capable(): of the machine's root, not of a sandbox's */
        return 0;
    return WSA_KILL_PRIV | (any && !member && !able ? WSA_KILL_SGID : 0u);
}

int caller_change(uint64_t ino, bool told)
{
    unsigned ends = caller_ends(ino, told);
    struct inode now;

    if (told && !(ends & WSA_KILL_SGID))
        return 0;                         /* the change itself sees to it */
    return ends ? ws_setattr(fuse_ws(), ino, ends, &(struct inode){ 0 }, &now) : 0;
}
