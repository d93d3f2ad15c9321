/* The life of a context:
 *
 *   starting  its interpreter is: a new one, or a spare
 *   ready     runs begin, one after the other (context_run.c)
 *   gone      deleted, the box stopped, or no interpreter could be started
 * When the interpreter dies in between, the run that killed it is told, and another interpreter starts at once (`fresh`): so a context that is in the table always has an interpreter, and
 * the box's stop always ends it.
 */
#include <stdio.h>
#include <string.h>

#include "sandbox/code/private.h"

struct wait { context_fn *fn; void *arg; };

void context_unref(struct context *c)
{
    if (--c->refs)
        return;
    for (unsigned i = 0; i < 2; i++)
        g_string_free(c->early[i], true);
    g_array_unref(c->waits);
    g_free(c->cwd);
    json_decref(c->env);
    g_free(c);
}

static void waits_call(struct context *c, const struct fault *f)
{
    g_autoptr(GArray) waits = c->waits;

    c->waits = g_array_new(false, false, sizeof(struct wait));
    for (unsigned i = 0; i < waits->len; i++) {
        struct wait *w = &g_array_index(waits, struct wait, i);
        w->fn(w->arg, f ? NULL : c, f);
    }
}

/* Out of the table; whatever waits is told why. */
static void context_remove(struct context *c, const char *name, const struct fault *why)
{
    struct code_box *cb = c->cb;

    if (!cb)
        return;
    c->refs++;
    c->cb = NULL;
    g_hash_table_remove(cb->contexts, c->id);
    interp_free(c->in);
    c->in = NULL;
    context_run_end(c, name, why->text);
    context_runs_fail(c, why);
    waits_call(c, why);
    code_box_check(cb);
    context_unref(c);
    context_unref(c);
}

void context_fault(struct fault *ret, const struct box *b, const char *id)
{
    fault_set(ret, "not_found", "sandbox %s has no code context %.64s: it never was, or it is gone. Contexts live in memory: they end when the sandbox sleeps or stops, and a fork has none of "
              "them (files stay). Make a new one (POST .../context) and run again what it needs", b->name, id);
}

struct context *context_find(struct box *b, const char *id)
{
    struct code_box *cb = code_box_of(b, false);

    return cb ? g_hash_table_lookup(cb->contexts, id) : NULL;
}

static void interp_give(struct context *c)
{
    c->was_ready = false;
    c->fresh = true;
    c->in = c->plain ? spare_take(c->cb, c->language) : NULL;
    if (c->in)
        interp_own(c->in, &context_ops, c);
    else
        c->in = interp_new(c->cb->b, c->language, c->cwd, c->env, &context_ops, c);
    if (c->plain)
        spare_want(c->cb, c->language);
    if (interp_ready(c->in))
        context_ready(c);
}

struct context *context_new(struct box *b, enum code_language l, const char *id, const char *cwd, json_t *env, struct fault *fault)
{
    struct code_box *cb = code_box_of(b, true);
    struct context *c;

    if (g_hash_table_size(cb->contexts) >= CONTEXTS_MAX) {
        fault_set(fault, "too_many", "sandbox %s has as many code contexts as it can (%d): delete some", b->name, CONTEXTS_MAX);
        return NULL;
    }
    c = g_new0(struct context, 1);
    c->refs = 1;
    c->cb = cb;
    c->language = l;
    c->cwd = g_strdup(cwd);
    c->env = json_incref(env);
    c->plain = !cwd && !json_object_size(env);
    c->waits = g_array_new(false, false, sizeof(struct wait));
    c->early[0] = g_string_new(NULL);
    c->early[1] = g_string_new(NULL);
    g_queue_init(&c->runs);
    if (id)
        g_strlcpy(c->id, id, sizeof(c->id));
    else
        box_make_name(c->id);
    g_hash_table_insert(cb->contexts, c->id, c);
    interp_give(c);
    return c;
}

void context_wait(struct context *c, context_fn *fn, void *arg)
{
    struct wait w = { fn, arg };

    if (c->was_ready)
        fn(arg, c, NULL);
    else
        g_array_append_val(c->waits, w);
}

void context_ready(struct context *c)
{
    c->was_ready = true;
    c->refs++;
    waits_call(c, NULL);
    context_pump(c);
    context_unref(c);
}

