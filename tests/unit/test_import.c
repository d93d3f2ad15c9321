/* The entry stream: import, export, hostile frames. */
#include "base/alloc.h"
#include "base/io.h"
#include "tests/lib/stream.h"

static struct test_store t;

static int setup(void **state)
{
    test_store_open(&t);
    return 0;
}

static int teardown(void **state)
{
    test_store_close(&t);
    return 0;
}

static void what_is_imported_is_exported_byte_for_byte(void **state)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    struct snap_rec rec;

    put_sample(&in, 1);
    struct view *v = test_import(t.s, "w", "", &in, &rec);
    test_export(t.s, v, "", &out);
    assert_int_equal(out.len, in.len);
    assert_memory_equal(out.data, in.data, in.len);
    struct addr root;
    assert_int_equal(view_fold_now(t.s, v, &root), 0);
    test_export(t.s, v, "", &out);
    assert_int_equal(out.len, in.len);
    assert_memory_equal(out.data, in.data, in.len);
    view_unref(v);
    buf_fini(&in);
    buf_fini(&out);
}

static void equal_streams_give_equal_roots(void **state)
{
    struct buf in = BUF_INIT, other = BUF_INIT;
    struct snap_rec rec;
    struct addr root[4];
    struct view *v;

    put_sample(&in, 1);
    put_sample(&other, 2);
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof(name), "w%d", i);
        v = test_import(t.s, name, i == 2 ? "x/y" : "", i == 3 ? &other : &in, &rec);
        assert_int_equal(view_fold_now(t.s, v, &root[i]), 0);
        view_unref(v);
    }
    assert_memory_equal(&root[0], &root[1], sizeof(root[0]));
    assert_memory_not_equal(&root[0], &root[2], sizeof(root[0]));
    assert_memory_not_equal(&root[0], &root[3], sizeof(root[0]));
    buf_fini(&in);
    buf_fini(&other);
}

static void missing_parents_and_a_root_without_entry_do_not_depend_on_the_clock(void **state)
{
    struct addr root[2];
    struct snap_rec rec;

    for (int i = 0; i < 2; i++) {
        struct buf in = BUF_INIT;
        char name[16];
        put_file(&in, "p/q/r", "x", 1, 77);
        put_file(&in, "z", "y", 1, 78);
        put_file(&in, "p/q/again", "x", 1, 79);
        import_put_end(&in, 3);
        snprintf(name, sizeof(name), "w%d", i);
        struct view *v = test_import(t.s, name, i ? "" : "/", &in, &rec);
        assert_int_equal(view_fold_now(t.s, v, &root[i]), 0);
        struct workspace *w;
        struct inode n;
        uint64_t ino;
        assert_int_equal(workspace_open_view(t.s, v, &w), 0);
        assert_int_equal(ws_path(w, "p/q", &ino, &n), 0);
        assert_int_equal(n.mode, S_IFDIR | 0755);
        assert_int_equal(n.mtime.sec, 77);
        assert_int_equal(n.ctime.sec, 77);
        assert_int_equal(n.btime.sec, 77);
        assert_true(ino & INO_IMPORT && !(ino >> 63));
        workspace_unref(w);
        view_unref(v);
        buf_fini(&in);
    }
    assert_memory_equal(&root[0], &root[1], sizeof(root[0]));
}

