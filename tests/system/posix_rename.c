/* rename(2) and renameat2(2). */
#include "tests/system/posix.h"

static const char types[] = "fdlps";

static int exchange(const char *a, const char *b) { return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE); }
static int keep(const char *a, const char *b) { return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE); }

static void every_type_goes_over_its_like(void)
{
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 5; j++) {
            OK(mkdir("x", 0755));
            OK(mkdir("y", 0755));
            make("x/a", types[i]);
            make("y/b", types[j]);
            struct stat a = stat_of("x/a"), b = stat_of("y/b");
            bool ad = types[i] == 'd', bd = types[j] == 'd';
            FAILS(keep("x/a", "y/b"), EEXIST);
            tick();
            OK(exchange("x/a", "y/b"));
            SAME(stat_of("y/b").st_ino, a.st_ino);
            SAME(stat_of("x/a").st_ino, b.st_ino);
            T(later(stat_of("y/b").st_ctim, a.st_ctim) && later(stat_of("x/a").st_ctim, b.st_ctim));
            SAME(stat_of("x").st_nlink, bd ? 3 : 2);
            SAME(stat_of("y").st_nlink, ad ? 3 : 2);
            OK(exchange("x/a", "y/b"));
            if (ad && !bd) {
                FAILS(rename("x/a", "y/b"), ENOTDIR);
            } else if (!ad && bd) {
                FAILS(rename("x/a", "y/b"), EISDIR);
            } else {
                OK(rename("x/a", "y/b"));
                SAME(stat_of("y/b").st_ino, a.st_ino);
                T(!there("x/a"));
                SAME(stat_of("y/b").st_nlink, ad ? 2 : 1);
                SAME(stat_of("x").st_nlink, 2);
                SAME(stat_of("y").st_nlink, ad ? 3 : 2);
                OK(keep("y/b", "x/a"));
                SAME(count_entries("y"), 2);
            }
            (void)!remove("x/a");
            (void)!remove("y/b");
            OK(rmdir("x"));
            OK(rmdir("y"));
        }
    }
}

