/* The descriptors of a command. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <termios.h>
#include <unistd.h>

#include "sandbox/agent/super.h"

void super_stdio_close(struct super_stdio *s, bool agents_too)
{
    for (int i = 0; i < CHILD_FDS; i++) {
        for (int k = i + 1; k < CHILD_FDS; k++)      /* a terminal is there three times */
            if (s->child[k] == s->child[i])
                s->child[k] = -1;
        if (s->child[i] >= 0)
            close(s->child[i]);
        s->child[i] = -1;
    }
    for (unsigned i = 0; agents_too && i < s->agent_count; i++)
        close(s->agent[i]);
    if (agents_too)
        s->agent_count = 0;
}

/* out: the child writes, the agent reads. Only the agent's end does not block. */
static int pipe_make(struct super_stdio *s, int child_fd, bool out)
{
    int p[2];

    if (pipe2(p, O_CLOEXEC) < 0)
        return -errno;
    s->child[child_fd] = p[out];
    s->agent[s->agent_count++] = p[!out];
    return fcntl(p[!out], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int channel_make(struct super_stdio *s)
{
    int p[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
        return -errno;
    s->child[3] = p[1];
    s->agent[s->agent_count++] = p[0];
    return fcntl(p[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int pipes_make(uint8_t flags, struct super_stdio *s)
{
    int r = pipe_make(s, 1, true);

    if (!r)
        r = pipe_make(s, 2, true);
    if (!r && flags & EXEC_STDIN)
        return pipe_make(s, 0, false);
    if (!r && flags & EXEC_CHANNEL)
        r = channel_make(s);
    if (!r) {
        s->child[0] = open("/dev/null", O_RDONLY | O_CLOEXEC | O_NOCTTY);
        r = s->child[0] < 0 ? -errno : 0;
    }
    return r;
}

static int terminal_make(uint16_t cols, uint16_t rows, struct super_stdio *s)
{
    struct winsize ws = { .ws_col = cols ? cols : 80, .ws_row = rows ? rows : 24 };
    struct statfs fs;
    int unlock = 0, master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

    if (master < 0)
        return -errno;
    s->agent[s->agent_count++] = master;
    if (fstatfs(master, &fs) < 0 || fs.f_type != DEVPTS_SUPER_MAGIC)
        return -ENOTTY;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCSWINSZ, &ws) < 0)
        return -errno;
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    s->child[0] = s->child[1] = s->child[2] = slave;
    return 0;
}

/* File system ids of the user while they are made: so /dev/stdout can be opened again by the command, and the terminal is its own. */
int super_stdio_make(uint8_t flags, uid_t uid, gid_t gid, uint16_t cols, uint16_t rows, struct super_stdio *ret)
{
    struct super_stdio s = { .child = { -1, -1, -1, -1 } };

    setfsgid(gid);
    setfsuid(uid);
    int r = flags & EXEC_TTY ? terminal_make(cols, rows, &s) : pipes_make(flags, &s);
    setfsuid(AGENT_UID);
    setfsgid(AGENT_UID);
    if (r < 0) {
        super_stdio_close(&s, true);
        return r;
    }
    *ret = s;
    return 0;
}
