/* Text for people is made here, once: what was to be done, to which object, why it cannot, and what to do about it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "snapshotd/call.h"

/* The closed list of codes, with what each errno of fs/ means to somebody who gave a command. */
static const struct reason { int err; const char *code, *why;
} reasons[] = {
    { ENOENT, "not_found", "no workspace or snapshot of this name; `coppice list` shows them" },
    { EEXIST, "exists", "the name is in use; choose another, or remove or rename that one" },
    { ENOTUNIQ, "ambiguous", "several snapshots have this name; say WORKSPACE@NAME or the id, `coppice list` shows them" },
    { EINVAL, "invalid", "not valid here" },
    { EBUSY, "busy", "it is in use (mounted, or another call is changing it); unmount it or try again" },
    { ENOTEMPTY, "not_empty", "it has named snapshots; remove them first, or use `rm --with-snapshots`" },
    { ENOSPC, "no_space", "the disk of the store is full; free some space there, or run `coppice gc`" },
    { EDQUOT, "quota", "the workspace's quota is used up" },
    { EIO, "io_error", "the disk gave an error or wrong data; `coppice scrub` names what is damaged, snapshotd.log says more" },
    { EUCLEAN, "damaged", "the store's records are damaged; `coppice fsck` says where" },
    { EPROTONOSUPPORT, "newer_format", "it was written by a newer coppice; use that version" },
    { EPERM, "no_permission", "the daemon lacks the right to do this; run it as root" },
    { EACCES, "no_permission", "permission denied" },
    { ENODEV, "no_device", "/dev/fuse is missing or the kernel has no FUSE; `modprobe fuse`, or `coppice doctor` for more" },
    { EOPNOTSUPP, "unsupported", "not supported here" },
    { ENOSYS, "unsupported", "this kernel cannot do it; `coppice doctor` says what is missing" },
    { E2BIG, "too_many", "too many labels, or one is too long" },
    { EFBIG, "too_big", "it is too large" },
    { ENAMETOOLONG, "invalid", "a name or path is too long" },
    { ENOMEM, "no_memory", "out of memory" },
    { EMFILE, "no_descriptors", "the daemon has no descriptors left (RLIMIT_NOFILE)" },
    { ENFILE, "no_descriptors", "the system has no descriptors left" },
    { EROFS, "read_only", "it is read-only" },
    { ENOTDIR, "invalid", "a part of the path is not a directory" },
    { EISDIR, "invalid", "it is a directory" },
    { EPIPE, "disconnected", "the other side went away" },
    { ESTALE, "stale", "the snapshot that the archive builds upon is not in this store; import that one first" },
    { EXDEV, "unreachable",
      "it is mounted where the daemon cannot reach it (another mount namespace); run the command inside that namespace" },
    { ESHUTDOWN, "stopping", "the daemon is ending; try again" },
    { ETIMEDOUT, "timeout", "it did not end in time" },
    { ENOTCONN, "not_connected", "its mount was cut off; unmount and mount it again" },
};

void explain(int err, const char *doing, const char *object, char ret_code[32], char *ret_text, size_t text_size)
{
    const struct reason *found = NULL;

    err = err < 0 ? -err : err;
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].err == err)
            found = &reasons[i];
    snprintf(ret_code, 32, "%s", found ? found->code : "internal");
    const char *why = found ? found->why : strerror(err);
    if (object)
        snprintf(ret_text, text_size, "cannot %s '%s': %s", doing, object, why);
    else
        snprintf(ret_text, text_size, "cannot %s: %s", doing, why);
}
