#include "sandbox/agent/user.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "sandbox/frame.h"

enum { PASSWD_MAX = 1 << 20, ID_MAX = 65535 };

/* Digits to the end of the field. */
static bool id_parse(const char *p, size_t n, uint32_t *ret)
{
    uint32_t v = 0;

    if (n == 0 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        v = v * 10 + (uint32_t)(p[i] - '0');
    }
    *ret = v;
    return v <= ID_MAX;
}

struct field { const char *p; size_t n; };

/* name:password:uid:gid:comment:home:shell */
static bool line_split(const char *p, size_t n, struct field f[7])
{
    const char *end = p + n;

    for (int i = 0; i < 7; i++) {
        const char *colon = i < 6 ? memchr(p, ':', (size_t)(end - p)) : end;
        if (!colon)
            return false;
        f[i] = (struct field){ p, (size_t)(colon - p) };
        p = colon + (i < 6);
    }
    return true;
}

static bool line_user(const char *p, size_t n, struct user *ret)
{
    struct field f[7];
    uint32_t uid, gid;

    if (memchr(p, 0, n) || !line_split(p, n, f) || !id_parse(f[2].p, f[2].n, &uid) || !id_parse(f[3].p, f[3].n, &gid))
        return false;
    if (f[0].n == 0 || f[0].n >= USER_NAME_MAX)
        return false;
    ret->uid = uid;
    ret->gid = gid;
    memcpy(ret->name, f[0].p, f[0].n);
    ret->name[f[0].n] = '\0';
    bool home = f[5].n && f[5].n < USER_HOME_MAX && f[5].p[0] == '/';
    snprintf(ret->home, sizeof ret->home, "%.*s", home ? (int)f[5].n : 1, home ? f[5].p : "/");
    return true;
}

/* The first line with that name (or, name NULL, that uid). */
static bool passwd_find(const char *p, size_t n, const char *name, uid_t uid, struct user *ret)
{
    const char *end = p + n;

    while (p < end) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const char *stop = nl ? nl : end;
        struct user u;
        if (line_user(p, (size_t)(stop - p), &u) && (name ? !strcmp(u.name, name) : u.uid == uid)) {
            *ret = u;
            return true;
        }
        p = stop + 1;
    }
    return false;
}

static bool builtin(const char *name, struct user *ret)
{
    if (!strcmp(name, "root"))
        *ret = (struct user){ 0, 0, "root", "/root" };
    else if (!strcmp(name, "user"))
        *ret = (struct user){ 1000, 1000, "user", "/home/user" };
    else
        return false;
    return true;
}

int user_find_in(const char *passwd, size_t n, const char *spec, struct user *ret)
{
    const char *colon = strchr(spec, ':');
    size_t first = colon ? (size_t)(colon - spec) : strlen(spec);
    uint32_t uid, gid = 0;
    struct user u;

    if (!*spec)
        spec = "user";
    if (*spec >= '0' && *spec <= '9') {
        if (!id_parse(spec, first, &uid) || (colon && !id_parse(colon + 1, strlen(colon + 1), &gid)))
            return -EINVAL;
        if (!passwd_find(passwd, n, NULL, uid, &u) && !(uid == 0 && builtin("root", &u)) && !(uid == 1000 && builtin("user", &u))) {
            u = (struct user){ uid, uid, "", "/" };
            snprintf(u.name, sizeof u.name, "%u", uid);
        }
        if (colon)
            u.gid = gid;
    } else if (colon || strlen(spec) >= USER_NAME_MAX) {
        return -EINVAL;
    } else if (!passwd_find(passwd, n, spec, 0, &u) && !builtin(spec, &u)) {
        return -ENOENT;
    }
    if (u.uid == AGENT_UID || u.gid == AGENT_UID)
        return -EINVAL;
    *ret = u;
    return 0;
}

int user_find(const char *spec, struct user *ret)
{
    struct stat st;
    char *p = NULL;
    size_t n = 0;
    _cleanup_close_ int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size <= PASSWD_MAX) {
        p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ssize_t got = p == MAP_FAILED ? -1 : io_pread_full(fd, p, (size_t)st.st_size, 0);
        n = got > 0 ? (size_t)got : 0;
    }
    int r = user_find_in(p && p != MAP_FAILED ? p : "", n, spec, ret);
    if (p && p != MAP_FAILED)
        munmap(p, (size_t)st.st_size);
    return r;
}
