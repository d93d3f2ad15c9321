/* The command's readers and the tar writer: directories and archives made here, friendly and hostile. */
#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "base/io.h"
#include "tests/lib/stream.h"
#include "tools/read_archive.h"
#include "tools/read_dir.h"
#include "tools/write_tar.h"

/* --- what comes out, as text: one line per frame, content summed up --- */

struct listing { struct buf frames; struct buf text; unsigned warnings; int stop_after; };

static int collect(void *arg, const void *p, size_t n)
{
    struct listing *l = arg;

    if (l->stop_after && --l->stop_after == 0)
        return -ECANCELED;
    buf_put(&l->frames, p, n);
    return 0;
}

static void count_warning(void *arg, const char *path, const char *what)
{
    ((struct listing *)arg)->warnings++;
}

static const char *describe(struct listing *l)
{
    static char path[65536], other[65536];
    uint64_t data = 0;

    buf_clear(&l->text);
    for (size_t at = 0; at < l->frames.len;) {
        assert_true(l->frames.len - at >= 4);
        uint32_t n = le32(l->frames.data + at);
        assert_true(n > 0 && n <= IMPORT_FRAME_MAX && l->frames.len - at - 4 >= n);
        struct reader r = reader_of(l->frames.data + at + 4, n);
        uint8_t type = get_u8(&r);
        if (type != IMPORT_DATA && data) {
            buf_printf(&l->text, "  data %llu\n", (unsigned long long)data);
            data = 0;
        }
        if (type == IMPORT_ENTRY) {
            get_str(&r, path, sizeof(path));
            uint32_t mode = get_u32(&r), uid = get_u32(&r), gid = get_u32(&r);
            get_u32(&r);
            int64_t sec = (int64_t)get_u64(&r);
            get_u32(&r);
            uint64_t size = get_u64(&r);
            get_str(&r, other, sizeof(other));
            buf_printf(&l->text, "%s %o %u:%u %lld %llu%s%s\n", *path ? path : ".", mode, uid, gid, (long long)sec, (unsigned long long)size,
                       *other ? " -> " : "", other);
        } else if (type == IMPORT_LINK) {
            get_str(&r, path, sizeof(path));
            get_str(&r, other, sizeof(other));
            buf_printf(&l->text, "%s = %s\n", path, other);
        } else if (type == IMPORT_XATTR) {
            get_str(&r, path, sizeof(path));
            buf_printf(&l->text, "  %s %zu\n", path, reader_left(&r));
        } else if (type == IMPORT_DATA) {
            get_u64(&r);
            data += reader_left(&r);
        } else {
            assert_int_equal(type, IMPORT_END);
            buf_printf(&l->text, "end %llu\n", (unsigned long long)get_u64(&r));
        }
        assert_false(r.bad);
        at += 4 + n;
    }
    buf_put_u8(&l->text, 0);
    return (const char *)l->text.data;
}

static void listing_fini(struct listing *l)
{
    buf_fini(&l->frames);
    buf_fini(&l->text);
}

/* --- archives made here --- */

struct tarball { struct archive *a; int fd; };

static struct tarball tar_new(int filter)
{
    struct tarball t = { archive_write_new(), test_memfd() };

