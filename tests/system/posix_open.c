/* open(2) and its flags; files without a name; running programs. */
#include "tests/system/posix.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

static void open_flags_say_what_may_be_there(void)
{
    static const int ways[] = { O_RDONLY, O_WRONLY, O_RDWR };

    FAILS(open("none", O_RDONLY), ENOENT);
    FAILS(open("none", O_RDWR | O_TRUNC), ENOENT);
    FAILS(open("none/x", O_RDWR | O_CREAT, 0644), ENOENT);
    put("f", "abc");
    FAILS(open("f", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
    FAILS(open("f", O_RDONLY | O_DIRECTORY), ENOTDIR);
    FAILS(open("f/x", O_RDONLY), ENOTDIR);
    FAILS(open("f/x", O_RDWR | O_CREAT, 0644), ENOTDIR);
    FAILS(open("f/", O_RDONLY), ENOTDIR);
    FAILS(open("new/", O_RDWR | O_CREAT, 0644), EISDIR);
    make("d", 'd');
    FAILS(open("d", O_RDONLY | O_CREAT, 0644), EISDIR);
    FAILS(open("d", O_WRONLY), EISDIR);
    FAILS(open("d", O_RDWR), EISDIR);
    FAILS(open("d", O_RDONLY | O_TRUNC), EISDIR);
    FAILS(open("d", O_CREAT | O_EXCL | O_RDWR, 0644), EEXIST);
    OK(open("d", O_RDONLY | O_DIRECTORY));
    OK(symlink("f", "to_f"));
    OK(symlink("d", "to_d"));
    OK(symlink("made", "to_made"));
    FAILS(open("to_f", O_RDONLY | O_NOFOLLOW), ELOOP);
    FAILS(open("to_d", O_RDONLY | O_NOFOLLOW | O_DIRECTORY), ENOTDIR);
    FAILS(open("to_made", O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
    FAILS(open("to_made", O_RDWR | O_CREAT | O_NOFOLLOW, 0644), ELOOP);
    OK(open("to_made", O_RDWR | O_CREAT, 0600));
    SAME(mode_of("made"), 0600);
    OK(open("to_d", O_RDONLY | O_DIRECTORY));
    HAS("to_f", "abc");
    OK(open("f", O_RDONLY | O_CREAT, 0));
    HAS("f", "abc");
    for (size_t i = 0; i < 3; i++) {
        int fd = open("f", ways[i]);
        char c;
        if (ways[i] == O_RDONLY)
            FAILS(write(fd, "x", 1), EBADF);
        if (ways[i] == O_WRONLY)
            FAILS(read(fd, &c, 1), EBADF);
        OK(close(fd));
    }
}

static void truncation_at_open_empties_the_file(void)
{
    struct stat a, b;

    put("f", "abcdef");
    a = stat_of("f");
    tick();
    OK(close(open("f", O_WRONLY | O_TRUNC)));
    b = stat_of("f");
    SAME(b.st_size, 0);
    SAME(b.st_blocks, on_coppice);
    T(later(b.st_mtim, a.st_mtim) && later(b.st_ctim, a.st_ctim));
    tick();
    OK(close(open("f", O_WRONLY | O_TRUNC | O_CREAT, 0600)));   /* empty already: times change all the same */
    T(later(stat_of("f").st_mtim, b.st_mtim));
    SAME(mode_of("f"), 0644);
    put("f", "abc");
    AS(USER) {
        FAILS(open("f", O_RDONLY | O_TRUNC), EACCES);
    }
    HAS("f", "abc");
    AS(USER) {                            /* what is created may be used whatever its mode says */
        int fd = open_new("mine", 0);
        SAME(write(fd, "x", 1), 1);
        FAILS(open("mine", O_RDONLY), EACCES);
        fd = open("ro", O_WRONLY | O_CREAT | O_TRUNC, 0444);
        SAME(write(fd, "y", 1), 1);
        FAILS(open("ro", O_WRONLY), EACCES);
        FAILS(open("ro", O_WRONLY | O_CREAT, 0666), EACCES);
    }
}

static void the_umask_is_applied_and_odd_bits_are_kept(void)
{
    umask(027);
    OK(close(open_new("f", 0666)));
    OK(mkdir("d", 0777));
    OK(mkfifo("p", 0666));
    OK(mknod("s", S_IFSOCK | 0777, 0));
    SAME(mode_of("f"), 0640);
    SAME(mode_of("d"), 0750);
    SAME(mode_of("p"), 0640);
    SAME(mode_of("s"), 0750);
    umask(0);
    OK(close(open_new("g", 07777)));
    SAME(mode_of("g"), 07777);
    OK(mkdir("e", 01777));
    SAME(mode_of("e"), 01777);
    OK(symlink("x", "l"));
    SAME(mode_of("l"), 0777);
}

static void appends_go_to_the_end(void)
{
    char b[8];
    int fd, fd2;

    put("f", "abc");
    fd = open("f", O_RDWR | O_APPEND);
    fd2 = open("f", O_RDWR);
    SAME(pwrite(fd2, "123456", 6, 0), 6);
    SAME(write(fd, "X", 1), 1);
    SAME(pwrite(fd, "Y", 1, 0), 1);       /* Linux: appends all the same */
    HAS("f", "123456XY");
    SAME(lseek(fd, 0, SEEK_CUR), 7);      /* pwrite moves nothing */
    SAME(pread(fd, b, 3, 1), 3);
    OK(ftruncate(fd, 2));
    SAME(write(fd, "Z", 1), 1);
    HAS("f", "12Z");
    OK(fcntl(fd, F_SETFL, 0));
    SAME(pwrite(fd, "0", 1, 0), 1);
    HAS("f", "02Z");
}

static void appends_of_processes_do_not_cover_each_other(void)
{
    enum { PROCS = 3, LINES = 3000 };
    static unsigned next[PROCS];
    pid_t pid[PROCS];
    unsigned line[4];
    int st;

    put("log", "");
    for (unsigned p = 0; p < PROCS; p++) {
        pid[p] = fork();
        if (!pid[p]) {
            int fd = open("log", O_WRONLY | O_APPEND);
            bool ok = true;
            for (unsigned i = 0; i < LINES; i++)
                ok &= write(fd, (unsigned[]){ p, i, ~p, ~i }, sizeof line) == sizeof line;
            _exit(!ok);
        }
    }
    for (int p = 0; p < PROCS; p++)
        T(waitpid(pid[p], &st, 0) == pid[p] && st == 0);
    SAME(stat_of("log").st_size, PROCS * LINES * sizeof line);
    remount();
    FILE *f = fopen("log", "r");
    while (f && fread(line, sizeof line, 1, f) == 1) {
        if (line[0] >= PROCS || line[2] != ~line[0] || line[1] != next[line[0]]++ || line[3] != ~line[1]) {
            failed(__FILE__, __LINE__, "a line was lost or torn");
            break;
        }
    }
    fclose(f);
}

static void files_without_a_name_can_be_given_one(void)
{
    struct stat st;
    char path[64], b[8] = { 0 };
    int fd = open(".", O_TMPFILE | O_RDWR, 0640);

    OK(fd);
    SAME(write(fd, "hidden", 6), 6);
    OK(fstat(fd, &st));
    SAME(st.st_nlink, 0);
    SAME(st.st_mode, S_IFREG | 0640);
    SAME(st.st_size, 6);
    SAME(count_entries("."), 2);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    OK(linkat(AT_FDCWD, path, AT_FDCWD, "seen", AT_SYMLINK_FOLLOW));
    OK(fstat(fd, &st));
    SAME(st.st_nlink, 1);
    HAS("seen", "hidden");
    FAILS(linkat(AT_FDCWD, path, AT_FDCWD, "seen", AT_SYMLINK_FOLLOW), EEXIST);
    OK(linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH));
    SAME(stat_of("again").st_nlink, 2);
    OK(unlink("seen"));
    OK(unlink("again"));
    SAME(pread(fd, b, 8, 0), 6);
    FAILS(linkat(AT_FDCWD, path, AT_FDCWD, "third", AT_SYMLINK_FOLLOW), ENOENT);   /* once without a name, for ever */
    OK(close(fd));
    fd = open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
    OK(fd);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    FAILS(linkat(AT_FDCWD, path, AT_FDCWD, "seen", AT_SYMLINK_FOLLOW), ENOENT);
    FAILS(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
    FAILS(open("none", O_TMPFILE | O_RDWR, 0600), ENOENT);
    put("f", "");
    FAILS(open("f", O_TMPFILE | O_RDWR, 0600), ENOTDIR);
    OK(chmod(".", 0755));
    AS(USER) {
        FAILS(open(".", O_TMPFILE | O_RDWR, 0600), EACCES);
    }
    OK(chmod(".", 0777));
    AS(USER) {
        int t = open(".", O_TMPFILE | O_RDWR, 0600);
        snprintf(path, sizeof path, "/proc/self/fd/%d", t);
        OK(linkat(AT_FDCWD, path, AT_FDCWD, "users", AT_SYMLINK_FOLLOW));
    }
    SAME(stat_of("users").st_uid, USER);
}

static void direct_io_reads_and_writes_the_same_bytes(void)
{
    char *b = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open("f", O_RDWR | O_CREAT | O_DIRECT, 0644), plain;

    if (fd < 0) {
        skipped("O_DIRECT: %s", strerror(errno));
        return;
    }
    memset(b, 'a', 8192);
    SAME(write(fd, b, 8192), 8192);
    SAME(stat_of("f").st_size, 8192);
    plain = open("f", O_RDWR);
    SAME(pread(plain, b + 8192, 4096, 4096), 4096);
    T(b[8192] == 'a' && b[12287] == 'a');
    SAME(pwrite(plain, "cached", 6, 100), 6);      /* dirty in the cache: direct reads see it, direct writes go over it */
    SAME(pread(fd, b + 16384, 4096, 0), 4096);
    T(!memcmp(b + 16384 + 100, "cached", 6));
    memset(b, 'b', 4096);
    SAME(pwrite(fd, b, 4096, 0), 4096);
    SAME(pread(plain, b + 20480, 10, 98), 10);
    T(!memcmp(b + 20480, "bbbbbbbbbb", 10));
    SAME(pread(fd, b, 65536, 4096), 4096);
    SAME(pread(fd, b, 4096, 8192), 0);
    /* ext4 wants sectors; FUSE (fs/fuse/file.c: fuse_direct_IO) takes any range, also one that extends the file. */
    if (on_coppice) {
        SAME(pwrite(fd, "odd", 3, 8191), 3);
        SAME(stat_of("f").st_size, 8194);
        SAME(pread(fd, b + 1, 5, 8190), 4);
        T(!memcmp(b + 1, "aodd", 4));
    } else {
        FAILS(pwrite(fd, "odd", 3, 8191), EINVAL);
    }
    OK(ftruncate(plain, 100));
    SAME(pread(fd, b, 4096, 0), 100);
}

static void a_path_descriptor_only_names(void)
{
    struct stat st;
    char b[8];
    int fd, dir;

    put("f", "abc");
    OK(symlink("f", "l"));
    fd = open("l", O_PATH | O_NOFOLLOW);
    OK(fstat(fd, &st));
    T(S_ISLNK(st.st_mode));
    SAME(readlinkat(fd, "", b, sizeof b), 1);
    FAILS(read(fd, b, 1), EBADF);
    FAILS(fchmod(fd, 0600), EBADF);
    FAILS(ftruncate(fd, 0), EBADF);
    FAILS(fsync(fd), EBADF);
    OK(fchownat(fd, "", USER, USER, AT_EMPTY_PATH));
    SAME(stat_of("l").st_uid, USER);
    SAME(stat_of("f").st_uid, 0);
    OK(mkdir("d", 0700));
    put("d/in", "x");
    dir = open("d", O_PATH | O_DIRECTORY);
    fd = openat(dir, "in", O_RDONLY);
    SAME(read(fd, b, 8), 1);
    OK(rename("d", "e"));
    OK(fstatat(dir, "in", &st, 0));
    OK(chmod("f", 0));
    AS(USER) {
        OK(open("f", O_PATH));            /* needs no right to the file */
        FAILS(openat(dir, "in", O_RDONLY), EACCES);
    }
    FAILS(open("d", O_PATH), ENOENT);
}

static void an_open_file_outlives_its_name(void)
{
    char *map, b[4] = { 0 };
    struct stat st;
    int fd = open_new("f", 0644), dir;

    SAME(write(fd, "abc", 3), 3);
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    OK(unlink("f"));
    OK(close(open_new("f", 0600)));       /* another of this name */
    OK(fstat(fd, &st));
    SAME(st.st_nlink, 0);
    SAME(pwrite(fd, "x", 1, 5000), 1);
    memcpy(map, "map", 3);
    SAME(pread(fd, b, 3, 0), 3);
    T(!memcmp(b, "map", 3));
    OK(fchmod(fd, 0400));
    OK(futimens(fd, (struct timespec[]){ { 5, 6 }, { 7, 8 } }));
    OK(fsync(fd));
    OK(fstat(fd, &st));
    SAME(st.st_size, 5001);
    SAME(st.st_mtim.tv_sec, 7);
    SAME(st.st_mode & 07777, 0400);
    OK(ftruncate(fd, 1));
    OK(fstat(fd, &st));
    SAME(st.st_size, 1);
    SAME(stat_of("f").st_size, 0);
    OK(close(fd));
    SAME(map[0], 'm');
    OK(mkdir("d", 0755));
    dir = open("d", O_RDONLY | O_DIRECTORY);
    OK(rmdir("d"));
    OK(fstat(dir, &st));
    SAME(st.st_nlink, 0);
    FAILS(openat(dir, "x", O_CREAT | O_RDWR, 0644), ENOENT);
    FAILS(mkdirat(dir, "x", 0755), ENOENT);
    FAILS(symlinkat("x", dir, "x"), ENOENT);
    FAILS(linkat(AT_FDCWD, "f", dir, "x", 0), ENOENT);
    FAILS(renameat(AT_FDCWD, "f", dir, "x"), ENOENT);
    if (on_coppice)                       /* ext4 forgets to check */
        FAILS(openat(dir, ".", O_TMPFILE | O_RDWR, 0600), ENOENT);
    OK(fchmod(dir, 0700));
}

static void programs_run_from_it_and_are_busy_meanwhile(void)
{
    char buf[65536], c;
    int in = open("/bin/sleep", O_RDONLY), out = open("prog", O_WRONLY | O_CREAT, 0755), p[2], st;
    ssize_t n;

    while ((n = read(in, buf, sizeof buf)) > 0)
        SAME(write(out, buf, (size_t)n), n);
    FAILS(execl("./prog", "prog", "0", (char *)NULL), ETXTBSY);       /* open for writing */
    close(out);
    OK(pipe2(p, O_CLOEXEC));
    pid_t pid = fork();
    if (!pid) {
        execl("./prog", "prog", "60", (char *)NULL);
        _exit(99);
    }
    close(p[1]);
    SAME(read(p[0], &c, 1), 0);           /* closed by the exec */
    FAILS(open("prog", O_WRONLY), ETXTBSY);
    FAILS(truncate("prog", 0), ETXTBSY);
    OK(unlink("prog"));
    OK(kill(pid, SIGKILL));
    T(waitpid(pid, &st, 0) == pid && WIFSIGNALED(st));
    put("script", "#!/bin/sh\nexit 7\n");
    FAILS(execl("./script", "script", (char *)NULL), EACCES);         /* nobody may execute it, not even root */
    OK(chmod("script", 0755));
    T(WEXITSTATUS(system("./script")) == 7);
    OK(chmod("script", 0700));
    AS(USER) {
        FAILS(execl("./script", "script", (char *)NULL), EACCES);
    }
    put("rubbish", "not a program");
    OK(chmod("rubbish", 0755));
    FAILS(execl("./rubbish", "rubbish", (char *)NULL), ENOEXEC);
    FAILS(execl(".", ".", (char *)NULL), EACCES);
}

static void a_setuid_program_changes_the_user(void)
{
    char buf[65536], id[256];
    int in = open("/usr/bin/id", O_RDONLY), out = open("id", O_WRONLY | O_CREAT, 0755);
    ssize_t n;
    int p[2];

    if (in < 0) {
        skipped("no /usr/bin/id");
        return;
    }
    while ((n = read(in, buf, sizeof buf)) > 0)
        SAME(write(out, buf, (size_t)n), n);
    close(out);
    OK(chown("id", FRIEND, FRIEND));
    OK(chmod("id", 06755));
    AS(USER) {
        OK(pipe(p));
        pid_t pid = fork();
        if (!pid) {
            dup2(p[1], 1);
            execl("./id", "id", (char *)NULL);
            _exit(1);
        }
        close(p[1]);
        n = read(p[0], id, sizeof id - 1);
        id[n > 0 ? n : 0] = 0;
        T(strstr(id, "uid=1000") && strstr(id, "euid=1001") && strstr(id, "egid=1001"));
        waitpid(pid, NULL, 0);
    }
}

const struct posix_test posix_open_tests[] = {
    { "open_flags_say_what_may_be_there", open_flags_say_what_may_be_there },
    { "truncation_at_open_empties_the_file", truncation_at_open_empties_the_file },
    { "the_umask_is_applied_and_odd_bits_are_kept", the_umask_is_applied_and_odd_bits_are_kept },
    { "appends_go_to_the_end", appends_go_to_the_end },
    { "appends_of_processes_do_not_cover_each_other", appends_of_processes_do_not_cover_each_other },
    { "files_without_a_name_can_be_given_one", files_without_a_name_can_be_given_one },
    { "direct_io_reads_and_writes_the_same_bytes", direct_io_reads_and_writes_the_same_bytes },
    { "a_path_descriptor_only_names", a_path_descriptor_only_names },
    { "an_open_file_outlives_its_name", an_open_file_outlives_its_name },
    { "programs_run_from_it_and_are_busy_meanwhile", programs_run_from_it_and_are_busy_meanwhile },
    { "a_setuid_program_changes_the_user", a_setuid_program_changes_the_user },
    { 0 }
};
