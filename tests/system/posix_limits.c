/* Names of attributes, lengths of names and targets, what is replaced, and a file system that is made read-only. */
#include "tests/system/posix.h"

#include <libgen.h>
#include <sys/mount.h>
#include <sys/xattr.h>

static void attribute_names_hold_every_byte(void)
{
    static const char *const words[] = { "user.a/b", "user..", "user.a..b", "user.A", "user.a", "user.\xe4\xb8\xad\xe6\x96\x87", "user.\xff\xfe", "user. ", "user.\n", "user.a=b", "trusted.x/y", "security.z" };
    enum { WORDS = sizeof words / sizeof words[0] };
    char name[16], list[8192], b[32];
    unsigned n = 0, found = 0;

    put("f", "x");
    for (int c = 1; c < 256; c++) {
        snprintf(name, sizeof name, "user.%c%c", c, c);
        if (on_coppice || c < 60) {       /* ext4 has no room for all */
            OK(setxattr("f", name, name, strlen(name), XATTR_CREATE));
            n++;
        }
    }
    for (int i = 0; i < WORDS; i++) {
        OK(setxattr("f", words[i], words[i], strlen(words[i]), XATTR_CREATE));
        n++;
    }
    remount();
    ssize_t len = listxattr("f", list, sizeof list);
    for (ssize_t i = 0; i < len; i += (ssize_t)strlen(list + i) + 1) {
        ssize_t k = getxattr("f", list + i, b, sizeof b);
        found += k == (ssize_t)strlen(list + i) && !memcmp(b, list + i, (size_t)k);
    }
    SAME(found, n);
    /* xfstests generic/377: a list that has no room says so for every size that is too small */
    unsigned wrong = 0;
    for (ssize_t size = 1; size < len + 3; size++) {
        memset(list, '#', sizeof list);
        errno = 0;
        ssize_t r = listxattr("f", list, (size_t)size);
        wrong += size < len ? r != -1 || errno != ERANGE : r != len;
        wrong += list[size] != '#';
    }
    SAME(wrong, 0);
}

static void more_names_than_a_list_can_hold_say_so(void)
{
    char name[256];
    static char list[XATTR_LIST_MAX];

    if (!on_coppice) {
        skipped("other file systems have room for less");
        return;
    }
    put("f", "x");
    memset(name, 'n', sizeof name);
    name[255] = 0;
    for (int i = 0; i < 300; i++) {       /* 76,800 bytes of names */
        memcpy(name, "user.", 5);
        snprintf(name + 5, 4, "%03d", i);
        name[8] = 'n';
        OK(setxattr("f", name, "v", 1, 0));
    }
    FAILS(listxattr("f", list, sizeof list), E2BIG);
    T(listxattr("f", NULL, 0) == -1 ? errno == E2BIG : true);
    SAME(getxattr("f", name, list, sizeof list), 1);
    for (int i = 299; i >= 0; i--) {
        snprintf(name + 5, 4, "%03d", i);
        name[8] = 'n';
        OK(removexattr("f", name));
    }
    SAME(listxattr("f", list, sizeof list), 0);
}

static void names_and_targets_of_every_length(void)
{
    static char target[4096], b[4096];
    char name[256] = "", next[256] = "";
    unsigned wrong = 0;

    memset(target, 't', sizeof target);
    put("f", "x");
    OK(rename("f", "n"));
    strcpy(name, "n");
    for (size_t len = 2; len <= 255; len++) {
        memset(next, 'n', len);
        next[len] = 0;
        wrong += rename(name, next) != 0;
        strcpy(name, next);
    }
    SAME(wrong, 0);
    HAS(name, "x");
    for (size_t len = 1; len <= 4095; len += len < 100 || len > 4000 ? 1 : 97) {
        snprintf(next, sizeof next, "l%zu", len);
        target[len] = 0;
        wrong += symlink(target, next) != 0;
        target[len] = 't';
    }
    freeze();
    remount();
    for (size_t len = 1; len <= 4095; len += len < 100 || len > 4000 ? 1 : 97) {
        snprintf(next, sizeof next, "l%zu", len);
        wrong += readlink(next, b, sizeof b) != (ssize_t)len || memcmp(b, target, len) || stat_of(next).st_size != (off_t)len;
    }
    SAME(wrong, 0);
}

