/* A workspace mounted in this process and used by system calls from children. Needs root and /dev/fuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/fuse_mount.h"
#include "fs/store.h"
#include "fs/verbs.h"
#include "fs/workspace.h"
#include "tests/lib/transport.h"

struct box {                              /* one mounted workspace */
    struct workspace *ws;
    struct mount *m;
    char dir[64];
    sem_t gone;
    int gone_count;
};

static struct fuse_pool *pool;
static struct store *store;
static char top[32];
static struct box main_box, *box = &main_box;   /* the one in use: the children's working directory */

static bool cut_what_has_ended;

static void on_gone(void *arg, struct mount *m)
{
    struct box *b = arg;

    if (cut_what_has_ended)
        mount_abort(m);
    b->gone_count++;
    sem_post(&b->gone);
}

static enum mount_transport transport;

static void box_mount(struct box *b, const struct mount_opts *o)
{
    struct mount_opts opts = *o;
    int mfd;

    opts.transport = transport;

    sem_init(&b->gone, 0, 0);
    b->gone_count = 0;
    assert_int_equal(mount_new(pool, b->ws, &opts, on_gone, b, &b->m, &mfd), 0);
    assert_int_equal(mount_transport(b->m), transport);
    assert_int_equal(move_mount(mfd, "", AT_FDCWD, b->dir, MOVE_MOUNT_F_EMPTY_PATH), 0);
    close(mfd);
}

static void box_unmount(struct box *b)
{
    assert_int_equal(umount2(b->dir, MNT_DETACH), 0);
    sem_wait(&b->gone);
    assert_int_equal(b->gone_count, 1);
}

static void box_open(struct box *b, const char *name, const struct mount_opts *o)
{
    struct create_args a = { .name = name };
    struct ws_rec rec;

    assert_int_equal(verb_create(store, &a, &rec), 0);
    assert_int_equal(workspace_open(store, rec.id, &b->ws), 0);
    snprintf(b->dir, sizeof b->dir, "%s/%s", top, name);
    assert_int_equal(mkdir(b->dir, 0755), 0);
    box_mount(b, o);
}

static void box_close(struct box *b)
{
    box_unmount(b);
    workspace_unref(b->ws);
    assert_int_equal(rmdir(b->dir), 0);
}

/* Children say which line failed. */
#define CHECK(x) \
    do { \
        if (!(x)) { \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #x, strerror(errno)); \
            return __LINE__; \
        } \
    } while (0)
#define FAILS(x, e) CHECK((errno = 0, (x) == -1 && errno == (e)))

/* A child must not keep /dev/fuse open: the kernel would wait for answers after the death of the process that gives them. */
static void close_from(unsigned fd)
{
    close_range(fd, ~0u, 0);
}

static void child_as(uint32_t id, int (*fn)(void))
{
    pid_t pid = fork();
    int st;

    if (!pid) {
        close_from(3);
        if (chdir(box->dir) || (id && (setresgid(id, id, id) || setresuid(id, id, id))))
            _exit(99);
        _exit(fn() ? 1 : 0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &st, 0), pid);
    assert_true(WIFEXITED(st));
    assert_int_equal(WEXITSTATUS(st), 0);
}

static void child(int (*fn)(void))
{
    child_as(0, fn);
}

static uint64_t ino_of(const char *name)
{
    struct inode in;
    uint64_t ino;

    assert_int_equal(ws_path(box->ws, name, &ino, &in), 0);
    return ino;
}

/* --- */
static int kind(void)
{
    struct statfs s;
    char line[512];
    int found = 0;
    FILE *f = fopen("/proc/self/mountinfo", "re");

    CHECK(f);
    while (fgets(line, sizeof line, f))
        found |= strstr(line, box->dir) && strstr(line, " - fuse.coppice coppice ") && strstr(line, "nosuid,nodev");
    fclose(f);
    CHECK(found);
    CHECK(!statfs(".", &s) && s.f_namelen == 255 && s.f_blocks >= s.f_bfree);
    return 0;
}

static void it_shows_as_fuse_coppice(void **state)
{
    struct stat st;

    child(kind);
    assert_int_equal(stat(box->dir, &st), 0);
    assert_true(st.st_dev == mount_dev(box->m) && st.st_ino == 1);
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((i * 2654435761u + seed) >> 11);
}