static void a_later_entry_replaces_an_earlier_one_as_tar_does(void **state)
{
    struct buf in = BUF_INIT, want = BUF_INIT, out = BUF_INIT;
    struct snap_rec rec;

    put_dir(&in, "", 1);
    put_file(&in, "f", "old content", 11, 2);
    put_file(&in, "f", "new", 3, 3);
    put_dir(&in, "dir", 4);
    put_file(&in, "dir/kept", "k", 1, 5);
    put_dir(&in, "dir", 6);
    put_dir(&in, "gone", 7);
    put_dir(&in, "gone/deep", 7);
    put_file(&in, "gone/deep/x", "x", 1, 7);
    put_file(&in, "gone/y", "y", 1, 7);
    put_symlink(&in, "gone", "f", 8);
    put_file(&in, "into", "x", 1, 9);
    put_file(&in, "into/below", "x", 1, 9);
    struct workspace *w = test_ws(t.s, "bad");
    struct importer *im;
    assert_int_equal(importer_new(w, "", &im), 0);
    assert_int_equal(stream_feed(im, &in, NULL), -ENOTDIR);
    importer_free(im);
    workspace_unref(w);

    buf_clear(&in);
    put_dir(&in, "", 1);
    put_file(&in, "f", "old content", 11, 2);
    put_file(&in, "f", "new", 3, 3);
    put_dir(&in, "dir", 4);
    put_file(&in, "dir/kept", "k", 1, 5);
    put_dir(&in, "dir", 6);
    put_dir(&in, "gone", 7);
    put_dir(&in, "gone/deep", 7);
    put_file(&in, "gone/deep/x", "x", 1, 7);
    put_file(&in, "gone/y", "y", 1, 7);
    put_symlink(&in, "gone", "f", 8);
    put_file(&in, "into", "x", 1, 9);
    put_dir(&in, "into", 10);
    put_file(&in, "l", "was", 3, 11);
    import_put_link(&in, "l", "f");
    import_put_link(&in, "l", "f");
    import_put_end(&in, 16);
    put_dir(&want, "", 1);
    put_dir(&want, "dir", 6);
    put_file(&want, "dir/kept", "k", 1, 5);
    put_file(&want, "f", "new", 3, 3);
    put_symlink(&want, "gone", "f", 8);
    put_dir(&want, "into", 10);
    import_put_link(&want, "l", "f");
    import_put_end(&want, 7);
    struct view *v = test_import(t.s, "w", "", &in, &rec);
    test_export(t.s, v, "", &out);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.data, want.data, want.len);
    view_unref(v);
    buf_fini(&in);
    buf_fini(&want);
    buf_fini(&out);
}

static void a_default_acl_and_setgid_do_not_change_what_comes_after(void **state)
{
    static const uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 9, 0, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
                                   0x10, 0, 7, 0, 255, 255, 255, 255, 0x20, 0, 0, 0, 255, 255, 255, 255 };
    struct buf in = BUF_INIT, out = BUF_INIT;
    struct inode dir = test_inode(S_IFDIR | 02775, 0, 5);
    struct snap_rec rec;

    put_dir(&in, "", 1);
    dir.gid = 4242;
    import_put_entry(&in, "d", &dir, NULL);
    import_put_xattr(&in, "system.posix_acl_default", acl, sizeof(acl));
    put_file(&in, "d/f", "x", 1, 2);
    put_dir(&in, "d/sub", 3);
    put_file(&in, "d/sub/g", "x", 1, 2);
    import_put_end(&in, 5);
    struct view *v = test_import(t.s, "w", "", &in, &rec);
    test_export(t.s, v, "", &out);
    assert_int_equal(out.len, in.len);
    assert_memory_equal(out.data, in.data, in.len);
    view_unref(v);
    buf_fini(&in);
    buf_fini(&out);
}

/* One frame after a small good start must be refused with this error. */
static void refuse(const char *what, const struct buf *frames, int want)
{
    static int n;
    char name[24];
    struct buf b = BUF_INIT;
    struct importer *im;

    snprintf(name, sizeof(name), "refuse-%d", n++);
    struct workspace *w = test_ws(t.s, name);
    put_dir(&b, "dir", 1);
    put_symlink(&b, "link", "dir", 1);
    put_symlink(&b, "up", "..", 1);
    put_file(&b, "file", "12345", 5, 1);
    assert_int_equal(importer_new(w, "", &im), 0);
    assert_int_equal(stream_feed(im, &b, NULL), 0);
    int r = stream_feed(im, frames, NULL);
    if (r != want)
        print_error("%s: %d (%s), not %d\n", what, r, importer_error(im), want);
    assert_int_equal(r, want);
    assert_true(*importer_error(im));
    assert_false(importer_ended(im));
    assert_int_equal(stream_feed(im, &b, NULL), want);
    importer_free(im);
    workspace_unref(w);
    buf_fini(&b);
}