static void what_cannot_be_renamed_is_refused(void)
{
    make("f", 'f');
    OK(mkdir("d", 0755));
    OK(mkdir("d/e", 0755));
    OK(mkdir("full", 0755));
    make("full/x", 'f');
    FAILS(rename("none", "x"), ENOENT);
    FAILS(rename("f", "none/x"), ENOENT);
    FAILS(rename("f", "f/x"), ENOTDIR);
    FAILS(rename("f/x", "y"), ENOTDIR);
    FAILS(rename("d", "d/e/x"), EINVAL);
    FAILS(rename("d", "d/e"), EINVAL);
    FAILS(rename("d/e", "d"), ENOTEMPTY);
    FAILS(exchange("d", "d/e"), EINVAL);
    FAILS(exchange("d/e", "d"), EINVAL);
    FAILS(exchange("f", "none"), ENOENT);
    FAILS(exchange("none", "f"), ENOENT);
    FAILS(rename("d", "full"), ENOTEMPTY);
    FAILS(rename("d/.", "x"), EBUSY);
    FAILS(rename("d/..", "x"), EBUSY);
    FAILS(rename("f", "d/."), EBUSY);
    FAILS(rename("f", "x/"), ENOTDIR);
    FAILS(rename("f", ""), ENOENT);
    FAILS(renameat2(AT_FDCWD, "f", AT_FDCWD, "x", 1 << 20), EINVAL);
    FAILS(renameat2(AT_FDCWD, "f", AT_FDCWD, "x", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
    OK(rename("d/", "g/"));
    OK(rename("f", "f"));
    OK(rename("g", "g"));
    FAILS(keep("f", "f"), EEXIST);
    OK(exchange("f", "f"));
    OK(link("f", "f2"));
    OK(rename("f", "f2"));                /* two names of one file: both stay */
    T(there("f") && there("f2"));
    SAME(stat_of("f").st_nlink, 2);
    OK(exchange("f", "f2"));
    OK(keep("f", "f3"));
    T(!there("f") && there("f3"));
    FAILS(keep("f3", "f2"), EEXIST);
}

static void times_follow_a_rename(void)
{
    struct stat from, to, it, gone;
    int fd;

    OK(mkdir("a", 0755));
    OK(mkdir("b", 0755));
    put("a/f", "f");
    put("b/g", "g");
    OK(link("b/g", "b/kept"));
    from = stat_of("a");
    to = stat_of("b");
    it = stat_of("a/f");
    gone = stat_of("b/g");
    fd = open("b/g", O_RDONLY);
    tick();
    OK(rename("a/f", "b/g"));
    T(later(stat_of("a").st_mtim, from.st_mtim) && later(stat_of("a").st_ctim, from.st_ctim));
    T(later(stat_of("b").st_mtim, to.st_mtim) && later(stat_of("b").st_ctim, to.st_ctim));
    T(later(stat_of("b/g").st_ctim, it.st_ctim) && equal(stat_of("b/g").st_mtim, it.st_mtim));
    T(later(stat_of("b/kept").st_ctim, gone.st_ctim) && equal(stat_of("b/kept").st_mtim, gone.st_mtim));
    SAME(stat_of("b/kept").st_nlink, 1);
    close(fd);
}

static void open_files_survive_being_replaced(void)
{
    char b[4] = { 0 };
    int old, new, dir;
    struct stat st;

    put("a", "new");
    put("b", "old");
    old = open("b", O_RDWR);
    new = open("a", O_RDWR);
    OK(rename("a", "b"));
    SAME(pread(old, b, 3, 0), 3);
    T(!memcmp(b, "old", 3));
    OK(fstat(old, &st));
    SAME(st.st_nlink, 0);
    SAME(pwrite(new, "NEW", 3, 0), 3);
    HAS("b", "NEW");
    SAME(pwrite(old, "xxx", 3, 0), 3);
    HAS("b", "NEW");
    OK(fstat(new, &st));
    SAME(st.st_nlink, 1);
    OK(mkdir("d", 0755));
    OK(mkdir("e", 0755));
    make("d/x", 'f');
    dir = open("e", O_RDONLY | O_DIRECTORY);
    OK(rename("d", "e"));
    FAILS(mkdirat(dir, "x", 0755), ENOENT);
    T(there("e/x"));
    close(old);
    close(new);
    close(dir);
    remount();
    HAS("b", "NEW");
    T(there("e/x"));
}

static void sticky_directories_keep_the_names_of_others(void)
{
    OK(mkdir("tmp", 01777));
    AS(USER) {
        put("tmp/mine", "x");
        OK(mkdir("tmp/mydir", 0777));
        put("loose", "x");
    }
    AS(FRIEND) {
        put("tmp/other", "y");
        FAILS(unlink("tmp/mine"), EPERM);
        FAILS(rmdir("tmp/mydir"), EPERM);
        FAILS(rename("tmp/mine", "tmp/z"), EPERM);
        FAILS(rename("tmp/mine", "z"), EPERM);
        FAILS(rename("tmp/other", "tmp/mine"), EPERM);
        FAILS(exchange("tmp/other", "tmp/mine"), EPERM);
        put("tmp/mydir/in", "fine");
        FAILS(link("tmp/mine", "tmp/l"), EPERM);   /* fs.protected_hardlinks, where it is on */
    }
    AS(USER) {
        OK(rename("tmp/mine", "tmp/renamed"));
        OK(unlink("tmp/renamed"));
    }
    OK(chown("tmp", FRIEND, FRIEND));
    AS(FRIEND) {                          /* the owner of the directory may */
        OK(unlink("tmp/mydir/in"));
        OK(rmdir("tmp/mydir"));
        OK(unlink("loose"));
    }
}

static void a_directory_that_moves_must_be_writable(void)
{
    OK(mkdir("a", 0777));
    OK(mkdir("b", 0777));
    AS(USER) {
        OK(mkdir("a/d", 0555));
        FAILS(rename("a/d", "b/d"), EACCES);     /* its ".." would change */
        OK(rename("a/d", "a/e"));
        OK(chmod("a/e", 0755));
        OK(rename("a/e", "b/e"));
    }
    OK(chmod("a", 0555));
    AS(USER) {
        FAILS(rename("b/e", "a/e"), EACCES);
        FAILS(mkdir("a/x", 0777), EACCES);
    }
    OK(chmod("b", 0666));                 /* no x: nothing in it can be reached */
    AS(USER) {
        FAILS(rename("b/e", "e"), EACCES);
        FAILS(access("b/e", F_OK), EACCES);
        FAILS(open("b/e", O_RDONLY), EACCES);
        SAME(count_entries("b"), 3);
    }
}

static void whole_trees_are_moved_and_seen(void)
{
    char path[64];

    OK(mkdir("a", 0755));
    OK(mkdir("a/b", 0755));
    OK(mkdir("a/b/c", 0755));
    put("a/b/c/f", "deep");
    OK(mkdir("t", 0755));
    for (int i = 0; i < 20; i++) {
        OK(rename("a/b", "t/b"));
        HAS("t/b/c/f", "deep");
        FAILS(access("a/b/c/f", F_OK), ENOENT);
        OK(chdir("t/b/c"));
        HAS("../../b/c/f", "deep");
        OK(chdir("../../.."));
        OK(rename("t/b", "a/b"));
        HAS("a/b/c/f", "deep");
    }
    OK(chdir("a/b/c"));
    OK(rename("../../../a", "../../../z"));
    T(getcwd(path, 2) == NULL && errno == ERANGE);
    HAS("f", "deep");
    OK(chdir("../../.."));
    HAS("z/b/c/f", "deep");
    SAME(stat_of("z/b/..").st_ino, stat_of("z").st_ino);
}

const struct posix_test posix_rename_tests[] = {
    { "every_type_goes_over_its_like", every_type_goes_over_its_like },
    { "what_cannot_be_renamed_is_refused", what_cannot_be_renamed_is_refused },
    { "times_follow_a_rename", times_follow_a_rename },
    { "open_files_survive_being_replaced", open_files_survive_being_replaced },
    { "sticky_directories_keep_the_names_of_others", sticky_directories_keep_the_names_of_others },
    { "a_directory_that_moves_must_be_writable", a_directory_that_moves_must_be_writable },
    { "whole_trees_are_moved_and_seen", whole_trees_are_moved_and_seen },
    { 0 }
};