    archive_write_set_format_pax(t.a);
    if (filter)
        assert_int_equal(archive_write_add_filter(t.a, filter), ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(t.a, 1);
    assert_int_equal(archive_write_open_fd(t.a, t.fd), ARCHIVE_OK);
    return t;
}

static void tar_add(struct tarball *t, const char *path, uint32_t mode, const char *link, const void *p, size_t n)
{
    struct archive_entry *e = archive_entry_new();

    archive_entry_set_pathname(e, path);
    archive_entry_set_mode(e, mode);
    archive_entry_set_uid(e, 7);
    archive_entry_set_gid(e, 8);
    archive_entry_set_mtime(e, 99, 5);
    archive_entry_set_size(e, (la_int64_t)n);
    if (link && S_ISLNK(mode))
        archive_entry_set_symlink(e, link);
    else if (link)
        archive_entry_set_hardlink(e, link);
    if (S_ISCHR(mode) || S_ISBLK(mode))
        archive_entry_set_rdev(e, makedev(1, 3));
    if (S_ISDIR(mode))
        archive_entry_xattr_add_entry(e, "user.k", "v", 1);
    assert_true(archive_write_header(t->a, e) >= ARCHIVE_WARN);
    if (n)
        assert_int_equal(archive_write_data(t->a, p, n), n);
    archive_entry_free(e);
}

static int tar_done(struct tarball *t)
{
    assert_int_equal(archive_write_close(t->a), ARCHIVE_OK);
    archive_write_free(t->a);
    lseek(t->fd, 0, SEEK_SET);
    return t->fd;
}

static int read_tar(int fd, struct listing *l, struct read_report *rep)
{
    memset(rep, 0, sizeof(*rep));
    rep->warn = count_warning;
    rep->warn_arg = l;
    int r = read_archive(fd, collect, l, rep);
    close(fd);
    return r;
}

static void archives_of_all_filters_are_read(void **state)
{
    static const int filters[] = { 0, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_XZ, ARCHIVE_FILTER_ZSTD, ARCHIVE_FILTER_BZIP2, ARCHIVE_FILTER_LZ4 };
    static char big[3000000];

    memset(big, 'b', sizeof(big));
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        struct tarball t = tar_new(filters[i]);
        struct listing l = { 0 };
        struct read_report rep;
        tar_add(&t, "./", S_IFDIR | 0755, NULL, NULL, 0);
        tar_add(&t, "./d/", S_IFDIR | 0711, NULL, NULL, 0);
        tar_add(&t, "d//./f", S_IFREG | 04755, NULL, "12345", 5);
        tar_add(&t, "/abs/big", S_IFREG | 0600, NULL, big, sizeof(big));
        tar_add(&t, "l", S_IFREG | 0600, "/abs/big", NULL, 0);
        tar_add(&t, "s", S_IFLNK | 0777, "../../etc/passwd", NULL, 0);
        tar_add(&t, "p", S_IFIFO | 0600, NULL, NULL, 0);
        tar_add(&t, "null", S_IFCHR | 0666, NULL, NULL, 0);
        tar_add(&t, "sda", S_IFBLK | 0666, NULL, NULL, 0);
        tar_add(&t, "\xc3\xa4\xc3\xb6", S_IFREG | 0600, NULL, NULL, 0);
        assert_int_equal(read_tar(tar_done(&t), &l, &rep), 0);
        assert_string_equal(describe(&l), ". 40755 7:8 99 0\n  user.k 1\nd 40711 7:8 99 0\n  user.k 1\nd/f 104755 7:8 99 5\n  data 5\n"
                                          "abs/big 100600 7:8 99 3000000\n  data 3000000\nl = abs/big\ns 120777 7:8 99 0 -> ../../etc/passwd\n"
                                          "p 10600 7:8 99 0\n\xc3\xa4\xc3\xb6 100600 7:8 99 0\nend 8\n");
        assert_int_equal(rep.devices, 2);
        assert_int_equal(l.warnings, 2);
        assert_int_equal(rep.entries, 8);
        listing_fini(&l);
    }
}

static void dotdot_in_a_name_refuses_the_import(void **state)
{
    static const char *const bad[] = { "../x", "a/../../x", "a/..", "..", "/../x", "./../x", "a/../b" };

    for (size_t i = 0; i < 2 * sizeof(bad) / sizeof(bad[0]); i++) {
        struct tarball t = tar_new(0);
        struct listing l = { 0 };
        struct read_report rep;
        const char *path = bad[i / 2];
        tar_add(&t, "ok", S_IFREG | 0600, NULL, NULL, 0);
        if (i & 1)
            tar_add(&t, "link", S_IFREG | 0600, path, NULL, 0);
        else
            tar_add(&t, path, S_IFREG | 0600, NULL, NULL, 0);
        assert_int_equal(read_tar(tar_done(&t), &l, &rep), -EUCLEAN);
        assert_non_null(strstr(rep.error, ".."));
        assert_null(strstr(describe(&l), "end"));
        listing_fini(&l);
    }
}

/* Feeds an archive through to an importer: what the whole chain says. */
struct chain { struct importer *im; };

