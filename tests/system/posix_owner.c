/* Who may do what: modes, owners, groups, setuid and setgid. */
#include "tests/system/posix.h"

#include <sys/mman.h>
#include <sys/syscall.h>

static void a_mode_says_who_may(void)
{
    static const struct { mode_t mode; uid_t uid; gid_t gid, also; int can; } cases[] = {
        { 0400, USER, USER, USER, R_OK }, { 0200, USER, USER, USER, W_OK }, { 0100, USER, USER, USER, X_OK }, { 0077, USER, USER, USER, 0 },
        { 0040, FRIEND, FRIEND, USER, R_OK }, { 0020, FRIEND, USER, FRIEND, W_OK }, { 0010, FRIEND, USER, USER, X_OK }, { 0707, FRIEND, FRIEND, USER, 0 },
        { 0004, FRIEND, FRIEND, FRIEND, R_OK }, { 0002, FRIEND, FRIEND, FRIEND, W_OK }, { 0770, FRIEND, FRIEND, FRIEND, 0 } };

    put("f", "x");
    OK(chown("f", USER, USER));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        OK(chmod("f", cases[i].mode));
        AS_GROUP(cases[i].uid, cases[i].gid, cases[i].also) {
            for (int what = 1; what <= 4; what *= 2) {
                if (cases[i].can & what)
                    OK(access("f", what));
                else
                    FAILS(access("f", what), EACCES);
            }
            OK(access("f", F_OK));
            if (cases[i].can & R_OK)
                OK(open("f", O_RDONLY));
            else
                FAILS(open("f", O_RDONLY), EACCES);
            if (cases[i].can & W_OK)
                OK(open("f", O_WRONLY));
            else
                FAILS(truncate("f", 0), EACCES);
            FAILS(open("f", O_RDWR), EACCES);
        }
        OK(access("f", R_OK | W_OK));
        if (cases[i].mode & 0111)
            OK(access("f", X_OK));
        else
            FAILS(access("f", X_OK), EACCES);
    }
}

/* Each side in a process of its own: what one has looked up must not outlive what the other changes. */
static void rights_changed_by_another_hold_at_once(void)
{
    int to[2], back[2];
    char c;

    OK(mkdir("d", 0755));
    put("d/f", "x");
    OK(chmod("d/f", 0644));
    OK(pipe(to));
    OK(pipe(back));
    pid_t pid = fork();
    if (!pid) {
        AS(USER) {
            static const int want[] = { 0, EACCES, 0, EACCES, 0 };
            for (int i = 0; i < 5; i++) {
                SAME(read(to[0], &c, 1), 1);
                if (want[i]) {
                    FAILS(access("d/f", R_OK), EACCES);
                    FAILS(faccessat(AT_FDCWD, "d/f", R_OK, AT_EACCESS), EACCES);
                    FAILS(open("d/f", O_RDONLY), EACCES);
                } else {
                    OK(access("d/f", R_OK));
                    OK(faccessat(AT_FDCWD, "d/f", R_OK, AT_EACCESS));
                    OK(close(open("d/f", O_RDONLY)));
                }
                SAME(write(back[1], "", 1), 1);
            }
        }
        _exit(failures != 0);
    }
    for (int i = 0; i < 5; i++) {
        if (i == 1)
            OK(chmod("d/f", 0600));
        if (i == 2)
            OK(chmod("d/f", 0604));
        if (i == 3)
            OK(chmod("d", 0700));
        if (i == 4)
            OK(chown("d", USER, 0));
        SAME(write(to[1], "", 1), 1);
        SAME(read(back[0], &c, 1), 1);
    }
    int st;
    T(waitpid(pid, &st, 0) == pid && st == 0);
}

