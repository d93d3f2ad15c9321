/* Directories: names, their cookies, listing.
 *
 * A dirent's key holds its cookie and its name. The cookie's upper part is the name's hash, so a name is found by its key with disambiguator 0;
 * only if that is absent and other names with the same hash are there, all of those are looked at.
 */
#include <dirent.h>
#include <errno.h>

#include "fs/ws_internal.h"

int name_check(const char *name)
{
    size_t n = strlen(name);

    if (n == 0)
        return -ENOENT;
    if (n > NAME_BYTES_MAX)
        return -ENAMETOOLONG;
    if (memchr(name, '/', n))
        return -EINVAL;
    return name[0] == '.' && (n == 1 || (n == 2 && name[1] == '.')) ? -EINVAL : 0;
}

static int dirent_decode(const uint8_t *p, size_t n, struct dirent_at *ret)
{
    if (n != 9)
        return -EUCLEAN;
    ret->ino = le64(p);
    ret->type = p[8];
    return ret->ino ? 0 : -EUCLEAN;
}

void dirent_put(struct workspace *w, uint64_t dir, uint64_t cookie, const char *name, size_t n, uint64_t ino, uint32_t mode)
{
    struct key k = key_dirent(dir, cookie, name, n);
    uint8_t val[9];

    put_le64(val, ino);
    val[8] = (uint8_t)IFTODT(mode);
    ws_put(w, &k, val, sizeof val);
}

struct find {
    const char *name;
    size_t n;
    struct dirent_at at;
    bool found;
    uint64_t free_cookie;                 /* the lowest not seen so far, as cookies come in order */
};

static int find_step(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct find *f = arg;
    uint64_t cookie = key_number(key);

    (void)source;
    if (cookie == f->free_cookie)
        f->free_cookie++;
    if (key_len - 17 != f->n || memcmp(key + 17, f->name, f->n))
        return 0;
    f->found = true;
    f->at.cookie = cookie;
    return dirent_decode(val, val_len, &f->at);
}

/* All names with this one's hash. */
static int find_all(struct workspace *w, uint64_t dir, struct find *f)
{
    uint64_t first = name_cookie(f->name, f->n);
    struct key from = key_dirent(dir, first, NULL, 0), to = key_dirent(dir, first + 0x10000, NULL, 0);

    f->free_cookie = first;
    f->found = false;
    return ws_each(w, &from, &to, find_step, f);
}

int dirent_find(struct workspace *w, uint64_t dir, const char *name, size_t n, struct dirent_at *ret)
{
    uint64_t first = name_cookie(name, n);
    struct key k = key_dirent(dir, first, name, n);
    struct find f = { .name = name, .n = n };
    struct view_val val;

    int r = ws_get(w, &k, &val);
    if (r > 0) {
        r = dirent_decode(val.v.p, val.v.n, &f.at);
        f.at.cookie = first;
        f.found = true;
        view_val_done(&val);
    } else if (r == 0) {
        r = find_all(w, dir, &f);
    }
    if (r < 0)
        return r;
    if (!f.found)
        return -ENOENT;
    *ret = f.at;
    return 0;
}

int dirent_free_cookie(struct workspace *w, uint64_t dir, const char *name, size_t n, uint64_t *ret)
{
    struct find f = { .name = name, .n = n };
    int r = find_all(w, dir, &f);

    if (r < 0)
        return r;
    if (f.free_cookie - name_cookie(name, n) > 0xffff)
        return -ENOSPC;
    *ret = f.free_cookie;
    return 0;
}

struct listing {
    struct workspace *w;
    bool plus;
    ws_readdir_fn *fn;
    void *arg;
};

static int list_step(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct listing *l = arg;
    char name[NAME_BYTES_MAX + 1];
    struct dirent_at at;
    struct inode in;

    (void)source;
    int r = dirent_decode(val, val_len, &at);
    if (r == 0 && l->plus)
        r = ws_get_inode(l->w, at.ino, &in);
    if (r < 0)
        return r == -ENOENT ? -EUCLEAN : r;
    memcpy(name, key + 17, key_len - 17);
    name[key_len - 17] = '\0';
    struct ws_dirent d = { .name = name, .name_len = (uint32_t)(key_len - 17), .ino = at.ino, .cookie = key_number(key), .type = at.type };
    return l->fn(l->arg, &d, l->plus ? &in : NULL);
}

int ws_readdir(struct workspace *w, uint64_t ino, uint64_t after, bool plus, ws_readdir_fn *fn, void *arg)
{
    struct listing l = { w, plus, fn, arg };
    struct key from = key_dirent(ino, after + 1, NULL, 0), to = key_simple(ino, KEY_DIRENT + 1);
    struct inode in;

    ws_lock(w);
    int r = ws_get_inode(w, ino, &in);
    if (r == 0 && !inode_is_dir(&in))
        r = -ENOTDIR;
    if (r == 0)
        r = ws_each(w, &from, &to, list_step, &l);
    ws_unlock(w);
    return r > 0 ? 0 : r;
}