static int to_importer(void *arg, const void *p, size_t n)
{
    struct buf b = { (uint8_t *)(uintptr_t)p, n, n, 0 };

    return stream_feed(((struct chain *)arg)->im, &b, NULL);
}

static void writing_through_a_link_of_the_archive_is_refused_by_the_importer(void **state)
{
    struct test_store s;
    struct tarball t = tar_new(0);
    struct read_report rep = { 0 };
    struct chain c;

    test_store_open(&s);
    struct workspace *w = test_ws(s.s, "w");
    assert_int_equal(importer_new(w, "", &c.im), 0);
    tar_add(&t, "a", S_IFLNK | 0777, "/tmp", NULL, 0);
    tar_add(&t, "a/x", S_IFREG | 0600, NULL, "x", 1);
    int fd = tar_done(&t);
    assert_int_equal(read_archive(fd, to_importer, &c, &rep), -ENOTDIR);
    assert_non_null(strstr(importer_error(c.im), "symbolic link"));
    close(fd);
    importer_free(c.im);
    workspace_unref(w);
    test_store_close(&s);
}

static void damaged_archives_are_refused(void **state)
{
    static const int filters[] = { 0, ARCHIVE_FILTER_GZIP, ARCHIVE_FILTER_XZ, ARCHIVE_FILTER_ZSTD };
    static uint8_t big[300000];
    uint64_t x = 88172645463325252ull;

    for (size_t i = 0; i < sizeof(big); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        big[i] = (uint8_t)x;
    }
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        struct tarball t = tar_new(filters[i]);
        struct listing l = { 0 };
        struct read_report rep;
        tar_add(&t, "big", S_IFREG | 0600, NULL, big, sizeof(big));
        tar_add(&t, "after", S_IFREG | 0600, NULL, big, 100);
        int fd = tar_done(&t);
        assert_int_equal(ftruncate(fd, 150000), 0);
        assert_int_equal(read_tar(fd, &l, &rep), -EUCLEAN);
        assert_true(*rep.error);
        assert_null(strstr(describe(&l), "end"));
        listing_fini(&l);
    }
    for (int i = 0; i < 3; i++) {
        struct listing l = { 0 };
        struct read_report rep;
        int fd = test_memfd();
        if (i)
            assert_int_equal(write(fd, big, i == 1 ? 5 : 100000), i == 1 ? 5 : 100000);
        lseek(fd, 0, SEEK_SET);
        assert_int_equal(read_tar(fd, &l, &rep), -EUCLEAN);
        assert_true(*rep.error);
        listing_fini(&l);
    }
}

/* Raw ustar headers, for what libarchive would not write. */
static void raw_header(uint8_t h[512], const char *name, char type, const char *size12)
{
    unsigned sum = 0;

    memset(h, 0, 512);
    memcpy(h, name, strlen(name) < 100 ? strlen(name) : 100);
    memcpy(h + 100, "0000644", 7);
    memcpy(h + 108, "0000000", 7);
    memcpy(h + 116, "0000000", 7);
    memcpy(h + 124, size12, 12);
    memcpy(h + 136, "00000000000", 11);
    memset(h + 148, ' ', 8);
    h[156] = (uint8_t)type;
    memcpy(h + 257, "ustar\00000", 8);
    for (int i = 0; i < 512; i++)
        sum += h[i];
    snprintf((char *)h + 148, 8, "%06o", sum);
    h[155] = ' ';
}

static void impossible_numbers_are_refused_or_bounded(void **state)
{
    static const char sizes[][13] = {
        "77777777777\0", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
        "\x80\0\0\0\x80\0\0\0\0\0\0\0", "-0000000001\0", "99999999999\0",
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t h[512 * 4] = { 0 };
        struct listing l = { 0 };
        struct read_report rep;
        int fd = test_memfd();
        raw_header(h, "f", '0', sizes[i]);
        assert_int_equal(write(fd, h, sizeof(h)), sizeof(h));
        lseek(fd, 0, SEEK_SET);
        int r = read_tar(fd, &l, &rep);
        if (r == 0)
            assert_non_null(strstr(describe(&l), " 0\nend 1"));
        else
            assert_int_equal(r, -EUCLEAN);
        listing_fini(&l);
    }
}

