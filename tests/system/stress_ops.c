/* Many processes do random things to one tree at once, which nobody can foretell; but some things must always hold.
 * stress_ops DIR PROCS OPS SEED    the processes, each OPS operations; status 1 if a call failed in a way that no race explains
 * stress_ops --check DIR           walks DIR: every word of data is one that was written, link counts are right, all can be read
 * Data are words of 8 bytes at multiples of 8: 0 or a number above its complement. Whatever is cut, moved, copied or lost in between stays so. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { NAMES = 24, DEPTH = 3, WORDS = 8192, SIZE_MOST = 1 << 20, KEPT = 6 };

static uint64_t state, words[WORDS];
static int kept[KEPT];                    /* open files, of which some have no name any more */
static unsigned long long done;
static bool bad;
static unsigned told;
static int top;

static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static size_t below(size_t n) { return (size_t)(next() % n); }
static off_t place(void) { return (off_t)(next() % 3 ? below(20000) : below(SIZE_MOST)) & ~(off_t)7; }

/* A random path: directories have small numbers, so that some exist. */
static const char *path(void)
{
    static char p[4][64];
    static unsigned turn;
    char *s = p[turn++ % 4];
    size_t depth = below(DEPTH), n = 0;

    for (size_t i = 0; i < depth; i++)
        n += (size_t)sprintf(s + n, "d%zu/", below(4));
    sprintf(s + n, "%c%zu", "dff"[below(3)], below(next() % 2 ? 4 : NAMES));
    return s;
}

/* A call failed: is that what may happen when others change the same tree? */
static void judge(const char *what, const char *p)
{
    static const int fine[] = { ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, EINVAL, ENODATA, ELOOP, EBUSY, ENXIO, EAGAIN, ESPIPE, EBADF, EPERM, ETXTBSY };

    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
        if (errno == fine[i])
            return;
    fprintf(stderr, "stress_ops: pid %d, op %llu: %s %s: %s\n", getpid(), done, what, p, strerror(errno));
    bad = true;
}

#define TRY(call, p) do { errno = 0; if ((long)(call) == -1) judge(#call, p); } while (0)

static bool valid(uint64_t v) { return v == 0 || (uint32_t)(v >> 32) == ~(uint32_t)v; }

static void check_words(const uint64_t *v, size_t n, const char *p, off_t off)
{
    for (size_t i = 0; i < n; i++)
        if (!valid(v[i])) {
            if (told++ < 10)
                fprintf(stderr, "stress_ops: %s: at %lld there is %016llx, which nobody wrote\n", p, (long long)off + (long long)i * 8,
                        (unsigned long long)v[i]);
            bad = true;
            return;
        }
}

static size_t fill(void)
{
    size_t n = next() % 3 ? 1 + below(600) : 1 + below(WORDS);

    for (size_t i = 0; i < n || i < 600; i++) {
        uint32_t x = (uint32_t)next();
        words[i] = (uint64_t)x << 32 | (uint32_t)~x;
    }
    return n * 8;
}

static void keep(int fd)
{
    size_t i = below(KEPT);

    if (kept[i] >= 0)
        close(kept[i]);
    kept[i] = fd;
}

/* A descriptor of a file: one that was kept, or of a path. -1: there is none. */
static int file(const char *p, int flags)
{
    int fd;

    if (next() % 4 == 0 && kept[fd = (int)below(KEPT)] >= 0)
        return dup(kept[fd]);
    fd = open(p, flags | O_RDWR | O_NONBLOCK | O_CLOEXEC, 0600 | (mode_t)below(0200));
    if (fd < 0)
        judge("open", p);
    return fd;
}

static void do_write(const char *p)
{
    int fd = file(p, O_CREAT | (next() % 8 ? 0 : O_APPEND) | (next() % 16 ? 0 : O_TRUNC));
    size_t n = fill();

    if (fd < 0)
        return;
    TRY(pwrite(fd, words, n, place()), p);
    if (next() % 8 == 0)
        TRY(fsync(fd), p);
    keep(fd);
}

static void do_direct(const char *p)
{
    static uint64_t page[2048] __attribute__((aligned(4096)));
    int fd = file(p, O_CREAT | O_DIRECT);
    size_t n = fill();
    off_t off = place() & ~(off_t)4095;

    if (fd < 0)
        return;
    n = n < sizeof page ? n : sizeof page;
    memcpy(page, words, n);
    if (next() % 2) {
        TRY(pwrite(fd, page, (n + 4095) & ~(size_t)4095, off), p);
    } else {
        ssize_t r = pread(fd, page, sizeof page, off);
        if (r < 0)
            judge("direct read", p);
        else
            check_words(page, (size_t)r / 8, p, off);
    }
    close(fd);
}

