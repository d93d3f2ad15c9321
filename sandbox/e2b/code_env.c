#include "sandbox/e2b/code_env.h"

#include <string.h>

/* JSON in ASCII is a literal in both languages: its strings have no other escapes, and surrogate pairs are put together by json.loads. */
static char *literal(const json_t *env)
{
    json_t *v, *clean = json_object();
    const char *key;
    char *text, *out;

    json_object_foreach((json_t *)(uintptr_t)env, key, v)
        if (*key && !strchr(key, '=') && json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v))
            json_object_set(clean, key, v);
    text = json_dumps(clean, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(clean);
    json_t *quoted = json_string(text);
    out = json_dumps(quoted, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    json_decref(quoted);
    free(text);
    return out;
}

char *e2b_env_set(enum code_language l, const json_t *env)
{
    char *text = literal(env), *out;

    if (l == CODE_PYTHON)
        out = g_strdup_printf("exec(\"import os, json\\nnew = json.loads(text)\\nos._coppice_env = {k: os.environ.get(k) for k in new}\\nos.environ.update(new)\", {'text': %s})", text);
    else
        out = g_strdup_printf("void ((now) => { const saved = {}; for (const k of Object.keys(now)) { saved[k] = process.env[k]; process.env[k] = now[k]; } "
                              "globalThis[Symbol.for('coppice.env')] = saved; })(JSON.parse(%s))", text);
    free(text);
    return out;
}

char *e2b_env_reset(enum code_language l)
{
    if (l == CODE_PYTHON)
        return g_strdup("exec(\"import os\\nfor k, v in os.__dict__.pop('_coppice_env', {}).items():\\n    os.environ.pop(k, None) if v is None else os.environ.__setitem__(k, v)\", {})");
    return g_strdup("void (() => { const saved = globalThis[Symbol.for('coppice.env')] ?? {}; for (const k of Object.keys(saved)) if (saved[k] === undefined) delete process.env[k]; "
                    "else process.env[k] = saved[k]; delete globalThis[Symbol.for('coppice.env')]; })()");
}

static enum code_language language_of(const struct context *c)
{
    json_t *j = context_json(c);
    int l = code_language_find(json_string_value(json_object_get(j, "language")));

    json_decref(j);
    return l < 0 ? CODE_PYTHON : (enum code_language)l;
}

struct code_run *e2b_run_with_env(struct context *c, const char *code, size_t n, const json_t *env, const struct code_run_ops *ops, void *arg)
{
    enum code_language l = language_of(c);
    struct code_run *run;

    if (!json_object_size(env))
        return code_run_new(c, code, n, 0, ops, arg);
    g_autofree char *set = e2b_env_set(l, env), *reset = e2b_env_reset(l);
    if (!code_run_new(c, set, strlen(set), 0, NULL, NULL))
        return NULL;
    run = code_run_new(c, code, n, 0, ops, arg);
    code_run_new(c, reset, strlen(reset), 0, NULL, NULL);      /* if there is no room for it, the next set of this kind puts them right */
    return run;
}
