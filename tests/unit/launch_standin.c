/* Stands in for the agent in tests of the launcher: pid 1 of a sandbox, with all rights that the launcher leaves it (the real one gives them up), does
 * what the test says. A packet is a command and its argument; the answer is a packet of text; "!ENAME" is an error. Static, libc only. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SOCK = 3, ANSWER_MAX = 60000 };
static char answer[ANSWER_MAX + 1];

static void failed(void)
{
    snprintf(answer, sizeof(answer), "!%s", strerrorname_np(errno));
}

static void do_cat(const char *path)
{
    size_t n = 0;
    ssize_t r = 0;
    int fd = open(path, O_RDONLY | O_NONBLOCK);

    while (fd >= 0 && n < ANSWER_MAX && (r = read(fd, answer + n, ANSWER_MAX - n)) > 0)
        n += (size_t)r;
    answer[n] = 0;
    if (fd < 0 || r < 0)
        failed();
    close(fd);
}

/* "PATH TEXT" */
static void do_write(char *arg)
{
    char *text = strchr(arg, ' ');

    *text++ = 0;
    int fd = open(arg, O_WRONLY | O_CREAT, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        failed();
    close(fd);
}

static void do_stat(const char *path)
{
    struct stat st;

    if (lstat(path, &st))
        failed();
    else
        snprintf(answer, sizeof(answer), "%o %u %u %lld", st.st_mode, st.st_uid, st.st_gid, (long long)st.st_size);
}

static void do_list(const char *path)
{
    struct dirent **all;
    size_t n = 0;
    int count = scandir(path, &all, NULL, alphasort);

    answer[0] = 0;
    if (count < 0)
        failed();
    for (int i = 0; i < count; i++)
        if (all[i]->d_name[0] != '.')
            n += (size_t)snprintf(answer + n, sizeof(answer) - n, "%s ", all[i]->d_name);
}

/* Touches so many MiB in a child; how that ended. */
static void do_eat(const char *arg)
{
    size_t n = strtoul(arg, NULL, 10) << 20;
    int st;

    pid_t pid = fork();
    if (!pid) {
        char *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        for (size_t i = 0; p != MAP_FAILED && i < n; i += 4096)
            p[i] = 1;
        _exit(p == MAP_FAILED ? 2 : 0);
    }
    waitpid(pid, &st, 0);
    snprintf(answer, sizeof(answer), "%s %d", WIFSIGNALED(st) ? "signal" : "exit", WIFSIGNALED(st) ? WTERMSIG(st) : WEXITSTATUS(st));
}

/* As many children as there may be; then ends them. */
static void do_pids(void)
{
    unsigned n = 0;
    pid_t pid;

    while ((pid = fork()) >= 0 && n < 100000) {
        if (!pid)
            for (;;)
                pause();
        n++;
    }
    snprintf(answer, sizeof(answer), "%u %s", n, strerrorname_np(errno));
    kill(-1, SIGKILL);
    while (wait(NULL) > 0)
        ;
}

/* So many processes that each only make others, which leave their session and parents. */
static void do_forkers(const char *arg)
{
    for (unsigned n = (unsigned)atoi(arg); n > 0; n--) {
        if (fork())
            continue;
        signal(SIGTERM, SIG_IGN);
        for (;;) {
            setsid();
            if (fork() > 0)
                _exit(0);
        }
    }
}

static void do_burn(void)
{
    if (!fork())
        for (;;)
            ;
}

/* "tcp|udp ADDR PORT" */
static int named_socket(char *arg, struct sockaddr_storage *sa, socklen_t *n)
{
    char *address = strchr(arg, ' '), *port;
    struct sockaddr_in *v4 = (void *)sa;
    struct sockaddr_in6 *v6 = (void *)sa;

    *address++ = 0;
    port = strchr(address, ' ');
    *port++ = 0;
    memset(sa, 0, sizeof(*sa));
    if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)atoi(port));
        *n = sizeof(*v6);
    } else {
        inet_pton(AF_INET, address, &v4->sin_addr);
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)atoi(port));
        *n = sizeof(*v4);
    }
    return socket(sa->ss_family, !strcmp(arg, "udp") ? SOCK_DGRAM : SOCK_STREAM, 0);
}

/* Connects, says a word, and tells what comes back. */
static void do_dial(char *arg)
{
    struct sockaddr_storage sa;
    struct timeval wait = { 20, 0 };
    socklen_t n;
    ssize_t r = -1;

    int fd = named_socket(arg, &sa, &n);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    if (fd >= 0 && !connect(fd, (struct sockaddr *)&sa, n) && send(fd, "x", 1, MSG_NOSIGNAL) == 1)
        r = recv(fd, answer, ANSWER_MAX, 0);
    if (r < 0)
        failed();
    else
        answer[r] = 0;
    close(fd);
}

/* Tries to have a port, with all that lets others in. */
static void do_bind(char *arg)
{
    struct sockaddr_storage sa;
    socklen_t n;
    int on = 1;

    int fd = named_socket(arg, &sa, &n);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, n))
        failed();
    close(fd);
}

static void do_command(char *c)
{
    char *arg = strchr(c, ' ');

    if (arg)
        *arg++ = 0;
    strcpy(answer, "ok");
    if (!strcmp(c, "cat")) {
        do_cat(arg);
    } else if (!strcmp(c, "write")) {
        do_write(arg);
    } else if (!strcmp(c, "stat")) {
        do_stat(arg);
    } else if (!strcmp(c, "list")) {
        do_list(arg);
    } else if (!strcmp(c, "eat")) {
        do_eat(arg);
    } else if (!strcmp(c, "pids")) {
        do_pids();
    } else if (!strcmp(c, "forkers")) {
        do_forkers(arg);
    } else if (!strcmp(c, "burn")) {
        do_burn();
    } else if (!strcmp(c, "id")) {
        snprintf(answer, sizeof(answer), "%d %u %u %d", getpid(), getuid(), getgid(), getgroups(0, NULL));
    } else if (!strcmp(c, "env")) {
        char *e = getenv(arg);
        snprintf(answer, sizeof(answer), "%s", e ? e : "!");
    } else if (!strcmp(c, "remount")) {
        if (mount(NULL, arg, NULL, MS_REMOUNT | MS_BIND, NULL))
            failed();
    } else if (!strcmp(c, "umount")) {
        if (umount2(arg, MNT_DETACH))
            failed();
    } else if (!strcmp(c, "mkdir")) {
        if (mkdir(arg, 0755))
            failed();
    } else if (!strcmp(c, "link")) {
        char *to = strchr(arg, ' ');
        *to++ = 0;
        if (symlink(arg, to))
            failed();
    } else if (!strcmp(c, "dial")) {
        do_dial(arg);
    } else if (!strcmp(c, "bind")) {
        do_bind(arg);
    } else if (!strcmp(c, "exit")) {
        _exit(atoi(arg));
    } else {
        snprintf(answer, sizeof(answer), "!unknown");
    }
}

int main(void)
{
    char c[4096];
    ssize_t n;

    while ((n = recv(SOCK, c, sizeof(c) - 1, 0)) > 0 || (n < 0 && errno == EINTR)) {
        if (n < 0)
            continue;
        c[n] = 0;
        do_command(c);
        send(SOCK, answer, strlen(answer) + 1, MSG_NOSIGNAL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    return 0;
}
