/* Reading a folded state as a file system. Paths are found upwards, by an inode's (parent, cookie) and the name that stands there; the paths of
 * directories are kept in `text` (u32 length, bytes), so that a directory is climbed from once. */
#include "fs/side.h"

#include <errno.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "fs/key.h"

enum { DEPTH_MAX = 1 << 20 };             /* of directories; more is a circle */

void side_init(struct side *s, struct node_cache *c, const struct addr *root)
{
    *s = (struct side){ .c = c, .root = *root };
}

void side_fini(struct side *s)
{
    ino_map_free(s->paths);
    buf_fini(&s->text);
}

int side_inode(const struct side *s, uint64_t ino, struct inode *ret)
{
    struct key k = key_simple(ino, KEY_INODE);
    struct tree_val v;

    int r = tree_get(s->c, &s->root, k.b, k.len, &v);
    if (r <= 0)
        return r;
    r = inode_decode(v.p, v.n, ret);
    tree_val_done(&v);
    return r ? r : 1;
}

int side_keys(const struct side *s, uint64_t ino, uint8_t first, uint8_t last, int (*fn)(void *arg, const struct node_entry *e), void *arg)
{
    struct key k = key_simple(ino, first);
    struct tree_cursor cur;
    int r, stop = 0;

    tree_cursor_init(&cur, s->c, &s->root);
    for (r = tree_cursor_seek(&cur, k.b, k.len); r == 1; r = tree_cursor_next(&cur)) {
        const struct node_entry *e = tree_cursor_entry(&cur);
        if (e->key_len < 9) {
            stop = -EUCLEAN;
            break;
        }
        if (key_ino(e->key) != ino || e->key[8] > last)
            break;
        stop = fn(arg, e);
        if (stop)
            break;
    }
    tree_cursor_fini(&cur);
    return r < 0 ? r : stop;
}

static int name_decode(const struct node_entry *e, struct side_name *ret)
{
    if (e->key_len <= 17 || e->key_len > 17 + NAME_BYTES_MAX || e->val_len != 9 || e->key[8] != KEY_DIRENT)
        return -EUCLEAN;
    ret->dir = key_ino(e->key);
    ret->cookie = key_number(e->key);
    ret->ino = le64(e->val);
    ret->type = e->val[8];
    ret->len = (uint8_t)(e->key_len - 17);
    memcpy(ret->name, e->key + 17, ret->len);
    ret->name[ret->len] = '\0';
    return 0;
}

int side_name_at(const struct side *s, uint64_t dir, uint64_t cookie, struct side_name *ret)
{
    struct key k = key_num(dir, KEY_DIRENT, cookie);
    struct tree_cursor cur;

    tree_cursor_init(&cur, s->c, &s->root);
    int r = tree_cursor_seek(&cur, k.b, k.len);
    if (r == 1) {
        const struct node_entry *e = tree_cursor_entry(&cur);
        r = e->key_len > k.len && !memcmp(e->key, k.b, k.len);
        if (r && name_decode(e, ret))
            r = -EUCLEAN;
    }
    tree_cursor_fini(&cur);
    return r;
}

struct each { const struct side *s; uint64_t ino; side_name_fn *fn; void *arg; };

static int each_link(void *arg, const struct node_entry *e)
{
    struct each *x = arg;
    struct side_name n;

    if (e->key_len != 25)
        return -EUCLEAN;
    int r = side_name_at(x->s, key_number(e->key), be64(e->key + 17), &n);
    if (r <= 0 || n.ino != x->ino)
        return r < 0 ? r : -EUCLEAN;
    return x->fn(x->arg, &n);
}

int side_links(const struct side *s, uint64_t ino, const struct inode *in, side_name_fn *fn, void *arg)
{
    struct each x = { s, ino, fn, arg };
    struct side_name n;

    if (ino == INO_ROOT)
        return 0;
    int r = side_name_at(s, in->parent, in->cookie, &n);
    if (r <= 0 || n.ino != ino)
        return r < 0 ? r : -EUCLEAN;
    r = fn(arg, &n);
    return r || inode_is_dir(in) ? r : side_keys(s, ino, KEY_LINK, KEY_LINK, each_link, &x);
}

