/* P14 devices, P16 terminals, P23 setuid and file capabilities. */
#include "tests/attack/attack.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Nodes of /dev that are not the known ones. */
static long strange_nodes(const char *dir) {
    DIR *d = opendir(dir);
    long strange = 0;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW)) continue;
        unsigned ma = major(st.st_rdev), mi = minor(st.st_rdev);
        bool known = (ma == 1 && (mi == 3 || mi == 5 || mi == 7 || mi == 8 || mi == 9)) || (ma == 5 && (mi == 0 || mi == 2)) || (ma >= 136 && ma <= 143);
        if (S_ISBLK(st.st_mode) || (S_ISCHR(st.st_mode) && !known)) {
            printf("P14.node %s/%s\n", dir, e->d_name);
            strange++;
        }
    }
    if (d) closedir(d);
    return strange;
}

static void p14_devices(void) {
    static const struct { const char *name; mode_t mode; unsigned ma, mi; } nodes[] = { { "P14.mknod.null", S_IFCHR, 1, 3 }, { "P14.mknod.mem", S_IFCHR, 1, 1 }, { "P14.mknod.kmsg", S_IFCHR, 1, 11 },
        { "P14.mknod.whiteout", S_IFCHR, 0, 0 }, { "P14.mknod.disk", S_IFBLK, 254, 0 }, { "P14.mknod.loop", S_IFBLK, 7, 0 }, { "P14.mknod.fuse", S_IFCHR, 10, 229 } };
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++) try_(nodes[i].name, mknod(scratch("node"), nodes[i].mode | 0666, makedev(nodes[i].ma, nodes[i].mi)));
    try_("P14.mknodat.high_bits", syscall(SYS_mknodat, AT_FDCWD, scratch("node"), 0x100000000L | S_IFCHR | 0666, makedev(1, 3)));
    try_("P14.mknod.fifo", mknod(scratch("fifo"), S_IFIFO | 0666, 0));
    try_("P14.mknod.file", mknod(scratch("file"), S_IFREG | 0666, 0));
    try_("P14.link.device", link("/dev/null", scratch("null")));
    try_("P14.rename.device", rename("/dev/zero", scratch("zero")));
    static const char *const paths[] = { "mem", "kmsg", "port", "fuse", "kvm", "loop0", "loop-control", "vhost-net", "vhost-vsock", "vsock", "net/tun", "vda", "sda", "dm-0", "mapper/control",
        "console", "tty0", "ttyS0", "hpet", "rtc0", "snapshot", "userfaultfd", "uinput", "input/event0", "dri/card0", "cuse", "autofs", "btrfs-control", "hwrng", "watchdog", "nvram", "vcs" };
    long opened = 0;
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
        char path[64];
        snprintf(path, sizeof path, "/dev/%s", paths[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd >= 0 || errno != ENOENT) printf("P14.open %s\n", path), opened++;
        if (fd >= 0) close(fd);
    }
    say_count("P14.host_devices", "there", opened);
    say_count("P14.strange_nodes", "found", strange_nodes("/dev") + strange_nodes("/dev/pts") + strange_nodes("/dev/shm"));
}

static int open_pty(int *ret_slave) {
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), n;
    char path[32];
    *ret_slave = -1;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &(int){ 0 }) || ioctl(master, TIOCGPTN, &n)) return master;
    snprintf(path, sizeof path, "/dev/pts/%d", n);
    *ret_slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return master;
}

/* With a terminal of its own as controlling terminal: a terminal's owner may do these, the profile not. */
static int on_own_terminal(void *arg) {
    int slave, master = open_pty(&slave);
    setsid();
    try_("P16.own_pty", slave);
    try_("P16.ctty", ioctl(slave, TIOCSCTTY, 0));
    try_("P16.tiocsti", syscall(SYS_ioctl, slave, 0x5412UL, "x"));
    try_("P16.tiocsti.high_bits", syscall(SYS_ioctl, slave, 0xdead00005412UL, "x"));
    try_("P16.tioclinux", syscall(SYS_ioctl, slave, 0x541cUL, "\2"));
    try_("P16.tioclinux.high_bits", syscall(SYS_ioctl, slave, 0x10000541cUL, "\2"));
    try_("P16.tiocsetd", syscall(SYS_ioctl, slave, 0x5423UL, &(int){ 15 }));
    try_("P16.tioccons", syscall(SYS_ioctl, slave, 0x541dUL, 0));
    try_("P16.winsize", ioctl(slave, TIOCSWINSZ, &(struct winsize){ 24, 80, 0, 0 }));
    close(slave);
    close(master);
    fflush(stdout);
    return 0;
}

/* Terminals that are not ours: those of other executions of another user; and no end to one's own. */
static void p16_terminals(void) {
    in_child(on_own_terminal, NULL);
    try_fd("P16.console", open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC));
    bool has = isatty(0) || isatty(1) || isatty(2);
    int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    say("P16.dev_tty", (tty >= 0) == has ? "as_given" : "not_as_given", "-");
    if (tty >= 0) close(tty);
    int masters[256], slaves[256], n = 0;
    while (n < 256 && (masters[n] = open_pty(&slaves[n])) >= 0) n++;
    say("P16.pty_limit", n < 256 ? "bounded" : "none", "-");
    for (int i = 0; i < n; i++) {
        close(masters[i]);
        if (slaves[i] >= 0) close(slaves[i]);
    }
}

static int copy_self(const char *to) {
    char buf[65536];
    int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), out = open(to, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    ssize_t n = -1;
    while (in >= 0 && out >= 0 && (n = read(in, buf, sizeof buf)) > 0)
        if (write(out, buf, (size_t)n) != n) return -1;
    if (in >= 0) close(in);
    if (out >= 0) close(out);
    return n == 0 ? 0 : -1;
}

static void p23_setuid(void) {
    char path[256];
    snprintf(path, sizeof path, "%s", scratch("setuid"));
    try_("P23.copy", copy_self(path));
    /* VFS_CAP_REVISION_2, effective, CAP_SYS_ADMIN */
    static const unsigned char cap[20] = { 1, 0, 0, 2, 0, 0, 0x20, 0 };
    try_("P23.file_capability", setxattr(path, "security.capability", cap, sizeof cap, 0));
    try_("P23.trusted_xattr", setxattr(path, "trusted.x", "y", 1, 0));
    try_("P23.no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : -1);
    try_("P23.no_new_privs_off", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    try_("P23.securebits", prctl(PR_SET_SECUREBITS, 0, 0, 0, 0));
    try_("P23.keepcaps", prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
    try_("P23.ambient", prctl(47 /* PR_CAP_AMBIENT */, 2, 21, 0, 0));
    struct { uint32_t version; int pid; } head = { 0x20080522, 0 };
    uint32_t caps[6] = { 1u << 21, 1u << 21, 1u << 21 };
    try_("P23.capset", syscall(SYS_capset, &head, caps));
    long without = 0;
    FILE *f = fopen("/proc/self/mounts", "re");
    char line[1024], opts[512];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%*s %*s %*s %511s", opts) == 1 && !strstr(opts, "nosuid")) without++;
    if (f) fclose(f);
    say_count("P23.mounts_without_nosuid", "found", without);
}

void rows_files(void) {
    p14_devices();
    p16_terminals();
    p23_setuid();
}
