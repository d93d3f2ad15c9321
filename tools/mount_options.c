#include "tools/mount_options.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "tools/args.h"

/* A word without a value, and the field of the request that it sets. */
static const struct word { const char *name, *field; bool val;
} words[] = {
    { "ro", "ro", true },           { "rw", "ro", false },        { "suid", "suid", true },
    { "nosuid", "suid", false },    { "dev", "dev", true },       { "nodev", "dev", false },
    { "exec", "noexec", false },    { "noexec", "noexec", true }, { "allow_other", "allow_other", true },
    { "snapdir", "snapdir", true }, { "nosnapdir", "snapdir", false },
};

/* What mount(8), fstab and FUSE helpers are given and what here needs no doing: our mounts always have default_permissions and the kernel's
 * own relatime; the rest is for others (systemd, util-linux) or has no meaning for this file system. */
static const char *const ignored[] = {
    "defaults",   "_netdev",     "nofail",        "auto",       "noauto",  "user",     "nouser",
    "users",      "owner",       "group",         "async",      "sync",    "dirsync",  "relatime",
    "norelatime", "strictatime", "nostrictatime", "atime",      "noatime", "diratime", "nodiratime",
    "lazytime",   "nolazytime",  "iversion",      "noiversion", "silent",  "loud",     "default_permissions",
    "nonempty",   "blkdev",      "remount",       "mand",       "nomand",
};
static const char *const ignored_prefix[] = { "x-",        "X-",       "comment=",  "fsname=",    "subtype=",    "max_read=",
                                              "rootmode=", "user_id=", "group_id=", "fd=",        "blksize=",    "user=",
                                              "uid=",      "gid=",     "context=",  "fscontext=", "defcontext=", "rootcontext=" };

static bool is_ignored(const char *w)
{
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        if (!strcmp(w, ignored[i]))
            return true;
    for (size_t i = 0; i < sizeof(ignored_prefix) / sizeof(ignored_prefix[0]); i++)
        if (!strncmp(w, ignored_prefix[i], strlen(ignored_prefix[i])))
            return true;
    return false;
}

static int wrong(const char *w, const char *why)
{
    fprintf(stderr, "coppice: mount option '%s': %s\n", w, why);
    return 2;
}

/* One word. 0, 2; 1: it is none of ours. */
static int take(json_t *to, const char *w)
{
    uint64_t n;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (!strcmp(w, words[i].name)) {
            json_object_set_new(to, words[i].field, json_boolean(words[i].val));
            return 0;
        }
    if (!strncmp(w, "transport=", 10)) {
        if (strcmp(w + 10, "auto") && strcmp(w + 10, "classic") && strcmp(w + 10, "uring"))
            return wrong(w, "transport is auto, classic or uring");
        json_object_set_new(to, "transport", json_string(w + 10));
        return 0;
    }
    if (!strncmp(w, "uid_base=", 9)) {
        if (!args_number(w + 9, &n) || n > UINT32_MAX - 65536)
            return wrong(w, "uid_base is a number up to 4294901759");
        json_object_set_new(to, "uid_base", json_integer((json_int_t)n));
        return 0;
    }
    return 1;
}

static int each_word(json_t *to, const char *val, bool generic, char **ret_store)
{
    _cleanup_free_ char *copy = mem_strdup(val);
    char *save = NULL;
    int r = copy ? 0 : 2;

    for (char *w = copy ? strtok_r(copy, ",", &save) : NULL; !r && w; w = strtok_r(NULL, ",", &save)) {
        if (generic && !strncmp(w, "store=", 6)) {
            free(*ret_store);
            *ret_store = mem_strdup(w + 6);
            continue;
        }
        r = take(to, w);
        if (r == 1)
            r = is_ignored(w) && (generic || !strcmp(w, "default_permissions") || !strcmp(w, "defaults")) ? 0
                : wrong(w, "no such option; there are ro,rw,nosuid,suid,nodev,dev,noexec,exec,transport=auto|classic|uring,uid_base=N,snapdir,nosnapdir");
    }
    return r;
}

int mount_option_list(void *arg, const char *val)
{
    return each_word(arg, val, false, NULL);
}

int mount_option_list_generic(void *arg, const char *val, char **ret_store)
{
    return each_word(arg, val, true, ret_store);
}