static sigjmp_buf cut;
static void on_bus(int sig)
{
    siglongjmp(cut, sig);
}

/* Loads or stores in a mapping that others may cut away under it: then there is a SIGBUS, and no harm. */
static void use_map(uint64_t *m, size_t n, const char *p)
{
    size_t from = below(n), count = 1 + below(n - from < 2000 ? n - from : 2000);

    fill();
    if (sigsetjmp(cut, 1))
        return;
    signal(SIGBUS, on_bus);
    if (next() % 2)
        for (size_t i = 0; i < count; i++)
            ((volatile uint64_t *)m)[from + i] = words[i % 600];
    else
        for (size_t i = 0; i < count; i++) {
            uint64_t v = ((volatile uint64_t *)m)[from + i];
            check_words(&v, 1, p, (off_t)(from + i) * 8);
        }
    if (next() % 4 == 0)
        TRY(msync(m, n * 8, next() % 2 ? MS_SYNC : MS_ASYNC), p);
    TRY(madvise(m, n * 8, (int[]){ MADV_WILLNEED, MADV_DONTNEED, MADV_RANDOM }[below(3)]), p);
}

static void do_map(const char *p)
{
    int fd = file(p, 0);
    struct stat st;

    if (fd < 0)
        return;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size >= 8) {
        size_t n = (size_t)(st.st_size < SIZE_MOST ? st.st_size : SIZE_MOST) / 8;
        uint64_t *m = mmap(NULL, n * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (m == MAP_FAILED) {
            judge("mmap", p);
        } else {
            use_map(m, n, p);
            munmap(m, n * 8);
        }
    }
    close(fd);
}

static void do_read(const char *p)
{
    int fd = file(p, 0);
    off_t off = place();
    ssize_t r;

    if (fd < 0)
        return;
    r = pread(fd, words, fill(), off);
    if (r < 0)
        judge("read", p);
    else
        check_words(words, (size_t)r / 8, p, off);
    TRY(lseek(fd, place(), next() % 2 ? SEEK_DATA : SEEK_HOLE), p);
    close(fd);
}

static void do_size(const char *p)
{
    static const int modes[] = { 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
    int fd;

    if (next() % 3 == 0) {
        TRY(truncate(p, place()), p);
        return;
    }
    fd = file(p, O_CREAT);
    if (fd < 0)
        return;
    if (next() % 3)
        TRY(fallocate(fd, modes[below(5)], place(), 8 + place()), p);
    else
        TRY(ftruncate(fd, place()), p);
    keep(fd);
}

static void do_copy(const char *p)
{
    int in = file(path(), 0), out = file(p, O_CREAT);
    off_t a = place(), z = place();

    if (next() % 2) {
        a &= ~(off_t)4095;
        z &= ~(off_t)4095;
    }
    if (in >= 0 && out >= 0) {
        if (next() % 4)
            TRY(copy_file_range(in, &a, out, &z, 8 + (size_t)place(), 0), p);
        else
            TRY(lseek(out, z, SEEK_SET) < 0 ? -1 : sendfile(out, in, &a, 4096 * below(20)), p);
    }
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
}

static void do_list(const char *p)
{
    DIR *d = opendir(next() % 2 ? "." : p);
    char b[4096];

    if (!d) {
        judge("opendir", p);
        return;
    }
    for (struct dirent *e; (errno = 0, e = readdir(d)); ) {
        struct stat st;
        TRY(fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW), p);
        if (next() % 4 == 0)
            TRY(readlinkat(dirfd(d), e->d_name, b, sizeof b), p);
    }
    if (errno)
        judge("readdir", p);
    closedir(d);
}