static void hostile_paths_are_refused(void **state)
{
    static const struct { const char *path; int want; } bad[] = {
        { "/abs", -EINVAL }, { "a//b", -EINVAL }, { "a/", -EINVAL }, { ".", -EINVAL }, { "..", -EINVAL }, { "a/../b", -EINVAL }, { "./a", -EINVAL },
        { "a/.", -EINVAL }, { "dir/..", -EINVAL }, { "/", -EINVAL }, { "link/x", -ENOTDIR }, { "up/x", -ENOTDIR }, { "file/x", -ENOTDIR },
        { "link/x/y", -ENOTDIR },
    };
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        buf_clear(&b);
        put_file(&b, bad[i].path, "x", 1, 1);
        refuse(bad[i].path, &b, bad[i].want);
        buf_clear(&b);
        import_put_link(&b, bad[i].path, "file");
        refuse(bad[i].path, &b, bad[i].want);
        buf_clear(&b);
        import_put_link(&b, "new", bad[i].path);
        refuse(bad[i].path, &b, bad[i].want);
    }
    char *name = malloc(70000);
    memset(name, 'n', 70000);
    name[256] = 0;
    buf_clear(&b);
    put_file(&b, name, "x", 1, 1);
    refuse("long name", &b, -ENAMETOOLONG);
    for (int i = 0; i < 65534; i++)
        name[i] = i & 1 ? '/' : 'd';
    name[2 * IMPORT_DEPTH_MAX + 1] = 0;
    buf_clear(&b);
    put_file(&b, name, "x", 1, 1);
    refuse("deep", &b, -ENAMETOOLONG);
    buf_clear(&b);
    import_put_link(&b, "new", "missing");
    refuse("link to nothing", &b, -ENOENT);
    buf_clear(&b);
    import_put_link(&b, "new", "dir");
    refuse("link to a directory", &b, -EPERM);
    free(name);
    buf_fini(&b);
}

static void a_name_with_a_nul_is_refused(void **state)
{
    struct buf b = BUF_INIT;

    put_file(&b, "nXl", "x", 1, 1);
    *(char *)memchr(b.data, 'X', b.len) = 0;
    refuse("NUL", &b, -EINVAL);
    buf_fini(&b);
}

static void impossible_attributes_are_refused(void **state)
{
    struct { const char *what; struct inode in; const char *target; int want; } bad[] = {
        { "character device", test_inode(S_IFCHR | 0600, 0, 0), NULL, -EPERM },
        { "block device", test_inode(S_IFBLK | 0600, 0, 0), NULL, -EPERM },
        { "no type", test_inode(0644, 0, 0), NULL, -EINVAL },
        { "odd mode bits", test_inode(S_IFREG | 0200000 | 0644, 0, 0), NULL, -EINVAL },
        { "size", test_inode(S_IFREG | 0644, 1ull << 63, 0), NULL, -EFBIG },
        { "empty target", test_inode(S_IFLNK | 0777, 0, 0), "", -EINVAL },
        { "owner", test_inode(S_IFREG | 0644, 0, 0), NULL, -EINVAL },
        { "nanoseconds", test_inode(S_IFREG | 0644, 0, 0), NULL, -EINVAL },
    };
    struct buf b = BUF_INIT;

    bad[6].in.uid = 65536;
    bad[7].in.mtime.ns = 1000000000;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        buf_clear(&b);
        import_put_entry(&b, "bad", &bad[i].in, bad[i].target);
        refuse(bad[i].what, &b, bad[i].want);
    }
    char *target = malloc(5000);
    memset(target, 't', 5000);
    target[4096] = 0;
    buf_clear(&b);
    put_symlink(&b, "s", target, 1);
    refuse("long target", &b, -ENAMETOOLONG);
    free(target);
    buf_clear(&b);
    struct inode reg = test_inode(S_IFREG | 0644, 0, 0);
    import_put_entry(&b, "", &reg, NULL);
    refuse("a file as the top", &b, -EINVAL);
    buf_fini(&b);
}