static int contents(void)
{
    enum { N = 3000123 };
    uint8_t *a = malloc(N), *b = malloc(N);
    struct stat st;
    int fd = open("big", O_CREAT | O_EXCL | O_RDWR, 0640);

    CHECK(a && b && fd >= 0);
    fill(a, N, 1);
    CHECK(write(fd, a, N) == N && !fsync(fd));
    CHECK(!posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    CHECK(pread(fd, b, N, 0) == N && !memcmp(a, b, N));
    CHECK(!close(fd));
    fd = open("big", O_RDWR | O_DIRECT);
    CHECK(fd >= 0 && lseek(fd, 0, SEEK_END) == N && !close(fd));
    fd = open("big", O_WRONLY | O_APPEND);
    CHECK(fd >= 0 && write(fd, "tail", 4) == 4 && !close(fd));
    CHECK(!stat("big", &st) && st.st_size == N + 4 && (st.st_mode & 07777) == 0640 && st.st_blocks > 5000);
    CHECK(!truncate("big", 100) && !stat("big", &st) && st.st_size == 100);
    CHECK(!truncate("big", 5000));
    fd = open("big", O_RDONLY);
    CHECK(fd >= 0 && read(fd, b, N) == 5000 && !memcmp(a, b, 100) && !b[100] && !b[4999] && !close(fd));
    fd = open("big", O_WRONLY | O_TRUNC);
    CHECK(fd >= 0 && !fstat(fd, &st) && st.st_size == 0 && !close(fd));
    CHECK(!unlink("big"));
    free(a);
    free(b);
    return 0;
}

static void contents_are_read_back_as_written(void **state)
{
    child(contents);
}

static int names(void)
{
    char name[300], buf[16];
    struct stat a, b;
    int fd;

    memset(name, 'n', sizeof name);
    name[256] = 0;
    CHECK(!mkdir("d", 0755));
    FAILS(mkdir("d", 0755), EEXIST);
    FAILS(open("none/x", O_RDONLY), ENOENT);
    FAILS(open(name, O_CREAT | O_WRONLY, 0600), ENAMETOOLONG);
    name[255] = 0;
    fd = open(name, O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && !close(fd) && !unlink(name));
    fd = open("d/f", O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0 && write(fd, "hello", 5) == 5);
    FAILS(rmdir("d"), ENOTEMPTY);
    FAILS(ioctl(fd, TCGETS, name), ENOTTY);
    CHECK(!link("d/f", "g") && !stat("g", &a) && !fstat(fd, &b) && a.st_ino == b.st_ino && a.st_nlink == 2);
    CHECK(!rename("g", "h"));
    FAILS(stat("g", &a), ENOENT);
    CHECK(!symlink("d/f", "s") && readlink("s", buf, sizeof buf) == 3 && !memcmp(buf, "d/f", 3) && !stat("s", &a) && a.st_size == 5);
    FAILS(renameat2(AT_FDCWD, "h", AT_FDCWD, "s", RENAME_NOREPLACE), EEXIST);
    CHECK(!renameat2(AT_FDCWD, "h", AT_FDCWD, "s", RENAME_EXCHANGE));
    CHECK(!lstat("h", &a) && S_ISLNK(a.st_mode) && !lstat("s", &a) && S_ISREG(a.st_mode));
    CHECK(!unlink("h") && !unlink("s") && !unlink("d/f") && !fstat(fd, &a) && a.st_nlink == 0);
    CHECK(pread(fd, buf, sizeof buf, 0) == 5 && pwrite(fd, "more", 4, 5) == 4);
    CHECK(pread(fd, buf, sizeof buf, 0) == 9 && !memcmp(buf, "hellomore", 9));
    CHECK(!close(fd) && !rmdir("d"));
    return 0;
}

static void names_links_and_renames_work(void **state)
{
    child(names);
}

static int special(void)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "sock" };
    struct stat st;
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    CHECK(!mkfifo("fifo", 0644) && !lstat("fifo", &st) && S_ISFIFO(st.st_mode));
    CHECK(!bind(s, (void *)&sa, sizeof sa) && !lstat("sock", &st) && S_ISSOCK(st.st_mode) && !close(s));
    CHECK(!mknod("null", S_IFCHR | 0666, makedev(1, 3)) && !lstat("null", &st) && st.st_rdev == makedev(1, 3));
    FAILS(open("null", O_RDWR), EACCES);
    CHECK(!unlink("fifo") && !unlink("sock") && !unlink("null"));
    return 0;
}

static void fifos_sockets_and_devices_that_lead_nowhere_are_made(void **state)
{
    child(special);
}

static int listing(void)
{
    enum { N = 3000 };
    static unsigned char seen[N];
    char name[32];
    struct dirent *e;
    unsigned n = 0;
    DIR *d;

    CHECK(!mkdir("many", 0755));
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "many/%d", i);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        CHECK(fd >= 0 && !close(fd));
    }
    CHECK((d = opendir("many")));
    while ((e = readdir(d))) {            /* every entry goes once it was seen: none is skipped or seen twice */
        if (e->d_name[0] == '.')
            continue;
        CHECK(e->d_type == DT_REG && seen[atoi(e->d_name)]++ == 0);
        CHECK(!unlinkat(dirfd(d), e->d_name, 0));
        n++;
    }
    CHECK(n == N);
    CHECK(!closedir(d) && !rmdir("many"));
    return 0;
}

