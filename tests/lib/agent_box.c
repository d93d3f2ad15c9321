#include "tests/lib/agent_box.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/wire.h"
#include "sandbox/confine/confine.h"

enum { NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP, FIRST_ID = 0x70000000 };

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "agent_box: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static void mount_or_die(const char *type, const char *at, unsigned long flags, const char *options)
{
    if (mount(type, at, type, flags, options) < 0)
        die(at);
}

static void lo_up(void)
{
    struct ifreq r = { .ifr_name = "lo", .ifr_flags = IFF_UP };
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (s < 0 || ioctl(s, SIOCSIFFLAGS, &r) < 0)
        die("lo");
    close(s);
}

/* Pid 1 of the namespaces. */
static _Noreturn void become_agent(int sock, int program, const char *outside)
{
    char env[CONFINE_OUTSIDE_MAX + 32], *envp[] = { env, NULL, NULL }, *argv[] = { (char *)"agent", NULL };
    const char *asan = getenv("ASAN_OPTIONS");
    static char asan_env[256];

    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        die("private");
    mount_or_die("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible,gid=65533");
    mount_or_die("tmpfs", "/tmp", MS_NOSUID | MS_NODEV, "mode=1777");
    mount_or_die("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620");
    lo_up();
    int high_sock = fcntl(sock, F_DUPFD, 100), high_program = fcntl(program, F_DUPFD, 100);
    if (chdir("/") < 0 || dup2(high_sock, 3) < 0 || dup3(high_program, 10, O_CLOEXEC) < 0)
        die("descriptors");
    close_range(4, 9, 0);
    close_range(11, ~0U, 0);
    if (!asan)
        close_range(0, 2, 0);
    snprintf(env, sizeof env, "%s=%s", CONFINE_OUTSIDE, outside);
    if (asan) {
        snprintf(asan_env, sizeof asan_env, "ASAN_OPTIONS=%s", asan);
        envp[1] = asan_env;
    }
    syscall(SYS_execveat, 10, "", argv, envp, AT_EMPTY_PATH);
    die("execveat");
}

static void write_map(pid_t pid, const char *name)
{
    char path[64], text[64];
    int n = snprintf(text, sizeof text, "0 %u 65536", (unsigned)FIRST_ID);

    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        fprintf(stderr, "agent_box: %s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* In the child: namespaces, then pid 1 of them, whose wait status becomes its own. */
static _Noreturn void outer(const struct agent_box *b, int up, int down, int sock, int program, const char *outside)
{
    char c = 'x';

    if (!b->unbounded && !pids_group_enter(&b->group))
        die(b->group.path);
    setpriority(PRIO_PROCESS, 0, AGENT_NICE);        /* as the launcher does */
    if (unshare(NAMESPACES) < 0)
        die("unshare");
    if (write(up, &c, 1) != 1 || read(down, &c, 1) != 1)
        die("maps");
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        die("ids");
    pid_t pid = fork();
    if (pid == 0)
        become_agent(sock, program, outside);
    if (write(up, &pid, sizeof pid) != sizeof pid)
        die("pid");
    close(sock);
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status));
}

static const char *hello(struct agent_box *b)
{
    static uint8_t packet[FRAME_MAX];
    static char text[128];
    struct frame f;

    if (frame_send(b->sock, FRAME_HELLO, 0, 0, FRAME_VERSION, NULL, 0, NULL, 0, -1) < 0)
        return "the agent did not start";
    if (frame_recv(b->sock, packet, &f) != 1)
        return "the agent ended at once";
    struct reader r = reader_of(f.body, f.n);
    if (f.type == FRAME_FATAL) {
        int err = (int)get_u32(&r);
        char step[64];
        get_str(&r, step, sizeof step);
        snprintf(text, sizeof text, "the agent refuses: %s: %s", step, strerror(-err));
        return text;
    }
    if (f.type != FRAME_WELCOME)
        return "no WELCOME";
    get_u64(&r);
    b->layers = get_u64(&r);
    return frame_recv(b->sock, packet, &f) == 1 && f.type == FRAME_SYNCED ? NULL : "no SYNCED";
}

const char *agent_box_start(struct agent_box *b, const char *program, unsigned pids)
{
    int up[2], down[2], sock[2], fd = open(program, O_RDONLY | O_CLOEXEC);
    char outside[CONFINE_OUTSIDE_MAX], c;

    if (geteuid())
        return "not root";
    if (fd < 0 || pipe2(up, O_CLOEXEC) < 0 || pipe2(down, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) < 0 ||
        confine_outside_text(outside, sizeof outside))
        return strerror(errno);
    b->unbounded = pids_group_make(&b->group, pids);
    b->child = fork();
    if (b->child == 0) {
        close(sock[0]);
        outer(b, up[1], down[0], sock[1], fd, outside);
    }
    close(sock[1]);
    close(up[1]);
    close(fd);
    b->sock = sock[0];
    if (read(up[0], &c, 1) == 1) {
        write_map(b->child, "uid_map");
        write_map(b->child, "gid_map");
    }
    if (write(down[1], "x", 1) != 1 || read(up[0], &b->pid, sizeof b->pid) != sizeof b->pid)
        b->pid = -1;
    close(up[0]);
    close(down[0]);
    close(down[1]);
    const char *why = b->pid > 0 ? hello(b) : "no namespaces";
    if (why)
        agent_box_stop(b);
    return why;
}

int agent_box_stop(struct agent_box *b)
{
    int status;

    close(b->sock);
    while (waitpid(b->child, &status, 0) < 0 && errno == EINTR)
        ;
    pids_group_remove(&b->group);
    return status;
}

long agent_box_memory_kb(pid_t pid, const char *field)
{
    char path[64], line[256];
    long kb = 0;

    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, field, strlen(field)))
            kb += strtol(strchr(line, ':') + 1, NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

const char *agent_box_program(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s AGENT [TEST]\n", argv[0]);
        exit(2);
    }
    if (geteuid()) {
        fprintf(stderr, "skipped: needs root to make namespaces\n");
        exit(77);
    }
    return argv[1];
}
