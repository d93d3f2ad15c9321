/* Listing directories while they change; what the file system says of itself; syncing. */
#include "tests/system/posix.h"

#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

enum { N = 10000 };

static void make_many(const char *dir, int n)
{
    char name[64];

    OK(mkdir(dir, 0755));
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s/f%d", dir, i);
        int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd < 0) {
            failed(__FILE__, __LINE__, "create %s: %s", name, strerror(errno));
            return;
        }
        close(fd);
    }
}

static void ten_thousand_entries_are_listed_once(void)
{
    static unsigned char seen[N];
    char name[NAME_MAX + 3];
    unsigned wrong = 0, n = 0;

    make_many("d", N);
    for (int turn = 0; turn < 2; turn++) {
        memset(seen, 0, sizeof seen);
        DIR *d = opendir("d");
        for (struct dirent *e; (e = readdir(d));) {
            if (e->d_name[0] == 'f') {
                seen[atoi(e->d_name + 1)]++;
                wrong += e->d_type != DT_REG;
            }
        }
        closedir(d);
        for (int i = 0; i < N; i++)
            wrong += seen[i] != 1;
        SAME(wrong, 0);
        remount();
    }
    FAILS(rmdir("d"), ENOTEMPTY);
    DIR *d = opendir("d");                /* rm -r: remove while listing */
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] != 'f')
            continue;
        snprintf(name, sizeof name, "d/%s", e->d_name);
        OK(unlink(name));
        n++;
    }
    SAME(n, N);
    rewinddir(d);
    n = 0;
    while (readdir(d))
        n++;
    SAME(n, 2);
    closedir(d);
    OK(rmdir("d"));
}

/* Entries that stay are listed exactly once, whatever happens to the others meanwhile. */
static void entries_that_stay_are_listed_once_while_others_go_and_come(void)
{
    enum { STAY = 2000 };
    static unsigned char seen[STAY];
    char name[64];
    int k = 0;

    make_many("d", STAY);
    for (int i = 0; i < STAY; i++) {
        snprintf(name, sizeof name, "d/x%d", i);
        OK(symlink("t", name));
    }
    DIR *d = opendir("d");
    for (struct dirent *e; (e = readdir(d)); k++) {
        if (e->d_name[0] == 'f')
            seen[atoi(e->d_name + 1)]++;
        if (k % 2 == 0 && k / 2 < STAY) {
            snprintf(name, sizeof name, "d/x%d", k / 2);
            OK(unlink(name));
            snprintf(name, sizeof name, "d/y%d", k / 2);
            put(name, "");
        }
        if (k > 5 * STAY) {
            failed(__FILE__, __LINE__, "the listing does not end");
            break;
        }
    }
    closedir(d);
    unsigned wrong = 0;
    for (int i = 0; i < STAY; i++)
        wrong += seen[i] != 1;
    SAME(wrong, 0);
}

static void positions_stay_valid(void)
{
    enum { POS = 500 };
    static struct { long at; char name[32]; } pos[POS];
    int n = 0;
    char path[64];

    make_many("d", POS);
    DIR *d = opendir("d");
    for (;;) {
        long at = telldir(d);
        struct dirent *e = readdir(d);
        if (!e)
            break;
        if (e->d_name[0] == '.')
            continue;
        pos[n].at = at;
        snprintf(pos[n++].name, sizeof pos[0].name, "%.31s", e->d_name);
    }
    SAME(n, POS);
    for (int i = 0; i < POS; i += 3) {    /* every third goes, new ones come */
        snprintf(path, sizeof path, "d/%s", pos[i].name);
        OK(unlink(path));
        snprintf(path, sizeof path, "d/new%d", i);
        put(path, "");
    }
    unsigned wrong = 0;
    for (int i = POS - 1; i >= 0; i--) {
        if (i % 3 == 0)
            continue;
        seekdir(d, pos[i].at);            /* new entries may be listed first, the one noted follows; none noted before it */
        struct dirent *e = readdir(d);
        while (e && (!strncmp(e->d_name, "new", 3)))
            e = readdir(d);
        wrong += !e || strcmp(e->d_name, pos[i].name);
    }
    SAME(wrong, 0);
    seekdir(d, pos[0].at);                /* one that was removed: the next that is left, or still that one (POSIX leaves it open) */
    struct dirent *e = readdir(d);
    T(e);
    put("d/late", "");
    OK(unlink("d/f1"));
    rewinddir(d);
    bool late = false, f1 = false;
    while ((e = readdir(d))) {
        late |= !strcmp(e->d_name, "late");
        f1 |= !strcmp(e->d_name, "f1");
    }
    T(late && !f1);
    closedir(d);
}