static void a_directory_emptied_while_listed_is_listed_once(void **state)
{
    child(listing);
}

static int tmpfile_(void)
{
    char path[64];
    struct stat st;
    int fd = open(".", O_TMPFILE | O_RDWR, 0640);

    CHECK(fd >= 0 && write(fd, "unnamed", 7) == 7 && !fstat(fd, &st) && st.st_nlink == 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CHECK(!linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) && !close(fd));
    CHECK(!stat("named", &st) && st.st_nlink == 1 && st.st_size == 7 && (st.st_mode & 07777) == 0640 && !unlink("named"));
    return 0;
}

static void a_file_without_a_name_can_be_given_one(void **state)
{
    child(tmpfile_);
}

static int times(void)
{
    struct timespec ts[2] = { { 1000000000, 123456789 }, { 1100000000, 987654321 } };
    struct statx x, y;
    int fd = open("t", O_CREAT | O_WRONLY, 0600);

    CHECK(fd >= 0 && !statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &x));
    CHECK(x.stx_mask & STATX_BTIME && x.stx_btime.tv_sec > 1700000000);
    CHECK(write(fd, "x", 1) == 1 && !futimens(fd, ts) && !close(fd));
    CHECK(!statx(AT_FDCWD, "t", AT_STATX_FORCE_SYNC, STATX_BASIC_STATS | STATX_BTIME, &y));
    CHECK(y.stx_btime.tv_sec == x.stx_btime.tv_sec && y.stx_btime.tv_nsec == x.stx_btime.tv_nsec);
    CHECK(y.stx_atime.tv_sec == 1000000000 && y.stx_atime.tv_nsec == 123456789);
    CHECK(y.stx_mtime.tv_sec == 1100000000 && y.stx_mtime.tv_nsec == 987654321);
    CHECK(!unlink("t"));
    return 0;
}

static void times_are_kept_to_the_nanosecond_and_birth_is_shown(void **state)
{
    child(times);
}

/* version 2; user::rwx user:1234:r-x group::r-x mask::rwx other::--- */
static const uint8_t acl[44] = { 2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 0xd2, 4, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
    16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };

static int xattrs(void)
{
    char buf[256];
    struct stat st;
    int fd = open("x", O_CREAT | O_WRONLY, 0600);

    CHECK(fd >= 0 && !fsetxattr(fd, "user.k", "value", 5, XATTR_CREATE));
    FAILS(fsetxattr(fd, "user.k", "value", 5, XATTR_CREATE), EEXIST);
    CHECK(fgetxattr(fd, "user.k", NULL, 0) == 5 && fgetxattr(fd, "user.k", buf, sizeof buf) == 5 && !memcmp(buf, "value", 5));
    FAILS(fgetxattr(fd, "user.k", buf, 4), ERANGE);
    CHECK(flistxattr(fd, buf, sizeof buf) == 7 && !memcmp(buf, "user.k", 7));
    CHECK(!fremovexattr(fd, "user.k"));
    FAILS(fgetxattr(fd, "user.k", buf, sizeof buf), ENODATA);
    CHECK(!close(fd) && !unlink("x"));
    CHECK(!mkdir("acl", 0755) && !setxattr("acl", "system.posix_acl_default", acl, sizeof acl, 0));
    fd = open("acl/f", O_CREAT | O_WRONLY, 0666);
    CHECK(fd >= 0 && getxattr("acl/f", "system.posix_acl_access", buf, sizeof buf) == sizeof acl);
    CHECK(!fstat(fd, &st) && (st.st_mode & 0777) == 0660);
    CHECK(!close(fd) && !unlink("acl/f") && !rmdir("acl"));
    return 0;
}

static void xattrs_and_inherited_acls_work(void **state)
{
    child(xattrs);
}

static int privileged_file(void)
{
    int fd = open("su", O_CREAT | O_WRONLY, 0600);

    CHECK(fd >= 0 && write(fd, "1234", 4) == 4 && !fchmod(fd, 06777) && !close(fd));
    fd = open("secret", O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && !close(fd) && !mkdir("open", 0777) && !chmod("open", 01777));
    return 0;
}

static int stranger(void)
{
    struct stat st;
    int fd = open("su", O_WRONLY);

    CHECK(fd >= 0 && pwrite(fd, "x", 1, 0) == 1 && !fstat(fd, &st) && (st.st_mode & 07777) == 0777 && !close(fd));
    FAILS(open("secret", O_RDONLY), EACCES);
    FAILS(open("mine", O_CREAT | O_WRONLY, 0600), EACCES);
    FAILS(chown("su", 1000, 1000), EPERM);
    fd = open("open/mine", O_CREAT | O_WRONLY, 0600);
    CHECK(fd >= 0 && !fstat(fd, &st) && st.st_uid == 1000 && st.st_gid == 1000 && !close(fd));
    return 0;
}

