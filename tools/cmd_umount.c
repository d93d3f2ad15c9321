/* The client unmounts in its own namespace, then waits until the daemon says that the kernel has let go and all is stored. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "tools/args.h"

/* The mounts (of the list) at the directory: by recorded path, else by device (a bind mount, another namespace). The newest on top is the
 * first. */
static json_t *at_dir(const json_t *list, const char *dir)
{
    struct stat st;
    json_t *m;
    size_t i;

    bool known = !stat(dir, &st);
    json_array_foreach((json_t *)(uintptr_t)list, i, m)
        if (known ? field_int(m, "dev") == (int64_t)st.st_dev : !strcmp(field_str(m, "dir"), dir))
            return m;
    return NULL;
}

static int detach(struct tool *t, const json_t *m, const char *dir, bool lazy)
{
    json_t *ans;

    if (umount2(dir, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0))) {
        if (errno == EBUSY)
            return tool_fail("cannot unmount %s: programs use it (`fuser -vm %s` shows them); end them, or use --lazy", dir, dir);
        if (errno == EINVAL)
            return tool_fail("cannot unmount %s: nothing is mounted there in this mount namespace", dir);
        return tool_fail("cannot unmount %s: %s%s", dir, strerror(errno), errno == EPERM ? "; run as root" : "");
    }
    if (lazy)
        return 0;
    int r = tool_call(
        t, json_pack("{s:s,s:I,s:I}", "verb", "wait_gone", "mount", (json_int_t)field_int(m, "mount"), "timeout_s", (json_int_t)120), &ans);
    if (!r)
        json_decref(ans);
    return r;
}

/* All mounts of an object. */
static int by_name(struct tool *t, const char *name, bool lazy)
{
    json_t *list = tool_mounts(t, name), *m;
    int r = list ? 0 : 1;
    size_t i;

    if (!r && !json_array_size(list))
        r = tool_fail("cannot unmount '%s': it is not mounted; `coppice status` shows what is", name);
    json_array_foreach(list, i, m) {
        if (r)
            break;
        r = field_str(m, "dir")[0] ? detach(t, m, field_str(m, "dir"), lazy)
                                 : tool_fail("cannot unmount '%s': its directory is not known here; name the directory", name);
    }
    json_decref(list);
    return r;
}

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
    char *to = s;

    for (; *s; s++) {
        if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
            *to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
            s += 3;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

/* A mount of coppice at this very path that no daemon of ours knows: one whose daemon is gone. Looked up without touching it. */
static bool is_orphan(const char *dir)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    _cleanup_free_ char *line = NULL;
    size_t cap = 0;
    bool found = false;
    struct stat st;

    /* One that answers belongs to the daemon of another store. */
    bool dead = stat(dir, &st) && errno == ENOTCONN;
    while (dead && f && getline(&line, &cap, f) > 0) {
        int at = 0;
        if (sscanf(line, "%*d %*d %*s %*s %n", &at) < 0 || !at || !strstr(line + at, " - fuse.coppice "))
            continue;
        line[at + (int)strcspn(line + at, " ")] = 0;
        unescape(line + at);
        found |= !strcmp(line + at, dir);
    }
    if (f)
        fclose(f);
    return found;
}

static int detach_orphan(const char *dir)
{
    if (umount2(dir, UMOUNT_NOFOLLOW | MNT_DETACH))
        return tool_fail("cannot unmount %s: %s", dir, strerror(errno));
    return 0;
}

/* The path of a directory that may be a dead mount, which cannot be looked at: that of its parent, and its name. NULL: none such. */
static char *dead_path(const char *arg)
{
    _cleanup_free_ char *copy = strdup(arg);
    char *out = NULL;

    if (!copy)
        return NULL;
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = 0;
    char *slash = strrchr(copy, '/');
    if (slash)
        *slash = 0;
    _cleanup_free_ char *parent = realpath(!slash ? "." : *copy ? copy : "/", NULL);
    if (!parent || asprintf(&out, "%s/%s", strcmp(parent, "/") ? parent : "", slash ? slash + 1 : copy) < 0)
        return NULL;
    return out;
}

int cmd_umount(struct tool *t, int argc, char **argv)
{
    bool lazy = false;
    const struct arg_option options[] = { { "lazy", 'l', .flag = &lazy }, { 0 } };
    struct args a;

    int r = args_parse(t, "umount", argc, argv, options, 1, 1, &a);
    if (r)
        return r;
    /* A name has no slash; a directory may be given without one too. */
    _cleanup_free_ char *dir = realpath(a.v[0], NULL);
    if (!dir && errno == ENOTCONN)
        dir = dead_path(a.v[0]);
    r = tool_open(t, NEED_STORE);
    if (r)
        return r;
    json_t *list = dir ? tool_mounts(t, NULL) : NULL, *m = list ? at_dir(list, dir) : NULL;
    if (m)
        r = detach(t, m, dir, lazy);
    else if (dir && is_orphan(dir))
        r = detach_orphan(dir);
    else if (strchr(a.v[0], '/'))
        r = tool_fail("cannot unmount %s: no workspace or snapshot of the store %s is mounted there", a.v[0], t->store);
    else
        r = by_name(t, a.v[0], lazy);
    if (!r && t->json)
        puts("{\"unmounted\": true}");
    json_decref(list);
    return r;
}
