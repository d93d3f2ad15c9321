/* The tables of services of boxes that run: their start with the box, their end, and what is done by hand (service.h). */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "sandbox/run/service_private.h"

struct table { struct box *b; GHashTable *by_name; guint save; };
static GHashTable *tables;                 /* box -> struct table: of boxes that run */

static struct table *table_of(const struct box *b) { return tables ? g_hash_table_lookup(tables, b) : NULL; }

struct service *service_find(const struct box *b, const char *name)
{
    struct table *t = table_of(b);

    return t ? g_hash_table_lookup(t->by_name, name) : NULL;
}

json_t *service_config(const struct box *b, const char *name) { return json_object_get(b->config.services, name); }

static gboolean on_save(gpointer arg)
{
    struct table *t = arg;
    int r = box_config_save(t->b);

    t->save = 0;
    if (r)
        log_warn("box=%s step=save-services err=%s", t->b->id, errno_name(r));
    return G_SOURCE_REMOVE;
}

void services_save_soon(struct box *b)
{
    struct table *t = b ? table_of(b) : NULL;

    if (t && !t->save)
        t->save = g_idle_add(on_save, t);
}

static struct service *add(struct table *t, const char *name)
{
    struct service *s = service_new(t->b, name);

    g_hash_table_insert(t->by_name, s->name, s);
    return s;
}

static struct table *table_make(struct box *b)
{
    struct table *t = table_of(b);

    if (t)
        return t;
    if (!tables)
        tables = g_hash_table_new(g_direct_hash, g_direct_equal);
    t = g_new0(struct table, 1);
    t->b = box_ref(b);
    t->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(tables, b, t);
    return t;
}

void services_running(struct box *b)
{
    const char *name;
    json_t *one;

    if (!json_object_size(b->config.services))
        return;
    struct table *t = table_make(b);
    json_object_foreach(b->config.services, name, one) {
        if (!json_is_string(json_array_get(json_object_get(one, "argv"), 0)) || !json_is_string(json_object_get(one, "restart")))
            continue;                      /* a file that was written by hand */
        struct service *s = add(t, name);
        if (service_adopt(s))
            continue;
        json_object_del(one, "exec");
        if (!json_is_false(json_object_get(one, "enabled")))
            service_begin(s);
    }
}

void services_stopping(struct box *b)
{
    struct table *t = table_of(b);
    GHashTableIter i;
    gpointer s;

    if (!t)
        return;
    g_hash_table_remove(tables, b);
    if (t->save)
        g_source_remove(t->save);
    g_hash_table_iter_init(&i, t->by_name);
    while (g_hash_table_iter_next(&i, NULL, &s))
        service_drop(s, false);
    g_hash_table_destroy(t->by_name);
    box_unref(t->b);
    g_free(t);
}

/* --- by hand --- */
static bool runs(const struct box *b) { return b->state == BOX_RUNNING && b->link; }

static bool written(struct box *b, struct fault *fault)
{
    int r = box_config_save(b);

    if (r)
        fault_set(fault, r == -ENOSPC ? "no_space" : "internal", "the services of %s could not be written down: %s", b->name, g_strerror(-r));
    return !r;
}

bool service_add(struct box *b, const char *name, json_t *given, struct fault *fault)
{
    if (service_config(b, name))
        return fault_set(fault, "exists", "sandbox %s has a service %s already: remove it first", b->name, name), false;
    if (json_object_size(b->config.services) >= SERVICES_MAX)
        return fault_set(fault, "too_many", "sandbox %s has as many services as it can (%d)", b->name, SERVICES_MAX), false;
    if (!b->config.services)
        b->config.services = json_object();
    json_t *own = json_deep_copy(given);
    json_object_set_new(b->config.services, name, own);
    if (!written(b, fault)) {
        json_object_del(b->config.services, name);
        return false;
    }
    if (runs(b))
        service_begin(add(table_make(b), name));
    return true;
}

static bool there(struct box *b, const char *name, struct fault *fault)
{
    if (service_config(b, name))
        return true;
    fault_set(fault, "not_found", "sandbox %s has no service %.63s", b->name, name);
    return false;
}

bool service_remove(struct box *b, const char *name, struct fault *fault)
{
    struct service *s = service_find(b, name);

    if (!there(b, name, fault))
        return false;
    if (s) {
        g_hash_table_remove(table_of(b)->by_name, name);
        service_drop(s, true);
    }
    json_object_del(b->config.services, name);
    return written(b, fault);
}

/* The table has what was configured before the box started; a service that was added while it did not run yet comes here. */
static struct service *find_or_new(struct box *b, const char *name)
{
    struct service *s = service_find(b, name);

    return s || !runs(b) ? s : add(table_make(b), name);
}

static bool enable(struct box *b, const char *name, bool on, struct fault *fault)
{
    json_t *one = service_config(b, name);

    if (json_is_false(json_object_get(one, "enabled")) == !on)
        return true;
    json_object_set_new(one, "enabled", json_boolean(on));
    return written(b, fault);
}

bool service_start(struct box *b, const char *name, struct fault *fault)
{
    if (!there(b, name, fault) || !enable(b, name, true, fault))
        return false;
    struct service *s = find_or_new(b, name);
    if (s && s->ending)
        s->again = true;
    else if (s && !s->run)
        service_halt(s, true);
    return true;
}

bool service_stop(struct box *b, const char *name, struct fault *fault)
{
    if (!there(b, name, fault) || !enable(b, name, false, fault))
        return false;
    struct service *s = service_find(b, name);
    if (s)
        service_halt(s, false);
    return true;
}

bool service_restart(struct box *b, const char *name, struct fault *fault)
{
    if (!there(b, name, fault) || !enable(b, name, true, fault))
        return false;
    struct service *s = find_or_new(b, name);
    if (s)
        service_halt(s, true);
    return true;
}
