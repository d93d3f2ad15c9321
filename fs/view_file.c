/* A file of a view as a whole. */
#include <errno.h>
#include <pthread.h>

#include "base/buf.h"
#include "fs/key.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"

/* view_lock is held. */
static int value_get(struct view *v, const struct key *k, struct buf *out)
{
    struct view_val val;
    int r = view_get_key(v, k->b, k->len, &val);

    if (r <= 0)
        return r;
    buf_put(out, val.v.p, val.v.n);
    view_val_done(&val);
    return buf_err(out) ? -ENOMEM : 1;
}

static int file_resolve(struct view *v, uint64_t ino, uint64_t max, struct inode *ret, struct pieces *pieces)
{
    struct key k = key_simple(ino, KEY_INODE);
    struct view_val val;
    int r = view_get_key(v, k.b, k.len, &val);

    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    r = inode_decode(val.v.p, val.v.n, ret);
    view_val_done(&val);
    if (r)
        return r;
    if (!inode_is_reg(ret) && !S_ISLNK(ret->mode))
        return inode_is_dir(ret) ? -EISDIR : -EINVAL;
    if (ret->size > max)
        return -EFBIG;
    return inode_is_reg(ret) && ret->size ? data_resolve(v, NULL, ino, 0, ret->size, pieces) : 0;
}

int view_file(struct store *s, struct view *v, uint64_t ino, uint64_t max, struct buf *out)
{
    struct key target = key_simple(ino, KEY_SYMLINK);
    struct pieces pieces = { 0 };
    struct inode in;

    pthread_rwlock_rdlock(&s->view_lock);
    int r = file_resolve(v, ino, max, &in, &pieces);
    if (!r && S_ISLNK(in.mode))
        r = value_get(v, &target, out);
    pthread_rwlock_unlock(&s->view_lock);
    if (r == 0 && pieces.count) {
        uint8_t *to = buf_extend(out, in.size);
        r = to ? data_read(s, &pieces, to) : -ENOMEM;
    }
    pieces_fini(&pieces);
    return r < 0 ? r : 0;
}
