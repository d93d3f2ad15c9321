/* Locks: flock(2), fcntl(2) of processes and of open files; waiting ones must not hold up the file system. */
#include "tests/system/posix.h"

#include <sys/file.h>

static struct flock range(short type, off_t start, off_t len)
{
    return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
}

static int lock(int fd, int cmd, short type, off_t start, off_t len)
{
    struct flock l = range(type, start, len);

    return fcntl(fd, cmd, &l);
}

static void flocks_exclude_each_other(void)
{
    int a = open_new("f", 0644), b = open("f", O_RDONLY);

    OK(flock(a, LOCK_EX));
    FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    FAILS(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    OK(flock(a, LOCK_SH));
    OK(flock(b, LOCK_SH | LOCK_NB));
    FAILS(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
    OK(flock(b, LOCK_UN));
    OK(flock(a, LOCK_EX | LOCK_NB));
    CHILD {
        FAILS(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
        OK(flock(a, LOCK_EX | LOCK_NB));  /* the same open file */
    }
    close(a);
    OK(flock(b, LOCK_EX | LOCK_NB));
    OK(flock(open(".", O_RDONLY), LOCK_EX));
}

static void ranges_are_locked_by_processes(void)
{
    int fd = open_new("f", 0644);

    OK(lock(fd, F_SETLK, F_WRLCK, 10, 10));
    OK(lock(fd, F_SETLK, F_RDLCK, 30, 10));
    CHILD {
        struct flock l = range(F_WRLCK, 0, 0);
        int mine = open("f", O_RDWR), ro = open("f", O_RDONLY);
        OK(fcntl(mine, F_GETLK, &l));
        SAME(l.l_type, F_WRLCK);
        SAME(l.l_pid, getppid());
        SAME(l.l_start, 10);
        SAME(l.l_len, 10);
        FAILS(lock(mine, F_SETLK, F_RDLCK, 15, 1), EAGAIN);
        OK(lock(mine, F_SETLK, F_RDLCK, 35, 1));
        FAILS(lock(mine, F_SETLK, F_WRLCK, 35, 1), EAGAIN);
        OK(lock(mine, F_SETLK, F_WRLCK, 20, 10));
        FAILS(lock(ro, F_SETLK, F_WRLCK, 100, 1), EBADF);
        FAILS(lock(mine, F_SETLK, F_WRLCK, -5, 1), EINVAL);
        FAILS(lock(mine, F_OFD_SETLK, F_WRLCK, 10, 1), EAGAIN);
    }
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 0)); /* the child's are gone with it */
    close(open("f", O_RDONLY));           /* and one's own with any close */
    CHILD {
        OK(lock(open("f", O_RDWR), F_SETLK, F_WRLCK, 0, 0));
    }
    int a = open("f", O_RDWR), b = open("f", O_RDWR);
    OK(lock(a, F_OFD_SETLK, F_WRLCK, 0, 10));
    FAILS(lock(b, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN);
    close(open("f", O_RDONLY));
    FAILS(lock(b, F_OFD_SETLK, F_WRLCK, 5, 1), EAGAIN);
    close(a);
    OK(lock(b, F_OFD_SETLK, F_WRLCK, 5, 1));
}

/* Counts in a file under a lock: each gets it in turn. */
static void waiting_processes_get_the_lock_in_turn(void)
{
    enum { PROCS = 6, TURNS = 100 };
    static const char *const names[] = { "flock", "fcntl", "ofd" };
    pid_t pid[PROCS];
    int st;

    for (int kind = 0; kind < 3; kind++) {
        int fd = open_new(names[kind], 0644), n = 0;
        SAME(write(fd, &n, sizeof n), sizeof n);
        close(fd);
        for (int p = 0; p < PROCS; p++) {
            pid[p] = fork();
            if (pid[p])
                continue;
            fd = open(names[kind], O_RDWR);
            bool ok = fd >= 0;
            for (int i = 0; ok && i < TURNS; i++) {
                ok &= !(kind == 0 ? flock(fd, LOCK_EX) : lock(fd, kind == 1 ? F_SETLKW : F_OFD_SETLKW, F_WRLCK, 0, 0));
                ok &= pread(fd, &n, sizeof n, 0) == sizeof n;
                n++;
                ok &= pwrite(fd, &n, sizeof n, 0) == sizeof n;
                ok &= !(kind == 0 ? flock(fd, LOCK_UN) : lock(fd, kind == 1 ? F_SETLK : F_OFD_SETLK, F_UNLCK, 0, 0));
            }
            _exit(!ok);
        }
        for (int p = 0; p < PROCS; p++)
            T(waitpid(pid[p], &st, 0) == pid[p] && !st);
        fd = open(names[kind], O_RDONLY);
        SAME(read(fd, &n, sizeof n), sizeof n);
        SAME(n, PROCS * TURNS);
    }
}

/* More waiters than the file system has workers, while it is used. */
static void waiters_do_not_hold_up_others(void)
{
    enum { WAITERS = 40 };
    int fd = open_new("f", 0644), p[2], st;
    pid_t pid[WAITERS];
    char c, name[16];

    OK(pipe(p));
    OK(flock(fd, LOCK_EX));
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
    for (int i = 0; i < WAITERS; i++) {
        pid[i] = fork();
        if (!pid[i]) {
            int mine = open("f", O_RDWR);
            if (write(p[1], "", 1) != 1)
                _exit(2);
            _exit(i % 2 ? flock(mine, LOCK_SH) != 0 : lock(mine, F_SETLKW, F_RDLCK, 0, 0) != 0);
        }
    }
    for (int i = 0; i < WAITERS; i++)
        SAME(read(p[0], &c, 1), 1);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "g%d", i);
        put(name, "x");
        OK(unlink(name));
    }
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    OK(flock(fd, LOCK_UN));
    for (int i = 0; i < WAITERS; i++)
        T(waitpid(pid[i], &st, 0) == pid[i] && !st);
}