static void pax_records_cannot_reach_outside(void **state)
{
    static const char *const records[] = { "path=../../x", "linkpath=../x", "size=9223372036854775808", "size=-1", "GNU.sparse.map=0,9223372036854775807,5,9",
                                           "GNU.sparse.size=-5", "SCHILY.xattr.user.x=", "mtime=99999999999999999999", "uid=-1" };

    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        uint8_t h[512 * 6] = { 0 };
        char rec[512], size[16];
        struct listing l = { 0 };
        struct read_report rep;
        int fd = test_memfd();
        int n = snprintf(rec, sizeof(rec), "%zu %s\n", strlen(records[i]) + 4, records[i]);
        snprintf(size, sizeof(size), "%011o", (unsigned)n);
        raw_header(h, "pax", 'x', size);
        memcpy(h + 512, rec, (size_t)n);
        raw_header(h + 1024, "f", i == 1 ? '1' : '0', "00000000000\0");
        assert_int_equal(write(fd, h, sizeof(h)), sizeof(h));
        lseek(fd, 0, SEEK_SET);
        int r = read_tar(fd, &l, &rep);
        assert_true(r == 0 || r == -EUCLEAN);
        if (i < 2)
            assert_int_equal(r, -EUCLEAN);
        assert_null(strstr(describe(&l), ".."));
        listing_fini(&l);
    }
}

static void names_of_64_KiB_and_many_members_stay_bounded(void **state)
{
    struct tarball t = tar_new(0);
    struct listing l = { 0 };
    struct read_report rep;
    char *name = malloc(70001);

    memset(name, 'n', 70000);
    name[70000] = 0;
    tar_add(&t, name, S_IFREG | 0600, NULL, NULL, 0);
    assert_int_equal(read_tar(tar_done(&t), &l, &rep), -EUCLEAN);
    listing_fini(&l);
    l = (struct listing){ 0 };
    t = tar_new(ARCHIVE_FILTER_ZSTD);
    for (int i = 0; i < 20000; i++) {
        snprintf(name, 20, "m%d", i);
        tar_add(&t, name, S_IFREG | 0600, NULL, NULL, 0);
    }
    assert_int_equal(read_tar(tar_done(&t), &l, &rep), 0);
    assert_int_equal(rep.entries, 20000);
    listing_fini(&l);
    free(name);
}

static void the_receiver_can_stop_the_reading(void **state)
{
    struct tarball t = tar_new(0);
    struct listing l = { .stop_after = 2 };
    struct read_report rep;

    for (int i = 0; i < 100; i++)
        tar_add(&t, "f", S_IFREG | 0600, NULL, "x", 1);
    assert_int_equal(read_tar(tar_done(&t), &l, &rep), -ECANCELED);
    listing_fini(&l);
}

static void acls_of_an_archive_become_attributes(void **state)
{
    struct tarball t = tar_new(0);
    struct listing l = { 0 };
    struct read_report rep;
    struct archive_entry *e = archive_entry_new();

    archive_entry_set_pathname(e, "f");
    archive_entry_set_mode(e, S_IFREG | 0640);
    archive_entry_set_size(e, 0);
    archive_entry_acl_add_entry(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 6, ARCHIVE_ENTRY_ACL_USER, 77, "who");
    archive_entry_acl_add_entry(e, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 4, ARCHIVE_ENTRY_ACL_MASK, -1, "");
    assert_true(archive_write_header(t.a, e) >= ARCHIVE_WARN);
    archive_entry_free(e);
    assert_int_equal(read_tar(tar_done(&t), &l, &rep), 0);
    assert_string_equal(describe(&l), "f 100640 0:0 0 0\n  system.posix_acl_access 44\nend 1\n");
    listing_fini(&l);
}

/* --- directories --- */

static char dir[64];

static int dir_setup(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/coppice-E-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int dir_teardown(void **state)
{
    stream_rm(dir);
    return 0;
}

static void make(const char *name, const void *p, size_t n)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, p, n), 0);
    close(fd);
}

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned n;
    char *p = path[n++ & 3];

    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

