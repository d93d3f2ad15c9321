/* Sessions.
 *
 * A command that may change its session (a shell text, a builtin of the shell as argv) is run by a shell that, at its exit, writes its directory and exported variables to a new file
 * of an unguessable name in /tmp (noclobber, mode 0600). When it has ended, that file is read and removed with the rights of the same user, compared with what the command was started
 * with, and the differences are the session's. So nothing of it is in the command's output, and what a command can do by writing that file is what it can do by `export`. A command
 * that replaces its shell (exec), sets its own EXIT trap or is killed changes nothing.
 *
 *   turn:  WAITING -> GIVEN (fn was called) -> RUNS (turn_start) -> FETCHING -> gone, the next is given */
#include <errno.h>
#include <string.h>

#include "sandbox/files.h"
#include "sandbox/run/session_private.h"

enum { STATE_MAX = 256 * 1024 };
struct turn {
    struct sessions *t;                /* NULL: the box has stopped or the command has no session */
    struct session *s;                 /* NULL: in none */
    bool alone, queued;                /* alone: takes the session's turn */
    char **argv, **env;                /* as it runs; of the session */
    char *cwd, *user, *state_path;
    char **started_env;
    struct exec *e;
    struct file_call *file;
    GByteArray *state;
    turn_fn *fn; void *arg;
};

bool session_id_valid(const char *id)
{
    size_t n = strlen(id);

    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum(id[i]) && !strchr("_-.", id[i]))
            return false;
    return n >= 1 && n <= SESSION_ID_MAX;
}

static void session_free(gpointer p)
{
    struct session *s = p;

    if (s->now || s->waiting.length) {         /* the last turn frees it */
        s->removed = true;
        return;
    }
    g_hash_table_unref(s->env);
    g_free(s->cwd);
    g_free(s->id);
    g_free(s);
}

static struct sessions *sessions_of(struct box *b)
{
    if (!b->sessions) {
        b->sessions = g_new0(struct sessions, 1);
        b->sessions->b = b;
        b->sessions->by_id = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, session_free);
        sessions_load(b->sessions);
    }
    return b->sessions;
}

struct session *session_new(struct sessions *t, const char *id)
{
    struct session *s = g_new0(struct session, 1);

    s->id = g_strdup(id);
    s->env = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_hash_table_insert(t->by_id, s->id, s);
    return s;
}

int session_make(struct box *b, const char *id, const char *cwd, json_t *env)
{
    struct sessions *t = sessions_of(b);
    g_autoptr(GHashTable) vars = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    const char *key;
    json_t *v;

    json_object_foreach(env, key, v)
        g_hash_table_insert(vars, g_strdup(key), g_strdup(json_string_value(v)));
    if (g_hash_table_contains(t->by_id, id))
        return -EEXIST;
    if (g_hash_table_size(t->by_id) >= SESSIONS_MAX)
        return -ENOSPC;
    if (session_bytes(cwd, vars) > SESSION_BYTES)
        return -E2BIG;
    session_apply(session_new(t, id), cwd, vars);
    sessions_save(t);
    return 0;
}

int session_remove(struct box *b, const char *id)
{
    struct sessions *t = sessions_of(b);

    if (!g_hash_table_remove(t->by_id, id))
        return -ENOENT;
    sessions_save(t);
    return 0;
}