static void a_circle_of_waiters_is_told(void)
{
    int fd = open_new("f", 0644), p[2];
    char c;

    OK(pipe(p));
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
    pid_t pid = fork();
    if (!pid) {
        OK(lock(fd, F_SETLK, F_WRLCK, 1, 1));
        SAME(write(p[1], "", 1), 1);
        int r = lock(fd, F_SETLKW, F_WRLCK, 0, 1);        /* one of the two is refused */
        _exit(r == 0 ? 0 : errno == EDEADLK ? 1 : 2);
    }
    SAME(read(p[0], &c, 1), 1);
    int r = lock(fd, F_SETLKW, F_WRLCK, 1, 1), e = errno, st;
    OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    T(waitpid(pid, &st, 0) == pid && WIFEXITED(st));
    T((r == -1 && e == EDEADLK && WEXITSTATUS(st) == 0) || (r == 0 && WEXITSTATUS(st) == 1));
}

static void leases_are_broken_or_refused(void)
{
    int fd = open_new("f", 0644);

    close(fd);
    fd = open("f", O_RDONLY);
    if (fcntl(fd, F_SETLEASE, F_RDLCK)) {
        skipped("leases: %s", strerror(errno));
        return;
    }
    SAME(fcntl(fd, F_GETLEASE), F_RDLCK);
    signal(SIGIO, SIG_IGN);
    FAILS(open("f", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
    OK(fcntl(fd, F_SETLEASE, F_UNLCK));
    OK(open("f", O_WRONLY | O_NONBLOCK));
}

const struct posix_test posix_lock_tests[] = {
    { "flocks_exclude_each_other", flocks_exclude_each_other },
    { "ranges_are_locked_by_processes", ranges_are_locked_by_processes },
    { "waiting_processes_get_the_lock_in_turn", waiting_processes_get_the_lock_in_turn },
    { "waiters_do_not_hold_up_others", waiters_do_not_hold_up_others },
    { "a_circle_of_waiters_is_told", a_circle_of_waiters_is_told },
    { "leases_are_broken_or_refused", leases_are_broken_or_refused },
    { 0 }
};
