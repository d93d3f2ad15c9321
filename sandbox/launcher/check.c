#include "sandbox/launcher/check.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool among(char c, const char *more)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c && strchr(more, c));
}

int check_box_name(const char name[LAUNCH_NAME])
{
    size_t n = strnlen(name, LAUNCH_NAME);

    if (!n || n == LAUNCH_NAME || !among(name[0], "") || strstr(name, ".."))
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!among(name[i], "._-"))
            return -EINVAL;
    return 0;
}

int check_host_name(const char name[LAUNCH_NAME])
{
    size_t n = strnlen(name, LAUNCH_NAME);

    if (n == LAUNCH_NAME)
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!among(name[i], ".-") && !(name[i] >= 'A' && name[i] <= 'Z'))
            return -EINVAL;
    return 0;
}

int check_mount_path(const char path[LAUNCH_PATH])
{
    static const char *const ours[] = { "proc", "dev", "sys" };
    size_t n = strnlen(path, LAUNCH_PATH);

    if (n < 2 || n == LAUNCH_PATH || path[0] != '/')
        return -EINVAL;
    for (const char *p = path; *p;) {
        size_t k = strcspn(++p, "/");
        if (!k || (k == 1 && p[0] == '.') || (k == 2 && p[0] == '.' && p[1] == '.'))
            return -EINVAL;
        for (unsigned i = 0; p == path + 1 && i < 3; i++)
            if (k == strlen(ours[i]) && !memcmp(p, ours[i], k))
                return -EINVAL;
        p += k;
    }
    return 0;
}

int check_limits(const struct launch_limits *l)
{
    if (l->memory_bytes < BOX_MEMORY_MIN || l->memory_bytes > BOX_MEMORY_MAX || l->tmp_bytes > l->memory_bytes || l->zero)
        return -EINVAL;
    if (l->pids < BOX_PIDS_MIN || l->pids > BOX_PIDS_MAX || l->cpu_milli > BOX_CPU_MILLI_MAX || (l->cpu_milli && l->cpu_milli < BOX_CPU_MILLI_MIN))
        return -EINVAL;
    return l->cpu_weight < 1 || l->cpu_weight > 10000 ? -EINVAL : 0;
}

static int check_start(const struct launch_packet *p, const char **ret_why)
{
    *ret_why = "box name";
    if (check_box_name(p->box))
        return -EINVAL;
    *ret_why = "host name";
    if (check_host_name(p->host_name))
        return -EINVAL;
    *ret_why = "flags";
    if (p->flags & ~(uint32_t)LAUNCH_HOST_USR)
        return -EINVAL;
    *ret_why = "limits";
    if (check_limits(&p->limits))
        return -EINVAL;
    for (unsigned i = 0; i < p->mount_count; i++) {
        *ret_why = "path of a mount";
        if (check_mount_path(p->mounts[i].path) || p->mounts[i].zero || p->mounts[i].read_only > 1)
            return -EINVAL;
        *ret_why = "two mounts at one path";
        for (unsigned k = 0; k < i; k++)
            if (!strcmp(p->mounts[i].path, p->mounts[k].path))
                return -EINVAL;
    }
    return 0;
}

int check_packet(const struct launch_packet *p, size_t size, unsigned fd_count, const char **ret_why)
{
    *ret_why = "size of the packet";
    if (size != sizeof(*p))
        return -EINVAL;
    *ret_why = "operation";
    if (p->op < LAUNCH_HELLO || p->op > LAUNCH_EGRESS)
        return -EINVAL;
    *ret_why = "tag 0";
    if (!p->tag)
        return -EINVAL;
    *ret_why = "number of mounts";
    if (p->mount_count > LAUNCH_MOUNTS_MAX || (p->op != LAUNCH_START && p->mount_count))
        return -EINVAL;
    *ret_why = "number of descriptors";
    if (fd_count != (p->op == LAUNCH_START ? 1 + p->mount_count : 0))
        return -EINVAL;
    *ret_why = "slot";
    if ((p->op == LAUNCH_START || p->op == LAUNCH_ABANDON) && p->slot >= LAUNCH_BOXES_MAX)
        return -EINVAL;
    if (p->op == LAUNCH_START)
        return check_start(p, ret_why);
    *ret_why = "box name";
    if (p->op >= LAUNCH_FREEZE && p->op <= LAUNCH_USAGE && check_box_name(p->box))
        return -EINVAL;
    *ret_why = "limits";
    return p->op == LAUNCH_LIMITS ? check_limits(&p->limits) : 0;
}
