/* Making, linking and removing names; which names there can be; paths. */
#include "tests/system/posix_twin.h"

#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>

static const char types[] = "fdlps";

static void things_of_every_type_are_made_once(void)
{
    static const mode_t format[] = { S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK };
    char a[2] = { 0 }, b[3] = "x", path[8];
    struct stat st, dir;

    for (int i = 0; i < 5; i++) {
        dir = stat_of(".");
        tick();
        a[0] = types[i];
        make(a, types[i]);
        st = stat_of(a);
        SAME(st.st_mode & S_IFMT, format[i]);
        SAME(st.st_nlink, types[i] == 'd' ? 2 : 1);
        SAME(st.st_uid, 0);
        T(later(stat_of(".").st_mtim, dir.st_mtim) && later(stat_of(".").st_ctim, dir.st_ctim));
    }
    for (int i = 0; i < 5; i++) {         /* in the way of each other */
        a[0] = b[0] = types[i];
        FAILS(open(a, O_CREAT | O_EXCL | O_RDWR, 0644), EEXIST);
        FAILS(mkdir(a, 0755), EEXIST);
        FAILS(symlink("x", a), EEXIST);
        FAILS(mkfifo(a, 0644), EEXIST);
        FAILS(mknod(a, S_IFSOCK | 0644, 0), EEXIST);
        FAILS(link("f", a), EEXIST);
        snprintf(path, sizeof path, "%s/x", a);
        if (types[i] != 'd') {
            FAILS(mkdir(path, 0755), types[i] == 'l' ? ENOENT : ENOTDIR);
            FAILS(symlink("x", path), types[i] == 'l' ? ENOENT : ENOTDIR);
            FAILS(unlink(path), types[i] == 'l' ? ENOENT : ENOTDIR);
            FAILS(rmdir(a), ENOTDIR);
        }
    }
    SAME(stat_of("l").st_size, strlen("nowhere"));
    FAILS(symlink("", "empty"), ENOENT);
    FAILS(mkdir("", 0755), ENOENT);
    FAILS(mkdir("none/x", 0755), ENOENT);
    FAILS(mkdir(".", 0755), EEXIST);
    FAILS(mkdir("..", 0755), EEXIST);
    OK(mkdir("slash/", 0755));
    OK(rmdir("slash/"));
    FAILS(mkfifo("fifo/", 0644), ENOENT);
    FAILS(symlink("x", "sym/"), ENOENT);
}

static void device_nodes_are_kept_but_lead_nowhere(void)
{
    static const struct { const char *name; mode_t mode; unsigned major, minor; } nodes[] = { { "null", S_IFCHR | 0666, 1, 3 }, { "disk", S_IFBLK | 0640, 8, 17 },
        { "high", S_IFCHR | 0600, 4095, 0xfffff }, { "gone", S_IFCHR, 0, 0 } };
    struct stat st;

    for (int turn = 0; turn < 2; turn++) {
        for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
            if (!turn)
                OK(mknod(nodes[i].name, nodes[i].mode, makedev(nodes[i].major, nodes[i].minor)));
            st = stat_of(nodes[i].name);
            SAME(st.st_mode, nodes[i].mode);
            SAME(major(st.st_rdev), nodes[i].major);
            SAME(minor(st.st_rdev), nodes[i].minor);
            if (on_coppice)               /* the reference may be mounted with devices */
                FAILS(open(nodes[i].name, O_RDONLY | O_NONBLOCK), EACCES);
        }
        remount();
    }
    AS(USER) {
        FAILS(mknod("mine", S_IFBLK | 0666, makedev(8, 0)), EPERM);
        FAILS(mknod("mine", S_IFCHR | 0666, makedev(1, 3)), EPERM);
        OK(mknod("whiteout", S_IFCHR, makedev(0, 0)));
    }
    FAILS(mknod("dir", S_IFDIR | 0755, 0), EPERM);
    FAILS(mknod("odd", 0170000 | 0644, 0), EINVAL);
}