static int read_it(struct listing *l, struct read_report *rep)
{
    struct read_dir_opts o = { 0 };
    int fd = open(dir, O_RDONLY | O_DIRECTORY);

    memset(rep, 0, sizeof(*rep));
    rep->warn = count_warning;
    rep->warn_arg = l;
    int r = read_dir(fd, &o, collect, l, rep);
    close(fd);
    if (r)
        print_message("read_dir: %s\n", rep->error);
    return r;
}

static void a_directory_is_read_sorted_with_all_kinds_and_never_waits(void **state)
{
    struct listing l = { 0 };
    struct read_report rep;
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct timespec times[2] = { { 50, 0 }, { 50, 0 } };

    assert_int_equal(mkdir(in_dir("b"), 0755), 0);
    make("b/z", "123", 3);
    make("b/a", "1", 1);
    make("a-first", "x", 1);
    assert_int_equal(link(in_dir("b/a"), in_dir("c")), 0);
    assert_int_equal(symlink("/etc/passwd", in_dir("s")), 0);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/sock", dir);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(sock, (struct sockaddr *)&un, sizeof(un)), 0);
    close(sock);
    bool dev = mknod(in_dir("null"), S_IFCHR | 0666, makedev(1, 3)) == 0;
    bool attr = setxattr(in_dir("b/z"), "user.k", "val", 3, 0) == 0;
    if (!attr)
        print_message("no user attributes on %s: not tested\n", dir);
    static const char *const all[] = { "b/z", "b/a", "b", "a-first", "s", "fifo", "sock", "" };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (geteuid() == 0)
            assert_int_equal(lchown(in_dir(all[i]), 1, 2), 0);
        assert_int_equal(utimensat(AT_FDCWD, in_dir(all[i]), times, AT_SYMLINK_NOFOLLOW), 0);
    }
    assert_int_equal(chmod(in_dir("sock"), 0700), 0);
    assert_int_equal(read_it(&l, &rep), 0);
    if (geteuid() == 0) {
        char want[1024];
        snprintf(want, sizeof(want), ". 40700 1:2 50 0\na-first 100644 1:2 50 1\n  data 1\nb 40755 1:2 50 0\nb/a 100644 1:2 50 1\n  data 1\n"
                                     "b/z 100644 1:2 50 3\n%s  data 3\nc = b/a\nfifo 10600 1:2 50 0\ns 120777 1:2 50 0 -> /etc/passwd\n"
                                     "sock 140700 1:2 50 0\nend 9\n", attr ? "  user.k 3\n" : "");
        assert_string_equal(describe(&l), want);
    }
    assert_int_equal(rep.devices, dev);
    assert_int_equal(rep.entries, 9);
    listing_fini(&l);
}

static void holes_are_not_read(void **state)
{
    struct listing l = { 0 };
    struct read_report rep;
    int fd = open(in_dir("sparse"), O_CREAT | O_RDWR, 0644);

    assert_int_equal(ftruncate(fd, 1ll << 40), 0);
    assert_int_equal(pwrite(fd, "x", 1, 1 << 30), 1);
    close(fd);
    assert_int_equal(read_it(&l, &rep), 0);
    assert_non_null(strstr(describe(&l), " 1099511627776\n  data 4096\nend 2"));
    assert_true(rep.bytes <= 1 << 20);
    listing_fini(&l);
}

static int swap_on_entry(void *arg, const void *p, size_t n)
{
    static bool done;

    if (!done)
        assert_int_equal(truncate(in_dir("f"), 10), 0);
    done = true;
    return collect(arg, p, n);
}

static void a_file_that_changes_meanwhile_is_reported(void **state)
{
    static char big[4 << 20];
    struct listing l = { 0 };
    struct read_report rep = { .warn = count_warning, .warn_arg = &l };
    struct read_dir_opts o = { 0 };

    memset(big, 'x', sizeof(big));
    make("f", big, sizeof(big));
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(read_dir(fd, &o, swap_on_entry, &l, &rep), 0);
    close(fd);
    assert_int_equal(rep.changed, 1);
    assert_int_equal(l.warnings, 1);
    assert_non_null(strstr(describe(&l), "end 2"));
    listing_fini(&l);
}

static int remove_on_entry(void *arg, const void *p, size_t n)
{
    unlink(in_dir("z1"));
    rename(in_dir("z2"), in_dir("z2-old"));
    symlink("/etc", in_dir("z2"));
    return collect(arg, p, n);
}

