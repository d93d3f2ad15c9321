/* Sessions on disk: sandboxd's directory holds session/ID.json, an object of {ID: {cwd, env}}, replaced as a whole. Nothing is fsynced: a session that a power loss takes back a
 * moment is what a terminal that was closed is. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/run/session_private.h"

enum { STORED_MAX = 64 << 20 };

size_t session_bytes(const char *cwd, GHashTable *env)
{
    size_t n = cwd ? strlen(cwd) : 0;
    GHashTableIter i;
    gpointer k, v;

    g_hash_table_iter_init(&i, env);
    while (g_hash_table_iter_next(&i, &k, &v))
        n += strlen(k) + (v ? strlen(v) : 0) + 2;
    return n;
}

void session_apply(struct session *s, const char *cwd, GHashTable *env)
{
    if (session_bytes(cwd, env) > SESSION_BYTES) {
        log_warn("session=%s step=apply err=E2BIG", s->id);
        return;
    }
    g_free(s->cwd);
    s->cwd = g_strdup(cwd);
    g_hash_table_unref(s->env);
    s->env = g_hash_table_ref(env);
}

static json_t *session_json(const struct session *s)
{
    json_t *env = json_object();
    GHashTableIter i;
    gpointer k, v;

    g_hash_table_iter_init(&i, s->env);
    while (g_hash_table_iter_next(&i, &k, &v))
        json_object_set_new(env, k, v ? json_string(v) : json_null());
    return json_pack("{s:s?, s:o}", "cwd", s->cwd, "env", env);
}

json_t *sessions_json(struct box *b)
{
    json_t *list = json_array();
    GHashTableIter i;
    gpointer s;

    sessions_started(b);
    g_hash_table_iter_init(&i, b->sessions->by_id);
    while (g_hash_table_iter_next(&i, NULL, &s)) {
        json_t *o = session_json(s);
        json_object_set_new(o, "id", json_string(((struct session *)s)->id));
        json_array_append_new(list, o);
    }
    return list;
}

static void file_name(const struct box *b, const char *kind, char out[128], bool temp) { snprintf(out, 128, "%s/%s%s", kind, b->id, temp ? ".new" : ".json"); }

void box_file_put(struct box *b, const char *kind, const json_t *all)
{
    _cleanup_close_ int fd = -1;
    int dir = b->sd->dir_fd;
    char name[128], temp[128];
    char *text = json_dumps(all, JSON_COMPACT);
    int r;

    file_name(b, kind, name, false);
    file_name(b, kind, temp, true);
    mkdirat(dir, kind, 0700);
    fd = openat(dir, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    r = fd < 0 ? -errno : !text ? -ENOMEM : io_write_full(fd, text, strlen(text));
    if (!r && renameat(dir, temp, dir, name) < 0)
        r = -errno;
    if (r)
        log_warn("box=%s step=%s-save err=%s", b->id, kind, errno_name(r));
    free(text);
}

json_t *box_file_get(struct box *b, const char *kind)
{
    _cleanup_close_ int fd = -1;
    char name[128];
    struct stat st;
    json_t *all;

    file_name(b, kind, name, false);
    fd = openat(b->sd->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > STORED_MAX)
        return NULL;
    all = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
    if (!all)
        log_warn("box=%s step=%s-load err=EBADMSG", b->id, kind);
    return all;
}

void box_file_remove(struct box *b, const char *kind)
{
    char name[128];

    file_name(b, kind, name, false);
    unlinkat(b->sd->dir_fd, name, 0);
}

void sessions_save(struct sessions *t)
{
    json_t *all = json_object();
    GHashTableIter i;
    gpointer k, s;

    g_hash_table_iter_init(&i, t->by_id);
    while (g_hash_table_iter_next(&i, &k, &s))
        json_object_set_new(all, k, session_json(s));
    box_file_put(t->b, "session", all);
    json_decref(all);
}

void sessions_load(struct sessions *t)
{
    json_t *all = box_file_get(t->b, "session"), *v, *var;
    const char *id, *key;

    json_object_foreach(all, id, v) {
        g_autoptr(GHashTable) env = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        if (!session_id_valid(id) || g_hash_table_size(t->by_id) >= SESSIONS_MAX)
            continue;
        json_object_foreach(json_object_get(v, "env"), key, var)
            g_hash_table_insert(env, g_strdup(key), g_strdup(json_string_value(var)));
        session_apply(session_new(t, id), json_string_value(json_object_get(v, "cwd")), env);
    }
    json_decref(all);
}

void sessions_delete(struct box *b)
{
    box_file_remove(b, "session");
    if (b->sessions)
        g_hash_table_remove_all(b->sessions->by_id);
}