static int cleanup(void)
{
    CHECK(!unlink("open/mine") && !rmdir("open") && !unlink("su") && !unlink("secret"));
    return 0;
}

static void others_are_checked_and_their_writes_clear_setuid(void **state)
{
    child(privileged_file);
    child_as(1000, stranger);
    child(cleanup);
}

static int holes(void)
{
    static uint8_t a[8192], b[8192];
    struct stat st;
    off_t from = 0, to = 0;
    int fd = open("sparse", O_CREAT | O_RDWR, 0600), fd2 = open("copy", O_CREAT | O_RDWR, 0600);

    fill(a, sizeof a, 7);
    CHECK(fd >= 0 && fd2 >= 0 && pwrite(fd, a, sizeof a, 1 << 20) == sizeof a);
    CHECK(lseek(fd, 0, SEEK_DATA) <= 1 << 20 && lseek(fd, 0, SEEK_DATA) >= 0);     /* not written back yet */
    CHECK(lseek(fd, 1 << 20, SEEK_DATA) == 1 << 20 && lseek(fd, 1 << 20, SEEK_HOLE) == (1 << 20) + (off_t)sizeof a);
    FAILS(lseek(fd, (1 << 20) + sizeof a, SEEK_DATA), ENXIO);
    CHECK(copy_file_range(fd, &from, fd2, &to, (1 << 20) + sizeof a, 0) == (1 << 20) + (ssize_t)sizeof a);
    CHECK(pread(fd2, b, sizeof b, 1 << 20) == sizeof b && !memcmp(a, b, sizeof a));
    CHECK(!fstat(fd2, &st) && st.st_size == (1 << 20) + (off_t)sizeof a);
    CHECK(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096));
    CHECK(pread(fd, b, sizeof b, 1 << 20) == sizeof b && !b[0] && !b[4095] && !memcmp(a + 4096, b + 4096, 4096));
    CHECK(pread(fd2, b, sizeof b, 1 << 20) == sizeof b && !memcmp(a, b, sizeof a));
    CHECK(!fallocate(fd, 0, 0, 4 << 20) && !fstat(fd, &st) && st.st_size == 4 << 20);
    CHECK(!close(fd) && !close(fd2) && !unlink("sparse") && !unlink("copy"));
    return 0;
}

static void holes_are_found_and_ranges_copied(void **state)
{
    child(holes);
}

