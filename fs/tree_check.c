/* Checks one tree against every rule of docs/architecture.md 1-3.
 *
 * One pass in key order. Keys of one inode lie together, its record first, so what concerns one inode alone is checked when its group ends.
 * What joins inodes is collected and checked after the pass:
 *  - `names`: every dirent, as (child, parent, cookie); `claims`: every primary link and LINK key, in the same form. As sets the two are equal.
 *  - `inodes`: with link count and, for directories, the parent. Claims of an inode count its links; a directory has one.
 *  - climbing from each directory by its parent ends at the root, and passes no directory twice.
 * Every claim is a name in an existing directory, so then everything is reachable. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "fs/addr_set.h"
#include "fs/chunk.h"
#include "fs/inode.h"
#include "fs/key.h"
#include "fs/store.h"
#include "fs/tree.h"
#include "fs/verbs_internal.h"
#include "fs/view.h"

struct link { uint64_t child, parent, cookie; uint8_t type; };
struct links { struct link *v; size_t count, cap; };
struct node_info { uint64_t ino, parent; uint32_t nlink, subdirs; uint8_t type, visited; };      /* type: mode >> 12, as DT_* */
struct infos { struct node_info *v; size_t count, cap; };

struct check {
    struct store *store;
    const struct addr *root;
    struct addr_set *chunks;
    int (*fn)(void *arg, const struct problem *p);
    void *arg;
    size_t problems;
    struct base_rec counts;
    struct links names, claims;
    struct infos inodes;
    struct key last;                      /* the key read before */
    /* the group of the inode being read */
    uint64_t ino, entries, last_cookie;
    struct inode in;
    bool have, has_body, has_symlink, has_xattr, has_extent;
    uint64_t xattr_bytes;
    uint32_t subdirs;
};

/* --- paths --- */

/* The name under (parent, cookie): -ENOENT. */
static int name_of_link(struct node_cache *c, const struct addr *root, uint64_t parent, uint64_t cookie, char out[NAME_BYTES_MAX], size_t *ret_n)
{
    struct key k = key_dirent(parent, cookie, "", 0);
    struct tree_cursor cur;
    int r;

    tree_cursor_init(&cur, c, root);
    r = tree_cursor_seek(&cur, k.b, k.len);
    if (r == 1) {
        const struct node_entry *e = tree_cursor_entry(&cur);

        r = -ENOENT;
        if (e->key_len > k.len && !memcmp(e->key, k.b, k.len) && e->key_len - k.len <= NAME_BYTES_MAX) {
            *ret_n = e->key_len - (size_t)k.len;
            memcpy(out, e->key + k.len, *ret_n);
            r = 0;
        }
    } else if (r == 0) {
        r = -ENOENT;
    }
    tree_cursor_fini(&cur);
    return r;
}

static int get_inode(struct node_cache *c, const struct addr *root, uint64_t ino, struct inode *ret)
{
    struct key k = key_simple(ino, KEY_INODE);
    struct tree_val v = { 0 };
    int r = tree_get(c, root, k.b, k.len, &v);

    if (r == 1)
        r = inode_decode(v.p, v.n, ret);
    else if (r == 0)
        r = -ENOENT;
    tree_val_done(&v);
    return r;
}

void tree_path(struct node_cache *c, const struct addr *root, uint64_t ino, struct buf *out)
{
    struct buf path = BUF_INIT;          /* built backwards */
    uint64_t at = ino;
    int depth = 0, r = 0;

    for (; r == 0 && at != INO_ROOT && depth < 4096; depth++) {
        char name[NAME_BYTES_MAX];
        struct inode in;
        size_t n = 0;

        r = get_inode(c, root, at, &in);
        if (r == 0)
            r = name_of_link(c, root, in.parent, in.cookie, name, &n);
        if (r < 0)
            break;
        for (size_t i = n; i-- > 0;)
            buf_put_u8(&path, (uint8_t)name[i]);
        at = in.parent;
        if (at != INO_ROOT)
            buf_put_u8(&path, '/');
    }
    if (r == 0 && at == INO_ROOT && !buf_err(&path)) {
        if (!path.len)
            buf_put_u8(out, '/');
        for (size_t i = path.len; i-- > 0;)
            buf_put_u8(out, path.data[i]);
    } else {
        buf_printf(out, "inode %" PRIu64, ino);
    }
    buf_fini(&path);
}

/* --- reporting --- */

static int problem(struct check *c, uint64_t ino, const char *what)
{
    struct buf where = BUF_INIT;
    int r;

    c->problems++;
    if (ino)
        tree_path(c->store->nodes, c->root, ino, &where);
    else
        buf_printf(&where, "/");
    buf_put_u8(&where, 0);
    if (buf_err(&where)) {
        buf_fini(&where);
        return -ENOMEM;
    }
    r = c->fn ? c->fn(c->arg, &(struct problem){ (const char *)where.data, what }) : 0;
    buf_fini(&where);
    return r;
}

