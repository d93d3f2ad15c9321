/* Paths as they are now. Those that were asked for are remembered until a directory is renamed: what a tree costs is then one name for each directory.
 * That one is too long is remembered too (without a path): to find it out takes thousands of names. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fs/feed_internal.h"
#include "fs/ws_internal.h"

static struct feed_path *place_of(struct feed *f, uint64_t ino)
{
    return &f->paths[(ino * 0x9e3779b97f4a7c15ull) >> 56];
}
_Static_assert(FEED_PATHS == 256, "place_of");

void feed_path_forget(struct feed *f, uint64_t ino)
{
    struct feed_path *p = place_of(f, ino);

    if (ino && p->ino != ino)
        return;
    for (size_t i = 0; i < (ino ? 1 : FEED_PATHS); i++, p++) {
        if (!ino)
            p = &f->paths[i];
        free(p->path);
        *p = (struct feed_path){ 0 };
    }
}

static void remember(struct feed *f, uint64_t ino, char *path, size_t len)
{
    struct feed_path *p = place_of(f, ino);

    free(p->path);
    *p = (struct feed_path){ ino, path, (uint16_t)len };
}

void feed_path_learn(struct feed *f, uint64_t ino, const char *path, size_t len)
{
    char *copy = len && len <= FEED_PATH_MAX ? mem_dup(path, len) : NULL;

    if (copy)
        remember(f, ino, copy, len);
    else
        feed_path_forget(f, ino);
}

struct name_at { char name[NAME_BYTES_MAX]; size_t n; };

static int take_name(void *arg, const uint8_t *key, size_t key_len, const uint8_t *val, size_t val_len, struct layer *source)
{
    struct name_at *x = arg;

    (void)val, (void)val_len, (void)source;
    x->n = key_len - 17;
    memcpy(x->name, key + 17, x->n);
    return 1;
}

/* The path is put together from its end; the buffer is of FEED_PATH_MAX bytes. */
static bool climb(struct workspace *w, uint64_t ino, struct inode in, char *b, size_t *at, bool *ret_cut)
{
    struct feed *f = w->feed;

    while (ino != INO_ROOT) {
        const struct feed_path *known = place_of(f, ino);
        struct name_at x;
        if (known->ino == ino) {
            *ret_cut = !known->path || *at < known->len + 1u;
            if (*ret_cut)
                return false;
            if (*at < FEED_PATH_MAX)
                b[--*at] = '/';
            memcpy(b + (*at -= known->len), known->path, known->len);
            return true;
        }
        if (!in.nlink)
            return false;
        struct key from = key_dirent(in.parent, in.cookie, NULL, 0), to = key_dirent(in.parent, in.cookie + 1, NULL, 0);
        if (ws_each(w, &from, &to, take_name, &x) <= 0)
            return false;
        *ret_cut = *at < x.n + 1;
        if (*ret_cut)
            return false;
        if (*at < FEED_PATH_MAX)
            b[--*at] = '/';
        memcpy(b + (*at -= x.n), x.name, x.n);
        ino = in.parent;
        if (ino != INO_ROOT && place_of(f, ino)->ino != ino && ws_get_inode(w, ino, &in) < 0)
            return false;
    }
    return true;
}

bool feed_path_of(struct workspace *w, uint64_t ino, const struct inode *in, const char **ret, size_t *ret_len, bool *ret_cut)
{
    struct feed *f = w->feed;
    const struct feed_path *known = place_of(f, ino);
    size_t at = FEED_PATH_MAX;
    struct inode own;

    *ret_cut = false;
    *ret_len = 0;
    *ret = "";
    if (ino == INO_ROOT)
        return true;
    if (known->ino == ino) {
        *ret_cut = !known->path;
        *ret = known->path ? known->path : "";
        *ret_len = known->len;
        return known->path != NULL;
    }
    if (!in && ws_get_inode(w, ino, &own) < 0)
        return false;
    if (!f->climb.data && !buf_extend(&f->climb, FEED_PATH_MAX)) {
        *ret_cut = true;
        return false;
    }
    char *b = (char *)f->climb.data;
    if (!climb(w, ino, in ? *in : own, b, &at, ret_cut)) {
        if (*ret_cut)
            remember(f, ino, NULL, 0);
        return false;
    }
    *ret = b + at;
    *ret_len = FEED_PATH_MAX - at;
    feed_path_learn(f, ino, *ret, *ret_len);
    return true;
}
