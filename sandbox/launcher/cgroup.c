#include "sandbox/launcher/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"

const char *const cgroup_names[CG_CONTROLLERS] = { "memory", "pids", "cpu", "cpuacct", "freezer" };
static void (*made_seam)(int dir_fd);

/* --- files --- */

static int file_of(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file, int flags)
{
    char name[96];

    if (cs->dir[controller] < 0)
        return -ENODEV;
    snprintf(name, sizeof(name), "slot-%u/%s", slot, file);
    int fd = openat(cs->dir[controller], name, flags | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int cgroup_write(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file, const char *text)
{
    _cleanup_close_ int fd = file_of(cs, controller, slot, file, O_WRONLY);
    ssize_t n;

    if (fd < 0)
        return fd;
    do
        n = write(fd, text, strlen(text));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int cgroup_write_u64(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file, uint64_t v)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
    return cgroup_write(cs, controller, slot, file, text);
}

int cgroup_read(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file, char *out, size_t size)
{
    _cleanup_close_ int fd = file_of(cs, controller, slot, file, O_RDONLY);
    size_t n = 0;
    ssize_t r;

    if (fd < 0)
        return fd;
    while (n < size - 1 && ((r = read(fd, out + n, size - 1 - n)) > 0 || (r < 0 && errno == EINTR)))
        n += r > 0 ? (size_t)r : 0;
    out[n] = 0;
    return 0;
}

uint64_t cgroup_read_u64(const struct cgroups *cs, unsigned controller, unsigned slot, const char *file)
{
    char text[64];

    return cgroup_read(cs, controller, slot, file, text, sizeof(text)) ? 0 : strtoull(text, NULL, 10);
}

uint64_t cgroup_field(const char *text, const char *key)
{
    size_t n = strlen(key);

    for (const char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (!strncmp(p, key, n) && p[n] == ' ')
            return strtoull(p + n + 1, NULL, 10);
    return 0;
}

/* --- the hierarchies --- */

/* Hierarchies can hold several controllers (cpu,cpuacct): their groups are the same directory. */
static bool shares(const struct cgroups *cs, unsigned c)
{
    for (unsigned d = 0; d < c; d++)
        if (cs->dir[d] >= 0 && cs->dir[d] == cs->dir[c])
            return true;
    return false;
}

/* Makes coppice-NAME below the directory path, which becomes its own path. */
static int make_home(const struct cgroup_place *place, char *path, size_t size)
{
    char full[1200], home[1024];

    int n = snprintf(home, sizeof(home), "%s/coppice-%s", path, place->name);
    if (n < 0 || (size_t)n >= size)
        return -ENAMETOOLONG;
    snprintf(full, sizeof(full), "%s%s", place->root, home);
    bool is_new = !mkdir(full, 0755);
    if (!is_new && errno != EEXIST)
        return -errno;
    int fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -errno;
    if (is_new && place->made)
        place->made(fd);
    memcpy(path, home, (size_t)n + 1);
    return fd;
}

static int open_at(const struct cgroup_place *place, const char *path)
{
    char full[1200];

    snprintf(full, sizeof(full), "%s%s", place->root, path);
    int fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Version 2: the nearest group, from our own upwards, that can give its children the controllers. */
static int climb(struct cgroups *cs, const struct cgroup_place *place, char *path)
{
    char own[512];
    int r = -ENOENT;

    snprintf(own, sizeof(own), "%s", path);
    for (;;) {
        _cleanup_close_ int fd = open_at(place, path);
        if (fd < 0)
            return r == -EBUSY ? r : fd;
        int one = cgroup_v2_enable(fd);
        if (!one) {
            if (strcmp(own, path))
                log_warn("step=cgroup own=%s has processes beside the launcher: boxes go below %s", own, path);
            return 0;
        }
        r = one;
        char *slash = strrchr(path, '/');
        if (!slash || slash == path)
            return r;
        *slash = 0;
    }
}

static int open_v2(struct cgroups *cs, const struct cgroup_place *place)
{
    char path[512];

    snprintf(path, sizeof(path), "%s", cs->path[0]);
    int r = climb(cs, place, path);
    int fd = r ? r : make_home(place, path, sizeof(path));
    if (fd >= 0)
        r = cgroup_v2_enable(fd);
    if (r || fd < 0) {
        if (fd >= 0)
            close(fd);
        snprintf(cs->missing, sizeof(cs->missing), "memory, pids, cpu (cgroup version 2 here: %s; start it with systemd and Delegate=yes)", errno_name(r ? r : fd));
        return 0;
    }
    for (unsigned c = 0; c < CG_CONTROLLERS; c++) {
        cs->dir[c] = fd;
        snprintf(cs->path[c], sizeof(cs->path[c]), "%s", path);
    }
    return 0;
}

static int open_v1(struct cgroups *cs, const struct cgroup_place *place)
{
    size_t n = 0;

    for (unsigned c = 0; c < CG_CONTROLLERS; c++) {
        for (unsigned d = 0; d < c && cs->path[c][0]; d++)
            if (cs->dir[d] >= 0 && !strncmp(cs->path[d], cs->path[c], strlen(cs->path[c])) && !strncmp(cs->path[d] + strlen(cs->path[c]), "/coppice-", 9)) {
                cs->dir[c] = cs->dir[d];
                memcpy(cs->path[c], cs->path[d], sizeof(cs->path[c]));
                break;
            }
        if (cs->dir[c] < 0 && cs->path[c][0])
            cs->dir[c] = make_home(place, cs->path[c], sizeof(cs->path[c]));
        if (cs->dir[c] < 0) {
            cs->dir[c] = -1;
            cs->path[c][0] = 0;
            n += (size_t)snprintf(cs->missing + n, sizeof(cs->missing) - n, "%s%s", n ? ", " : "", cgroup_names[c]);
        }
    }
    return 0;
}

int cgroups_open(struct cgroups *cs, const struct cgroup_place *place)
{
    *cs = (struct cgroups){ 0 };
    made_seam = place->made;
    for (unsigned c = 0; c < CG_CONTROLLERS; c++)
        cs->dir[c] = -1;
    int r = cgroup_find(cs, place->root);
    if (r)
        return r;
    cs->ops = cs->version == 2 ? &cgroup_v2 : cs->version == 1 ? &cgroup_v1 : NULL;
    if (!cs->version)
        snprintf(cs->missing, sizeof(cs->missing), "memory, pids, cpu, cpuacct, freezer (no cgroup file system is mounted)");
    return cs->version == 2 ? open_v2(cs, place) : cs->version == 1 ? open_v1(cs, place) : 0;
}

void cgroups_close(struct cgroups *cs)
{
    for (unsigned c = CG_CONTROLLERS; c-- > 0;) {
        if (cs->dir[c] < 0 || shares(cs, c))
            continue;
        close(cs->dir[c]);
        if (rmdir(cs->path[c]) && errno != ENOENT)
            log_warn("step=cgroup path=%s cannot be removed err=%s", cs->path[c], errno_name(errno));
    }
    for (unsigned c = 0; c < CG_CONTROLLERS; c++)
        cs->dir[c] = -1;
}

void cgroups_list(const struct cgroups *cs, char *out, size_t size)
{
    size_t n = 0;

    out[0] = 0;
    for (unsigned c = 0; c < CG_CONTROLLERS; c++)
        if (cs->dir[c] >= 0 && !shares(cs, c) && n < size)
            n += (size_t)snprintf(out + n, size - n, "%s\n", cs->path[c]);
}

/* --- a box --- */

int cgroup_make(const struct cgroups *cs, unsigned slot)
{
    char name[24];

    snprintf(name, sizeof(name), "slot-%u", slot);
    for (unsigned c = 0; c < CG_CONTROLLERS; c++) {
        if (cs->dir[c] < 0 || shares(cs, c))
            continue;
        if (mkdirat(cs->dir[c], name, 0755))
            return -errno;
        if (made_seam) {
            _cleanup_close_ int fd = openat(cs->dir[c], name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            made_seam(fd);
        }
    }
    return 0;
}

int cgroup_enter(const struct cgroups *cs, unsigned slot)
{
    int r = 0;

    for (unsigned c = 0; c < CG_CONTROLLERS && !r; c++)
        if (cs->dir[c] >= 0 && !shares(cs, c))
            r = cgroup_write(cs, c, slot, "cgroup.procs", "0");
    return r;
}

int cgroup_limit(const struct cgroups *cs, unsigned slot, const struct launch_limits *l, const char **ret_step)
{
    *ret_step = "cgroup";
    return cs->missing[0] || !cs->ops ? -ENODEV : cs->ops->limit(cs, slot, l, ret_step);
}

int cgroup_freeze(const struct cgroups *cs, unsigned slot, bool freeze)
{
    return cs->dir[CG_FREEZER] < 0 ? -ENODEV : cs->ops->freeze(cs, slot, freeze);
}

int cgroup_frozen(const struct cgroups *cs, unsigned slot)
{
    return cs->dir[CG_FREEZER] < 0 ? -ENODEV : cs->ops->frozen(cs, slot);
}

int cgroup_usage(const struct cgroups *cs, unsigned slot, uint64_t value[LAUNCH_VALUES])
{
    memset(value, 0, sizeof(*value) * LAUNCH_VALUES);
    return cs->ops ? cs->ops->usage(cs, slot, value) : -ENODEV;
}

int cgroup_kill(const struct cgroups *cs, unsigned slot)
{
    return cs->ops ? cs->ops->kill(cs, slot) : -ENODEV;
}

static unsigned count_lines(const char *text)
{
    unsigned n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

int cgroup_count(const struct cgroups *cs, unsigned slot)
{
    static char text[64 * 1024];

    for (unsigned c = 0; c < CG_CONTROLLERS; c++) {
        if (cs->dir[c] < 0)
            continue;
        int r = cgroup_read(cs, c, slot, "cgroup.procs", text, sizeof(text));
        return r ? r : (int)count_lines(text);
    }
    return -ENODEV;
}

int cgroup_remove(const struct cgroups *cs, unsigned slot)
{
    char name[24];
    int r = 0;

    snprintf(name, sizeof(name), "slot-%u", slot);
    for (unsigned c = 0; c < CG_CONTROLLERS; c++)
        if (cs->dir[c] >= 0 && !shares(cs, c) && unlinkat(cs->dir[c], name, AT_REMOVEDIR) && errno != ENOENT)
            r = -errno;
    return r;
}