/* --- collecting --- */

static int add_link(struct links *l, uint64_t child, uint64_t parent, uint64_t cookie, uint8_t type)
{
    if (l->count == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        struct link *v = mem_realloc(l->v, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        l->v = v;
        l->cap = cap;
    }
    l->v[l->count++] = (struct link){ child, parent, cookie, type };
    return 0;
}

static int add_info(struct check *c)
{
    struct infos *x = &c->inodes;

    if (x->count == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        struct node_info *v = mem_realloc(x->v, cap * sizeof *v);

        if (!v)
            return -ENOMEM;
        x->v = v;
        x->cap = cap;
    }
    x->v[x->count++] = (struct node_info){ .ino = c->ino, .parent = c->in.parent, .nlink = c->in.nlink, .subdirs = c->subdirs,
        .type = (uint8_t)(c->in.mode >> 12) };
    return 0;
}

/* --- one inode --- */

static int end_group(struct check *c)
{
    const struct inode *in = &c->in;
    int r = 0;

    if (!c->have)
        return 0;
    c->have = false;
    c->counts.inodes++;
    c->counts.units += inode_charge(in);
    c->counts.data_units += in->units;
    if (c->ino < INO_IMPORT && c->ino >= c->counts.next_ino)
        c->counts.next_ino = c->ino + 1;
    if (in->nlink == 0)
        r = problem(c, c->ino, "it has no links and is kept all the same");
    if (r == 0 && inode_is_dir(in) && in->size != c->entries)
        r = problem(c, c->ino, "the directory's size is not its number of entries");
    if (r == 0 && S_ISLNK(in->mode) != c->has_symlink)
        r = problem(c, c->ino, c->has_symlink ? "it has a link target and is no symbolic link" : "the symbolic link has no target");
    if (r == 0 && in->xattr_bytes && in->xattr_bytes != c->xattr_bytes)
        r = problem(c, c->ino, "the count of bytes of its extended attributes is wrong");
    if (r == 0 && !(in->flags & INODE_XATTRS) != !c->has_xattr)
        r = problem(c, c->ino, "its flag for extended attributes is wrong");
    if (r == 0)
        r = add_info(c);
    if (r == 0 && c->ino != INO_ROOT && in->nlink)
        r = add_link(&c->claims, c->ino, in->parent, in->cookie, (uint8_t)(in->mode >> 12));
    if (r == 0 && c->ino == INO_ROOT && (in->parent != INO_ROOT || in->cookie != 0))
        r = problem(c, c->ino, "the root directory has a parent");
    return r;
}

static int begin_group(struct check *c, uint64_t ino, const uint8_t *val, uint32_t n)
{
    struct inode in;
    int r = end_group(c);

    if (r != 0)
        return r;
    c->ino = ino;
    if (inode_decode(val, n, &in) < 0)
        return problem(c, ino, "its inode record is malformed");
    c->in = in;
    c->have = true;
    c->has_body = c->has_symlink = c->has_xattr = c->has_extent = false;
    c->entries = c->last_cookie = c->xattr_bytes = 0;
    c->subdirs = 0;
    return 0;
}

static int check_body(struct check *c, const uint8_t *val, uint32_t n)
{
    c->has_body = true;
    if (!inode_is_reg(&c->in) || c->in.size > INLINE_MAX)
        return problem(c, c->ino, "it has an inline body and must not");
    if (n == 0 || n > c->in.size || val[n - 1] == 0)
        return problem(c, c->ino, "its inline body is not of canonical length");
    return 0;
}

static int check_symlink(struct check *c, const uint8_t *val, uint32_t n)
{
    c->has_symlink = true;
    if (n == 0 || n > SYMLINK_MAX || n != c->in.size || memchr(val, 0, n))
        return problem(c, c->ino, "its link target is malformed");
    return 0;
}

static int check_dirent(struct check *c, const uint8_t *key, const uint8_t *val, uint32_t n)
{
    uint64_t cookie = key_number(key), child;

    if (!inode_is_dir(&c->in))
        return problem(c, c->ino, "it has entries and is no directory");
    if (n != 9)
        return problem(c, c->ino, "an entry of it is malformed");
    if (c->entries && cookie == c->last_cookie)
        return problem(c, c->ino, "two entries of it have one cookie");
    child = le64(val);
    c->last_cookie = cookie;
    c->entries++;
    if (val[8] == S_IFDIR >> 12)
        c->subdirs++;
    return add_link(&c->names, child, c->ino, cookie, val[8]);
}

static int check_chunk(struct check *c, const struct addr *a, uint32_t len)
{
    uint32_t *known = addr_set_val(c->chunks, a);
    struct chunk_loc loc;
    void *val;
    int r;

    if (known)
        return *known == len ? 0 : problem(c, c->ino, "a piece of its content has another length than its chunk");
    r = chunk_stat(c->store->chunks, a, &loc);
    if (r == -ENOENT)
        return problem(c, c->ino, "a piece of its content is missing");
    if (r < 0)
        return problem(c, c->ino, "the place of a piece of its content cannot be read");
    r = addr_set_add(c->chunks, a, &val);
    if (r < 0)
        return r;
    memcpy(val, &loc.raw_len, sizeof loc.raw_len);
    return loc.raw_len == len ? 0 : problem(c, c->ino, "a piece of its content has another length than its chunk");
}

static int check_extent(struct check *c, const uint8_t *key, const uint8_t *val, uint32_t n)
{
    uint64_t slot = key_number(key), start = slot * SLOT;
    struct addr a;

    c->has_extent = true;
    if (!inode_is_reg(&c->in) || c->in.size <= INLINE_MAX)
        return problem(c, c->ino, "it has extents and must not");
    if (n != EXTENT_BYTES)
        return problem(c, c->ino, "an extent of it is malformed");
    uint32_t len = le32(val + ADDR_BYTES);
    if (len == 0 || len > SLOT || start >= c->in.size || len > c->in.size - start)
        return problem(c, c->ino, "an extent of it reaches past its end");
    memcpy(a.b, val, ADDR_BYTES);
    return check_chunk(c, &a, len);
}

static int check_entry(struct check *c, const struct node_entry *e)
{
    uint64_t ino;

    if (!key_valid(e->key, e->key_len))
        return problem(c, 0, "the tree has a malformed key");
    bool ascends = !c->last.len || key_cmp(c->last.b, c->last.len, e->key, e->key_len) < 0;
    c->last.len = e->key_len;
    memcpy(c->last.b, e->key, e->key_len);
    if (!ascends)
        return problem(c, 0, "the keys of the tree do not ascend");
    ino = key_ino(e->key);
    if (key_kind_of(e->key) == KEY_INODE)
        return begin_group(c, ino, e->val, e->val_len);
    if (!c->have || c->ino != ino) {
        int r = end_group(c);

        if (r != 0 || c->ino == ino)          /* once per inode */
            return r;
        c->ino = ino;
        return problem(c, ino, "there are keys of an inode that has no record");
    }
    switch (key_kind_of(e->key)) {
    case KEY_BODY:
        return check_body(c, e->val, e->val_len);
    case KEY_SYMLINK:
        return check_symlink(c, e->val, e->val_len);
    case KEY_XATTR:
        c->has_xattr = true;
        c->xattr_bytes += e->key_len - 9u + e->val_len;
        return e->val_len <= XATTR_VALUE_MAX ? 0 : problem(c, ino, "an extended attribute of it is too long");
    case KEY_LINK:
        if (inode_is_dir(&c->in) || e->val_len)
            return problem(c, ino, "a link record of it is malformed");
        return add_link(&c->claims, ino, key_number(e->key), be64(e->key + 17), (uint8_t)(c->in.mode >> 12));
    case KEY_DIRENT:
        return check_dirent(c, e->key, e->val, e->val_len);
    case KEY_EXTENT:
        return check_extent(c, e->key, e->val, e->val_len);
    default:
        return 0;
    }
}

static int check_entries(struct check *c)
{
    struct tree_cursor cur;
    int r;

    tree_cursor_init(&cur, c->store->nodes, c->root);
    r = tree_cursor_seek(&cur, "", 0);
    while (r == 1) {
        r = check_entry(c, tree_cursor_entry(&cur));
        if (r == 0)
            r = tree_cursor_next(&cur);
        else if (r > 0)
            r = -ECANCELED;
    }
    tree_cursor_fini(&cur);
    return r < 0 ? r : end_group(c);
}

/* --- what joins inodes --- */

static int cmp_link(const void *pa, const void *pb)
{
    const struct link *a = pa, *b = pb;

    if (a->child != b->child)
        return a->child < b->child ? -1 : 1;
    if (a->parent != b->parent)
        return a->parent < b->parent ? -1 : 1;
    return (a->cookie > b->cookie) - (a->cookie < b->cookie);
}

static void sort_links(struct links *l)
{
    if (l->count)
        qsort(l->v, l->count, sizeof *l->v, cmp_link);
}

static struct node_info *find_info(const struct check *c, uint64_t ino)
{
    size_t lo = 0, hi = c->inodes.count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;

        if (c->inodes.v[mid].ino < ino)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->inodes.count && c->inodes.v[lo].ino == ino ? &c->inodes.v[lo] : NULL;
}

static int check_name(struct check *c, const struct link *name)
{
    const struct node_info *x = find_info(c, name->child);

    if (!x)
        return problem(c, name->parent, "an entry of it names an inode that is not there");
    if (x->type != name->type)
        return problem(c, name->child, "the entry that names it gives another type");
    return 0;
}

/* Both sorted: what is in one of the two only is wrong. */
static int compare_links(struct check *c)
{
    size_t i = 0, j = 0;
    int r = 0;

    while (r == 0 && (i < c->names.count || j < c->claims.count)) {
        const struct link *name = i < c->names.count ? &c->names.v[i] : NULL, *claim = j < c->claims.count ? &c->claims.v[j] : NULL;
        int order = !name ? 1 : !claim ? -1 : cmp_link(name, claim);

        if (order <= 0)
            r = check_name(c, name);
        if (r == 0 && order < 0 && find_info(c, name->child))
            r = problem(c, name->child, "a directory names it and it does not know of that link");
        if (r == 0 && order > 0)
            r = problem(c, claim->child, "it has a link that no directory names");
        i += order <= 0;
        j += order >= 0;
    }
    return r;
}

static int check_link_counts(struct check *c)
{
    size_t j = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->inodes.count; i++) {
        const struct node_info *x = &c->inodes.v[i];
        uint64_t links = 0;

        while (j < c->claims.count && c->claims.v[j].child < x->ino)
            j++;
        for (; j < c->claims.count && c->claims.v[j].child == x->ino; j++) {
            links++;
            if (j > 0 && !cmp_link(&c->claims.v[j - 1], &c->claims.v[j]))
                r = problem(c, x->ino, "it has one link twice");
        }
        if (x->type == S_IFDIR >> 12)
            links = 2 + (uint64_t)x->subdirs;
        if (r == 0 && x->nlink != links && x->nlink)
            r = problem(c, x->ino, "its link count is not the number of its links");
    }
    return r;
}

