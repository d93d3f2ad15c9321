/* filesystem.Filesystem: Stat, ListDir, MakeDir, Move, Remove. */
#include <errno.h>
#include <string.h>

#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/fs.h"
#include "sandbox/e2b/names.h"

enum { DEPTH_MAX = 64 };

static void fs_call(struct http_call *c, void (*go)(void *self))
{
    struct e2b_fs *s = e2b_call_new(c, sizeof(*s), e2b_fs_over, e2b_fs_fini);

    if (s)
        e2b_call_rpc(s, go);
}

/* The path of the request; false: answered. */
static bool path_of(struct e2b_fs *s, const char *key, char **ret)
{
    const char *p = e2b_str(s->k.req, key);

    if (strlen(p) > 4000) {
        http_fail(s->k.x.c, "invalid_request", "%s: longer than 4000 bytes", key);
        return false;
    }
    *ret = e2b_path(s->k.x.b, s->k.user, *p ? p : ".");
    return true;
}

/* --- an entry as the answer --- */
static void answer_entry(struct e2b_fs *s, int status, const char *step)
{
    if (status)
        e2b_fs_fail(s, status, step);
    else
        http_reply(s->k.x.c, 200, json_pack("{s:O?}", "entry", json_array_get(s->entries, 0)));
}

static void stat_named(void *self)
{
    if (path_of(self, "path", &((struct e2b_fs *)self)->path))
        e2b_fs_entry(self, answer_entry);
}

static void stat_go(void *self) { e2b_names_need(self, stat_named); }
static void route_stat(struct http_call *c) { fs_call(c, stat_go); }

/* --- ListDir --- */
static void listed(struct e2b_fs *s, int status, const char *step)
{
    if (status)
        e2b_fs_fail(s, status, step);
    else if (s->too_many)
        http_fail(s->k.x.c, "too_many", "more than %d entries: list a smaller directory or with less depth", E2B_ENTRIES_MAX);
    else
        http_reply(s->k.x.c, 200, json_pack("{s:O}", "entries", s->entries));
}

static void list_named(void *self)
{
    struct e2b_fs *s = self;
    json_int_t depth = json_integer_value(json_object_get(s->k.req, "depth"));

    if (!path_of(s, "path", &s->path))
        return;
    s->q.op = FILE_LIST;
    s->q.depth = (uint32_t)CLAMP(depth, 1, DEPTH_MAX);
    e2b_fs_do(s, listed);
}

static void list_go(void *self) { e2b_names_need(self, list_named); }
static void route_list(struct http_call *c) { fs_call(c, list_go); }

/* --- MakeDir: with its parents; one that is there is already_exists --- */
static void made(struct e2b_fs *s, int status, const char *step)
{
    if (status)
        e2b_fs_fail(s, status, step);
    else
        e2b_fs_entry(s, answer_entry);
}

static void mkdir_named(void *self)
{
    struct e2b_fs *s = self;

    if (!path_of(s, "path", &s->path))
        return;
    s->q.op = FILE_MKDIR;
    s->q.mode = 0755;
    s->q.flags = FILE_PARENTS | FILE_EXCL;
    e2b_fs_do(s, made);
}

static void mkdir_go(void *self) { e2b_names_need(self, mkdir_named); }
static void route_mkdir(struct http_call *c) { fs_call(c, mkdir_go); }

/* --- Move: over what is there, as rename(2) --- */
static void moved(struct e2b_fs *s, int status, const char *step)
{
    if (status) {
        e2b_fs_fail(s, status, step);
        return;
    }
    g_free(s->path);
    s->path = g_steal_pointer(&s->path2);
    e2b_fs_entry(s, answer_entry);
}

static void move_named(void *self)
{
    struct e2b_fs *s = self;

    if (!path_of(s, "source", &s->path) || !path_of(s, "destination", &s->path2))
        return;
    s->q.op = FILE_MOVE;
    s->q.flags = FILE_REPLACE | FILE_PARENTS | FILE_NOFOLLOW;
    g_strlcpy(s->q.path2, s->path2, sizeof(s->q.path2));
    e2b_fs_do(s, moved);
}

static void move_go(void *self) { e2b_names_need(self, move_named); }
static void route_move(struct http_call *c) { fs_call(c, move_go); }

/* --- Remove: with all that is in it; what is not there is fine --- */
static void removed(struct e2b_fs *s, int status, const char *step)
{
    if (status && status != -ENOENT)
        e2b_fs_fail(s, status, step);
    else
        http_reply(s->k.x.c, 200, json_object());
}

static void remove_named(void *self)
{
    struct e2b_fs *s = self;

    if (!path_of(s, "path", &s->path))
        return;
    s->q.op = FILE_REMOVE;
    s->q.flags = FILE_NOFOLLOW | FILE_RECURSIVE;
    e2b_fs_do(s, removed);
}

static void remove_go(void *self) { e2b_names_need(self, remove_named); }
static void route_remove(struct http_call *c) { fs_call(c, remove_go); }

const struct http_route e2b_fs_routes[] = {
    E2B_RPC("/filesystem.Filesystem/Stat", route_stat, "What is at a path"),
    E2B_RPC("/filesystem.Filesystem/ListDir", route_list, "The entries of a directory"),
    E2B_RPC("/filesystem.Filesystem/MakeDir", route_mkdir, "Make a directory and its parents"),
    E2B_RPC("/filesystem.Filesystem/Move", route_move, "Rename"),
    E2B_RPC("/filesystem.Filesystem/Remove", route_remove, "Remove a file or a tree"),
    { 0 }
};
