/* What a service looks like from outside (docs/services.md). */
#include <stdlib.h>
#include <string.h>

#include "sandbox/run/service_private.h"

static const char *const state_names[] = { "stopped", "starting", "running", "backing-off", "failed" };

static json_t *time_json(gint64 us)
{
    g_autoptr(GDateTime) t = g_date_time_new_from_unix_utc(us / 1000000);
    g_autofree char *text = g_date_time_format(t, "%Y-%m-%dT%H:%M:%S");

    return json_sprintf("%s.%03dZ", text, (int)(us / 1000 % 1000));
}

json_t *service_json(struct box *b, const char *name)
{
    json_t *one = service_config(b, name), *o, *pid;
    struct service *s = service_find(b, name);

    if (!one)
        return NULL;
    o = json_deep_copy(one);
    json_object_del(o, "exec");
    json_object_set_new(o, "name", json_string(name));
    json_object_set_new(o, "enabled", json_boolean(!json_is_false(json_object_get(one, "enabled"))));
    json_object_set_new(o, "state", json_string(state_names[s ? s->state : SERVICE_STOPPED]));
    json_object_set_new(o, "restarts", json_integer(s ? s->restarts : 0));
    if (!s)
        return o;
    json_object_set_new(o, "since", time_json(s->since_us));
    json_object_set_new(o, "log", json_pack("{s:I}", "next", (json_int_t)s->log.next));
    if (s->run && s->run->e) {
        json_t *e = exec_json(s->run->e);
        pid = json_object_get(e, "pid");
        json_object_set(o, "pid", pid);
        json_object_set_new(o, "exec_id", json_string(exec_id(s->run->e)));
        json_decref(e);
    }
    if (s->has_exit)
        exec_exit_json(&s->exit, o);
    if (s->error[0])
        json_object_set_new(o, "error", json_string(s->error));
    return o;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

json_t *services_json(struct box *b)
{
    json_t *list = json_array(), *one;
    const char *names[SERVICES_MAX], *name;
    size_t n = 0;

    json_object_foreach(b->config.services, name, one)
        if (n < SERVICES_MAX)
            names[n++] = name;
    qsort(names, n, sizeof(names[0]), by_name);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, service_json(b, names[i]));
    return list;
}

const char *service_for_port(const struct box *b, unsigned port)
{
    const char *name;
    json_t *one;

    json_object_foreach(b->config.services, name, one)
        if (json_integer_value(json_object_get(one, "port")) == (json_int_t)port)
            return name;
    return NULL;
}