enum { NOT_VISITED, CLIMBING, REACHES_ROOT };

/* Marks the way up from x until it meets something known. */
static int climb(struct check *c, struct node_info *x)
{
    struct node_info *at = x;

    for (; at && at->ino != INO_ROOT && at->visited == NOT_VISITED; at = find_info(c, at->parent))
        at->visited = CLIMBING;
    bool lost = !at || at->type != S_IFDIR >> 12 || at->visited == CLIMBING;
    for (at = x; at && at->visited == CLIMBING; at = find_info(c, at->parent)) {
        at->visited = REACHES_ROOT;      /* or reported once, below */
        if (at->ino == INO_ROOT)
            break;
    }
    return lost ? problem(c, x->ino, "the directory cannot be reached from the root") : 0;
}

static int check_reachable(struct check *c)
{
    const struct node_info *root = find_info(c, INO_ROOT);
    int r = 0;

    if (!root || root->type != S_IFDIR >> 12)
        return problem(c, 0, "there is no root directory");
    for (size_t i = 0; r == 0 && i < c->inodes.count; i++) {
        struct node_info *x = &c->inodes.v[i];

        if (x->type == S_IFDIR >> 12 && x->ino != INO_ROOT && x->visited == NOT_VISITED)
            r = climb(c, x);
    }
    return r;
}

