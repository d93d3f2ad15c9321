/* Making and replacing what entries of an import say. See import.c. */
#include "fs/import_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/limits.h"
#include "fs/workspace.h"

static uint64_t wished_ino(const struct import_level *parent, const char *name, size_t n)
{
    return INO_IMPORT | parent->path_hash >> 30 << 28 | XXH3_64bits(name, n) >> 36;
}

/* What a directory with a default ACL, or with setgid, gave to its new child is taken off: the stream says all there is. */
static int undo_inheritance(struct importer *im, uint64_t ino, const struct inode *want, struct inode *got)
{
    static const char *const acl[] = { "system.posix_acl_access", "system.posix_acl_default" };

    for (int i = 0; importer_top(im)->default_acl && !S_ISLNK(want->mode) && i < (inode_is_dir(want) ? 2 : 1); i++) {
        int r = ws_removexattr(im->w, ino, acl[i]);
        if (r && r != -ENODATA)
            return importer_fail_op(im, r, "drop the inherited ACL");
    }
    unsigned valid = (got->mode != want->mode && !S_ISLNK(want->mode)) || importer_top(im)->default_acl ? WSA_MODE : 0;
    if (got->uid != want->uid)
        valid |= WSA_UID;
    if (got->gid != want->gid)
        valid |= WSA_GID;
    if (S_ISLNK(want->mode))
        valid &= ~(unsigned)WSA_MODE;
    if (valid) {
        int r = ws_setattr(im->w, ino, valid, want, got);
        if (r)
            return importer_fail_op(im, r, "set owner and mode");
    }
    return 0;
}

int importer_make(struct importer *im, const char *name, const struct inode *want, const char *target,
                  uint64_t *ret_ino, struct inode *ret)
{
    struct ws_cred cred = { .uid = want->uid, .gid = want->gid, .umask = 0 };
    struct import_level *l = importer_top(im);

    l->dirty = true;
    if (!S_ISLNK(want->mode))
        target = NULL;
    int r = ws_create(im->w, l->ino, name, want->mode, 0, target, &cred, wished_ino(l, name, strlen(name)), false, ret_ino, ret);
    if (r == -EEXIST)
        return r;
    if (r)
        return importer_fail_op(im, r, "make it");
    return undo_inheritance(im, *ret_ino, want, ret);
}

struct gone { uint64_t ino, after; char name[NAME_BYTES_MAX + 1]; };

static int first_entry(void *arg, const struct ws_dirent *d, const struct inode *in)
{
    struct { struct ws_dirent d; char name[NAME_BYTES_MAX + 1]; } *out = arg;

    out->d = *d;
    memcpy(out->name, d->name, d->name_len);
    out->name[d->name_len] = 0;
    return 1;
}

/* Removes the directory `name` in the top level with all that is in it; its own stack instead of recursion. */
static int remove_dir(struct importer *im, uint64_t ino, const char *name)
{
    struct { struct ws_dirent d; char name[NAME_BYTES_MAX + 1]; } e;
    _cleanup_free_ struct gone *v = mem_alloc(sizeof(*v));
    size_t n = 1;
    int r = v ? 0 : -ENOMEM;

    if (v) {
        *v = (struct gone){ .ino = ino };
        strcpy(v->name, name);
    }
    while (!r && n > 0) {
        struct gone *g = &v[n - 1];
        e.d.ino = 0;
        r = ws_readdir(im->w, g->ino, g->after, false, first_entry, &e);
        if (r < 0)
            break;
        if (e.d.ino == 0) {
            r = ws_rmdir(im->w, n > 1 ? v[n - 2].ino : importer_top(im)->ino, g->name);
            n--;
        } else {
            g->after = e.d.cookie;
            r = e.d.type == DT_DIR ? 0 : ws_unlink(im->w, g->ino, e.name);
            if (!r && e.d.type == DT_DIR) {
                struct gone *more = mem_realloc(v, (n + 1) * sizeof(*v));
                if (!more) {
                    r = -ENOMEM;
                    break;
                }
                v = more;
                v[n] = (struct gone){ .ino = e.d.ino };
                strcpy(v[n++].name, e.name);
            }
        }
    }
    return r;
}

int importer_remove(struct importer *im, const char *name, uint64_t ino, const struct inode *in)
{
    importer_top(im)->dirty = true;
    int r = inode_is_dir(in) ? remove_dir(im, ino, name) : ws_unlink(im->w, importer_top(im)->ino, name);

    return r ? importer_fail_op(im, r, "replace it") : 0;
}

/* The entry's inode in the top level: made, or an existing directory taken, or something else replaced. */
int importer_place(struct importer *im, const char *name, const struct inode *want, const char *target)
{
    struct inode in;
    uint64_t ino;
    int r = importer_make(im, name, want, target, &ino, &in);

    if (r == -EEXIST) {
        r = ws_lookup(im->w, importer_top(im)->ino, name, &ino, &in);
        if (r)
            return importer_fail_op(im, r, "look it up");
        if (inode_is_dir(&in) && inode_is_dir(want)) {
            r = ws_setattr(im->w, ino, WSA_MODE | WSA_UID | WSA_GID, want, &in);
            if (r)
                return importer_fail_op(im, r, "set owner and mode");
        } else {
            r = importer_remove(im, name, ino, &in);
            if (!r)
                r = importer_make(im, name, want, target, &ino, &in);
        }
    }
    if (r)
        return r;
    im->entry = (struct import_entry){ .open = true, .ino = ino, .want = *want };
    return 0;
}

int importer_finish_entry(struct importer *im)
{
    struct import_entry *e = &im->entry;
    unsigned valid = WSA_ATIME | WSA_MTIME | WSA_CTIME | WSA_BTIME;

    if (!e->open)
        return 0;
    e->open = false;
    if (inode_is_reg(&e->want) && e->want.size != e->data_end)
        valid |= WSA_SIZE;
    struct inode now;
    int r = ws_setattr(im->w, e->ino, valid, &e->want, &now);
    return r ? importer_fail_op(im, r, "set its size and times") : 0;
}
