/* Bytes that go from file to pipe and back without a buffer of the program: splice, tee, vmsplice, sendfile; and advice about them. */
#include "tests/system/posix.h"

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/vfs.h>

enum { SIZE = 300000 };
static char data[SIZE], b[SIZE];

static int filled(const char *name)
{
    int fd = open_new(name, 0644);

    for (int i = 0; i < SIZE; i++)
        data[i] = (char)(i * 13 + i / 4096);
    SAME(write(fd, data, SIZE), SIZE);
    return fd;
}

/* All of in goes through a pipe to out. */
static void pump(int in, int out, unsigned flags)
{
    loff_t from = 0, to = 0;
    ssize_t n, m;
    int p[2];

    OK(pipe(p));
    while ((n = splice(in, &from, p[1], NULL, SIZE, flags)) > 0)
        for (ssize_t left = n; left > 0; left -= m)
            if ((m = splice(p[0], NULL, out, &to, (size_t)left, flags)) <= 0) {
                failed(__FILE__, __LINE__, "splice to the file at %lld: %zd (%s)", (long long)to, m, strerror(errno));
                return;
            }
    SAME(n, 0);
    SAME(from, SIZE);
    SAME(to, SIZE);
    close(p[0]);
    close(p[1]);
}

static void splice_moves_files_through_pipes(void)
{
    int in = filled("in"), out = open_new("out", 0644), p[2];
    loff_t off = SIZE - 10, neg = -1;

    pump(in, out, 0);
    SAME(pread(out, b, SIZE, 0), SIZE);
    T(!memcmp(b, data, SIZE));
    OK(ftruncate(out, 0));
    pump(in, out, SPLICE_F_MOVE | SPLICE_F_MORE);
    SAME(pread(out, b, SIZE, 0), SIZE);
    T(!memcmp(b, data, SIZE));
    OK(pipe(p));
    SAME(splice(in, &off, p[1], NULL, 100, 0), 10);
    SAME(splice(in, &off, p[1], NULL, 100, 0), 0);
    SAME(read(p[0], b, 100), 10);
    T(!memcmp(b, data + SIZE - 10, 10));
    FAILS(splice(in, NULL, out, NULL, 10, 0), EINVAL);            /* no pipe */
    FAILS(splice(in, NULL, p[1], &off, 10, 0), ESPIPE);
    FAILS(splice(in, &neg, p[1], NULL, 10, 0), EINVAL);
    FAILS(splice(p[0], NULL, open("out", O_RDONLY), NULL, 10, SPLICE_F_NONBLOCK), EBADF);
    FAILS(splice(p[0], NULL, open("out", O_WRONLY | O_APPEND), NULL, 10, SPLICE_F_NONBLOCK), EINVAL);
    SAME(splice(in, NULL, p[1], NULL, 0, 0), 0);
    SAME(write(p[1], "into", 4), 4);
    off = 5;
    SAME(splice(p[0], NULL, out, &off, 4, 0), 4);
    SAME(off, 9);
    SAME(pread(out, b, 4, 5), 4);
    T(!memcmp(b, "into", 4));
    /* What waits in a pipe is what was in the file when it was taken, or what is there now; never anything else. */
    off = 0;
    SAME(splice(in, &off, p[1], NULL, 4096, 0), 4096);
    OK(ftruncate(in, 0));
    SAME(read(p[0], b, 4096), 4096);
    for (int i = 0; i < 4096; i++)
        if (b[i] != data[i] && b[i]) {
            failed(__FILE__, __LINE__, "byte %d of a spliced page is %d", i, b[i]);
            break;
        }
}

static void pipes_are_copied_and_filled(void)
{
    int out = open_new("out", 0644), p[2], q[2];
    loff_t off = 0;
    char page[4096];

    memset(page, 'v', sizeof page);
    OK(pipe(p));
    OK(pipe(q));
    SAME(vmsplice(p[1], &(struct iovec){ page, sizeof page }, 1, 0), 4096);
    SAME(tee(p[0], q[1], 4096, 0), 4096);
    SAME(splice(p[0], NULL, out, &off, 4096, 0), 4096);
    SAME(splice(q[0], NULL, out, &off, 4096, 0), 4096);
    SAME(pread(out, b, SIZE, 0), 8192);
    T(b[0] == 'v' && b[8191] == 'v');
    FAILS(tee(out, q[1], 10, 0), EINVAL);
    FAILS(vmsplice(out, &(struct iovec){ page, 10 }, 1, 0), EBADF);
}

