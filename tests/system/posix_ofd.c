/* Locks in detail: how ranges split and join, whose they are over fork, dup, close and exec, what ends a wait, and leases. */
#include "tests/system/posix.h"

#include <sched.h>
#include <sys/file.h>
#include <sys/prctl.h>

static int lock(int fd, int cmd, short type, off_t start, off_t len)
{
    struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

    return fcntl(fd, cmd, &l);
}

/* What stands in the way of a write lock of [start, start + len) by another open file: "none", or type, start and length. */
static struct flock in_the_way(int fd, off_t start, off_t len)
{
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

    OK(fcntl(fd, F_OFD_GETLK, &l));
    return l;
}

#define HELD(start, len, type, at, n) do { struct flock l_ = in_the_way(other, start, len); SAME(l_.l_type, type); \
        if (l_.l_type != F_UNLCK) { SAME(l_.l_start, at); SAME(l_.l_len, n); } } while (0)

static void ranges_split_and_join(void)
{
    static const int set[] = { F_SETLK, F_OFD_SETLK };
    int other;

    for (int k = 0; k < 2; k++) {
        int fd = open(k ? "g" : "f", O_RDWR | O_CREAT, 0644), c = set[k];
        other = open(k ? "g" : "f", O_RDWR);
        OK(lock(fd, c, F_WRLCK, 0, 100));
        OK(lock(fd, c, F_UNLCK, 40, 20));         /* a hole: two locks */
        HELD(0, 0, F_WRLCK, 0, 40);
        HELD(40, 0, F_WRLCK, 60, 40);
        HELD(40, 20, F_UNLCK, 0, 0);
        OK(lock(fd, c, F_RDLCK, 70, 10));         /* another kind in the midst: three */
        HELD(60, 0, F_WRLCK, 60, 10);
        HELD(70, 0, F_RDLCK, 70, 10);
        HELD(80, 0, F_WRLCK, 80, 20);
        OK(lock(fd, c, F_WRLCK, 30, 45));         /* over all: joined with its neighbours of the same kind */
        HELD(0, 0, F_WRLCK, 0, 75);
        HELD(75, 0, F_RDLCK, 75, 5);
        OK(lock(fd, c, F_WRLCK, 75, 5));
        HELD(50, 0, F_WRLCK, 0, 100);
        OK(lock(fd, c, F_WRLCK, 100, 0));         /* to the end of all files */
        HELD(1000000, 1, F_WRLCK, 0, 0);
        OK(lock(fd, c, F_UNLCK, 10, INT64_MAX - 9));
        HELD(0, 0, F_WRLCK, 0, 10);
        OK(lock(fd, c, F_WRLCK, 20, -5));         /* backwards: [15, 20) */
        HELD(10, 0, F_WRLCK, 15, 5);
        FAILS(lock(fd, c, F_WRLCK, 5, -6), EINVAL);
        FAILS(lock(fd, c, F_WRLCK, INT64_MAX, 2), EOVERFLOW);
        OK(lock(fd, c, F_UNLCK, 0, 0));
        HELD(0, 0, F_UNLCK, 0, 0);
        OK(ftruncate(fd, 50));                    /* from the end, and from the position */
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -10, .l_len = 5 };
        OK(fcntl(fd, c, &l));
        HELD(0, 0, F_WRLCK, 40, 5);
        SAME(lseek(fd, 7, SEEK_SET), 7);
        l = (struct flock){ .l_type = F_RDLCK, .l_whence = SEEK_CUR, .l_start = 1, .l_len = 2 };
        OK(fcntl(fd, c, &l));
        HELD(0, 0, F_RDLCK, 8, 2);
        l = (struct flock){ .l_type = 77, .l_whence = SEEK_SET };
        FAILS(fcntl(fd, c, &l), EINVAL);
        l = (struct flock){ .l_type = F_WRLCK, .l_whence = 9 };
        FAILS(fcntl(fd, c, &l), EINVAL);
    }
}

