/* What a Linux user takes for granted, one thing per call: `posix_probe TEST DIR [N]`. Status 0 if it holds; says what does not. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { fprintf(stderr, "line %d: %s: %s\n", __LINE__, #x, strerror(errno)); exit(1); } } while (0)

static int root;

/* DIR/NUMBER, each with its number in it. */
static void many(long n) {
    char name[32];
    for (long i = 0; i < n; i++) {
        int len = snprintf(name, sizeof name, "%ld", i);
        int fd = openat(root, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        CHECK(fd >= 0 && write(fd, name, (size_t)len) == len && !close(fd));
    }
}

static void tree(long n) {
    char name[64];
    for (long i = 0; i < n; i += 1000) {
        snprintf(name, sizeof name, "%ld", i / 1000);
        CHECK(!mkdirat(root, name, 0755));
        int old = root;
        root = openat(old, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(root >= 0);
        many(n - i < 1000 ? n - i : 1000);
        close(root);
        root = old;
    }
}

/* Far longer than PATH_MAX: by descriptors. */
static void deep(long n) {
    int d = dup(root);
    for (long i = 0; i < n; i++) {
        CHECK(!mkdirat(d, "deeper", 0755));
        int next = openat(d, "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(next >= 0);
        close(d);
        d = next;
    }
    int fd = openat(d, "bottom", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1 && !close(fd));
    for (long i = 0; i < n; i++) {
        int up = openat(d, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        CHECK(up >= 0);
        CHECK(!unlinkat(d, i ? "deeper" : "bottom", i ? AT_REMOVEDIR : 0));
        close(d);
        d = up;
    }
    CHECK(!unlinkat(d, "deeper", AT_REMOVEDIR));
}

static void tmpfile_test(void) {
    char p[64], b[4] = "";
    int fd = openat(root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640);
    struct stat st;
    CHECK(fd >= 0 && !fstat(fd, &st) && st.st_nlink == 0 && pwrite(fd, "tmp", 3, 0) == 3);
    snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
    CHECK(!linkat(AT_FDCWD, p, root, "was-tmp", AT_SYMLINK_FOLLOW));
    CHECK(linkat(AT_FDCWD, p, root, "was-tmp", AT_SYMLINK_FOLLOW) < 0 && errno == EEXIST);
    close(fd);
    fd = openat(root, "was-tmp", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && !fstat(fd, &st) && st.st_nlink == 1 && read(fd, b, 4) == 3 && !memcmp(b, "tmp", 3));
    int excl = openat(root, ".", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    snprintf(p, sizeof p, "/proc/self/fd/%d", excl);
    CHECK(excl >= 0 && linkat(AT_FDCWD, p, root, "never", AT_SYMLINK_FOLLOW) < 0 && errno == ENOENT);
    CHECK(!unlinkat(root, "was-tmp", 0));
}

/* Runs f in another process: its exit status. */
static int other(int (*f)(void)) {
    pid_t pid = fork();
    if (!pid) _exit(f());
    int st;
    CHECK(waitpid(pid, &st, 0) == pid);
    return WIFEXITED(st) ? WEXITSTATUS(st) : 99;
}

static int open_lock(void) {
    return openat(root, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}
static int try_flock(void) {
    int fd = open_lock();
    return fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB) ? 0 : errno == EWOULDBLOCK ? 1 : 2;
}
static int try_fcntl(int cmd) {
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5 };
    int fd = open_lock();
    return fd >= 0 && !fcntl(fd, cmd, &l) ? 0 : errno == EAGAIN || errno == EACCES ? 1 : 2;
}
static int try_posix(void) { return try_fcntl(F_SETLK); }
static int try_ofd(void) { return try_fcntl(F_OFD_SETLK); }

static void locks(void) {
    int fd = open_lock();
    CHECK(fd >= 0 && !flock(fd, LOCK_EX) && other(try_flock) == 1 && !flock(fd, LOCK_UN) && other(try_flock) == 0);
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 12, .l_len = 1 };
    CHECK(!fcntl(fd, F_SETLK, &l) && other(try_posix) == 1 && other(try_ofd) == 1);
    l.l_type = F_UNLCK;
    CHECK(!fcntl(fd, F_SETLK, &l) && other(try_posix) == 0);
    l.l_type = F_WRLCK;
    CHECK(!fcntl(fd, F_OFD_SETLK, &l) && other(try_posix) == 1 && other(try_ofd) == 1);
    close(fd);
    CHECK(other(try_ofd) == 0 && !unlinkat(root, "lock", 0));
}

static void inotify_test(const char *dir) {
    char b[4096] __attribute__((aligned(8)));
    unsigned seen = 0;
    int in = inotify_init1(IN_CLOEXEC);
    CHECK(in >= 0 && inotify_add_watch(in, dir, IN_CREATE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE) >= 0);
    int fd = openat(root, "watched", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1 && !renameat(root, "watched", root, "moved") && !unlinkat(root, "moved", 0) && !close(fd));
    struct pollfd p = { .fd = in, .events = POLLIN };
    while (seen != (IN_CREATE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE)) {
        CHECK(poll(&p, 1, 5000) == 1);
        ssize_t n = read(in, b, sizeof b);
        for (ssize_t at = 0; at < n;) {
            struct inotify_event *e = (struct inotify_event *)(b + at);
            seen |= e->mask;
            at += (ssize_t)(sizeof *e + e->len);
        }
    }
}

/* Two shared mappings and descriptors of one file see one content; what is written by a mapping is there after a remap. */
static void mmap_test(void) {
    enum { N = 300000 };
    int fd = openat(root, "mapped", O_CREAT | O_RDWR | O_CLOEXEC, 0600), fd2 = openat(root, "mapped", O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && fd2 >= 0 && !ftruncate(fd, N));
    char *a = mmap(NULL, N, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *b = mmap(NULL, N, PROT_READ, MAP_SHARED, fd2, 0), c = 0;
    char *own = mmap(NULL, N, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(a != MAP_FAILED && b != MAP_FAILED && own != MAP_FAILED);
    for (int i = 0; i < N; i += 997) {
        a[i] = (char)(i % 251 + 1);
        CHECK(b[i] == a[i] && pread(fd2, &c, 1, i) == 1 && c == a[i]);
    }
    own[0] = 'p';
    CHECK(a[0] != 'p' && pwrite(fd2, "w", 1, 5) == 1 && a[5] == 'w');
    CHECK(!msync(a, N, MS_SYNC) && !munmap(a, N) && !munmap(b, N) && !close(fd) && !close(fd2));
    fd = openat(root, "mapped", O_RDONLY | O_CLOEXEC);
    for (int i = 997; i < N; i += 997) CHECK(pread(fd, &c, 1, i) == 1 && c == (char)(i % 251 + 1));
    CHECK(!unlinkat(root, "mapped", 0));
}

/* Eight processes append records to one file and write their own stripes in another. */
static void writers(void) {
    enum { P = 8, N = 2000, RECORD = 64 };
    for (int p = 0; p < P; p++) {
        if (fork()) continue;
        int a = openat(root, "appended", O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600), s = openat(root, "striped", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        char b[RECORD];
        for (int i = 0; i < N; i++) {
            memset(b, 'a' + p, RECORD);
            CHECK(write(a, b, RECORD) == RECORD && pwrite(s, b, RECORD, ((off_t)i * P + p) * RECORD) == RECORD);
        }
        _exit(0);
    }
    for (int p = 0; p < P; p++) {
        int st;
        CHECK(wait(&st) > 0 && st == 0);
    }
    int a = openat(root, "appended", O_RDONLY | O_CLOEXEC), s = openat(root, "striped", O_RDONLY | O_CLOEXEC), count[P] = { 0 };
    char b[RECORD], same[RECORD];
    for (int i = 0; i < P * N; i++) {
        CHECK(read(a, b, RECORD) == RECORD && b[0] >= 'a' && b[0] < 'a' + P);
        memset(same, b[0], RECORD);
        CHECK(!memcmp(b, same, RECORD));
        count[b[0] - 'a']++;
        CHECK(pread(s, b, RECORD, (off_t)i * RECORD) == RECORD);
        memset(same, 'a' + i % P, RECORD);
        CHECK(!memcmp(b, same, RECORD));
    }
    for (int p = 0; p < P; p++) CHECK(count[p] == N);
    CHECK(!unlinkat(root, "appended", 0) && !unlinkat(root, "striped", 0));
}

static void unlinked(void) {
    char b[100000], c[100000];
    int fd = openat(root, "going", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    memset(b, 'u', sizeof b);
    CHECK(fd >= 0 && write(fd, b, 1000) == 1000 && !unlinkat(root, "going", 0));
    CHECK(pwrite(fd, b, sizeof b, 0) == sizeof b && !fsync(fd) && pread(fd, c, sizeof c, 0) == sizeof c && !memcmp(b, c, sizeof b));
    struct stat st;
    CHECK(!fstat(fd, &st) && st.st_nlink == 0 && st.st_size == sizeof b && openat(root, "going", O_RDONLY) < 0 && errno == ENOENT);
}

/* Every byte but '/' and NUL, alone and in the longest name; listed as they were given. */
static void names(void) {
    unsigned seen = 0;
    CHECK(!mkdirat(root, "names", 0755));
    int d = openat(root, "names", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int c = 1; c < 256; c++) {
        if (c == '/') continue;
        char name[257] = { 'n', (char)c, 0 };
        CHECK(!mknodat(d, name, S_IFREG | 0600, 0));
        memset(name, c, 255);
        CHECK(!mknodat(d, name, S_IFREG | 0600, 0));
        memset(name, c, 256);
        CHECK(mknodat(d, name, S_IFREG | 0600, 0) < 0 && errno == ENAMETOOLONG);
    }
    DIR *dir = fdopendir(dup(d));
    for (struct dirent *e; (e = readdir(dir));) seen += e->d_name[0] == 'n' || strlen(e->d_name) == 255;
    CHECK(seen == 2 * 254);
    rewinddir(dir);
    for (struct dirent *e; (e = readdir(dir));) CHECK(!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || !unlinkat(d, e->d_name, 0));
    CHECK(!unlinkat(root, "names", AT_REMOVEDIR));
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    long n = argc > 3 ? atol(argv[3]) : 1000;
    const char *t = argv[1];
    CHECK((root = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0);
    umask(0);
    if (!strcmp(t, "many")) many(n);
    else if (!strcmp(t, "tree")) tree(n);
    else if (!strcmp(t, "deep")) deep(n);
    else if (!strcmp(t, "tmpfile")) tmpfile_test();
    else if (!strcmp(t, "locks")) locks();
    else if (!strcmp(t, "inotify")) inotify_test(argv[2]);
    else if (!strcmp(t, "mmap")) mmap_test();
    else if (!strcmp(t, "writers")) writers();
    else if (!strcmp(t, "unlinked")) unlinked();
    else if (!strcmp(t, "names")) names();
    else return 2;
    return 0;
}