static void data_must_fit_its_file(void **state)
{
    struct buf b = BUF_INIT;
    struct inode in = test_inode(S_IFREG | 0644, 10, 1);

    import_put_entry(&b, "f", &in, NULL);
    import_put_data(&b, 4, "1234567", 7);
    refuse("past the size", &b, -EINVAL);
    buf_clear(&b);
    import_put_entry(&b, "f", &in, NULL);
    import_put_data(&b, UINT64_MAX, "1234567", 7);
    refuse("overflow", &b, -EINVAL);
    buf_clear(&b);
    import_put_entry(&b, "f", &in, NULL);
    import_put_data(&b, 0, "", 0);
    refuse("no bytes", &b, -EINVAL);
    buf_clear(&b);
    put_dir(&b, "e", 1);
    import_put_data(&b, 0, "1", 1);
    refuse("of a directory", &b, -EINVAL);
    buf_clear(&b);
    import_put_link(&b, "l", "file");
    import_put_data(&b, 0, "1", 1);
    refuse("of a link", &b, -EINVAL);
    buf_clear(&b);
    import_put_link(&b, "l", "file");
    import_put_xattr(&b, "user.x", "1", 1);
    refuse("attribute of a link", &b, -EINVAL);
    buf_clear(&b);
    import_put_end(&b, 5);
    refuse("count", &b, -EINVAL);
    buf_fini(&b);
}

static void attributes_out_of_place_are_refused(void **state)
{
    static const char *const bad[] = { "", "user.", "nothing", "system.other", "system.posix_acl_default", "security.", "trusted." };
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        buf_clear(&b);
        import_put_xattr(&b, bad[i], "v", 1);
        refuse(bad[i], &b, -EOPNOTSUPP);
    }
    buf_clear(&b);
    put_symlink(&b, "s", "t", 1);
    import_put_xattr(&b, "user.x", "v", 1);
    refuse("on a symbolic link", &b, -EOPNOTSUPP);
    buf_clear(&b);
    import_put_xattr(&b, "system.posix_acl_access", "nonsense", 8);
    struct workspace *w = test_ws(t.s, "acl");
    struct importer *im;
    struct buf f = BUF_INIT;
    put_file(&f, "f", "", 0, 1);
    assert_int_equal(importer_new(w, "", &im), 0);
    assert_int_equal(stream_feed(im, &f, NULL), 0);
    assert_true(stream_feed(im, &b, NULL) < 0);
    importer_free(im);
    workspace_unref(w);
    buf_fini(&f);
    buf_fini(&b);
}

static void nothing_follows_the_end(void **state)
{
    struct buf b = BUF_INIT;
    struct workspace *w = test_ws(t.s, "w");
    struct importer *im;

    import_put_end(&b, 0);
    assert_int_equal(importer_new(w, "", &im), 0);
    assert_int_equal(stream_feed(im, &b, NULL), 0);
    assert_true(importer_ended(im));
    assert_int_equal(stream_feed(im, &b, NULL), -EINVAL);
    importer_free(im);
    workspace_unref(w);
    buf_fini(&b);
}