static void a_listing_tells_types_and_inodes(void)
{
    static const struct { char t; unsigned char d; } types[] = { { 'f', DT_REG }, { 'd', DT_DIR }, { 'l', DT_LNK }, { 'p', DT_FIFO }, { 's', DT_SOCK } };
    char a[2] = { 0 };
    int seen = 0;
    struct dirent *e;

    OK(mkdir("top", 0755));
    OK(chdir("top"));
    for (int i = 0; i < 5; i++) {
        a[0] = types[i].t;
        make(a, types[i].t);
    }
    DIR *d = opendir(".");
    while ((e = readdir(d))) {
        if (!strcmp(e->d_name, "..")) {
            SAME(e->d_ino, stat_of("..").st_ino);
            continue;
        }
        SAME(e->d_ino, stat_of(e->d_name).st_ino);
        for (int i = 0; i < 5; i++) {
            if (e->d_name[0] == types[i].t) {
                SAME(e->d_type, types[i].d);
                seen++;
            }
        }
    }
    SAME(seen, 5);
    closedir(d);
    OK(rename("f", "g"));                 /* a listing made anew shows it at once */
    d = opendir(".");
    bool f = false, g = false;
    while ((e = readdir(d))) {
        f |= !strcmp(e->d_name, "f");
        g |= !strcmp(e->d_name, "g");
    }
    T(g && !f);
    closedir(d);
    FAILS(syscall(SYS_getdents64, open("g", O_RDONLY), a, 2), ENOTDIR);
    FAILS(syscall(SYS_getdents64, open(".", O_RDONLY), a, 2), EINVAL);
    FAILS(read(open(".", O_RDONLY), a, 1), EISDIR);
}

/* One process makes and removes files while another lists without end. */
static void listings_and_changes_at_once(void)
{
    char name[64];
    int st;

    make_many("d", 300);
    pid_t pid = fork();
    if (!pid) {
        for (;;) {
            unsigned n = 0;
            DIR *d = opendir("d");
            for (struct dirent *e; (e = readdir(d));)
                n += e->d_name[0] == 'f';
            closedir(d);
            if (n != 300)
                _exit(1);
        }
    }
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "d/t%d", i % 50);
        if (i / 50 % 2)
            OK(unlink(name));
        else
            put(name, "x");
    }
    OK(kill(pid, SIGTERM));
    T(waitpid(pid, &st, 0) == pid && WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
}

static void the_file_system_tells_its_space(void)
{
    struct statfs a;
    struct statvfs v;

    OK(statfs(".", &a));
    T(a.f_blocks > 0 && a.f_bfree <= a.f_blocks && a.f_bavail <= a.f_bfree);
    T(a.f_files > 0 && a.f_ffree <= a.f_files && a.f_ffree > 0);
    SAME(a.f_bsize, 4096);
    SAME(a.f_namelen, 255);
    OK(statvfs(".", &v));
    SAME(v.f_frsize, 4096);
    SAME(pathconf(".", _PC_NAME_MAX), 255);
    SAME(v.f_flag & ST_RDONLY, 0);
    if (on_coppice) {
        SAME(a.f_type, 0x65735546);
        T(v.f_flag & ST_NODEV);
        char name[16];
        struct statfs b;
        bool grown = false;
        for (int i = 0; i < 50 && !grown; i++) {      /* inodes of before, without names, go when the kernel tells that it has forgotten them: any time */
            snprintf(name, sizeof name, "d%d", i);
            OK(statfs(".", &a));
            make_many(name, 100);
            OK(statfs(".", &b));
            grown = b.f_files - b.f_ffree >= a.f_files - a.f_ffree + 100;
        }
        T(grown);
    }
    AS(USER) {
        OK(statfs(".", &a));
    }
}

static void everything_can_be_synced(void)
{
    int fd = open_new("f", 0644), d = open(".", O_RDONLY | O_DIRECTORY), ro;

    SAME(write(fd, "x", 1), 1);
    OK(fsync(fd));
    OK(fdatasync(fd));
    OK(fsync(d));
    OK(fdatasync(d));
    OK(syncfs(d));
    OK(syncfs(fd));
    ro = open("f", O_RDONLY);
    OK(fsync(ro));
    OK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
    OK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    OK(readahead(fd, 0, 4096));
    SAME(write(open("s", O_WRONLY | O_CREAT | O_SYNC, 0644), "y", 1), 1);
    SAME(write(open("s", O_WRONLY | O_DSYNC), "z", 1), 1);
    HAS("s", "z");
    OK(mkfifo("p", 0644));
    FAILS(fsync(open("p", O_RDWR)), EINVAL);
    FAILS(ioctl(fd, 0x12345678, 0), ENOTTY);
    int n = -1;
    if (ioctl(fd, FIONREAD, &n))
        skipped("FIONREAD: %s", strerror(errno));
}

const struct posix_test posix_dir_tests[] = {
    { "ten_thousand_entries_are_listed_once", ten_thousand_entries_are_listed_once },
    { "entries_that_stay_are_listed_once_while_others_go_and_come", entries_that_stay_are_listed_once_while_others_go_and_come },
    { "positions_stay_valid", positions_stay_valid },
    { "a_listing_tells_types_and_inodes", a_listing_tells_types_and_inodes },
    { "listings_and_changes_at_once", listings_and_changes_at_once },
    { "the_file_system_tells_its_space", the_file_system_tells_its_space },
    { "everything_can_be_synced", everything_can_be_synced },
    { 0 }
};
