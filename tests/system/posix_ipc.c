/* FIFOs, sockets and watches: what other processes are told through the file system. */
#include "tests/system/posix.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

static void fifos_carry_bytes(void)
{
    char b[8] = { 0 };
    int r, w;

    OK(mkfifo("p", 0644));
    FAILS(open("p", O_WRONLY | O_NONBLOCK), ENXIO);
    CHILD {
        if (!fork()) {
            w = open("p", O_WRONLY);      /* waits for the reader */
            _exit(write(w, "bytes", 5) != 5);
        }
        r = open("p", O_RDONLY);
        SAME(read(r, b, sizeof b), 5);
        T(!strcmp(b, "bytes"));
        SAME(read(r, b, sizeof b), 0);
        FAILS(lseek(r, 0, SEEK_SET), ESPIPE);
        FAILS(pread(r, b, 1, 0), ESPIPE);
        waitpid(-1, NULL, 0);
    }
    r = open("p", O_RDONLY | O_NONBLOCK);
    w = open("p", O_WRONLY);
    OK(unlink("p"));
    SAME(write(w, "x", 1), 1);
    SAME(read(r, b, 1), 1);
    OK(mkfifo("q", 0600));
    AS(USER) {
        FAILS(open("q", O_RDONLY | O_NONBLOCK), EACCES);
    }
}

static void sockets_are_bound_and_reached(void)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "sock" };
    int s = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
    char b[8] = { 0 };

    FAILS(connect(c, (struct sockaddr *)&a, sizeof a), ENOENT);
    OK(bind(s, (struct sockaddr *)&a, sizeof a));
    T(S_ISSOCK(stat_of("sock").st_mode));
    FAILS(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a), EADDRINUSE);
    FAILS(connect(c, (struct sockaddr *)&a, sizeof a), ECONNREFUSED);
    OK(listen(s, 5));
    FAILS(open("sock", O_RDWR), ENXIO);
    OK(chmod("sock", 0600));
    AS(USER) {
        FAILS(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a), EACCES);
    }
    OK(rename("sock", "moved"));
    OK(link("moved", "again"));
    strcpy(a.sun_path, "again");
    OK(connect(c, (struct sockaddr *)&a, sizeof a));
    int in = accept(s, NULL, NULL);
    SAME(write(c, "hello", 5), 5);
    SAME(read(in, b, sizeof b), 5);
    OK(unlink("moved"));
    OK(unlink("again"));
    put("plain", "");
    strcpy(a.sun_path, "plain");
    FAILS(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&a, sizeof a), ECONNREFUSED);
}

/* The events that are waiting, ORed by what they are about. */
static uint32_t events(int fd)
{
    char b[4096] __attribute__((aligned(8)));
    struct pollfd p = { fd, POLLIN, 0 };
    uint32_t all = 0;

    while (poll(&p, 1, 0) == 1) {
        ssize_t n = read(fd, b, sizeof b);
        for (ssize_t i = 0; i < n;) {
            struct inotify_event *e = (struct inotify_event *)(void *)(b + i);
            all |= e->mask;
            i += (ssize_t)sizeof *e + e->len;
        }
    }
    return all & ~(uint32_t)IN_ISDIR;
}

#define GIVES(call, want) do { events(n); OK(call); uint32_t e_ = events(n); \
        if ((e_ & (want)) != (want)) failed(__FILE__, __LINE__, "%s: events %#x, not %#x", #call, e_, (unsigned)(want)); } while (0)

static void watches_tell_of_changes(void)
{
    int n = inotify_init1(IN_NONBLOCK), fd = -1, w;
    char c;

    OK(mkdir("d", 0755));
    OK(inotify_add_watch(n, "d", IN_ALL_EVENTS));
    GIVES(fd = open_new("d/f", 0644), IN_CREATE | IN_OPEN);
    GIVES(write(fd, "x", 1), IN_MODIFY);
    GIVES(pread(fd, &c, 1, 0), IN_ACCESS);
    GIVES(ftruncate(fd, 10), IN_MODIFY);
    GIVES(close(fd), IN_CLOSE_WRITE);
    GIVES(close(open("d/f", O_RDONLY)), IN_OPEN | IN_CLOSE_NOWRITE);
    GIVES(chmod("d/f", 0600), IN_ATTRIB);
    GIVES(setxattr("d/f", "user.a", "b", 1, 0), IN_ATTRIB);
    GIVES(rename("d/f", "d/g"), IN_MOVED_FROM | IN_MOVED_TO);
    GIVES(rename("d/g", "out"), IN_MOVED_FROM);
    GIVES(rename("out", "d/in"), IN_MOVED_TO);
    GIVES(link("d/in", "d/l"), IN_CREATE);
    GIVES(mkdir("d/s", 0755), IN_CREATE);
    GIVES(symlink("x", "d/y"), IN_CREATE);
    GIVES(mkfifo("d/p", 0644), IN_CREATE);
    GIVES(unlink("d/l"), IN_DELETE);
    GIVES(rmdir("d/s"), IN_DELETE);
    events(n);
    CHILD {
        OK(unlink("d/y"));                /* by another process */
    }
    T(events(n) & IN_DELETE);
    put("self", "x");
    w = inotify_add_watch(n, "self", IN_ALL_EVENTS);
    GIVES(rename("self", "self2"), IN_MOVE_SELF);
    GIVES(unlink("self2"), IN_DELETE_SELF | IN_IGNORED);
    FAILS(inotify_rm_watch(n, w), EINVAL);
    OK(unlink("d/in"));
    OK(unlink("d/p"));
    GIVES(rmdir("d"), IN_DELETE_SELF | IN_IGNORED);
}

const struct posix_test posix_ipc_tests[] = {
    { "fifos_carry_bytes", fifos_carry_bytes },
    { "sockets_are_bound_and_reached", sockets_are_bound_and_reached },
    { "watches_tell_of_changes", watches_tell_of_changes },
    { 0 }
};