static int mapped(void)
{
    int fd = open("map", O_CREAT | O_RDWR, 0600);
    char *p, b[4];

    CHECK(fd >= 0 && !ftruncate(fd, 300000));
    p = mmap(NULL, 300000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    memcpy(p + 200000, "abcd", 4);
    CHECK(pread(fd, b, 4, 200000) == 4 && !memcmp(b, "abcd", 4) && !msync(p, 300000, MS_SYNC));
    CHECK(!munmap(p, 300000) && !close(fd));
    return 0;
}

static void shared_mappings_are_written_back(void **state)
{
    uint8_t b[4];
    size_t n;

    child(mapped);
    assert_int_equal(ws_read(box->ws, ino_of("map"), 200000, 4, b, &n), 0);
    assert_true(n == 4 && !memcmp(b, "abcd", 4));
}

static void *fsyncs(void *arg)
{
    int fd = open(arg, O_CREAT | O_WRONLY, 0600), bad = fd < 0;

    for (int i = 0; i < 10; i++)
        bad |= write(fd, "x", 1) != 1 || fsync(fd);
    return bad || close(fd) ? arg : NULL;
}

static int syncing(void)
{
    enum { N = 24 };
    static char name[N][16];
    pthread_t t[N];
    void *r;
    int bad = 0;

    for (int i = 0; i < N; i++) {
        snprintf(name[i], sizeof name[i], "sync%d", i);
        CHECK(!pthread_create(&t[i], NULL, fsyncs, name[i]));
    }
    for (int i = 0; i < N; i++) {
        CHECK(!pthread_join(t[i], &r));
        bad |= r != NULL;
        unlink(name[i]);
    }
    CHECK(!bad);
    return 0;
}

static void many_fsyncs_at_once_all_end(void **state)
{
    child(syncing);
}

static int as_base(void)
{
    struct stat st;
    int fd = open("f", O_CREAT | O_WRONLY, 0600);

    CHECK(fd >= 0 && !fstat(fd, &st) && st.st_uid == 100000 && st.st_gid == 100000 && !close(fd));
    return 0;
}

static int as_outsider(void)
{
    struct stat st;
    char buf[64];

    CHECK(!stat(".", &st) && st.st_uid == 100000);
    FAILS(open("g", O_CREAT | O_WRONLY, 0600), EOVERFLOW);
    FAILS(chown("f", 165536, 100000), EOVERFLOW);
    FAILS(chown("f", 99999, 100000), EOVERFLOW);
    CHECK(!chown("f", 165534, 100007) && !stat("f", &st) && st.st_uid == 165534 && st.st_gid == 100007);
    FAILS(setxattr("f", "system.posix_acl_access", acl, sizeof acl, 0), EOVERFLOW);       /* names user 1234 */
    uint8_t ours[sizeof acl];
    memcpy(ours, acl, sizeof acl);
    ours[16] = 0xa1, ours[17] = 0x86, ours[18] = 1;                                        /* 100001 */
    CHECK(!setxattr("f", "system.posix_acl_access", ours, sizeof ours, 0));
    CHECK(getxattr("f", "system.posix_acl_access", buf, sizeof buf) == sizeof ours && !memcmp(buf, ours, sizeof ours));
    return 0;
}

static void ids_are_mapped_both_ways_and_foreign_ones_refused(void **state)
{
    struct mount_opts o = { .uid_base = 100000 };
    static struct box based;
    uint8_t b[64];
    struct inode in;
    size_t n;

    box = &based;
    box_open(box, "based", &o);
    child_as(100000, as_base);
    child(as_outsider);
    assert_int_equal(ws_getattr(box->ws, ino_of("f"), &in), 0);
    assert_true(in.uid == 65534 && in.gid == 7);
    assert_int_equal(ws_getxattr(box->ws, ino_of("f"), "system.posix_acl_access", b, sizeof b, &n), 0);
    assert_true(n == sizeof acl && b[16] == 1 && b[17] == 0 && b[18] == 0);
    box_close(box);
    box = &main_box;
}

static int cannot_write(void)
{
    FAILS(open("new", O_CREAT | O_WRONLY, 0600), EROFS);
    FAILS(unlink("map"), EROFS);
    FAILS(open("map", O_WRONLY), EROFS);
    FAILS(setxattr("map", "user.a", "b", 1, 0), EROFS);
    CHECK(open("map", O_RDONLY) >= 0);
    return 0;
}

static void a_read_only_mount_refuses_changes_and_state_outlives_mounts(void **state)
{
    struct mount_opts o = { .ro = true };
    struct mount *m;
    int fd;

    box_unmount(box);
    box_mount(box, &o);
    child(cannot_write);
    assert_int_equal(mount_new(pool, box->ws, &o, on_gone, box, &m, &fd), -EBUSY);
    box_unmount(box);
    box_mount(box, &(struct mount_opts){ 0 });
}

/* --- what the daemon does behind the kernel's back --- */
static void invalidation_shows_what_the_daemon_changed(void **state)
{
    static const struct ws_cred cred = { 0 };
    char path[96], b[8] = "";
    struct inode in;
    struct stat st;
    uint64_t ino;
    int fd;

    snprintf(path, sizeof path, "%s/behind", box->dir);
    assert_int_equal(access(path, F_OK), -1);                                              /* a negative entry is kept for ever */
    assert_int_equal(ws_create(box->ws, 1, "behind", S_IFREG | 0644, 0, NULL, &cred, 0, false, &ino, &in), 0);
    assert_int_equal(access(path, F_OK), -1);
    mount_inval_entry(box->m, 1, "behind", 6);
    fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "old", 3), 3);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(ws_write(box->ws, ino, 0, (const uint8_t *)"new", 3, false), 0);
    assert_int_equal(pread(fd, b, 8, 0), 3);
    assert_memory_equal(b, "old", 3);
    mount_inval_inode(box->m, ino);
    assert_int_equal(pread(fd, b, 8, 0), 3);
    assert_memory_equal(b, "new", 3);
    assert_int_equal(ws_write(box->ws, ino, 0, (const uint8_t *)"longer", 6, false), 0);
    mount_inval_inode(box->m, ino);
    mount_inval_entry(box->m, 1, "behind", 6);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 3);      /* the kernel believes its own size of an open file */
    close(fd);
    mount_inval_entry(box->m, 1, "behind", 6);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, b, 8), 6);
    assert_memory_equal(b, "longer", 6);
    close(fd);
    unlink(path);
}

static int walks(void)
{
    struct stat st;

    for (int i = 0; i < 100; i++)
        CHECK(!stat("d/f", &st) && !stat("./d/../d", &st));
    return 0;
}

static int make_d_and_f(void)
{
    CHECK(!mkdir("d", 0755));
    int fd = open("f", O_CREAT | O_WRONLY, 0644);
    CHECK(fd >= 0);
    return 0;
}

static int changes_names(void)
{
    CHECK(!rename("f", "d/f") && !rename("d/f", "g") && !rename("g", "tree") && !rename("tree", "f") && !rename("f", "d/f"));
    return 0;
}