/* xfstests generic/035. */
static void what_was_replaced_has_no_links(void)
{
    struct stat st;

    for (int turn = 0; turn < 2; turn++) {
        put("f", "f");
        put("g", "g");
        OK(link("g", "g2"));
        OK(mkdir("d", 0755));
        OK(mkdir("e", 0755));
        OK(mkdir("e2", 0755));
        OK(rename("e2", "e"));            /* so that e was replaced once */
        int file = open("g", O_RDONLY), dir = open("e", O_RDONLY);
        OK(rename("f", "g"));
        OK(rename("d", "e"));
        OK(fstat(file, &st));
        SAME(st.st_nlink, 1);
        OK(unlink("g2"));
        OK(fstat(file, &st));
        SAME(st.st_nlink, 0);
        OK(fstat(dir, &st));
        SAME(st.st_nlink, 0);
        FAILS(openat(dir, "x", O_RDWR | O_CREAT, 0644), ENOENT);
        SAME(count_entries("e"), 2);
        close(file);
        close(dir);
        OK(unlink("g"));
        OK(rmdir("e"));
    }
}

/* Every call that changes something, on a file system that was made read-only while it was in use. */
static void a_read_only_file_system_changes_nothing(void)
{
    char here[PATH_MAX], top[PATH_MAX], b[4];
    unsigned long flags = MS_REMOUNT | MS_RDONLY | (on_coppice ? 0 : MS_BIND);
    int fd;

    put("f", "abc");
    OK(mkdir("d", 0755));
    OK(symlink("f", "l"));
    OK(mkfifo("p", 0644));
    OK(setxattr("f", "user.a", "1", 1, 0));
    T(getcwd(here, sizeof here));
    strcpy(top, here);
    dirname(top);
    if (!on_coppice)
        OK(mount(top, top, NULL, MS_BIND, NULL));
    OK(chdir("/"));
    OK(mount(NULL, top, NULL, flags, NULL));
    OK(chdir(here));
    FAILS(open("f", O_WRONLY), EROFS);
    FAILS(open("f", O_RDONLY | O_TRUNC), EROFS);
    FAILS(open("new", O_RDWR | O_CREAT, 0644), EROFS);
    FAILS(open(".", O_RDWR | O_TMPFILE, 0644), EROFS);
    FAILS(open("f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
    FAILS(mkdir("d", 0755), EEXIST);      /* xfstests generic/294 */
    FAILS(mkdir("new", 0755), EROFS);
    FAILS(mkfifo("new", 0644), EROFS);
    FAILS(symlink("x", "new"), EROFS);
    FAILS(symlink("x", "l"), EEXIST);
    FAILS(link("f", "new"), EROFS);
    FAILS(unlink("f"), EROFS);
    FAILS(unlink("none"), EROFS);
    FAILS(rmdir("d"), EROFS);
    FAILS(rename("f", "g"), EROFS);
    FAILS(chmod("f", 0600), EROFS);
    FAILS(chown("f", 1, 1), EROFS);
    FAILS(truncate("f", 0), EROFS);
    FAILS(utimensat(AT_FDCWD, "f", NULL, 0), EROFS);
    FAILS(setxattr("f", "user.b", "1", 1, 0), EROFS);
    FAILS(removexattr("f", "user.a"), EROFS);
    FAILS(access("f", W_OK), EROFS);
    OK(access("p", W_OK));                /* what goes through a FIFO does not go to the file system */
    fd = open("p", O_RDWR | O_NONBLOCK);
    SAME(write(fd, "x", 1), 1);
    close(fd);
    fd = open("f", O_RDONLY);
    SAME(read(fd, b, 3), 3);
    FAILS(fchmod(fd, 0600), EROFS);
    FAILS(fsetxattr(fd, "user.b", "1", 1, 0), EROFS);
    OK(fsync(fd));
    close(fd);
    OK(chdir("/"));
    OK(mount(NULL, top, NULL, MS_REMOUNT | (on_coppice ? 0 : MS_BIND), NULL));
    OK(chdir(here));
    put("f", "new");
    HAS("f", "new");
    OK(chdir("/"));
    if (!on_coppice)
        OK(umount2(top, MNT_DETACH));
    OK(chdir(here));
}

const struct posix_test posix_limits_tests[] = {
    { "attribute_names_hold_every_byte", attribute_names_hold_every_byte },
    { "more_names_than_a_list_can_hold_say_so", more_names_than_a_list_can_hold_say_so },
    { "names_and_targets_of_every_length", names_and_targets_of_every_length },
    { "what_was_replaced_has_no_links", what_was_replaced_has_no_links },
    { "a_read_only_file_system_changes_nothing", a_read_only_file_system_changes_nothing },
    { 0 }
};
