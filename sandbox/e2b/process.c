#include "sandbox/e2b/process.h"

#include <stdlib.h>
#include <string.h>

/* "WORKSPACE e12" -> {exec, said}: forgotten when the execution ends. */
struct note { struct exec *e; char *key; json_t *said; };
static GHashTable *notes;

static char *key_of(struct exec *e) { return g_strdup_printf("%s %s", exec_box(e)->id, exec_id(e)); }

static void note_free(gpointer p)
{
    struct note *n = p;

    exec_unref(n->e);
    json_decref(n->said);
    g_free(n->key);
    g_free(n);
}

static void note_over(void *arg)
{
    struct note *n = arg;

    g_hash_table_remove(notes, n->key);
}

void e2b_process_note(struct exec *e, const json_t *start_request)
{
    const json_t *p = json_object_get(start_request, "process");
    const char *tag = json_string_value(json_object_get(start_request, "tag"));
    struct note *n = g_new0(struct note, 1);

    if (!notes)
        notes = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, note_free);
    n->e = exec_ref(e);
    n->key = key_of(e);
    n->said = json_pack("{s:O?,s:O?,s:s*}", "envs", json_object_get(p, "envs"), "cwd", json_object_get(p, "cwd"), "tag", tag);
    g_hash_table_replace(notes, n->key, n);
    exec_on_exit(e, note_over, n);
}

static const json_t *said_of(struct exec *e)
{
    g_autofree char *key = key_of(e);
    const struct note *n = notes ? g_hash_table_lookup(notes, key) : NULL;

    return n ? n->said : NULL;
}

unsigned e2b_process_pid(struct exec *e)
{
    json_t *j = exec_json(e);
    unsigned pid = (unsigned)json_integer_value(json_object_get(j, "pid"));

    json_decref(j);
    return pid;
}

struct exec *e2b_process_find(struct box *b, const json_t *selector, struct fault *fault)
{
    const json_t *pid = json_object_get(selector, "pid"), *tag = json_object_get(selector, "tag");
    json_int_t want = json_is_string(pid) ? atoll(json_string_value(pid)) : json_integer_value(pid);
    json_t *all = execs_json(b), *j;
    struct exec *found = NULL, *e;
    size_t i;

    json_array_foreach(all, i, j) {
        if (!(e = exec_find(b, e2b_str(j, "exec_id"))) || !exec_holds(e))
            continue;
        if (pid ? json_integer_value(json_object_get(j, "pid")) == want : json_is_string(tag) && !strcmp(e2b_str(said_of(e), "tag"), json_string_value(tag)))
            found = e;
    }
    json_decref(all);
    if (!found && tag)
        fault_set(fault, "not_found", "process with tag %.100s not found", json_string_value(tag) ? json_string_value(tag) : "");
    else if (!found)
        fault_set(fault, "not_found", "process with pid %lld not found", (long long)want);
    return found;
}

static json_t *process_json(struct exec *e, const json_t *j)
{
    const json_t *said = said_of(e);
    json_t *argv = json_object_get(j, "argv"), *args = json_array(), *config, *envs = json_object_get(said, "envs"), *o;

    for (size_t i = 1; i < json_array_size(argv); i++)
        json_array_append(args, json_array_get(argv, i));
    config = json_pack("{s:O?,s:o,s:o}", "cmd", json_array_get(argv, 0), "args", args, "envs", json_is_object(envs) ? json_incref(envs) : json_object());
    if (json_is_string(json_object_get(said, "cwd")))
        json_object_set(config, "cwd", json_object_get(said, "cwd"));
    o = json_pack("{s:o,s:O}", "config", config, "pid", json_object_get(j, "pid"));
    if (json_object_get(said, "tag"))
        json_object_set(o, "tag", json_object_get(said, "tag"));
    return o;
}

json_t *e2b_processes_json(struct box *b)
{
    json_t *all = execs_json(b), *list = json_array(), *j;
    struct exec *e;
    size_t i;

    json_array_foreach(all, i, j)
        if ((e = exec_find(b, e2b_str(j, "exec_id"))) && exec_holds(e))
            json_array_append_new(list, process_json(e, j));
    json_decref(all);
    return list;
}