/* Shown as a second node of the root (fuse_call.h), else each walk of somebody who does not own it asks for an ACL. */
static void a_root_that_has_no_acl_is_asked_for_it_once(void **state)
{
    struct mount_opts o = { .uid_base = 100000 };
    struct mount_stats before, after;
    static struct box based;
    char line[1024], want[128];
    bool second = false;

    box = &based;
    box_open(box, "second", &o);
    child_as(100000, make_d_and_f);
    child_as(100000, changes_names);
    mount_stats(box->m, &before);
    child_as(100007, walks);
    mount_stats(box->m, &after);
    FILE *f = fopen("/proc/self/mountinfo", "re");
    snprintf(want, sizeof want, " /tree %s ", box->dir);
    while (f && fgets(line, sizeof line, f))
        second |= strstr(line, want) != NULL;
    fclose(f);
    if (second)                           /* Linux 6.15 */
        assert_in_range(after.by_opcode[22 /* GETXATTR */] - before.by_opcode[22], 0, 4);
    invalidation_shows_what_the_daemon_changed(NULL);
    box_close(box);
    box = &main_box;
}

/* A held mount answers nothing; the call ends after the release. */
static void a_held_mount_takes_no_request(void **state)
{
    struct mount_stats before, after;
    int go[2], done[2];
    struct pollfd p;
    char c, path[96];
    pid_t pid;

    snprintf(path, sizeof path, "%s/held", box->dir);
    assert_int_equal(pipe(go) | pipe(done), 0);
    pid = fork();
    if (!pid) {
        dup2(go[0], 3);
        dup2(done[1], 4);
        close_from(5);
        go[0] = 3;
        done[1] = 4;
        if (read(go[0], &c, 1) != 1)
            _exit(1);
        _exit(mkdir(path, 0755) || write(done[1], "x", 1) != 1);
    }
    mount_hold(box->m);
    mount_stats(box->m, &before);
    assert_int_equal(write(go[1], "x", 1), 1);
    p = (struct pollfd){ .fd = done[0], .events = POLLIN };
    assert_int_equal(poll(&p, 1, 100), 0);
    mount_stats(box->m, &after);
    assert_true(before.requests == after.requests);
    mount_release(box->m);
    assert_int_equal(read(done[0], &c, 1), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(rmdir(path), 0);
    close(go[0]), close(go[1]), close(done[0]), close(done[1]);
}

/* --- mount_flush: whatever a write() or a store had put in before the call is in the workspace after it --- */
enum { APPENDERS = 3, MAPPERS = 2, REWRITERS = 2, WRITERS = APPENDERS + MAPPERS + REWRITERS, PAGES = 128, ROUNDS = 25, RECORD = 16 };
struct progress { _Atomic uint64_t appended[APPENDERS], page[MAPPERS + REWRITERS][PAGES]; };

static void append_for_ever(int fd, _Atomic uint64_t *done)
{
    for (uint64_t k = 0;; k++) {
        uint64_t rec[2] = { k, ~k };

        if (write(fd, rec, RECORD) != RECORD)
            _exit(1);
        atomic_store(done, k + 1);
        if (k % 64 == 0)
            usleep(100);                  /* leave the others a CPU */
    }
}

static void rewrite_for_ever(int fd, bool map, _Atomic uint64_t *done)
{
    volatile uint64_t *p = map ? mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : NULL;

    for (uint64_t k = 1;; k++) {
        unsigned page = (unsigned)(k * 7919 % PAGES);

        if (map)
            p[page * 512] = k;
        else if (pwrite(fd, &k, 8, page * 4096) != 8)
            _exit(1);
        atomic_store(&done[page], k);
        if (k % 16 == 0)
            usleep(50);
    }
}

static void check_pages(uint64_t ino, const uint64_t *want)
{
    for (unsigned i = 0; i < PAGES; i++) {
        uint64_t v = 0;
        size_t n = 0;

        if (!want[i])
            continue;
        assert_int_equal(ws_read(box->ws, ino, i * 4096, 8, (uint8_t *)&v, &n), 0);
        assert_true(n == 8 && v >= want[i]);
    }
}

static void check_appended(uint64_t ino, uint64_t count)
{
    for (uint64_t k = count > 500 ? count - 500 : 0; k < count; k++) {
        uint64_t rec[2] = { 0 };
        size_t n = 0;

        assert_int_equal(ws_read(box->ws, ino, k * RECORD, RECORD, (uint8_t *)rec, &n), 0);
        assert_true(n == RECORD && rec[0] == k && rec[1] == ~k);
    }
}

static void a_flush_brings_in_all_that_was_written_before_it(void **state)
{
    struct progress *sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    static uint64_t count[APPENDERS], page[MAPPERS + REWRITERS][PAGES];
    uint64_t ino[WRITERS];
    pid_t pids[WRITERS];
    char path[96];
    int dirfd = open(box->dir, O_RDONLY | O_DIRECTORY), bad;

    for (int i = 0; i < WRITERS; i++) {
        snprintf(path, sizeof path, "%s/w%d", box->dir, i);
        int fd = open(path, O_CREAT | O_RDWR | (i < APPENDERS ? O_APPEND : 0), 0600);
        struct stat st;

        assert_true(fd >= 0 && !fstat(fd, &st));
        assert_int_equal(i < APPENDERS ? 0 : ftruncate(fd, PAGES * 4096), 0);
        ino[i] = st.st_ino;
        pids[i] = fork();
        if (!pids[i]) {
            fd = dup2(fd, 3);
            close_from(4);
            if (i < APPENDERS)
                append_for_ever(fd, &sh->appended[i]);
            rewrite_for_ever(fd, i < APPENDERS + MAPPERS, sh->page[i - APPENDERS]);
        }
        close(fd);
    }
    for (int r = 0; r < ROUNDS; r++) {
        for (int i = 0; i < APPENDERS; i++)
            count[i] = atomic_load(&sh->appended[i]);
        for (int i = 0; i < MAPPERS + REWRITERS; i++)
            for (int k = 0; k < PAGES; k++)
                page[i][k] = atomic_load(&sh->page[i][k]);
        assert_int_equal(mount_flush(box->m, dirfd), 0);
        for (int i = 0; i < APPENDERS; i++)
            check_appended(ino[i], count[i]);
        for (int i = 0; i < MAPPERS + REWRITERS; i++)
            check_pages(ino[APPENDERS + i], page[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(waitpid(pids[i], &bad, WNOHANG), 0);                              /* none gave up */
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
        snprintf(path, sizeof path, "%s/w%d", box->dir, i);
        unlink(path);
    }
    close(dirfd);
    munmap(sh, sizeof *sh);
}

/* --- ends --- */
static void an_aborted_mount_fails_programs_and_goes(void **state)
{
    struct box b = { 0 };
    struct inode in;
    struct stat st;
    char path[96];
    int fd;

    box_open(&b, "aborted", &(struct mount_opts){ 0 });
    snprintf(path, sizeof path, "%s/f", b.dir);
    fd = open(path, O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0 && !fstat(fd, &st));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ws_getattr(b.ws, st.st_ino, &in), 0);
    mount_abort(b.m);
    sem_wait(&b.gone);
    assert_int_equal(ws_getattr(b.ws, st.st_ino, &in), -ENOENT);                           /* nobody has it open now */
    assert_int_equal(open(path, O_RDONLY), -1);
    assert_int_equal(errno, ENOTCONN);
    close(fd);
    assert_int_equal(umount2(b.dir, MNT_DETACH), 0);
    assert_int_equal(b.gone_count, 1);
    workspace_unref(b.ws);
    rmdir(b.dir);
}

/* Starts children in the directory of b, all on one CPU, each with its number. */
static void crowd_start(const struct box *b, pid_t *pid, int n, int (*fn)(int i))
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(0, &one);
    for (int i = 0; i < n; i++) {
        pid[i] = fork();
        if (pid[i])
            continue;
        close_from(3);
        sched_setaffinity(0, sizeof one, &one);
        _exit(chdir(b->dir) ? 99 : fn(i) ? 1 : 0);
    }
}

static void crowd_end(const pid_t *pid, int n, int status)
{
    int st;

    for (int i = 0; i < n; i++) {
        assert_int_equal(waitpid(pid[i], &st, 0), pid[i]);
        assert_true(WIFEXITED(st));
        assert_int_equal(WEXITSTATUS(st), status);
    }
}

/* Asking for holes of a file that is being written makes the daemon wait for WRITEs, of which it is told by the same queue. */
static int seek_and_write(int i)
{
    enum { SIZE = 300000 };
    static char data[SIZE];
    char name[16];

    snprintf(name, sizeof name, "seek%d", i);
    memset(data, 'x', SIZE);
    int fd = open(name, O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0);
    for (int k = 0; k < 30; k++) {
        CHECK(pwrite(fd, data, SIZE, 0) == SIZE);
        CHECK(lseek(fd, 0, SEEK_HOLE) == SIZE && lseek(fd, 1000, SEEK_DATA) == 1000);
    }
    return 0;
}

static void seeks_from_many_threads_all_end(void **state)
{
    enum { N = 32 };
    struct box b = { 0 };
    pid_t pid[N];

    box_open(&b, "seeks", &(struct mount_opts){ 0 });
    crowd_start(&b, pid, N, seek_and_write);
    crowd_end(pid, N, 0);
    box_close(&b);
}

static int until_it_fails(int i)
{
    char name[32], none[32];
    struct stat st;
    int fd;

    snprintf(name, sizeof name, "busy%d", i);
    for (int k = 0;; k++) {
        fd = open(name, O_CREAT | O_RDWR, 0600);
        if (fd < 0 || pwrite(fd, "x", 1, k * 5000) != 1 || (i % 2 && fsync(fd)) || close(fd))
            return 1;
        snprintf(none, sizeof none, "none%d-%d", i, k);
        if (stat(none, &st) && errno != ENOENT)
            return 1;
    }
}

static void an_abort_frees_programs_in_the_middle_of_calls(void **state)
{
    enum { N = 16 };
    struct box b = { 0 };
    struct mount_stats s;
    pid_t pid[N];

    box_open(&b, "busy", &(struct mount_opts){ 0 });
    crowd_start(&b, pid, N, until_it_fails);
    do
        mount_stats(b.m, &s);
    while (s.requests < 5000);
    mount_abort(b.m);
    crowd_end(pid, N, 1);
    sem_wait(&b.gone);
    assert_int_equal(umount2(b.dir, MNT_DETACH), 0);
    workspace_unref(b.ws);
    rmdir(b.dir);
}

/* A client that could not attach a mount has closed it before it says so. */
static void cutting_a_mount_that_has_ended_does_nothing(void **state)
{
    struct box b = { 0 }, other = { 0 };

    box_open(&b, "ended", &(struct mount_opts){ 0 });
    cut_what_has_ended = true;
    box_close(&b);
    cut_what_has_ended = false;
    box_open(&other, "other", &(struct mount_opts){ 0 });
    box_close(&other);
    assert_int_equal(b.gone_count, 1);
}

static void a_hundred_mounts_share_the_pool(void **state)
{
    enum { N = 100 };
    static struct box many[N];
    char path[96], name[16], b[16];

    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "many%d", i);
        box_open(&many[i], name, &(struct mount_opts){ 0 });
    }
    for (int i = 0; i < N; i++) {
        snprintf(path, sizeof path, "%s/f", many[i].dir);
        int fd = open(path, O_CREAT | O_RDWR, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, many[i].dir, 8), 8);
        assert_int_equal(pread(fd, b, sizeof b, 0), 8);
        close(fd);
    }
    for (int i = 0; i < N; i++)
        box_close(&many[i]);
}