static void a_sandbox_s_mount_takes_no_device_nodes(void)
{
    if (!on_coppice) {
        skipped("a rule of coppice");
        return;
    }
    CHILD {                               /* its root, but with all capabilities of the machine */
        OK(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
        OK(setresgid(BASE, BASE, BASE));
        OK(setresuid(BASE, BASE, BASE));
        OK(chdir(twin_based));
        FAILS(mknod("null", S_IFCHR | 0666, makedev(1, 3)), EPERM);
        FAILS(mknod("disk", S_IFBLK | 0666, makedev(8, 0)), EPERM);
        OK(mknod("whiteout", S_IFCHR, makedev(0, 0)));
        OK(unlink("whiteout"));
    }
}

static void names_are_removed_by_the_right_call(void)
{
    char a[2] = { 0 };

    for (int i = 0; i < 5; i++) {
        a[0] = types[i];
        make(a, types[i]);
        if (types[i] == 'd') {
            FAILS(unlink(a), EISDIR);
            FAILS(unlinkat(AT_FDCWD, a, 0), EISDIR);
            make("d/x", 'f');
            FAILS(rmdir("d"), ENOTEMPTY);
            OK(unlink("d/x"));
            FAILS(rmdir("d/."), EINVAL);
            FAILS(rmdir("d/.."), ENOTEMPTY);
            OK(rmdir(a));
        } else {
            FAILS(unlinkat(AT_FDCWD, a, AT_REMOVEDIR), ENOTDIR);
            OK(unlink(a));
        }
        T(!there(a));
        FAILS(unlink(a), ENOENT);
        FAILS(rmdir(a), ENOENT);
    }
    FAILS(rmdir("."), EINVAL);
    FAILS(unlink("."), EISDIR);
    FAILS(unlink("f/"), ENOENT);
    make("f", 'f');
    FAILS(unlink("f/"), ENOTDIR);
    FAILS(rmdir("f/"), ENOTDIR);
}

static void links_count_and_share(void)
{
    struct stat before, st;
    char a[2] = { 0 }, b[] = "x2";

    for (int i = 0; i < 5; i++) {
        a[0] = b[0] = types[i];
        make(a, types[i]);
        if (types[i] == 'd') {
            FAILS(link(a, b), EPERM);
            continue;
        }
        before = stat_of(a);
        tick();
        OK(link(a, b));
        st = stat_of(b);
        SAME(st.st_ino, before.st_ino);
        SAME(st.st_nlink, 2);
        SAME(stat_of(a).st_nlink, 2);
        T(later(st.st_ctim, before.st_ctim) && equal(st.st_mtim, before.st_mtim));
        before = st;
        tick();
        OK(unlink(a));
        SAME(stat_of(b).st_nlink, 1);
        T(later(stat_of(b).st_ctim, before.st_ctim));
        OK(link(b, a));
    }
    OK(symlink("f", "to_f"));
    OK(link("to_f", "l3"));               /* the link itself */
    T(S_ISLNK(stat_of("l3").st_mode));
    OK(linkat(AT_FDCWD, "to_f", AT_FDCWD, "f3", AT_SYMLINK_FOLLOW));
    SAME(stat_of("f").st_nlink, 3);
    FAILS(link("none", "x"), ENOENT);
    FAILS(link("f", "none/x"), ENOENT);
    FAILS(link("f/x", "y"), ENOTDIR);
    FAILS(link("f", "p/y"), ENOTDIR);
    put("f", "shared");
    HAS("f3", "shared");
    remount();
    SAME(stat_of("f").st_nlink, 3);
    SAME(stat_of("f").st_ino, stat_of("f3").st_ino);
    HAS("f3", "shared");
}

static void a_file_has_at_most_65000_links(void)
{
    char name[32];
    unsigned n;

    make("f", 'f');
    OK(mkdir("d", 0755));
    for (n = 1; n < 70000; n++) {
        snprintf(name, sizeof name, "d/%u", n);
        if (link("f", name))
            break;
    }
    if (!on_coppice && n == 70000) {
        skipped("no limit here");
    } else {
        SAME(errno, EMLINK);
        SAME(n, 65000);
        SAME(stat_of("f").st_nlink, 65000);
        OK(unlink("d/1"));
        OK(link("f", "d/1"));
    }
    for (unsigned i = 1; i < n; i++) {
        snprintf(name, sizeof name, "d/%u", i);
        if (unlink(name)) {
            failed(__FILE__, __LINE__, "unlink %s: %s", name, strerror(errno));
            break;
        }
    }
    SAME(stat_of("f").st_nlink, 1);
    OK(rmdir("d"));
}

static void directories_count_their_children(void)
{
    SAME(stat_of(".").st_nlink, 2);
    OK(mkdir("a", 0755));
    OK(mkdir("b", 0755));
    make("f", 'f');
    SAME(stat_of(".").st_nlink, 4);
    OK(mkdir("a/c", 0755));
    OK(rename("a/c", "b/c"));
    SAME(stat_of("a").st_nlink, 2);
    SAME(stat_of("b").st_nlink, 3);
    SAME(stat_of("b/c/..").st_ino, stat_of("b").st_ino);
    OK(mkdir("a/d", 0755));
    OK(rename("a/d", "b/c"));             /* over an empty one */
    SAME(stat_of("a").st_nlink, 2);
    SAME(stat_of("b").st_nlink, 3);
    SAME(stat_of("b/c/..").st_ino, stat_of("b").st_ino);
    OK(renameat2(AT_FDCWD, "b/c", AT_FDCWD, "f", 1 << 1));   /* RENAME_EXCHANGE */
    SAME(stat_of(".").st_nlink, 5);
    SAME(stat_of("b").st_nlink, 2);
    SAME(stat_of("f/..").st_ino, stat_of(".").st_ino);
    OK(rmdir("f"));
    SAME(stat_of(".").st_nlink, 4);
    remount();
    SAME(stat_of(".").st_nlink, 4);
    SAME(stat_of("b").st_nlink, 2);
}

static void names_have_at_most_255_bytes(void)
{
    char longest[256], more[257], l[300];

    memset(longest, 'n', 255);
    longest[255] = 0;
    memset(more, 'n', 256);
    more[256] = 0;
    for (int i = 0; i < 5; i++) {
        make(longest, types[i]);
        T(there(longest));
        SAME(remove(longest), 0);
    }
    FAILS(open(more, O_CREAT | O_RDWR, 0644), ENAMETOOLONG);
    FAILS(open(more, O_RDONLY), ENAMETOOLONG);
    FAILS(mkdir(more, 0755), ENAMETOOLONG);
    FAILS(symlink("x", more), ENAMETOOLONG);
    FAILS(mkfifo(more, 0644), ENAMETOOLONG);
    FAILS(unlink(more), ENAMETOOLONG);
    FAILS(rmdir(more), ENAMETOOLONG);
    FAILS(access(more, F_OK), ENAMETOOLONG);
    make("f", 'f');
    FAILS(link("f", more), ENAMETOOLONG);
    FAILS(rename("f", more), ENAMETOOLONG);
    FAILS(rename(more, "g"), ENAMETOOLONG);
    snprintf(l, sizeof l, "%s/x", more);
    FAILS(open(l, O_RDONLY), ENAMETOOLONG);
}

static void paths_have_at_most_4095_bytes(void)
{
    static char path[PATH_MAX + 10], target[PATH_MAX + 10], b[PATH_MAX + 10];

    memset(path, '/', PATH_MAX - 1);
    path[0] = '.';
    path[PATH_MAX - 2] = 'f';
    make(path, 'f');
    T(there("f"));
    memset(path, '/', PATH_MAX);
    path[0] = '.';
    path[PATH_MAX - 1] = 'f';
    FAILS(open(path, O_RDONLY), ENAMETOOLONG);
    memset(target, 't', PATH_MAX - 1);    /* the longest target */
    OK(symlink(target, "l"));
    SAME(stat_of("l").st_size, PATH_MAX - 1);
    remount();
    SAME(readlink("l", b, sizeof b), PATH_MAX - 1);
    T(!memcmp(b, target, PATH_MAX - 1));
    SAME(readlink("l", b, 10), 10);
    FAILS(readlink("f", b, 10), EINVAL);
    FAILS(open("l", O_RDONLY), ENAMETOOLONG);
    target[PATH_MAX - 1] = 't';
    FAILS(symlink(target, "l2"), ENAMETOOLONG);
}

static void loops_of_links_end(void)
{
    char a[16], b[16];

    OK(symlink("b", "a"));
    OK(symlink("a", "b"));
    FAILS(open("a", O_RDONLY), ELOOP);
    FAILS(open("a", O_CREAT | O_RDWR, 0644), ELOOP);
    FAILS(mkdir("a/x", 0755), ELOOP);
    FAILS(chmod("a", 0600), ELOOP);
    FAILS(truncate("a", 0), ELOOP);
    FAILS(rename("a/x", "c"), ELOOP);
    FAILS(link("a/x", "c"), ELOOP);
    FAILS(chdir("a"), ELOOP);
    OK(unlink("a"));
    put("l0", "end");
    for (int i = 1; i <= 41; i++) {
        snprintf(a, sizeof a, "l%d", i);
        snprintf(b, sizeof b, "l%d", i - 1);
        OK(symlink(b, a));
    }
    HAS("l40", "end");
    FAILS(open("l41", O_RDONLY), ELOOP);
    OK(mkdir("d", 0755));
    OK(symlink("../d", "d/self"));
    put("d/f", "x");
    HAS("d/self/self/self/f", "x");
}

static void names_hold_every_byte_but_two(void)
{
    char name[8];
    bool seen[256] = { 0 };
    unsigned n = 0;

    for (int c = 1; c < 256; c++) {
        snprintf(name, sizeof name, "n%c", c);
        if (c != '/')
            put(name, name);
    }
    remount();
    for (int c = 1; c < 256; c++) {
        snprintf(name, sizeof name, "n%c", c);
        if (c != '/')
            HAS(name, name);
    }
    DIR *d = opendir(".");
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == 'n' && !e->d_name[2] && !seen[(uint8_t)e->d_name[1]]) {
            seen[(uint8_t)e->d_name[1]] = true;
            n++;
        }
    }
    closedir(d);
    SAME(n, 254);
    OK(mkdir("...", 0755));
    OK(mkdir(" ", 0755));
    T(!there("N1"));                      /* case matters */
}