static void only_the_owner_changes_the_mode(void)
{
    struct stat st;

    put("f", "x");
    OK(chown("f", USER, USER));
    st = stat_of("f");
    tick();
    AS(USER) {
        OK(chmod("f", 0640));
        OK(fchmodat(AT_FDCWD, "f", 0600, 0));
    }
    T(later(stat_of("f").st_ctim, st.st_ctim) && equal(stat_of("f").st_mtim, st.st_mtim));
    AS(FRIEND) {
        FAILS(chmod("f", 0666), EPERM);
        FAILS(chown("f", FRIEND, (gid_t)-1), EPERM);
    }
    SAME(mode_of("f"), 0600);
    AS(USER) {
        FAILS(chown("f", FRIEND, (gid_t)-1), EPERM);
        FAILS(chown("f", (uid_t)-1, FRIEND), EPERM);
        OK(chown("f", USER, USER));
        OK(chown("f", (uid_t)-1, (gid_t)-1));
    }
    AS_GROUP(USER, USER, CREW) {
        OK(chown("f", (uid_t)-1, CREW));
    }
    SAME(stat_of("f").st_gid, CREW);
    SAME(stat_of("f").st_uid, USER);
    OK(symlink("f", "l"));
    OK(lchown("l", FRIEND, FRIEND));
    SAME(stat_of("l").st_uid, FRIEND);
    SAME(stat_of("f").st_uid, USER);
    OK(chown("l", 7, 8));
    SAME(stat_of("f").st_uid, 7);
    SAME(stat_of("f").st_gid, 8);
    OK(chmod("f", 07777));
    SAME(mode_of("f"), 07777);
    FAILS(chmod("none", 0600), ENOENT);
    FAILS(chmod("f/x", 0600), ENOTDIR);
    FAILS(fchmodat(AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
    OK(chown("f", 65534, 65534));
    SAME(stat_of("f").st_uid, 65534);
    if (on_coppice)                       /* ids of the store have 16 bits: docs/architecture.md */
        FAILS(chown("f", 70000, 0), EOVERFLOW);
    remount();
    SAME(stat_of("f").st_uid, 65534);
}

static void a_mode_s_setgid_needs_the_group(void)
{
    put("f", "x");
    OK(chown("f", USER, CREW));
    AS(USER) {
        OK(chmod("f", 02755));
    }
    SAME(mode_of("f"), 0755);
    AS_GROUP(USER, USER, CREW) {
        OK(chmod("f", 02755));
    }
    SAME(mode_of("f"), 02755);
    AS(USER) {
        OK(chmod("f", 01644));            /* Linux: sticky on a file is kept */
    }
    SAME(mode_of("f"), 01644);
}

static void chown_clears_setuid(void)
{
    put("f", "x");
    OK(chmod("f", 06755));
    OK(chown("f", USER, USER));           /* root too */
    SAME(mode_of("f"), 0755);
    OK(chmod("f", 06755));
    AS_GROUP(USER, USER, CREW) {
        OK(chown("f", (uid_t)-1, CREW));
    }
    SAME(mode_of("f"), 0755);
    OK(chmod("f", 02644));                /* setgid without x for the group is no privilege: stays for root */
    OK(chown("f", FRIEND, (gid_t)-1));
    SAME(mode_of("f"), 02644);
    OK(mkdir("d", 0755));
    OK(chmod("d", 06755));
    OK(chown("d", USER, USER));           /* of directories it is no privilege */
    SAME(mode_of("d"), 06755);
}

static void writing_clears_setuid(void)
{
    for (int how = 0; how < 6; how++) {
        for (int who = 0; who < 2; who++) {
            uid_t uid = who ? USER : 0;
            put("f", "some text");
            OK(chmod("f", 06777));
            SAME(mode_of("f"), 06777);
            AS(uid) {
                int fd = open("f", O_RDWR);
                char *m;
                switch (how) {
                case 0: SAME(write(fd, "x", 1), 1); break;
                case 1: OK(truncate("f", 3)); break;
                case 2: OK(ftruncate(fd, 20)); break;
                case 3: OK(close(open("f", O_WRONLY | O_TRUNC))); break;
                case 4:
                    SAME(pwrite(open("f", O_RDWR | O_DIRECT), mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096, 0), 4096);
                    break;
                default:
                    m = mmap(NULL, 4096, PROT_WRITE | PROT_READ, MAP_SHARED, fd, 0);
                    m[0] = 'm';           /* not through a mapping, on any file system but with file_update_time */
                }
            }
            if (how == 5)
                continue;
            if (mode_of("f") != (who ? 0777 : 06777))
                failed(__FILE__, __LINE__, "way %d as %u: mode %o", how, uid, mode_of("f"));
            OK(unlink("f"));
        }
    }
    put("g", "x");
    OK(chmod("g", 02767));                /* setgid without x for the group: ext4 clears it for strangers to the group only */
    AS_GROUP(FRIEND, FRIEND, 0) {
        SAME(write(open("g", O_WRONLY), "y", 1), 1);
    }
    SAME(mode_of("g"), 02767);
    OK(chmod("g", 06777));
    AS(USER) {                            /* nothing written, nothing cleared */
        SAME(write(open("g", O_WRONLY), "", 0), 0);
    }
    SAME(mode_of("g"), 06777);
}

static void other_ways_to_clear_setuid(void)
{
    for (int who = 0; who < 2; who++) {
        put("f", "some text");
        OK(chmod("f", 06777));
        AS(who ? USER : 0) {
            OK(fallocate(open("f", O_RDWR), 0, 0, 5000));
        }
        SAME(mode_of("f"), who ? 0777 : 06777);
        OK(unlink("f"));
    }
    put("f", "x");
    OK(chown("f", USER, USER));
    OK(chmod("f", 06755));
    AS(USER) {
        OK(chown("f", (uid_t)-1, (gid_t)-1));
    }
    SAME(mode_of("f"), 0755);
}

static void setgid_directories_pass_their_group_on(void)
{
    OK(mkdir("d", 0777));
    OK(chown("d", 0, CREW));
    OK(chmod("d", 02777));
    AS(USER) {
        put("d/f", "x");
        OK(mkdir("d/sub", 0755));
        OK(mkfifo("d/p", 0644));
        OK(symlink("x", "d/l"));
        OK(close(open_new("d/g", 02775)));        /* setgid for a group that one is not in: dropped */
        OK(close(open_new("d/h", 02744)));
        int fd = open("d", O_TMPFILE | O_RDWR, 02775);
        struct stat st;
        OK(fstat(fd, &st));
        SAME(st.st_gid, CREW);
        SAME(st.st_mode & 07777, 0775);
    }
    SAME(stat_of("d/f").st_gid, CREW);
    SAME(stat_of("d/f").st_uid, USER);
    SAME(stat_of("d/p").st_gid, CREW);
    SAME(stat_of("d/l").st_gid, CREW);
    SAME(stat_of("d/sub").st_gid, CREW);
    SAME(mode_of("d/sub"), 02755);
    SAME(mode_of("d/g"), 0775);
    SAME(mode_of("d/h"), 02744);
    AS_GROUP(USER, USER, CREW) {
        OK(close(open_new("d/i", 02775)));
    }
    SAME(mode_of("d/i"), 02775);
    AS_GROUP(USER, FRIEND, USER) {
        put("f", "x");
    }
    SAME(stat_of("f").st_gid, FRIEND);
}

static void access_asks_for_the_real_user(void)
{
    put("f", "x");
    OK(chmod("f", 0600));
    OK(access("f", R_OK));
    CHILD {
        OK(setresuid(USER, 0, 0));
        FAILS(access("f", R_OK), EACCES);
        FAILS(faccessat(AT_FDCWD, "f", R_OK, 0), EACCES);
        SAME(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS), 0);
        OK(open("f", O_RDONLY));
    }
    FAILS(access("none", F_OK), ENOENT);
    FAILS(access("f/x", F_OK), ENOTDIR);
    FAILS(access("f", 8), EINVAL);
    OK(symlink("none", "l"));
    FAILS(access("l", F_OK), ENOENT);
    OK(faccessat(AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
}

static void a_right_is_checked_at_open_only(void)
{
    char c;

    put("f", "x");
    OK(chown("f", USER, USER));
    AS(USER) {
        int fd = open("f", O_RDWR);
        OK(chmod("f", 0));
        SAME(read(fd, &c, 1), 1);
        SAME(write(fd, "y", 1), 1);
        OK(ftruncate(fd, 1));
        OK(fsync(fd));
        char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        T(m != MAP_FAILED);
        m[0] = 'z';
        SAME(pread(fd, &c, 1, 0), 1);
        SAME(c, 'z');
        FAILS(open("f", O_RDONLY), EACCES);
    }
    HAS("f", "z");
}

static void directories_are_searched_and_listed_by_right(void)
{
    OK(mkdir("r", 0755));
    put("r/f", "x");
    OK(chmod("r", 0744));                 /* list, but no more */
    OK(mkdir("x", 0755));
    put("x/f", "x");
    OK(chmod("x/f", 0666));               /* or fs.protected_hardlinks has its say */
    OK(chmod("x", 0711));                 /* reach, but not list */
    AS(USER) {
        SAME(count_entries("r"), 3);
        FAILS(access("r/f", F_OK), EACCES);
        FAILS(unlink("r/f"), EACCES);
        OK(access("x/f", R_OK));
        FAILS(open("x", O_RDONLY | O_DIRECTORY), EACCES);
        FAILS(unlink("x/f"), EACCES);
        FAILS(rename("x/f", "g"), EACCES);
        FAILS(link("x/f", "x/g"), EACCES);
        FAILS(symlink("y", "x/l"), EACCES);
        FAILS(mkfifo("x/p", 0644), EACCES);
        FAILS(chdir("r"), EACCES);
    }
    OK(chmod("x", 0773));
    AS(USER) {
        OK(unlink("x/f"));
        put("x/g", "x");
    }
}

const struct posix_test posix_owner_tests[] = {
    { "a_mode_says_who_may", a_mode_says_who_may },
    { "rights_changed_by_another_hold_at_once", rights_changed_by_another_hold_at_once },
    { "only_the_owner_changes_the_mode", only_the_owner_changes_the_mode },
    { "a_mode_s_setgid_needs_the_group", a_mode_s_setgid_needs_the_group },
    { "chown_clears_setuid", chown_clears_setuid },
    { "writing_clears_setuid", writing_clears_setuid },
    { "other_ways_to_clear_setuid", other_ways_to_clear_setuid },
    { "setgid_directories_pass_their_group_on", setgid_directories_pass_their_group_on },
    { "access_asks_for_the_real_user", access_asks_for_the_real_user },
    { "a_right_is_checked_at_open_only", a_right_is_checked_at_open_only },
    { "directories_are_searched_and_listed_by_right", directories_are_searched_and_listed_by_right },
    { 0 }
};
