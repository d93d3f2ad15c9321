/* For tests of import, archive and export: a store in a temporary directory, streams made of frames, trees made of streams. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/wire.h"
#include "fs/import.h"
#include "fs/object.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/view.h"
#include "fs/workspace.h"

struct test_store { char dir[64]; struct store *s; };

static inline int stream_rm_one(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    return remove(path);
}

static inline void stream_rm(const char *dir)
{
    nftw(dir, stream_rm_one, 32, FTW_DEPTH | FTW_PHYS);
}

static inline void test_store_open(struct test_store *t)
{
    struct store_options o = store_defaults;

    o.no_background = true;
    snprintf(t->dir, sizeof(t->dir), "/tmp/coppice-E-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    assert_int_equal(store_init(t->dir), 0);
    assert_int_equal(store_open(t->dir, &o, &t->s), 0);
}

static inline void test_store_close(struct test_store *t)
{
    store_close(t->s);
    stream_rm(t->dir);
}

/* Feeds all frames of b; the first error, and *ret_at its frame's index. */
static inline int stream_feed(struct importer *im, const struct buf *b, unsigned *ret_at)
{
    size_t at = 0;

    for (unsigned i = 0; at < b->len; i++) {
        if (b->len - at < 4 || le32(b->data + at) > b->len - at - 4)
            return -EPIPE;
        uint32_t n = le32(b->data + at);
        int r = importer_frame(im, b->data + at + 4, n);
        if (ret_at)
            *ret_at = i;
        if (r)
            return r;
        at += 4 + n;
    }
    return 0;
}

static inline struct workspace *test_ws(struct store *s, const char *name)
{
    struct create_args a = { .name = name, .kind = WS_BARE };
    struct ws_rec rec;
    struct workspace *w;

    assert_int_equal(verb_create(s, &a, &rec), 0);
    assert_int_equal(workspace_open(s, rec.id, &w), 0);
    return w;
}

static inline struct view *test_snapshot(struct store *s, struct workspace *w, const char *name, struct snap_rec *rec)
{
    struct snapshot_args a = { .name = name, .cause = SNAP_IMPORT };
    struct view *v;

    assert_int_equal(verb_snapshot(s, w, &a, rec, NULL), 0);
    assert_int_equal(view_get(s, rec->base, &v), 0);
    return v;
}

/* Imports a good stream into a new workspace and snapshots it. */
static inline struct view *test_import(struct store *s, const char *name, const char *at, const struct buf *b, struct snap_rec *rec)
{
    struct workspace *w = test_ws(s, name);
    struct importer *im;

    assert_int_equal(importer_new(w, at, &im), 0);
    int r = stream_feed(im, b, NULL);
    if (r)
        print_error("import: %s\n", importer_error(im));
    assert_int_equal(r, 0);
    assert_true(importer_ended(im));
    importer_free(im);
    struct view *v = test_snapshot(s, w, "s", rec);
    workspace_unref(w);
    return v;
}

static inline int test_memfd(void)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static inline void test_slurp(int fd, struct buf *out)
{
    off_t n = lseek(fd, 0, SEEK_END);

    buf_clear(out);
    uint8_t *p = buf_extend(out, (size_t)n);
    assert_non_null(p);
    assert_int_equal(pread(fd, p, (size_t)n, 0), n);
    close(fd);
}

static inline void test_export(struct store *s, struct view *v, const char *path, struct buf *out)
{
    int fd = test_memfd();

    assert_int_equal(export_stream(s, v, path, fd, NULL, NULL), 0);
    test_slurp(fd, out);
}

static inline struct inode test_inode(uint32_t mode, uint64_t size, int64_t mtime)
{
    return (struct inode){ .mode = mode, .uid = 1000, .gid = 100, .size = size, .mtime = { mtime, 5 } };
}

static inline void put_dir(struct buf *b, const char *path, int64_t mtime)
{
    struct inode in = test_inode(S_IFDIR | 0755, 0, mtime);
    import_put_entry(b, path, &in, NULL);
}

static inline void put_file(struct buf *b, const char *path, const void *p, size_t n, int64_t mtime)
{
    struct inode in = test_inode(S_IFREG | 0644, n, mtime);
    import_put_entry(b, path, &in, NULL);
    import_put_content(b, 0, p, n);
}

static inline void put_symlink(struct buf *b, const char *path, const char *target, int64_t mtime)
{
    struct inode in = test_inode(S_IFLNK | 0777, 0, mtime);
    import_put_entry(b, path, &in, target);
}

/* A tree with something of everything, in the order export_stream() has. Contents depend on seed. */
static inline void put_sample(struct buf *b, unsigned seed)
{
    static uint8_t big[700000];
    struct inode in;
    uint64_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < sizeof(big); i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        big[i] = (uint8_t)((x >> 56) | 1);
    }
    put_dir(b, "", 1000);
    import_put_xattr(b, "user.top", "t", 1);
    put_dir(b, "a", 1001);
    put_dir(b, "a/b", 1002);
    put_file(b, "a/b/big", big, sizeof(big), 1003);
    put_file(b, "a/b/small", "hello", 5, -7);
    put_dir(b, "a/empty", 1004);
    put_file(b, "a-file", NULL, 0, 1005);
    put_dir(b, "d", 1006);
    in = test_inode(S_IFIFO | 0600, 0, 1007);
    import_put_entry(b, "d/fifo", &in, NULL);
    put_file(b, "d/one", "linked", 6, 1008);
    import_put_link(b, "d/two", "d/one");
    put_symlink(b, "d/way", "/etc/passwd", 1009);
    in = test_inode(S_IFREG | 04711, 3 << 20, 1010);
    import_put_entry(b, "sparse", &in, NULL);
    import_put_xattr(b, "user.a", "1", 1);
    import_put_xattr(b, "user.b", "", 0);
    import_put_data(b, 1 << 20, big, 4096);
    import_put_data(b, (2 << 20) + 4096 * 3, big + 4096, 4096 * 2);
    put_file(b, "x\nname \xff", "odd name", 8, 1011);
    import_put_end(b, 14);
}

/* Compares with tests/golden/NAME; COPPICE_WRITE_GOLDEN=1 writes it anew. */
static inline void assert_golden(const char *name, const struct buf *b)
{
    const char *slash = strrchr(__FILE__, '/');
    char path[4096];
    struct buf want = BUF_INIT;

    snprintf(path, sizeof(path), "%.*s/../golden/%s", slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".", name);
    if (getenv("COPPICE_WRITE_GOLDEN")) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(b->data, 1, b->len, f), b->len);
        fclose(f);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        print_error("no golden file %s\n", path);
    assert_true(fd >= 0);
    test_slurp(fd, &want);
    assert_int_equal(want.len, b->len);
    assert_memory_equal(want.data, b->data, b->len);
    buf_fini(&want);
}