static void directories_nest_deeper_than_a_path_can_say(void)
{
    enum { DEPTH = 1200 };
    static char path[PATH_MAX + 100];
    int fd;

    for (int i = 0; i < DEPTH; i++) {
        OK(mkdir("down", 0755));
        OK(chdir("down"));
    }
    put("bottom", "x");
    HAS("bottom", "x");
    FAILS(open("none/x", O_RDONLY), ENOENT);
    T(!getcwd(path, sizeof path) || strlen(path) > PATH_MAX);
    fd = open(".", O_RDONLY | O_DIRECTORY);
    OK(fsync(fd));
    OK(close(fd));
    OK(unlink("bottom"));
    for (int i = 0; i < DEPTH; i++) {
        OK(chdir(".."));
        OK(rmdir("down"));
    }
    SAME(count_entries("."), 2);
}

static void nothing_is_linked_or_moved_across_mounts(void)
{
    char there_[PATH_MAX];

    snprintf(there_, sizeof there_, "%s/x", other_dir);
    if (stat_of(other_dir).st_dev == stat_of(".").st_dev) {
        skipped("the other directory is not on another file system");
        return;
    }
    put("f", "x");
    OK(mkdir("d", 0755));
    FAILS(link("f", there_), EXDEV);
    FAILS(rename("f", there_), EXDEV);
    FAILS(rename("d", there_), EXDEV);
    OK(symlink(there_, "l"));
    put("l", "over");
    HAS(there_, "over");
    OK(unlink(there_));
}

const struct posix_test posix_names_tests[] = {
    { "things_of_every_type_are_made_once", things_of_every_type_are_made_once },
    { "device_nodes_are_kept_but_lead_nowhere", device_nodes_are_kept_but_lead_nowhere },
    { "a_sandbox_s_mount_takes_no_device_nodes", a_sandbox_s_mount_takes_no_device_nodes },
    { "names_are_removed_by_the_right_call", names_are_removed_by_the_right_call },
    { "links_count_and_share", links_count_and_share },
    { "a_file_has_at_most_65000_links", a_file_has_at_most_65000_links },
    { "directories_count_their_children", directories_count_their_children },
    { "names_have_at_most_255_bytes", names_have_at_most_255_bytes },
    { "paths_have_at_most_4095_bytes", paths_have_at_most_4095_bytes },
    { "loops_of_links_end", loops_of_links_end },
    { "names_hold_every_byte_but_two", names_hold_every_byte_but_two },
    { "directories_nest_deeper_than_a_path_can_say", directories_nest_deeper_than_a_path_can_say },
    { "nothing_is_linked_or_moved_across_mounts", nothing_is_linked_or_moved_across_mounts },
    { 0 }
};