static void locks_belong_to_processes_or_open_files(void)
{
    int fd = open_new("f", 0644), other = open("f", O_RDWR), twin = dup(fd);
    struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_pid = 1 };

    FAILS(fcntl(fd, F_OFD_SETLK, &l), EINVAL);    /* the process has no part in it */
    FAILS(fcntl(fd, F_OFD_GETLK, &l), EINVAL);
    OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    SAME(in_the_way(other, 0, 0).l_pid, -1);
    CHILD {                               /* inherited: the same open file; what it frees is free */
        OK(lock(fd, F_OFD_SETLK, F_WRLCK, 5, 10));
        FAILS(lock(other, F_OFD_SETLK, F_RDLCK, 0, 1), EAGAIN);
        FAILS(lock(fd, F_SETLK, F_WRLCK, 0, 1), EAGAIN);  /* the two kinds exclude each other even here */
        OK(close(fd));
    }
    HELD(0, 0, F_WRLCK, 0, 15);
    OK(close(fd));                        /* the twin keeps it */
    HELD(0, 0, F_WRLCK, 0, 15);
    OK(close(twin));
    HELD(0, 0, F_UNLCK, 0, 0);
    fd = open("f", O_RDWR);
    OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    SAME(in_the_way(other, 0, 0).l_pid, getpid());
    CHILD {                               /* not inherited */
        FAILS(lock(fd, F_SETLK, F_RDLCK, 0, 1), EAGAIN);
        close(fd);                        /* of another process: says nothing about the parent's */
    }
    HELD(0, 0, F_WRLCK, 0, 10);
    OK(close(dup(fd)));                   /* any close of this process ends them */
    HELD(0, 0, F_UNLCK, 0, 0);
    OK(flock(fd, LOCK_EX));               /* flock and fcntl do not know each other on a local file system */
    OK(lock(other, F_OFD_SETLK, F_WRLCK, 0, 0));
    twin = dup(fd);
    OK(close(fd));
    FAILS(flock(other, LOCK_SH | LOCK_NB), EWOULDBLOCK);
    OK(flock(twin, LOCK_UN));             /* one of the two is enough */
    OK(flock(other, LOCK_EX | LOCK_NB));
    FAILS(flock(other, 0), EINVAL);
    FAILS(flock(open("f", O_PATH), LOCK_SH), EBADF);
    FAILS(lock(open("f", O_RDONLY), F_OFD_SETLK, F_WRLCK, 0, 1), EBADF);
    FAILS(lock(open("f", O_WRONLY), F_OFD_SETLK, F_RDLCK, 0, 1), EBADF);
}

/* Locks stay over exec; descriptors that are closed there take theirs along. */
static void locks_stay_over_exec(void)
{
    int p[2], keep, go, other, st;
    char c;

    OK(pipe(p));
    keep = open_new("keep", 0644);
    go = open_new("go", 0644);
    OK(fcntl(keep, F_SETFD, 0));         /* go is closed there */
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (lock(keep, F_SETLK, F_WRLCK, 0, 0) || lock(go, F_SETLK, F_WRLCK, 0, 0) || dup2(p[1], 1) < 0)
            _exit(2);
        execlp("sh", "sh", "-c", "echo; exec sleep 1000", (char *)NULL);
        _exit(3);
    }
    SAME(read(p[0], &c, 1), 1);
    other = open("keep", O_RDWR);
    HELD(0, 0, F_WRLCK, 0, 0);
    SAME(in_the_way(other, 0, 0).l_pid, pid);
    other = open("go", O_RDWR);
    HELD(0, 0, F_UNLCK, 0, 0);
    OK(kill(pid, SIGKILL));
    T(waitpid(pid, &st, 0) == pid);
    other = open("keep", O_RDWR);
    HELD(0, 0, F_UNLCK, 0, 0);
}

static void on_signal(int sig) { (void)sig; }

/* A wait ends by a signal: with EINTR, or with the process. */
static void waits_end_by_signals(void)
{
    int fd = open_new("f", 0644), p[2], st;
    char c;

    OK(pipe(p));
    OK(flock(fd, LOCK_EX));
    OK(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 0));
    for (int how = 0; how < 6; how++) {
        fflush(NULL);
        pid_t pid = fork();
        if (!pid) {
            struct sigaction sa = { .sa_handler = on_signal };
            int mine = open("f", O_RDWR);
            sigaction(SIGUSR1, &sa, NULL);
            st = write(p[1], "", 1) == 1 ? 0 : 9;
            int r = how % 3 == 0 ? flock(mine, LOCK_SH) : lock(mine, how % 3 == 1 ? F_SETLKW : F_OFD_SETLKW, F_RDLCK, 0, 1);
            _exit(st ? st : r == 0 ? 1 : errno == EINTR ? 0 : 2);
        }
        SAME(read(p[0], &c, 1), 1);
        pid_t done = 0;
        while (!done) {                   /* the signal may come before it waits: again, until it is out */
            OK(kill(pid, how < 3 ? SIGUSR1 : SIGKILL));
            done = waitpid(pid, &st, WNOHANG);
        }
        if (how < 3)
            SAME(st, 0);
        else
            T(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
    }
    OK(lock(fd, F_OFD_SETLK, F_UNLCK, 0, 0));
    OK(flock(fd, LOCK_UN));
    OK(flock(open("f", O_RDONLY), LOCK_EX | LOCK_NB));    /* the dead hold nothing, and no place in the queue */
    OK(lock(open("f", O_RDWR), F_OFD_SETLK, F_WRLCK, 0, 0));
}