static void files_that_vanish_or_turn_into_links_are_reported(void **state)
{
    static char big[2 << 20];
    struct listing l = { 0 };
    struct read_report rep = { .warn = count_warning, .warn_arg = &l };
    struct read_dir_opts o = { 0 };

    memset(big, 'x', sizeof(big));
    make("a", big, sizeof(big));
    make("z1", "1", 1);
    assert_int_equal(mkdir(in_dir("z2"), 0755), 0);
    int fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(read_dir(fd, &o, remove_on_entry, &l, &rep), 0);
    close(fd);
    assert_int_equal(rep.vanished, 1);
    assert_null(strstr(describe(&l), "passwd"));
    assert_non_null(strstr(describe(&l), "z2 120777"));
    listing_fini(&l);
}

static void mounts_are_not_entered(void **state)
{
    struct listing l = { 0 };
    struct read_report rep;

    assert_int_equal(mkdir(in_dir("m"), 0755), 0);
    if (mount("none", in_dir("m"), "tmpfs", 0, NULL) < 0) {
        print_message("cannot mount a tmpfs: skipped\n");
        skip();
    }
    make("m/inside", "x", 1);
    int r = read_it(&l, &rep);
    umount2(in_dir("m"), MNT_DETACH);
    assert_int_equal(r, 0);
    assert_int_equal(rep.mounts, 1);
    assert_null(strstr(describe(&l), "inside"));
    listing_fini(&l);
}

static void owners_above_65535_are_mapped_and_told_once(void **state)
{
    struct listing l = { 0 };
    struct read_report rep;

    make("a", "x", 1);
    make("b", "x", 1);
    if (chown(in_dir("a"), 100000, 5) < 0 || chown(in_dir("b"), 5, 100000) < 0) {
        print_message("not root: skipped\n");
        skip();
    }
    assert_int_equal(read_it(&l, &rep), 0);
    assert_int_equal(rep.ids, 2);
    assert_int_equal(l.warnings, 1);
    assert_non_null(strstr(describe(&l), " 65534:5 "));
    assert_non_null(strstr(describe(&l), " 5:65534 "));
    listing_fini(&l);
}

static void deep_trees_are_read(void **state)
{
    struct listing l = { 0 };
    struct read_report rep;
    int fd = open(dir, O_RDONLY | O_DIRECTORY);

    for (int i = 0; i < 1500; i++) {
        assert_int_equal(mkdirat(fd, "deep", 0755), 0);
        int next = openat(fd, "deep", O_RDONLY | O_DIRECTORY);
        close(fd);
        fd = next;
    }
    close(fd);
    assert_int_equal(read_it(&l, &rep), 0);
    assert_int_equal(rep.entries, 1501);
    listing_fini(&l);
    pid_t pid = fork();                      /* nftw() does not go this deep */
    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", dir, NULL);
        _exit(1);
    }
    waitpid(pid, NULL, 0);
}

/* --- tar out --- */

static void a_stream_becomes_a_tar_that_reads_back_the_same(void **state)
{
    struct buf in = BUF_INIT;
    struct listing l = { 0 }, back = { 0 };
    struct read_report rep = { .warn = count_warning, .warn_arg = &l };
    int src = test_memfd(), out = test_memfd();

    put_sample(&in, 3);
    assert_int_equal(io_write_full(src, in.data, in.len), 0);
    lseek(src, 0, SEEK_SET);
    int r = write_tar(src, out, &rep);
    if (r)
        print_error("write_tar: %s\n", rep.error);
    assert_int_equal(r, 0);
    close(src);
    lseek(out, 0, SEEK_SET);
    assert_int_equal(read_tar(out, &back, &rep), 0);
    buf_put(&l.frames, in.data, in.len);
    char *want = strdup(describe(&l));
    assert_string_equal(describe(&back), want);
    assert_int_equal(back.frames.len, in.len);
    assert_memory_equal(back.frames.data, in.data, in.len);
    free(want);
    listing_fini(&l);
    listing_fini(&back);
    buf_fini(&in);
}