static void sendfile_sends_files(void)
{
    int in = filled("in"), out = open_new("out", 0644), s[2], p[2];
    off_t off = 100;
    size_t got = 0;

    SAME(sendfile(out, in, &off, SIZE), SIZE - 100);
    SAME(off, SIZE);
    SAME(lseek(in, 0, SEEK_CUR), SIZE);
    SAME(sendfile(out, in, NULL, 10), 0);
    SAME(lseek(in, 7, SEEK_SET), 7);
    SAME(sendfile(out, in, NULL, 10), 10);
    SAME(lseek(in, 0, SEEK_CUR), 17);
    SAME(stat_of("out").st_size, SIZE - 90);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pid_t pid = fork();
    if (!pid) {
        off = 0;
        close(s[0]);
        while (off < SIZE)
            if (sendfile(s[1], in, &off, SIZE) <= 0)
                _exit(1);
        _exit(0);
    }
    close(s[1]);
    for (ssize_t n; (n = read(s[0], b + got, SIZE - got)) > 0;)
        got += (size_t)n;
    SAME(got, SIZE);
    T(!memcmp(b, data, SIZE));
    waitpid(pid, NULL, 0);
    OK(pipe(p));
    FAILS(sendfile(out, p[0], NULL, 10), EINVAL);
    FAILS(sendfile(open("out", O_RDONLY), in, NULL, 10), EBADF);
    FAILS(sendfile(out, open("in", O_WRONLY), NULL, 10), EBADF);
    FAILS(sendfile(open("out", O_WRONLY | O_APPEND), in, NULL, 10), EINVAL);
    off = -1;
    FAILS(sendfile(out, in, &off, 10), EINVAL);
}

static void advice_is_taken(void)
{
    int fd = filled("f"), p[2];
    struct statfs fs;

    for (int a = POSIX_FADV_NORMAL; a <= POSIX_FADV_NOREUSE; a++)
        SAME(posix_fadvise(fd, 0, 0, a), 0);
    OK(fsync(fd));
    SAME(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    SAME(pread(fd, b, SIZE, 0), SIZE);
    T(!memcmp(b, data, SIZE));
    SAME(posix_fadvise(fd, 0, 0, 99), EINVAL);
    SAME(posix_fadvise(fd, 0, -1, POSIX_FADV_NORMAL), EINVAL);
    OK(pipe(p));
    SAME(posix_fadvise(p[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
    OK(readahead(fd, 0, SIZE));
    FAILS(readahead(open("f", O_WRONLY), 0, 10), EBADF);
    FAILS(readahead(open(".", O_RDONLY), 0, 10), EINVAL);
    OK(sync_file_range(fd, 0, 0, 0));
    OK(sync_file_range(fd, 100, 5000, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
    FAILS(sync_file_range(fd, -1, 0, 0), EINVAL);
    FAILS(sync_file_range(fd, 0, -1, 0), EINVAL);
    FAILS(sync_file_range(fd, 0, 0, 99), EINVAL);
    FAILS(sync_file_range(p[0], 0, 0, 0), ESPIPE);
    OK(fsync(fd));
    OK(fdatasync(fd));
    OK(syncfs(fd));
    OK(fsync(open("f", O_RDONLY)));
    OK(fsync(open(".", O_RDONLY)));
    OK(fdatasync(open(".", O_RDONLY)));
    OK(syncfs(open(".", O_RDONLY)));
    FAILS(fsync(p[0]), EINVAL);
    FAILS(fsync(open("f", O_PATH)), EBADF);
    FAILS(syncfs(open("f", O_PATH)), EBADF);
    OK(fstatfs(fd, &fs));
    T(fs.f_bsize == 4096 && fs.f_namelen == 255 && fs.f_blocks >= fs.f_bfree && fs.f_bfree >= fs.f_bavail && fs.f_files >= fs.f_ffree);
    FAILS(statfs("none", &fs), ENOENT);
    FAILS(statfs("f/x", &fs), ENOTDIR);
    FAILS(fstatfs(-1, &fs), EBADF);
    FAILS(statfs("f", (struct statfs *)8), EFAULT);
}

const struct posix_test posix_pipe_tests[] = {
    { "splice_moves_files_through_pipes", splice_moves_files_through_pipes },
    { "pipes_are_copied_and_filled", pipes_are_copied_and_filled },
    { "sendfile_sends_files", sendfile_sends_files },
    { "advice_is_taken", advice_is_taken },
    { 0 }
};