/* Three processes in a circle: whoever closes it is told. */
static void circles_of_three_are_told(void)
{
    enum { N = 3 };
    int fd = open_new("f", 0644), ready[2], go[2], told = 0, got = 0, st;
    pid_t pid[N];
    char c;

    OK(pipe(ready));
    OK(pipe(go));
    fflush(NULL);
    for (int i = 0; i < N; i++) {
        pid[i] = fork();
        if (!pid[i]) {
            close(go[1]);
            if (lock(fd, F_SETLK, F_WRLCK, i, 1) || write(ready[1], "", 1) != 1 || read(go[0], &c, 1) != 0)
                _exit(9);
            int r = lock(fd, F_SETLKW, F_WRLCK, (i + 1) % N, 1);
            _exit(r == 0 ? 0 : errno == EDEADLK ? 1 : 9);
        }
    }
    for (int i = 0; i < N; i++)
        SAME(read(ready[0], &c, 1), 1);
    close(go[1]);
    for (int i = 0; i < N; i++) {
        T(waitpid(pid[i], &st, 0) == pid[i] && WIFEXITED(st));
        told += WEXITSTATUS(st) == 1;
        got += WEXITSTATUS(st) == 0;
    }
    T(told >= 1 && told + got == N);
}

static volatile sig_atomic_t breaks;
static void on_break(int sig, siginfo_t *info, void *u) { (void)sig, (void)info, (void)u; breaks++; }

static void leases_are_given_to_sole_users(void)
{
    struct sigaction sa = { .sa_sigaction = on_break, .sa_flags = SA_SIGINFO };
    int ro, rw = open_new("f", 0644);

    FAILS(fcntl(rw, F_SETLEASE, F_RDLCK), EAGAIN);        /* open for writing */
    if (fcntl(rw, F_SETLEASE, F_WRLCK)) {
        skipped("leases: %s", strerror(errno));
        return;
    }
    SAME(fcntl(rw, F_GETLEASE), F_WRLCK);
    OK(sigaction(SIGRTMIN + 1, &sa, NULL));
    OK(fcntl(rw, F_SETSIG, SIGRTMIN + 1));
    FAILS(open("f", O_RDONLY | O_NONBLOCK), EWOULDBLOCK); /* tells the holder */
    SAME(breaks, 1);
    OK(fcntl(rw, F_SETLEASE, F_UNLCK));
    SAME(fcntl(rw, F_GETLEASE), F_UNLCK);
    ro = open("f", O_RDONLY);
    FAILS(fcntl(rw, F_SETLEASE, F_WRLCK), EAGAIN);        /* another has it open */
    OK(close(rw));
    OK(fcntl(ro, F_SETLEASE, F_RDLCK));
    OK(fcntl(ro, F_SETSIG, SIGRTMIN + 1));
    OK(close(open("f", O_RDONLY)));       /* readers do not mind each other */
    FAILS(open("f", O_WRONLY | O_NONBLOCK), EWOULDBLOCK);
    OK(fcntl(ro, F_SETLEASE, F_UNLCK));
    FAILS(fcntl(ro, F_SETLEASE, 99), EINVAL);
    FAILS(fcntl(open(".", O_RDONLY), F_SETLEASE, F_RDLCK), EINVAL);
    OK(chmod("f", 0666));
    AS(USER) {                            /* of one's own files only */
        FAILS(fcntl(open("f", O_RDONLY), F_SETLEASE, F_RDLCK), EACCES);
    }
}

/* An open that waits goes on when the holder gives the lease up, at once. */
static void an_open_waits_for_the_lease(void)
{
    int fd, p[2], st;
    char c;

    put("f", "x");
    OK(pipe(p));
    fd = open("f", O_RDONLY);
    signal(SIGIO, SIG_IGN);
    if (fcntl(fd, F_SETLEASE, F_RDLCK)) {
        skipped("leases: %s", strerror(errno));
        return;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        if (write(p[1], "", 1) != 1)
            _exit(2);
        _exit(open("f", O_WRONLY) < 0);
    }
    SAME(read(p[0], &c, 1), 1);
    while (fcntl(fd, F_GETLEASE) == F_RDLCK)      /* until the other asks: then what the lease is to become is shown */
        sched_yield();
    put("g", "the file system goes on");
    HAS("g", "the file system goes on");
    OK(fcntl(fd, F_SETLEASE, F_UNLCK));
    T(waitpid(pid, &st, 0) == pid && !st);
}

const struct posix_test posix_ofd_tests[] = {
    { "ranges_split_and_join", ranges_split_and_join },
    { "locks_belong_to_processes_or_open_files", locks_belong_to_processes_or_open_files },
    { "locks_stay_over_exec", locks_stay_over_exec },
    { "waits_end_by_signals", waits_end_by_signals },
    { "circles_of_three_are_told", circles_of_three_are_told },
    { "leases_are_given_to_sole_users", leases_are_given_to_sole_users },
    { "an_open_waits_for_the_lease", an_open_waits_for_the_lease },
    { 0 }
};
