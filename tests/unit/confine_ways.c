#include "tests/unit/confine_ways.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const way_names[WAYS] = { "a file by a descriptor that leaked", "a file by the old root", "a signal to a process outside", "an abstract socket outside", "a user namespace of its own", "a mount",
    "chroot", "a device node", "a setuid program", "the agent's memory", "a sysctl", "TCP to a server outside", "shared memory outside", "the host's name", "a file by its handle",
    "/proc/PID/root of a process outside", "the kernel's files in /proc" };

int outside_open(struct outside_world *o) {
    snprintf(o->dir, sizeof o->dir, "/tmp/coppice-ways-XXXXXX");
    snprintf(o->name, sizeof o->name, "coppice-ways-%d", getpid());
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    memcpy(un.sun_path + 1, o->name, strlen(o->name));
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;
    if (!mkdtemp(o->dir) || chmod(o->dir, 0755)) return -1;
    o->leaked = open(o->dir, O_RDONLY | O_DIRECTORY);
    int file = openat(o->leaked, "canary", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (file < 0 || write(file, "canary", 6) != 6 || close(file)) return -1;
    o->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    o->abstract = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(o->listener, (struct sockaddr *)&in, len) || listen(o->listener, 64) || getsockname(o->listener, (struct sockaddr *)&in, &len)) return -1;
    if (bind(o->abstract, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(o->name))) || listen(o->abstract, 64)) return -1;
    o->port = ntohs(in.sin_port);
    o->shm = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0666);
    pid_t pid = fork();      /* not into *o: the child shares it */
    if (!pid) {
        closefrom(0);
        if (setresgid(0x40000000, 0x40000000, 0x40000000) || setresuid(0x40000000, 0x40000000, 0x40000000)) _exit(1);      /* as if a lease of ids were used twice */
        prctl(PR_SET_PDEATHSIG, SIGKILL);      /* after the ids: they clear it */
        for (;;) pause();
    }
    o->victim = pid;
    return o->shm < 0 || o->victim < 0 ? -1 : 0;
}

void outside_close(struct outside_world *o) {
    if (o->victim > 0) {
        kill(o->victim, SIGKILL);
        waitpid(o->victim, NULL, 0);
    }
    o->victim = 0;
    shmctl(o->shm, IPC_RMID, NULL);
    unlinkat(o->leaked, "canary", 0);
    close(o->leaked);
    close(o->listener);
    close(o->abstract);
    rmdir(o->dir);
}

/* A copy of a program that belongs to the sandbox's root and is setuid; run by another user it would be root inside. */
int ways_prepare(void) {
    char buf[65536];
    ssize_t n = 0;
    int in = open("/usr/bin/cat", O_RDONLY | O_CLOEXEC), out = open("/tmp/setuid", O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    while (in >= 0 && out >= 0 && (n = read(in, buf, sizeof buf)) > 0)
        if (write(out, buf, (size_t)n) != n) return -1;
    if (n || fchmod(out, 04755)) return -1;
    close(in);
    close(out);
    int secret = open("/tmp/of-root", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (secret < 0 || write(secret, "root\n", 5) != 5) return -1;
    return close(secret);
}

static int canary_at(int dir, const char *path) {
    char buf[8] = "";
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf);
    if (fd >= 0) close(fd);
    return n == 6 && !memcmp(buf, "canary", 6);
}

static int signal_outside(struct outside_world *o) { return !kill(o->victim, 0); }

static int connect_to(int family, int type, const void *addr, size_t len) {
    int fd = socket(family, type | SOCK_CLOEXEC, 0), r = fd >= 0 && !connect(fd, addr, (socklen_t)len);
    if (fd >= 0) close(fd);
    return r;
}

static int abstract_outside(struct outside_world *o) {
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    memcpy(un.sun_path + 1, o->name, strlen(o->name));
    return connect_to(AF_UNIX, SOCK_STREAM, &un, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(o->name));
}

static int tcp_outside(struct outside_world *o) {
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(o->port) };
    return connect_to(AF_INET, SOCK_STREAM, &in, sizeof in);
}