void context_renew(struct context *c)
{
    interp_free(c->in);
    c->in = NULL;
    g_string_truncate(c->early[0], 0);
    g_string_truncate(c->early[1], 0);
    c->signalling = 0;
    interp_give(c);
}

/* --- the interpreter died --- */
static void death_text(const struct context *c, const struct exit_info *info, char *out, size_t size)
{
    uint64_t limit = c->cb->b->config.limits.memory_bytes >> 20;
    const char *then = "Its variables are lost; the next run begins with a fresh one";

    if (!info)
        snprintf(out, size, "the interpreter was lost. %s", then);
    else if (info->oom || info->signal == 9)
        snprintf(out, size, "the interpreter was killed (SIGKILL)%s%.0" G_GUINT64_FORMAT "%s. %s", limit ? ": most likely the sandbox reached its memory limit of " : ", by the code itself or for want of memory",
                 limit, limit ? " MiB" : "", then);
    else if (info->signal)
        snprintf(out, size, "the interpreter was ended by %s. %s", signal_name(info->signal), then);
    else
        snprintf(out, size, "the interpreter exited with status %d (code that calls os._exit or process.exit does that). %s", info->code, then);
}

void context_gone(struct context *c, const struct exit_info *info, const struct fault *why)
{
    char text[512];
    struct fault f;
    struct box *b = c->cb->b;
    bool runs = b->link && (b->state == BOX_RUNNING || b->state == BOX_FROZEN || b->state == BOX_FREEZING || b->state == BOX_THAWING);

    death_text(c, info, text, sizeof(text));
    if (!runs) {
        fault_set(&f, "not_running", "sandbox %s stopped, and its code contexts with it: files stay, variables are lost; make a new context", b->name);
        context_remove(c, "SandboxStopped", &f);
    } else if (!c->was_ready) {
        if (!why)
            fault_set(&f, "start_failed", "the %s interpreter ended before it was ready (exit status %d, signal %d): does `%s` work in this sandbox?", code_language_name(c->language), info ? info->code : -1,
                      info ? info->signal : 0, c->language == CODE_PYTHON ? "python3 -c 1" : "node -e 1");
        context_remove(c, "InterpreterDied", why ? why : &f);
    } else {
        c->refs++;
        interp_free(c->in);
        c->in = NULL;
        context_run_end(c, "InterpreterDied", why ? why->text : text);
        if (c->cb)
            context_renew(c);
        context_unref(c);
    }
}

/* --- by hand --- */
void context_delete(struct context *c)
{
    struct fault f;

    fault_set(&f, "not_found", "the code context %s was deleted", c->id);
    context_remove(c, "ContextDeleted", &f);
}

void context_restart(struct context *c, context_fn *fn, void *arg)
{
    struct fault f;

    fault_set(&f, "conflict", "the code context %s was restarted before this run began", c->id);
    c->refs++;
    context_runs_fail(c, &f);
    context_run_end(c, "ContextRestarted", "the context was restarted: its interpreter was ended, its variables are lost");
    if (c->cb) {
        context_renew(c);
        context_wait(c, fn, arg);
    }
    context_unref(c);
}

json_t *context_json(const struct context *c)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:b, s:i, s:s}", "id", c->id, "language", code_language_name(c->language), "state", c->run ? "busy" : c->was_ready ? "idle" : "starting", "fresh",
                          (int)c->fresh, "waiting", (int)g_queue_get_length((GQueue *)(uintptr_t)&c->runs), "exec_id", interp_exec_id(c->in));

    json_object_set_new(o, "driver", *interp_driver(c->in) ? json_string(interp_driver(c->in)) : json_null());
    json_object_set_new(o, "cwd", c->cwd ? json_string(c->cwd) : json_null());
    return o;
}

json_t *contexts_json(struct box *b)
{
    struct code_box *cb = code_box_of(b, false);
    json_t *list = json_array();
    struct context *c;
    GHashTableIter i;

    if (!cb)
        return list;
    g_hash_table_iter_init(&i, cb->contexts);
    while (g_hash_table_iter_next(&i, NULL, (gpointer *)&c))
        json_array_append_new(list, context_json(c));
    return list;
}
