/* Directory listings: one pass of the tree fills one whole buffer. Offsets are cookies; 1 is ".", 2 is "..". */
#include "fs/fuse_call.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fs/snapdir.h"

enum { COOKIE_DOT = 1, COOKIE_DOTDOT = 2 };

struct fill {
    fuse_req_t req;
    char *out;
    size_t used, size;
    bool plus;
    bool hide;                            /* a file .snap of the workspace's own */
    uint64_t *nodes;                      /* of entries that will count as lookups */
    size_t count, cap;
};

/* 0, 1 when the buffer is full, -ENOMEM. */
static int put(struct fill *f, const struct ws_dirent *d, const struct inode *in)
{
    struct fuse_entry_param e;
    size_t left = f->size - f->used, n;

    if (f->plus && in) {
        if (f->count == f->cap) {
            size_t cap = f->cap ? f->cap * 2 : 64;
            uint64_t *v = mem_realloc(f->nodes, cap * sizeof *v);

            if (!v)
                return -ENOMEM;
            f->nodes = v;
            f->cap = cap;
        }
        entry_out(fuse_now->m, d->ino, in, &e);
        if (fuse_now->snap && !(e.ino = fuse_look(d->ino)))
            return -ENOMEM;
    } else {
        e = (struct fuse_entry_param){ .attr.st_ino = ino_out(d->ino), .attr.st_mode = (mode_t)d->type << 12 };   /* no lookup */
    }
    n = f->plus ? fuse_add_direntry_plus(f->req, f->out + f->used, left, d->name, &e, (off_t)d->cookie)
                : fuse_add_direntry(f->req, f->out + f->used, left, d->name, &e.attr, (off_t)d->cookie);
    if (n > left) {
        if (fuse_now->snap && e.ino)
            fuse_forget(fuse_now->m, e.ino, 1);
        return 1;
    }
    f->used += n;
    if (f->plus && in)
        f->nodes[f->count++] = e.ino;
    return 0;
}

static int put_cb(void *arg, const struct ws_dirent *d, const struct inode *in)
{
    struct fill *f = arg;

    return f->hide && !strcmp(d->name, SNAPDIR_NAME) ? 0 : put(f, d, in);
}

/* An entry of .snap: the root of a snapshot, which nothing is told of but its number. So a listing opens no snapshot. */
static int put_snapshot(void *arg, const char *name, uint64_t seq)
{
    return put(arg, &(struct ws_dirent){ .name = name, .name_len = (uint32_t)strlen(name), .ino = snap_st_ino(seq, FUSE_ROOT_ID), .cookie = seq + COOKIE_DOTDOT, .type = DT_DIR }, NULL);
}

static int put_dots(struct fill *f, fuse_ino_t ino, uint64_t after)
{
    struct inode dir = { .parent = FUSE_ROOT_ID };
    int r = after < COOKIE_DOTDOT && ino != SNAPDIR_NODE ? ws_getattr(fuse_ws(), ino, &dir) : 0;

    if (fuse_now->snap && ino == FUSE_ROOT_ID)
        dir.parent = SNAPDIR_NODE;

    if (!r && after < COOKIE_DOT)
        r = put(f, &(struct ws_dirent){ .name = ".", .name_len = 1, .ino = ino, .cookie = COOKIE_DOT, .type = DT_DIR }, NULL);
    if (!r && after < COOKIE_DOTDOT)
        r = put(f, &(struct ws_dirent){ .name = "..", .name_len = 2, .ino = dir.parent, .cookie = COOKIE_DOTDOT, .type = DT_DIR }, NULL);
    return r;
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, bool plus)
{
    struct fill f = { .req = req, .out = (char *)fuse_now->out, .size = size < FUSE_PAYLOAD ? size : FUSE_PAYLOAD, .plus = plus };
    uint64_t after = (uint64_t)off;
    int r = put_dots(&f, ino, after);

    f.hide = fuse_now->m->snapdir && !fuse_now->snap && ino == FUSE_ROOT_ID;
    if (!r && ino == SNAPDIR_NODE)
        r = snapdir_each(fuse_now->m->snapdir, !after, after <= COOKIE_DOTDOT ? 0 : after - COOKIE_DOTDOT, put_snapshot, &f);
    else if (!r)
        r = ws_readdir(fuse_ws(), ino, after <= COOKIE_DOTDOT ? 0 : after, plus, put_cb, &f);
    if (r < 0 && !f.used) {
        fuse_reply_err(req, -r);
    } else {
        for (size_t i = 0; i < f.count && !fuse_now->snap; i++)
            ws_nlookup_add(fuse_ws(), f.nodes[i], 1);
        if (fuse_reply_buf(req, f.out, f.used))
            for (size_t i = 0; i < f.count; i++)
                fuse_forget(fuse_now->m, f.nodes[i], 1);
    }
    free(f.nodes);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    list(req, ino, size, off, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    list(req, ino, size, off, true);
}
