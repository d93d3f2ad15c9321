/* The mounts that can be seen are those that should be: /proc/self/mountinfo, line by line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "sandbox/confine/parts.h"

struct mount { unsigned major, minor; const char *root, *point, *options, *type; bool propagates; };

/* The next word of *p, ended by a NUL in place; NULL at the end of the line. */
static char *word(char **p) {
    char *s = *p;
    if (!s || !*s) return NULL;
    char *end = strchr(s, ' ');
    if (end) *end++ = '\0';
    *p = end;
    return s;
}

/* "36 35 98:0 /root /point options [optional...] - type source superoptions" */
static bool parse(char *line, struct mount *ret) {
    char *p = line;
    word(&p);
    word(&p);
    char *dev = word(&p);
    ret->root = word(&p);
    ret->point = word(&p);
    ret->options = word(&p);
    if (!ret->options || !p || sscanf(dev, "%u:%u", &ret->major, &ret->minor) != 2) return false;
    ret->propagates = *p != '-';
    char *w;
    while ((w = word(&p)) && strcmp(w, "-")) continue;
    ret->type = word(&p);
    return ret->type != NULL;
}

static bool has_option(const char *options, const char *name) {
    size_t n = strlen(name);
    for (const char *p = options; p && *p; p = strchr(p, ','), p = p ? p + 1 : NULL)
        if (!strncmp(p, name, n) && (p[n] == ',' || !p[n])) return true;
    return false;
}

/* One of the six nodes, and it is what its name says. Or the sandbox's own devpts, which has nothing but terminals. */
static bool may_have_devices(const struct mount *m) {
    static const struct { const char *path; unsigned major, minor; } nodes[] = { { "/dev/null", 1, 3 }, { "/dev/zero", 1, 5 }, { "/dev/full", 1, 7 },
        { "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 } };
    if (!strcmp(m->type, "devpts")) return !strcmp(m->point, "/dev/pts") || !strcmp(m->point, "/dev/ptmx") || !strcmp(m->point, "/dev/console");
    for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        struct stat st;
        if (!strcmp(m->point, nodes[i].path))
            return !lstat(m->point, &st) && S_ISCHR(st.st_mode) && st.st_rdev == makedev(nodes[i].major, nodes[i].minor);
    }
    return false;
}

/* Clears what this mount disproves. */
static uint64_t judge(const struct mount *m, uint64_t proved) {
    const struct confine_outside *o = &confine_outside;
    if (!has_option(m->options, "nosuid")) proved &= ~(uint64_t)LAYER_NOSUID;
    if (!has_option(m->options, "nodev") && !may_have_devices(m)) proved &= ~(uint64_t)LAYER_NODEV;
    if (m->propagates) proved &= ~(uint64_t)LAYER_MOUNTNS;      /* shared: or master: */
    if (makedev(m->major, m->minor) == o->root_dev && !strcmp(m->root, "/")) proved &= ~(uint64_t)LAYER_ROOT;
    return proved;
}

/* "/" is a mount, not the outside's root, and there is no way up from it. */
static bool own_root(void) {
    struct stat root, up;
    char cwd[4096];
    if (stat("/", &root) || stat("/..", &up) || root.st_ino != up.st_ino || root.st_dev != up.st_dev) return false;
    if (root.st_dev == confine_outside.root_dev && root.st_ino == confine_outside.root_ino) return false;
    return syscall(SYS_getcwd, cwd, sizeof cwd) > 0 && cwd[0] == '/';      /* not "(unreachable)" */
}

uint64_t confine_prove_mounts(void) {
    static char buf[32 * 1024];      /* some twenty mounts, a hundred bytes each; more is not a sandbox of ours */
    uint64_t proved = LAYER_MOUNTNS | LAYER_ROOT | LAYER_NODEV | LAYER_NOSUID;
    bool root_seen = false;
    if (!confine_outside.known || confine_read_file("/proc/self/mountinfo", buf, sizeof buf) <= 0) return 0;
    for (char *line = buf; *line;) {
        char *nl = strchr(line, '\n');
        struct mount m;
        if (!nl) return 0;
        *nl = '\0';
        if (!parse(line, &m)) return 0;
        root_seen |= !strcmp(m.point, "/");
        proved = judge(&m, proved);
        line = nl + 1;
    }
    if (!root_seen || !own_root()) proved &= ~(uint64_t)LAYER_ROOT;
    return proved;
}