static int a_userns(struct outside_world *o) { return !unshare(CLONE_NEWUSER); }
static int a_mount(struct outside_world *o) { return !mount("x", "/run", "tmpfs", 0, NULL) || (!unshare(CLONE_NEWUSER | CLONE_NEWNS) && !mount("x", "/run", "tmpfs", 0, NULL)); }
static int a_chroot(struct outside_world *o) { return !chroot("/tmp"); }

/* The host's root disk, or just its kernel log. */
static int a_device(struct outside_world *o) {
    if (mknod("/tmp/node", S_IFCHR | 0666, makedev(1, 11)) && mknod("/dev/node", S_IFCHR | 0666, makedev(1, 11))) return 0;
    int fd = open("/tmp/node", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fd = open("/dev/node", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0;
}

/* As another user: does the setuid program read what only root inside may? */
static int a_setuid(struct outside_world *o) {
    int p[2];
    char c;
    if (getuid() == 0 || pipe(p)) return 0;
    pid_t pid = fork();
    if (!pid) {
        dup2(p[1], 1);
        close(2);
        execl("/tmp/setuid", "cat", "/tmp/of-root", (char *)NULL);
        _exit(1);
    }
    close(p[1]);
    int r = read(p[0], &c, 1) == 1;
    waitpid(pid, NULL, 0);
    return r;
}

static int the_agent(struct outside_world *o) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", o->agent);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) return 1;
    if (ptrace(PTRACE_SEIZE, o->agent, NULL, NULL)) return 0;
    ptrace(PTRACE_DETACH, o->agent, NULL, NULL);
    return 1;
}

static int a_sysctl(struct outside_world *o) {
    char old[128];
    int fd = open("/proc/sys/kernel/domainname", O_RDWR | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, old, sizeof old);
    return n > 0 && pwrite(fd, old, (size_t)n, 0) == n;
}

static int shm_outside(struct outside_world *o) { return shmat(o->shm, NULL, SHM_RDONLY) != (void *)-1; }

static int host_name(struct outside_world *o) {
    char name[64];
    return !gethostname(name, sizeof name - 1) && !sethostname(name, strnlen(name, sizeof name - 1));
}

/* Of the leaked directory's file system: its root by its number, as Shocker did. */
static int a_handle(struct outside_world *o) {
    struct { unsigned bytes; int type; unsigned f[2]; } h = { .bytes = 8, .type = 1, .f = { 2, 0 } };
    int fd = (int)syscall(SYS_open_by_handle_at, o->leaked, &h, O_RDONLY | O_DIRECTORY);
    return fd >= 0;
}

static int proc_root(struct outside_world *o) {
    char path[128];
    snprintf(path, sizeof path, "/proc/%d/root%s/canary", o->victim, o->dir);
    return canary_at(AT_FDCWD, path);
}

static int kernel_file(struct outside_world *o) {
    char c;
    int fd = open("/proc/timer_list", O_RDONLY | O_CLOEXEC), n = fd < 0 ? 0 : (int)read(fd, &c, 1);
    if (fd >= 0) close(fd);
    return n == 1;
}

static int by_descriptor(struct outside_world *o) { return canary_at(o->leaked, "canary") || canary_at(o->leaked, "../../etc/hostname"); }

static int by_old_root(struct outside_world *o) {
    char path[128];
    snprintf(path, sizeof path, "/old%s/canary", o->dir);
    return canary_at(AT_FDCWD, path) || canary_at(AT_FDCWD, path + 4);
}

/* In the order of the bits. Each in a child: it may change what it has. */
int ways_try(struct outside_world *o) {
    static int (*const tries[WAYS])(struct outside_world *) = { by_descriptor, by_old_root, signal_outside, abstract_outside, a_userns, a_mount, a_chroot, a_device, a_setuid, the_agent, a_sysctl,
        tcp_outside, shm_outside, host_name, a_handle, proc_root, kernel_file };
    o->ways = 0;
    o->agent = getppid();
    for (unsigned i = 0; i < WAYS; i++) {
        pid_t pid = fork();
        int status = 0;
        if (!pid) _exit(tries[i](o) ? 1 : 0);
        if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 1) o->ways |= 1u << i;
    }
    return 0;
}