static void do_names(const char *p)
{
    int fd;

    switch (below(12)) {
    case 0: TRY(mkdir(p, 0755), p); break;
    case 1: TRY(rmdir(p), p); break;
    case 2: TRY(symlink(path(), p), p); break;
    case 3: TRY(mknod(p, (next() % 2 ? S_IFIFO : S_IFSOCK) | 0644, 0), p); break;
    case 4: TRY(linkat(AT_FDCWD, path(), AT_FDCWD, p, 0), p); break;
    case 5: TRY(renameat2(AT_FDCWD, path(), AT_FDCWD, p, 1u /* RENAME_NOREPLACE */), p); break;
    case 6: TRY(renameat2(AT_FDCWD, path(), AT_FDCWD, p, 2u /* RENAME_EXCHANGE */), p); break;
    case 7:
        fd = open(next() % 2 ? "." : path(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
        if (fd < 0) {
            judge("O_TMPFILE", p);
            break;
        }
        TRY(write(fd, words, fill()), p);
        if (next() % 2) {
            char proc[32];
            snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
            TRY(linkat(AT_FDCWD, proc, AT_FDCWD, p, AT_SYMLINK_FOLLOW), p);
        }
        keep(fd);
        break;
    case 8: case 9: TRY(unlink(p), p); break;
    default: TRY(rename(path(), p), p);
    }
}

static void do_attr(const char *p)
{
    char name[16], v[3000];

    snprintf(name, sizeof name, "user.%zu", below(6));
    memset(v, 'x', sizeof v);
    switch (below(7)) {
    case 0: TRY(chmod(p, 0600 | (mode_t)below(0200)), p); break;
    case 1: TRY(lchown(p, (uid_t)below(5), (gid_t)below(5)), p); break;
    case 2: TRY(utimensat(AT_FDCWD, p, (struct timespec[]){ { (time_t)below(1u << 31), 5 }, { (time_t)below(1u << 31), 6 } }, AT_SYMLINK_NOFOLLOW), p); break;
    case 3: case 4: TRY(setxattr(p, name, v, below(next() % 8 ? 60 : 3000), 0), p); break;
    case 5: TRY(removexattr(p, name), p); break;
    default: TRY(listxattr(p, v, sizeof v), p); TRY(getxattr(p, name, v, sizeof v), p);
    }
}

static void step(void)
{
    static void (*const what[])(const char *) = { do_write, do_write, do_direct, do_map, do_map, do_read, do_read, do_size, do_copy, do_list, do_names, do_names, do_names, do_attr };

    what[below(sizeof what / sizeof what[0])](path());
    if (next() % 200 == 0)
        TRY(syncfs(top), "the file system");
}

static int work(unsigned long long ops, uint64_t seed)
{
    state = seed * 2654435761u + 88172645463325252ull;
    for (int i = 0; i < KEPT; i++)
        kept[i] = -1;
    for (done = 0; done < ops && !bad; done++)
        step();
    return bad;
}

/* --- the walk --- */
struct seen { uint64_t ino; unsigned names, nlink; };
static struct seen *seen;
static size_t count, room;

static void see(const struct stat *st)
{
    for (size_t i = 0; i < count; i++)
        if (seen[i].ino == st->st_ino) {
            seen[i].names++;
            return;
        }
    if (count == room)
        seen = realloc(seen, (room = room ? room * 2 : 256) * sizeof *seen);
    if (!seen)
        abort();
    seen[count++] = (struct seen){ st->st_ino, 1, (unsigned)st->st_nlink };
}

static void check_file(int dir, const char *name, const struct stat *st)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    off_t off = 0;
    ssize_t n = 0;

    while (fd >= 0 && (n = pread(fd, words, sizeof words, off)) > 0) {
        check_words(words, (size_t)n / 8, name, off);
        off += n;
    }
    if (fd < 0 || n < 0 || off != st->st_size) {
        fprintf(stderr, "stress_ops: %s: %lld of %lld bytes can be read (%s)\n", name, (long long)off, (long long)st->st_size, strerror(errno));
        bad = true;
    }
    if (fd >= 0)
        close(fd);
}

static void walk(int dir, const char *where)
{
    DIR *d = fdopendir(dir);
    unsigned dirs = 2;
    struct stat st;

    if (!d) {
        perror(where);
        bad = true;
        return;
    }
    for (struct dirent *e; (e = readdir(d)); ) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW)) {
            perror(e->d_name);
            bad = true;
        } else if (S_ISDIR(st.st_mode)) {
            dirs++;
            walk(openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), e->d_name);
        } else {
            see(&st);
            if (S_ISREG(st.st_mode))
                check_file(dir, e->d_name, &st);
        }
    }
    if (!fstat(dir, &st) && st.st_nlink != dirs && st.st_nlink != 1) {
        fprintf(stderr, "stress_ops: %s has %u links, not %u\n", where, (unsigned)st.st_nlink, dirs);
        bad = true;
    }
    closedir(d);
}

static int check(const char *dir)
{
    walk(open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), dir);
    for (size_t i = 0; i < count; i++)
        if (seen[i].names != seen[i].nlink) {
            fprintf(stderr, "stress_ops: inode %llu has %u names and says %u\n", (unsigned long long)seen[i].ino, seen[i].names, seen[i].nlink);
            bad = true;
        }
    printf("%zu files\n", count);
    return bad;
}

int main(int argc, char **argv)
{
    int st, failed = 0;

    if (argc == 3 && !strcmp(argv[1], "--check"))
        return check(argv[2]);
    if (argc != 5 || chdir(argv[1]) || (top = open(".", O_RDONLY | O_CLOEXEC)) < 0)
        return 2;
    umask(0);
    for (int i = 0; i < atoi(argv[2]); i++)
        if (!fork()) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(work(strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0) + (uint64_t)i * 1000003));
        }
    while (wait(&st) > 0)
        failed |= st != 0;
    return failed;
}