static void every_truncation_of_every_frame_is_refused_or_waits(void **state)
{
    struct buf all = BUF_INIT;
    struct inode in = test_inode(S_IFREG | 0644, 20, 1);
    struct workspace *w = test_ws(t.s, "w");

    put_dir(&all, "d", 1);
    import_put_entry(&all, "f", &in, NULL);
    import_put_xattr(&all, "user.a", "1", 1);
    import_put_data(&all, 0, "x", 1);
    put_symlink(&all, "s", "target", 1);
    import_put_link(&all, "l", "f");
    import_put_end(&all, 4);
    for (size_t cut = 0; cut < all.len; cut++) {
        struct importer *im;
        struct buf b = { all.data, cut, cut, 0 };
        assert_int_equal(importer_new(w, "", &im), 0);
        int r = stream_feed(im, &b, NULL);
        assert_true(r == 0 || r == -EPIPE);
        assert_false(importer_ended(im));
        importer_free(im);
    }
    /* The frame itself cut: its length says less than its body needs. */
    for (size_t at = 0; at < all.len; at += 4 + le32(all.data + at)) {
        uint32_t n = le32(all.data + at);
        for (uint32_t cut = 0; cut < n; cut++) {
            struct importer *im;
            uint8_t type = all.data[at + 4];
            assert_int_equal(importer_new(w, "", &im), 0);
            struct buf before = { all.data, at, at, 0 };
            assert_int_equal(stream_feed(im, &before, NULL), 0);
            int r = importer_frame(im, all.data + at + 4, cut);
            /* The value of an attribute may be of any length. */
            if (type == IMPORT_XATTR && cut == n - 1)
                assert_int_equal(r, 0);
            else
                assert_int_equal(r, -EINVAL);
            importer_free(im);
        }
    }
    workspace_unref(w);
    buf_fini(&all);
}

static void content_is_cut_into_frames_without_zero_units(void **state)
{
    static uint8_t data[3 << 20];
    struct buf b = BUF_INIT;

    import_put_content(&b, 0, data, sizeof(data));
    assert_int_equal(b.len, 0);
    data[5000] = 1;
    import_put_content(&b, 0, data, sizeof(data));
    assert_int_equal(b.len, 4 + 1 + 8 + 4096);
    assert_int_equal(le64(b.data + 5), 4096);
    buf_clear(&b);
    memset(data, 1, sizeof(data));
    import_put_content(&b, 100, data, sizeof(data));
    size_t frames = 0, bytes = 0;
    for (size_t at = 0; at < b.len; at += 4 + le32(b.data + at), frames++) {
        assert_true(le32(b.data + at) <= 9 + IMPORT_DATA_MAX);
        assert_int_equal(le64(b.data + at + 5), 100 + bytes);
        bytes += le32(b.data + at) - 9;
    }
    assert_int_equal(bytes, sizeof(data));
    assert_true(frames >= 3 && frames <= 4);
    buf_fini(&b);
}

static void a_wrong_start_directory_is_refused(void **state)
{
    struct workspace *w = test_ws(t.s, "w");
    struct importer *im = NULL;

    assert_int_equal(importer_new(w, "a/../b", &im), -EINVAL);
    assert_int_equal(importer_new(w, "..", &im), -EINVAL);
    assert_null(im);
    workspace_unref(w);
}

static void a_subdirectory_is_exported_with_itself_as_the_top(void **state)
{
    struct buf in = BUF_INIT, out = BUF_INIT, want = BUF_INIT;
    struct snap_rec rec;

    put_sample(&in, 1);
    struct view *v = test_import(t.s, "w", "", &in, &rec);
    test_export(t.s, v, "/d", &out);
    struct inode fifo = test_inode(S_IFIFO | 0600, 0, 1007);
    put_dir(&want, "", 1006);
    import_put_entry(&want, "fifo", &fifo, NULL);
    put_file(&want, "one", "linked", 6, 1008);
    import_put_link(&want, "two", "one");
    put_symlink(&want, "way", "/etc/passwd", 1009);
    import_put_end(&want, 5);
    assert_int_equal(out.len, want.len);
    assert_memory_equal(out.data, want.data, want.len);
    assert_int_equal(export_stream(t.s, v, "a-file", 1, NULL, NULL), -ENOTDIR);
    assert_int_equal(export_stream(t.s, v, "nothing", 1, NULL, NULL), -ENOENT);
    view_unref(v);
    buf_fini(&in);
    buf_fini(&out);
    buf_fini(&want);
}

static void the_bytes_of_frames_are_the_golden_ones(void **state)
{
    struct buf b = BUF_INIT;
    struct inode in = test_inode(S_IFREG | 06755, 70000, -3);

    put_dir(&b, "", 1);
    import_put_entry(&b, "dir/file", &in, NULL);
    import_put_xattr(&b, "user.k", "value", 5);
    import_put_data(&b, 65536, "content", 7);
    put_symlink(&b, "link", "to/there", 1ll << 40);
    import_put_link(&b, "second", "dir/file");
    import_put_end(&b, 4);
    assert_golden("import_stream.bin", &b);
    buf_fini(&b);
}