int tree_check_with(struct store *s, const struct addr *root, struct addr_set *chunks, int (*fn)(void *arg, const struct problem *p), void *arg,
                    struct base_rec *ret_counts)
{
    struct check c = { .store = s, .root = root, .chunks = chunks, .fn = fn, .arg = arg, .counts.next_ino = INO_ROOT + 1, .counts.root = *root };
    int r = addr_is_zero(root) ? 0 : check_entries(&c);

    if (r == -EIO || r == -EUCLEAN) {
        int e = problem(&c, 0, "a node of the tree cannot be read");
        r = e ? e : -EUCLEAN;
    }
    sort_links(&c.names);
    sort_links(&c.claims);
    if (r == 0)
        r = compare_links(&c);
    if (r == 0)
        r = check_link_counts(&c);
    if (r == 0)
        r = check_reachable(&c);
    free(c.names.v);
    free(c.claims.v);
    free(c.inodes.v);
    if (r == 0 && c.problems)
        r = -EUCLEAN;
    if (r == 0 && ret_counts)
        *ret_counts = c.counts;
    return r;
}

int tree_check(struct store *s, const struct addr *root, int (*fn)(void *arg, const struct problem *p), void *arg, struct base_rec *ret_counts)
{
    struct addr_set chunks = ADDR_SET(sizeof(uint32_t));
    int r = tree_check_with(s, root, &chunks, fn, arg, ret_counts);

    addr_set_fini(&chunks);
    return r;
}