static int write_stream(const struct buf *b, int *ret_fd, struct read_report *rep)
{
    int src = test_memfd(), out = test_memfd();

    assert_int_equal(io_write_full(src, b->data, b->len), 0);
    lseek(src, 0, SEEK_SET);
    memset(rep, 0, sizeof(*rep));
    int r = write_tar(src, out, rep);
    close(src);
    lseek(out, 0, SEEK_SET);
    *ret_fd = out;
    return r;
}

static void devices_and_sockets_and_links_to_them_are_left_out_of_a_tar(void **state)
{
    struct buf b = BUF_INIT;
    struct listing l = { 0 };
    struct read_report rep;
    struct inode dev = test_inode(S_IFCHR | 0600, 0, 1), sock = test_inode(S_IFSOCK | 0600, 0, 1);
    int fd;

    import_put_entry(&b, "dev", &dev, NULL);
    import_put_entry(&b, "sock", &sock, NULL);
    import_put_xattr(&b, "security.x", "v", 1);
    import_put_link(&b, "sock2", "sock");
    import_put_link(&b, "sock3", "sock2");
    put_file(&b, "z", "x", 1, 1);
    import_put_end(&b, 5);
    assert_int_equal(write_stream(&b, &fd, &rep), 0);
    assert_int_equal(rep.devices, 4);
    assert_int_equal(read_tar(fd, &l, &rep), 0);
    assert_string_equal(describe(&l), "z 100644 1000:100 1 1\n  data 1\nend 1\n");
    listing_fini(&l);
    buf_fini(&b);
}

static void a_malformed_stream_makes_no_tar(void **state)
{
    struct buf b = BUF_INIT;
    struct read_report rep;
    static const char *const bad[] = { "/abs", "../x", "a/../x", "a//x" };
    int fd;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        buf_clear(&b);
        put_file(&b, bad[i], "x", 1, 1);
        import_put_end(&b, 1);
        assert_int_equal(write_stream(&b, &fd, &rep), -EUCLEAN);
        close(fd);
        buf_clear(&b);
        import_put_link(&b, "x", bad[i]);
        import_put_end(&b, 1);
        assert_int_equal(write_stream(&b, &fd, &rep), -EUCLEAN);
        close(fd);
    }
    buf_clear(&b);
    put_file(&b, "f", "12345", 5, 1);
    import_put_data(&b, 3, "123", 3);
    import_put_end(&b, 1);
    assert_int_equal(write_stream(&b, &fd, &rep), -EUCLEAN);
    close(fd);
    buf_clear(&b);
    put_sample(&b, 1);
    for (size_t cut = 0; cut < 4000; cut += 7) {
        struct buf part = { b.data, cut, cut, 0 };
        assert_int_equal(write_stream(&part, &fd, &rep), -EUCLEAN);
        assert_true(*rep.error);
        close(fd);
    }
    buf_fini(&b);
}

int main(void)
{
#define D(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archives_of_all_filters_are_read), cmocka_unit_test(dotdot_in_a_name_refuses_the_import),
        cmocka_unit_test(writing_through_a_link_of_the_archive_is_refused_by_the_importer), cmocka_unit_test(damaged_archives_are_refused),
        cmocka_unit_test(impossible_numbers_are_refused_or_bounded), cmocka_unit_test(pax_records_cannot_reach_outside),
        cmocka_unit_test(names_of_64_KiB_and_many_members_stay_bounded), cmocka_unit_test(the_receiver_can_stop_the_reading),
        cmocka_unit_test(acls_of_an_archive_become_attributes),
        D(a_directory_is_read_sorted_with_all_kinds_and_never_waits), D(holes_are_not_read), D(a_file_that_changes_meanwhile_is_reported),
        D(files_that_vanish_or_turn_into_links_are_reported), D(mounts_are_not_entered), D(owners_above_65535_are_mapped_and_told_once),
        D(deep_trees_are_read), cmocka_unit_test(a_stream_becomes_a_tar_that_reads_back_the_same),
        cmocka_unit_test(devices_and_sockets_and_links_to_them_are_left_out_of_a_tar), cmocka_unit_test(a_malformed_stream_makes_no_tar),
    };
    setlocale(LC_CTYPE, "C.UTF-8");          /* for the archives that libarchive makes here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
