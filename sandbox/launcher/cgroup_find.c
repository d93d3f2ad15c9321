/* Which hierarchies there are and where this process is in each: /proc/self/cgroup ("ID:CONTROLLERS:PATH") and /proc/self/mountinfo. */
#include "sandbox/launcher/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { TEXT_MAX = 256 * 1024 };

/* A whole small file; owned, NUL-terminated; NULL: errno. */
static char *slurp(const char *root, const char *path)
{
    char full[4096];
    size_t n = 0;
    ssize_t r = 1;

    snprintf(full, sizeof(full), "%s%s", root, path);
    _cleanup_close_ int fd = open(full, O_RDONLY | O_CLOEXEC);
    char *text = fd < 0 ? NULL : malloc(TEXT_MAX + 1);
    while (text && n < TEXT_MAX && (r = read(fd, text + n, TEXT_MAX - n)) > 0)
        n += (size_t)r;
    if (text)
        text[n] = 0;
    return text;
}

/* Is word one of the comma-separated list? */
static bool listed(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (!strncmp(p, word, n) && (!p[n] || p[n] == ','))
            return true;
    }
    return false;
}

/* The path of this process in the hierarchy that has the controller ("": version 2), cut out of /proc/self/cgroup. 0 or -ENOENT. */
static int own_path(const char *cgroups, const char *controller, char *out, size_t size)
{
    for (const char *line = cgroups; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
        char names[128];
        if (!path)
            continue;
        snprintf(names, sizeof(names), "%.*s", (int)(path - list - 1), list + 1);
        if (controller[0] ? !listed(names, controller) : names[0] != 0)
            continue;
        snprintf(out, size, "%.*s", (int)strcspn(path + 1, "\n"), path + 1);
        return 0;
    }
    return -ENOENT;
}

/* mountinfo escapes blanks and backslashes as \ooo */
static void unescape(char *s)
{
    char *out = s;

    for (; *s; s++) {
        if (s[0] == '\\' && s[1] && s[2] && s[3]) {
            *out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *out++ = *s;
        }
    }
    *out = 0;
}

/* One line of mountinfo: does it mount the hierarchy? then where own (the path of this process in it) is seen. */
static int mounted_at(char *line, const char *controller, const char *own, char *out, size_t size)
{
    char root[1024], at[1024], type[64], super[512];
    char *sep = strstr(line, " - ");

    if (!sep || sscanf(line, "%*s %*s %*s %1023s %1023s", root, at) != 2 || sscanf(sep + 3, "%63s %*s %511s", type, super) != 2)
        return -ENOENT;
    if (strcmp(type, controller[0] ? "cgroup" : "cgroup2") || (controller[0] && !listed(super, controller)))
        return -ENOENT;
    unescape(root);
    unescape(at);
    size_t n = strcmp(root, "/") ? strlen(root) : 0;
    if (strncmp(own, root, n) || (n && own[n] && own[n] != '/'))
        return -ENOENT;               /* it shows another part of the hierarchy */
    const char *below = own + n;
    int len = snprintf(out, size, "%s%s", at, strcmp(below, "/") ? below : "");
    return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

static int find_one(char *mounts, const char *cgroups, const char *controller, char *out, size_t size)
{
    char own[512], copy[4096];

    if (own_path(cgroups, controller, own, sizeof(own)))
        return -ENOENT;
    for (char *line = mounts, *end; line && *line; line = end ? end + 1 : NULL) {
        end = strchr(line, '\n');
        size_t n = end ? (size_t)(end - line) : strlen(line);
        if (n >= sizeof(copy))
            continue;
        memcpy(copy, line, n);
        copy[n] = 0;
        if (!mounted_at(copy, controller, own, out, size))
            return 0;
    }
    return -ENOENT;
}

/* Has the version 2 tree the controllers that limits need? Freezing and accounting are always there. */
static bool v2_has_controllers(const char *root, const char *path)
{
    char file[1024];

    snprintf(file, sizeof(file), "%s/cgroup.controllers", path);
    _cleanup_free_ char *text = slurp(root, file);
    for (char *p = text; p && *p; p++)
        if (*p == ' ' || *p == '\n')
            *p = ',';
    return text && listed(text, "memory") && listed(text, "pids") && listed(text, "cpu");
}

int cgroup_find(struct cgroups *cs, const char *root)
{
    static const char *const v1_names[] = { "memory", "pids", "cpu", "cpuacct", "freezer" };
    _cleanup_free_ char *cgroups = slurp(root, "/proc/self/cgroup");
    _cleanup_free_ char *mounts = slurp(root, "/proc/self/mountinfo");
    char v2[512];
    unsigned found = 0;

    if (!cgroups || !mounts)
        return -ENOENT;
    if (!find_one(mounts, cgroups, "", v2, sizeof(v2)) && v2_has_controllers(root, v2)) {
        cs->version = 2;
        for (unsigned c = 0; c < CG_CONTROLLERS; c++)
            snprintf(cs->path[c], sizeof(cs->path[c]), "%s", v2);
        return 0;
    }
    for (unsigned c = 0; c < CG_CONTROLLERS; c++) {
        if (!find_one(mounts, cgroups, v1_names[c], cs->path[c], sizeof(cs->path[c])))
            found++;
        else
            cs->path[c][0] = 0;
    }
    cs->version = found ? 1 : 0;
    return 0;
}
