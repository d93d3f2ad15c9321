/* The template's tree: what is taken of a host and what never is; equal hosts give equal streams; and the other direction, a stream as a directory of the host. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/wire.h"
#include "fs/import.h"
#include "snapshotd/host_tree.h"
#include "tests/lib/tmp.h"
#include "tools/write_dir.h"

static char root[4096];

static char *at(const char *path)
{
    static char buf[4][8192];
    static unsigned k;
    char *p = buf[k++ % 4];

    snprintf(p, 8192, "%s/%s", root, path);
    return p;
}

static void put(const char *path, mode_t mode, const char *text)
{
    int fd = open(at(path), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void dir(const char *path, mode_t mode)
{
    assert_int_equal(mkdir(at(path), 0755), 0);
    assert_int_equal(chmod(at(path), mode), 0);
}

/* A small merged host, with secrets in the usual and in unusual places. */
static int setup(void **state)
{
    (void)state;
    umask(022);
    if (tmp_make("host", root, sizeof(root)))
        return -1;
    dir("usr", 0755), dir("usr/bin", 0755), dir("usr/lib", 0755), dir("etc", 0755), dir("etc/ssl", 0755), dir("etc/ssl/certs", 0755), dir("etc/ssl/private", 0700);
    dir("etc/alternatives", 0755), dir("etc/skel", 0755), dir("etc/python3", 0755), dir("etc/fonts", 0755), dir("etc/ssh", 0755);
    put("usr/bin/bash", 0755, "#!");
    assert_int_equal(symlink("usr/bin", at("bin")) | symlink("/usr/lib", at("lib")) | symlink("usr/sbin", at("sbin")), 0);
    put("etc/ld.so.cache", 0644, "cache"), put("etc/services", 0644, "ssh 22/tcp\n"), put("etc/skel/.bashrc", 0644, "# rc\n");
    put("etc/shadow", 0640, "root:SECRET"), put("etc/ssh/key", 0644, "SECRET"), put("etc/pip.conf", 0644, "SECRET"), put("etc/machine-id", 0444, "SECRET");
    put("etc/ssl/private/key.pem", 0600, "SECRET"), put("etc/ssl/certs/ca.crt", 0644, "cert"), put("etc/ssl/certs/host.key", 0644, "SECRET");
    put("etc/fonts/fonts.conf", 0644, "<fonts/>"), put("etc/fonts/hidden", 0600, "SECRET"), put("etc/fonts/foreign", 0644, "SECRET"), put("etc/fonts/loose", 0666, "SECRET");
    assert_int_equal(chown(at("etc/fonts/foreign"), 1000, 1000), 0);
    assert_int_equal(mkfifo(at("etc/fonts/fifo"), 0644), 0);
    put("outside", 0644, "SECRET");
    assert_int_equal(symlink("/usr/bin/vim.basic", at("etc/alternatives/vi")) | symlink("../../outside", at("etc/alternatives/out")) |
                     symlink("/root/SECRET", at("etc/alternatives/home")) | symlink("/outside", at("etc/mime.types")) | symlink("../usr/../outside", at("etc/shells")), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return tmp_remove(root), 0;
}

struct found { bool there; uint32_t mode, uid, gid; char target[256], text[4096]; };

/* Every frame is well-formed; the entry at `path` is given, if there is one. */
static struct found look(const struct host_tree *t, const char *path)
{
    struct found f = { 0 };
    char name[4096];
    uint64_t entries = 0, end = 0;
    bool here = false;

    for (size_t k = 0; k < t->frames.len;) {
        uint32_t n = le32(t->frames.data + k);
        struct reader r = reader_of(t->frames.data + k + 4, n);
        uint8_t type = get_u8(&r);
        k += 4 + (size_t)n;
        assert_true(k <= t->frames.len);
        if (type == IMPORT_ENTRY) {
            entries++;
            get_str(&r, name, sizeof(name));
            struct found e = { .there = true };
            e.mode = get_u32(&r), e.uid = get_u32(&r), e.gid = get_u32(&r);
            get_u32(&r), get_u64(&r), get_u32(&r), get_u64(&r);
            get_str(&r, e.target, sizeof(e.target));
            assert_false(r.bad);
            assert_true((e.uid == 0 || e.uid == 1000) && (e.gid == 0 || e.gid == 1000));
            if ((here = !strcmp(name, path)))
                f = e;
        } else if (type == IMPORT_DATA && here) {
            get_u64(&r);
            snprintf(f.text, sizeof(f.text), "%.*s", (int)reader_left(&r), (const char *)r.p);
        } else if (type == IMPORT_END) {
            end = get_u64(&r);
            assert_int_equal(k, t->frames.len);
        }
    }
    assert_int_equal(entries, end);
    return f;
}

static void the_skeleton_has_what_programs_expect(void **state)
{
    struct host_tree t;

    (void)state;
    assert_int_equal(host_tree_read(root, &t), 0);
    assert_int_equal(look(&t, "tmp").mode, S_IFDIR | 01777);
    assert_int_equal(look(&t, "workspace").uid, 1000);
    assert_int_equal(look(&t, "home/user").uid, 1000);
    assert_int_equal(look(&t, "usr").mode, S_IFDIR | 0755);
    assert_string_equal(look(&t, "bin").target, "usr/bin");
    assert_string_equal(look(&t, "lib").target, "usr/lib");
    assert_string_equal(look(&t, "home/user/.bashrc").text, "# rc\n");
    assert_string_equal(look(&t, "etc/services").text, "ssh 22/tcp\n");
    assert_string_equal(look(&t, "etc/ssl/certs/ca.crt").text, "cert");
    assert_string_equal(look(&t, "etc/alternatives/vi").target, "/usr/bin/vim.basic");
    assert_non_null(strstr(look(&t, "etc/passwd").text, "user:x:1000:1000:user:/home/user:/bin/bash\n"));
    host_tree_fini(&t);
}

static void nothing_secret_or_foreign_is_in_it(void **state)
{
    static const char *const never[] = { "etc/shadow", "etc/ssh", "etc/pip.conf", "etc/ssl/private", "etc/ssl/certs/host.key", "etc/fonts/hidden", "etc/fonts/foreign",
                                         "etc/fonts/loose", "etc/fonts/fifo", "etc/alternatives/out", "etc/alternatives/home", "etc/mime.types", "etc/shells", "outside" };
    struct host_tree t;

    (void)state;
    assert_int_equal(host_tree_read(root, &t), 0);
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        if (look(&t, never[i]).there)
            fail_msg("%s is in the template", never[i]);
    assert_null(memmem(t.frames.data, t.frames.len, "SECRET", 6));
    host_tree_fini(&t);
}

static void only_content_changes_the_stream(void **state)
{
    const struct timespec old[2] = { { 1, 0 }, { 1, 0 } };
    struct host_tree a, b, d;

    (void)state;
    assert_int_equal(host_tree_read(root, &a), 0);
    assert_true(host_inputs_same(&a.inputs));
    assert_int_equal(utimensat(AT_FDCWD, at("etc/services"), old, 0), 0);
    assert_false(host_inputs_same(&a.inputs));
    assert_int_equal(host_tree_read(root, &b), 0);
    assert_int_equal(a.frames.len, b.frames.len);
    assert_memory_equal(a.frames.data, b.frames.data, a.frames.len);
    put("etc/services", 0644, "ssh 2222/tcp\n");
    assert_false(host_inputs_same(&b.inputs));
    assert_int_equal(host_tree_read(root, &d), 0);
    assert_string_equal(look(&d, "etc/services").text, "ssh 2222/tcp\n");
    assert_int_equal(symlink("/usr/bin/ed", at("etc/alternatives/editor")), 0);
    assert_false(host_inputs_same(&d.inputs));
    host_tree_fini(&a), host_tree_fini(&b), host_tree_fini(&d);
}

static void a_host_that_is_not_merged_is_refused_with_a_way_out(void **state)
{
    struct host_tree t;

    (void)state;
    assert_int_equal(unlink(at("sbin")), 0);
    dir("sbin", 0755);
    assert_int_equal(host_tree_read(root, &t), -ENOTSUP);
    assert_non_null(strstr(t.error, "/sbin"));
    assert_non_null(strstr(t.error, "--kind root"));
    host_tree_fini(&t);
}

/* --- write_dir --- */

static int feed(struct write_dir *w, struct buf *b)
{
    int r = write_dir_frames(w, b->data, b->len);

    buf_clear(b);
    return r;
}

static void a_stream_becomes_a_directory_and_nothing_beside_it(void **state)
{
    struct inode d = { .mode = S_IFDIR | 0750 }, f = { .mode = S_IFREG | 06755, .uid = 12, .size = 5 }, l = { .mode = S_IFLNK | 0777 };
    struct write_dir w;
    struct buf b = BUF_INIT;
    struct stat st;

    (void)state;
    dir("to", 0755);
    int fd = open(at("to"), O_RDONLY | O_DIRECTORY);
    write_dir_init(&w, fd);
    import_put_entry(&b, "", &d, NULL), import_put_entry(&b, "d", &d, NULL), import_put_entry(&b, "d/f", &f, NULL), import_put_data(&b, 0, "hello", 5);
    import_put_link(&b, "hard", "d/f"), import_put_entry(&b, "out", &l, at("")), import_put_end(&b, 5);
    assert_int_equal(feed(&w, &b), 0);
    assert_int_equal(stat(at("to/d/f"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0755);           /* no setuid */
    assert_int_equal(st.st_uid, geteuid());
    assert_int_equal(st.st_nlink, 2);
    /* Through a link of its own, up, and by absolute names: refused. */
    static const char *const bad[] = { "out/new", "../new", "d/../../new", "/new", "d//x", ".", ".." };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        import_put_entry(&b, bad[i], &f, NULL);
        assert_true(feed(&w, &b) < 0);
    }
    assert_int_not_equal(access(at("new"), F_OK), 0);
    import_put_link(&b, "stolen", "out/etc/shadow");
    assert_true(feed(&w, &b) < 0);
    /* A file takes a link's place, not its target's. */
    import_put_entry(&b, "out", &f, NULL);
    assert_int_equal(feed(&w, &b), 0);
    assert_int_equal(lstat(at("to/out"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    import_put_data(&b, 3, "xxx", 3);                       /* past its size */
    assert_true(feed(&w, &b) < 0);
    static const uint8_t cut[] = { 9, 0, 0, 0, IMPORT_ENTRY, 1 };
    assert_true(write_dir_frames(&w, cut, sizeof(cut)) < 0);
    write_dir_fini(&w);
    close(fd);
    buf_fini(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_skeleton_has_what_programs_expect, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_secret_or_foreign_is_in_it, setup, teardown),
        cmocka_unit_test_setup_teardown(only_content_changes_the_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(a_host_that_is_not_merged_is_refused_with_a_way_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_becomes_a_directory_and_nothing_beside_it, setup, teardown),
    };

    if (geteuid()) {
        puts("skipped: it makes files that root owns");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
