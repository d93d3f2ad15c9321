/* P28, P31, P34: eat what there is, and say how far it went. The bomber is a child that offers itself to the OOM killer first. */
#include "tests/attack/attack.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct far { volatile long count; volatile int err; } *reached;

static void offer(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (write(fd, "1000", 4) < 0) reached->err = errno;
        close(fd);
    }
}

static int memory(void *arg) {
    enum { MIB = 1 << 20 };
    for (;;) {
        char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return reached->err = errno, 1;
        for (int i = 0; i < MIB; i += 4096) p[i] = (char)(i >> 12 | 1);
        reached->count++;
    }
}

static int processes(void *arg) {
    setpgid(0, 0);
    signal(SIGTERM, SIG_IGN);
    for (;;) {
        pid_t pid = fork();
        if (!pid) for (;;) pause();
        if (pid < 0) break;
        reached->count++;
    }
    reached->err = errno;
    return kill(0, SIGKILL);
}

/* Big writes to one file of a tmpfs until there is no room. */
static int tmpfs(void *arg) {
    static char buf[1 << 20];
    memset(buf, 1, sizeof buf);
    int fd = open("/dev/shm/bomb", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    for (;;) {
        ssize_t n = write(fd, buf, sizeof buf);
        if (n < 0) {
            reached->err = errno;
            unlink("/dev/shm/bomb");
            return 1;
        }
        reached->count += n;
    }
}

/* Empty files: inodes. */
static int files(void *arg) {
    char path[64];
    for (long i = 0; i < 10000000; i++) {
        snprintf(path, sizeof path, "/dev/shm/b%ld", i);
        int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd < 0) {
            reached->err = errno;
            while (i--) {
                snprintf(path, sizeof path, "/dev/shm/b%ld", i);
                unlink(path);
            }
            return 1;
        }
        close(fd);
        reached->count++;
    }
    return 0;
}

/* Pipes as large as they get, full, in as many processes as descriptors ask for. */
static int pipes(void *arg) {
    static char buf[1 << 20];
    for (int opened = 0;; opened++) {
        int p[2];
        if (pipe(p)) {
            pid_t pid = errno == EMFILE ? fork() : -1;
            if (pid < 0) return reached->err = errno, 1;
            if (pid) {
                waitpid(pid, NULL, 0);
                return 1;
            }
            closefrom(3);      /* the parent keeps its own */
            continue;
        }
        fcntl(p[1], F_SETPIPE_SZ, 1 << 20);
        fcntl(p[1], F_SETFL, O_NONBLOCK);
        ssize_t n;
        while ((n = write(p[1], buf, sizeof buf)) > 0) reached->count += n;
    }
}

/* Never ends by itself: sessions, double forks, deaf to SIGTERM; whoever kills must get all. */
static _Noreturn void forkers(void) {
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    puts("forking");
    if (fork() > 0) for (;;) pause();      /* the execution itself stays */
    for (unsigned n = 0;; n++) {
        pid_t pid = fork();
        if (pid < 0) {
            usleep(100);
            continue;
        }
        if (pid) {
            if (n % 8 == 7) _exit(0);      /* the child goes on; the tree has no stable root */
            continue;
        }
        setsid();
        if (n % 2) for (unsigned i = 0; i < 50; i++) usleep(1000);
        if (n % 4 != 3) _exit(0);
    }
}

int bomb(const char *name) {
    static const struct { const char *name; int (*fn)(void *); } bombs[] = { { "bomb-mem", memory }, { "bomb-pids", processes }, { "bomb-tmpfs", tmpfs }, { "bomb-files", files },
        { "bomb-pipes", pipes } };
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) != 2) {      /* on a host they would do what they say */
        fputs("attack: bombs are for sandboxes: this process has no filter\n", stderr);
        return 2;
    }
    if (!strcmp(name, "forkers")) forkers();
    reached = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (unsigned i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        if (strcmp(name, bombs[i].name)) continue;
        fflush(NULL);
        pid_t pid = fork();
        if (!pid) {
            offer();
            _exit(bombs[i].fn(NULL));
        }
        int status = 0;
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
        printf("%s reached %ld, %s, %s %d\n", name, reached->count, reached->err ? strerrorname_np(reached->err) : "no error",
            WIFSIGNALED(status) ? "signal" : "exit", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        return 0;
    }
    fprintf(stderr, "attack: no bomb '%s'\n", name);
    return 2;
}