/* --- faults --- */

static unsigned fault_at, fault_count;
static bool faulty;

static _Bool memory_fails(size_t size)
{
    return faulty && ++fault_count == fault_at;
}

static ssize_t pwrite_fails(int fd, const void *p, size_t n, off_t off)
{
    return faulty && ++fault_count == fault_at ? -ENOSPC : disk_real.pwrite(fd, p, n, off);
}

static ssize_t pwritev_fails(int fd, const struct iovec *iov, int count, off_t off)
{
    return faulty && ++fault_count == fault_at ? -ENOSPC : disk_real.pwritev(fd, iov, count, off);
}

static int try_import(const struct buf *in, unsigned n)
{
    struct importer *im = NULL;
    char name[24];

    snprintf(name, sizeof(name), "fault-%u", n);
    struct workspace *w = test_ws(t.s, name);
    faulty = true;
    fault_count = 0;
    int r = importer_new(w, "x", &im);
    if (!r)
        r = stream_feed(im, in, NULL);
    faulty = false;
    if (im) {
        assert_true((r == 0) == importer_ended(im));
        assert_true(r == 0 || *importer_error(im));
    }
    importer_free(im);
    workspace_unref(w);
    return r;
}

static int try_export(struct view *v, struct buf *out)
{
    int fd = test_memfd();

    faulty = true;
    fault_count = 0;
    int r = export_stream(t.s, v, "", fd, NULL, NULL);
    faulty = false;
    test_slurp(fd, out);
    return r;
}

static void a_failure_of_memory_or_disk_is_an_error_and_never_a_wrong_tree(void **state)
{
    struct buf in = BUF_INIT, out = BUF_INIT;
    struct snap_rec rec;
    struct disk_ops ops = disk_real;
    unsigned n = 0;
    int r = -1;

    put_sample(&in, 1);
    ops.pwrite = pwrite_fails;
    ops.pwritev = pwritev_fails;
    for (int kind = 0; kind < 2; kind++) {
        if (kind == 0)
            mem_fault = memory_fails;
        else
            disk = &ops;
        r = -1;
        for (fault_at = 1; r; fault_at++)
            r = try_import(&in, n++);
        assert_true(fault_at > 2);
        mem_fault = NULL;
        disk = &disk_real;
    }
    struct view *v = test_import(t.s, "w", "", &in, &rec);
    mem_fault = memory_fails;
    r = -1;
    for (fault_at = 1; r; fault_at++) {
        r = try_export(v, &out);
        /* What was written is the start of the stream; only a whole one has its END. */
        assert_true(out.len <= in.len && (r == 0) == (out.len == in.len));
        if (out.len)
            assert_memory_equal(out.data, in.data, out.len);
    }
    assert_true(fault_at > 2);
    mem_fault = NULL;
    view_unref(v);
    buf_fini(&in);
    buf_fini(&out);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_imported_is_exported_byte_for_byte), T(equal_streams_give_equal_roots),
        T(missing_parents_and_a_root_without_entry_do_not_depend_on_the_clock), T(a_later_entry_replaces_an_earlier_one_as_tar_does),
        T(a_default_acl_and_setgid_do_not_change_what_comes_after), T(hostile_paths_are_refused), T(a_name_with_a_nul_is_refused),
        T(impossible_attributes_are_refused), T(data_must_fit_its_file), T(attributes_out_of_place_are_refused), T(nothing_follows_the_end),
        T(every_truncation_of_every_frame_is_refused_or_waits), cmocka_unit_test(content_is_cut_into_frames_without_zero_units),
        T(a_wrong_start_directory_is_refused), T(a_subdirectory_is_exported_with_itself_as_the_top),
        cmocka_unit_test(the_bytes_of_frames_are_the_golden_ones), T(a_failure_of_memory_or_disk_is_an_error_and_never_a_wrong_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