/* --- */
static int set_up(void **state)
{
    struct store_options o = store_defaults;
    char dir[64];

    snprintf(top, sizeof top, "/tmp/fuse_basic.XXXXXX");
    assert_non_null(mkdtemp(top));
    assert_int_equal(chmod(top, 0755), 0);
    snprintf(dir, sizeof dir, "%s/store", top);
    assert_int_equal(store_init(dir), 0);
    assert_int_equal(store_open(dir, &o, &store), 0);
    assert_int_equal(fuse_pool_new(0, &pool), 0);
    box_open(box, "box", &(struct mount_opts){ 0 });
    return 0;
}

static int tear_down(void **state)
{
    char cmd[64];

    box_close(box);
    fuse_pool_free(pool);
    store_close(store);
    snprintf(cmd, sizeof cmd, "rm -rf %s", top);
    return system(cmd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_shows_as_fuse_coppice),
        cmocka_unit_test(contents_are_read_back_as_written),
        cmocka_unit_test(names_links_and_renames_work),
        cmocka_unit_test(fifos_sockets_and_devices_that_lead_nowhere_are_made),
        cmocka_unit_test(a_directory_emptied_while_listed_is_listed_once),
        cmocka_unit_test(a_file_without_a_name_can_be_given_one),
        cmocka_unit_test(times_are_kept_to_the_nanosecond_and_birth_is_shown),
        cmocka_unit_test(xattrs_and_inherited_acls_work),
        cmocka_unit_test(others_are_checked_and_their_writes_clear_setuid),
        cmocka_unit_test(holes_are_found_and_ranges_copied),
        cmocka_unit_test(shared_mappings_are_written_back),
        cmocka_unit_test(many_fsyncs_at_once_all_end),
        cmocka_unit_test(ids_are_mapped_both_ways_and_foreign_ones_refused),
        cmocka_unit_test(a_read_only_mount_refuses_changes_and_state_outlives_mounts),
        cmocka_unit_test(invalidation_shows_what_the_daemon_changed),
        cmocka_unit_test(a_root_that_has_no_acl_is_asked_for_it_once),
        cmocka_unit_test(a_held_mount_takes_no_request),
        cmocka_unit_test(a_flush_brings_in_all_that_was_written_before_it),
        cmocka_unit_test(an_aborted_mount_fails_programs_and_goes),
        cmocka_unit_test(an_abort_frees_programs_in_the_middle_of_calls),
        cmocka_unit_test(cutting_a_mount_that_has_ended_does_nothing),
        cmocka_unit_test(seeks_from_many_threads_all_end),
        cmocka_unit_test(a_hundred_mounts_share_the_pool),
    };

    if (geteuid() || access("/dev/fuse", R_OK | W_OK)) {
        printf("skipped: needs root and /dev/fuse\n");
        return 77;
    }
    transport = test_transport();
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