static int each_entry(void *arg, const struct node_entry *e)
{
    struct each *x = arg;
    struct side_name n;
    int r = name_decode(e, &n);

    return r ? r : x->fn(x->arg, &n);
}

int side_entries(const struct side *s, uint64_t dir, side_name_fn *fn, void *arg)
{
    struct each x = { s, dir, fn, arg };

    return side_keys(s, dir, KEY_DIRENT, KEY_DIRENT, each_entry, &x);
}

int side_same_hash(const struct side *s, uint64_t dir, uint64_t cookie, side_name_fn *fn, void *arg)
{
    struct key from = key_num(dir, KEY_DIRENT, cookie & ~0xffffull);
    struct tree_cursor cur;
    int r, stop = 0;

    tree_cursor_init(&cur, s->c, &s->root);
    for (r = tree_cursor_seek(&cur, from.b, from.len); r == 1 && !stop; r = stop ? r : tree_cursor_next(&cur)) {
        const struct node_entry *e = tree_cursor_entry(&cur);
        struct side_name n;
        if (e->key_len < from.len || memcmp(e->key, from.b, from.len - 2u))
            break;
        stop = name_decode(e, &n);
        if (!stop)
            stop = fn(arg, &n);
    }
    tree_cursor_fini(&cur);
    return r < 0 ? r : stop;
}

/* --- paths --- */

/* Puts the path of a directory, which is known, into out: "" or "a/b/". */
static void put_known(const struct side *s, uint64_t at, struct buf *out)
{
    uint8_t *to = buf_extend(out, le32(s->text.data + at));

    if (to)
        memcpy(to, s->text.data + at + 4, le32(s->text.data + at));
}

static int remember(struct side *s, uint64_t dir, const uint8_t *path, size_t len)
{
    uint64_t at = s->text.len;

    buf_put_u32(&s->text, (uint32_t)len);
    buf_put(&s->text, path, len);
    return buf_err(&s->text) ? -ENOMEM : ino_map_put(s->paths, dir, at);
}

/* The names from dir up to the first directory whose path is known; then its path is put together downwards. */
static int climb(struct side *s, uint64_t dir, struct buf *out)
{
    struct side_name *up = NULL;
    size_t n = 0, cap = 0;
    uint64_t at = 0;
    int r = 0;

    for (uint64_t d = dir; !r && d != INO_ROOT && !ino_map_get(s->paths, d, &at);) {
        struct inode in;
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            struct side_name *more = n < DEPTH_MAX ? mem_realloc(up, cap * sizeof *up) : NULL;
            if (!more) {
                r = n < DEPTH_MAX ? -ENOMEM : -EUCLEAN;
                break;
            }
            up = more;
        }
        r = side_inode(s, d, &in);
        if (r == 1)
            r = side_name_at(s, in.parent, in.cookie, &up[n]);
        r = r == 1 && up[n].ino == d ? 0 : r < 0 ? r : -EUCLEAN;
        d = in.parent;
        n++;
        at = 0;
    }
    size_t start = out->len;
    bool is_new = n > 0;
    if (!r && at)
        put_known(s, at, out);
    while (!r && n > 0) {
        buf_put(out, up[n - 1].name, up[n - 1].len);
        buf_put_u8(out, '/');
        n--;
    }
    free(up);
    if (!r)
        r = buf_err(out);
    return !r && is_new ? remember(s, dir, out->data + start, out->len - start) : r;
}

int side_path(struct side *s, uint64_t dir, const char *name, size_t len, struct buf *out)
{
    if (!s->paths) {
        s->paths = ino_map_new();
        buf_put_u32(&s->text, 0);         /* so that no path is at 0 */
        if (!s->paths || buf_err(&s->text))
            return -ENOMEM;
    }
    int r = climb(s, dir, out);
    if (r)
        return r;
    buf_put(out, name, len);
    return buf_err(out);
}