/* --- how a command runs in a session --- */
static bool is_builtin(const char *name)
{
    static const char *const names[] = { "cd", "export", "unset", "source", ".", "pushd", "popd", "eval", "umask" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

static const char *const choose_shell = "[ -x /bin/bash ] && exec /bin/bash -c \"$0\" \"$@\"; exec /bin/sh -c \"$0\" \"$@\"";

/* text runs with args as its $0, $1, ... */
static char **shell_argv(const char *text, char *const *args)
{
    GPtrArray *v = g_ptr_array_new();

    g_ptr_array_add(v, g_strdup("/bin/sh"));
    g_ptr_array_add(v, g_strdup("-c"));
    g_ptr_array_add(v, g_strdup(choose_shell));
    g_ptr_array_add(v, g_strdup(text));
    g_ptr_array_add(v, g_strdup("sh"));
    for (; args && *args; args++)
        g_ptr_array_add(v, g_strdup(*args));
    g_ptr_array_add(v, NULL);
    return (char **)g_ptr_array_free(v, false);
}

static void turn_wrap(struct turn *t, char *const *argv, const char *shell)
{
    g_autofree char *text = NULL;

    if (!t->alone) {
        t->argv = shell ? shell_argv(shell, NULL) : NULL;
        return;
    }
    t->state_path = g_strdup_printf("/tmp/.coppice-session-%08x%08x%08x%08x", g_random_int(), g_random_int(), g_random_int(), g_random_int());
    text = g_strdup_printf("trap '{ (umask 077; set -C; { printf \"%%s\\0\" \"$PWD\"; env -0; } > %s) 2>/dev/null; }' EXIT\n%s\n", t->state_path, shell ? shell : "\"$@\"");
    t->argv = shell_argv(text, shell ? NULL : argv);
}

/* --- turns --- */
static void session_next(struct session *s);

static void turn_free(struct turn *t)
{
    struct session *s = t->s;

    if (t->e) {
        exec_unref(t->e);
    }
    file_free(t->file);
    if (t->state)
        g_byte_array_unref(t->state);
    g_strfreev(t->argv);
    g_strfreev(t->env);
    g_strfreev(t->started_env);
    g_free(t->cwd);
    g_free(t->user);
    g_free(t->state_path);
    if (s && t->queued)
        g_queue_remove(&s->waiting, t);
    if (s && s->now == t) {
        s->now = NULL;
        session_next(s);
    }
    g_free(t);
}

/* What holds in the session now becomes the command's. */
static void turn_give(struct turn *t)
{
    GPtrArray *env = g_ptr_array_new();
    GHashTableIter i;
    gpointer k, v;

    t->cwd = g_strdup(t->s->cwd);
    g_hash_table_iter_init(&i, t->s->env);
    while (g_hash_table_iter_next(&i, &k, &v))
        g_ptr_array_add(env, v ? g_strdup_printf("%s=%s", (char *)k, (char *)v) : g_strdup(k));
    g_ptr_array_add(env, NULL);
    t->env = (char **)g_ptr_array_free(env, false);
    t->fn(t->arg, t, NULL);
}

static void session_next(struct session *s)
{
    struct turn *t = g_queue_pop_head(&s->waiting);

    if (t) {
        t->queued = false;
        s->now = t;
        turn_give(t);
    } else if (s->removed) {
        session_free(s);
    }
}

void session_enter(struct box *b, const char *id, char *const *argv, const char *shell, bool detached, turn_fn *fn, void *arg)
{
    struct turn *t = g_new0(struct turn, 1);
    struct fault f;

    t->fn = fn;
    t->arg = arg;
    if (id) {
        t->t = sessions_of(b);
        t->s = g_hash_table_lookup(t->t->by_id, id);
        if (!t->s && g_hash_table_size(t->t->by_id) < SESSIONS_MAX)
            t->s = session_new(t->t, id);
        t->alone = !detached && (shell || is_builtin(argv[0]));
    }
    turn_wrap(t, argv, shell);
    if (id && (!t->s || (t->alone && t->s->waiting.length >= SESSION_WAITERS))) {
        if (t->s)
            fault_set(&f, "busy", "session %s: %d commands wait for their turn already: use another session, or argv, which does not wait", id, SESSION_WAITERS);
        else
            fault_set(&f, "too_many", "sandbox %s has %d sessions: delete some", b->name, SESSIONS_MAX);
        t->s = NULL;
        turn_free(t);
        fn(arg, NULL, &f);
    } else if (!t->s) {
        fn(arg, t, NULL);
    } else if (t->alone && (t->s->now || t->s->waiting.length)) {
        t->queued = true;
        g_queue_push_tail(&t->s->waiting, t);
    } else {
        if (t->alone)
            t->s->now = t;
        turn_give(t);
    }
}

void turn_fill(struct turn *t, struct exec_request *q)
{
    if (t->argv)
        q->argv = t->argv;
    if (!q->cwd)
        q->cwd = t->cwd;
    q->base_env = t->env;
}

void turn_drop(struct turn *t) { turn_free(t); }

/* --- what it changed --- */
static bool is_fleeting(const char *pair)
{
    static const char *const names[] = { "PWD=", "OLDPWD=", "SHLVL=", "_=", "HOME=", "COLUMNS=", "LINES=" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        if (g_str_has_prefix(pair, names[i]))
            return true;
    return false;
}

static GHashTable *pairs(char **env)
{
    GHashTable *h = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

    for (; *env; env++) {
        const char *eq = strchr(*env, '=');
        if (eq && eq != *env && g_utf8_validate(*env, -1, NULL) && !is_fleeting(*env))
            g_hash_table_insert(h, g_strndup(*env, (gsize)(eq - *env)), g_strdup(eq + 1));
    }
    return h;
}

static void state_apply(struct turn *t)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new();
    g_autoptr(GHashTable) before = NULL, after = NULL, vars = NULL;
    GHashTableIter i;
    gpointer k, v;

    g_byte_array_append(t->state, (const uint8_t *)"", 1);
    for (const char *p = (char *)t->state->data, *end = p + t->state->len; p < end && *p; p += strlen(p) + 1)
        g_ptr_array_add(parts, (gpointer)(uintptr_t)p);
    if (!parts->len || *(char *)parts->pdata[0] != '/' || !g_utf8_validate(parts->pdata[0], -1, NULL))
        return;
    g_ptr_array_add(parts, NULL);
    before = pairs(t->started_env);
    after = pairs((char **)parts->pdata + 1);
    vars = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_hash_table_iter_init(&i, t->s->env);
    while (g_hash_table_iter_next(&i, &k, &v))
        g_hash_table_insert(vars, g_strdup(k), g_strdup(v));
    g_hash_table_iter_init(&i, after);
    while (g_hash_table_iter_next(&i, &k, &v))
        if (g_strcmp0(v, g_hash_table_lookup(before, k)))
            g_hash_table_insert(vars, g_strdup(k), g_strdup(v));
    g_hash_table_iter_init(&i, before);
    while (g_hash_table_iter_next(&i, &k, NULL))
        if (!g_hash_table_contains(after, k))
            g_hash_table_insert(vars, g_strdup(k), NULL);
    session_apply(t->s, parts->pdata[0], vars);
    if (!t->s->removed)
        sessions_save(t->t);
}

static void removed_head(void *arg, int status, const char *step, const struct file_stat *st) { turn_free(arg); }
static const struct file_ops remove_ops = { .head = removed_head };

/* The file goes whatever was in it; only then is the turn over, so that no two of a session's files are there. */
static void state_remove(struct turn *t)
{
    struct file_request *q = g_new0(struct file_request, 1);
    struct fault f;

    file_free(t->file);
    q->op = FILE_REMOVE;
    g_strlcpy(q->path, t->state_path, sizeof(q->path));
    t->file = t->e && exec_box(t->e) ? file_start(exec_box(t->e), t->user, q, &remove_ops, t, &f) : NULL;
    g_free(q);
    if (!t->file)
        turn_free(t);
}

static void state_head(void *arg, int status, const char *step, const struct file_stat *st)
{
    if (status == -ENOENT)
        turn_free(arg);                        /* it was killed, or replaced its shell */
    else if (status)
        state_remove(arg);
}

static bool state_data(void *arg, const uint8_t *p, size_t n)
{
    struct turn *t = arg;

    if (t->state->len + n <= STATE_MAX)
        g_byte_array_append(t->state, p, (guint)n);
    return true;
}

static void state_end(void *arg, int status)
{
    struct turn *t = arg;

    if (!status)
        state_apply(t);
    state_remove(t);
}

static const struct file_ops state_ops = { .head = state_head, .data = state_data, .end = state_end };

static void on_exit_(void *arg)
{
    struct turn *t = arg;
    struct box *b = exec_box(t->e);
    struct file_request *q;
    struct fault f;

    if (!b || !exec_exit(t->e))
        return turn_free(t);
    q = g_new0(struct file_request, 1);
    q->op = FILE_READ;
    q->flags = FILE_NOFOLLOW;
    q->len = STATE_MAX;
    g_strlcpy(q->path, t->state_path, sizeof(q->path));
    t->state = g_byte_array_new();
    t->file = file_start(b, t->user, q, &state_ops, t, &f);
    g_free(q);
    if (!t->file)
        turn_free(t);
}

void turn_start(struct turn *t, struct exec *e, const struct exec_request *q)
{
    if (!t->alone)
        return turn_free(t);
    t->e = exec_ref(e);
    t->user = g_strdup(q->user ? q->user : box_default_user(exec_box(e)));
    t->started_env = exec_environment(exec_box(e), q);
    exec_on_exit(e, on_exit_, t);
}

void sessions_started(struct box *b) { sessions_of(b); }

void sessions_free(struct box *b)
{
    if (b->sessions)
        g_hash_table_unref(b->sessions->by_id);
    g_free(b->sessions);
    b->sessions = NULL;
}

/* Turns that run end with their executions; those that wait are told. */
void sessions_stopping(struct box *b)
{
    GHashTableIter i;
    gpointer p;

    if (!b->sessions)
        return;
    g_hash_table_iter_init(&i, b->sessions->by_id);
    while (g_hash_table_iter_next(&i, NULL, &p)) {
        struct session *s = p;
        struct turn *t;
        struct fault f;

        fault_set(&f, "not_running", "sandbox %s has stopped: the command did not run", b->name);
        while ((t = g_queue_pop_head(&s->waiting))) {
            turn_fn *fn = t->fn;
            void *arg = t->arg;
            t->queued = false;
            turn_free(t);
            fn(arg, NULL, &f);
        }
    }
}
