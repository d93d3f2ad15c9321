/* POST, GET .../session, DELETE .../session/{sid}. */
#include <errno.h>
#include <string.h>

#include "sandbox/routes.h"
#include "sandbox/run/boxed.h"
#include "sandbox/run/session.h"

struct made { struct boxed x; json_t *env; char *id, *cwd; };

static void made_fini(void *self)
{
    struct made *m = self;

    json_decref(m->env);
    g_free(m->id);
    g_free(m->cwd);
}

static void make_go(void *self)
{
    struct made *m = self;
    int r = session_make(m->x.b, m->id, m->cwd, m->env);

    if (r == -EEXIST)
        http_fail(m->x.c, "exists", "session %s is there already: delete it first, or use it", m->id);
    else if (r == -ENOSPC)
        http_fail(m->x.c, "too_many", "sandbox %s has %d sessions: delete some", m->x.b->name, SESSIONS_MAX);
    else if (r)
        http_fail(m->x.c, "payload_too_large", "directory and variables of a session: at most %d bytes", SESSION_BYTES);
    else
        http_reply(m->x.c, 200, json_pack("{s:s}", "id", m->id));
}

static bool env_ok(json_t *env)
{
    const char *key;
    json_t *v;

    if (env && !json_is_object(env))
        return false;
    json_object_foreach(env, key, v)
        if (!*key || strchr(key, '=') || (!json_is_string(v) && !json_is_null(v)))
            return false;
    return true;
}

static void route_make(struct http_call *c)
{
    struct made *m = boxed_new(c, sizeof(*m), NULL, made_fini);
    const char *id = NULL, *cwd = NULL;
    char made[LAUNCH_NAME];
    json_t *env = NULL;

    if (!http_unpack(c, "{s?s, s?s, s?o}", "id", &id, "cwd", &cwd, "env", &env))
        return;
    if (!id) {
        box_make_name(made);
        id = made;
    }
    if (!session_id_valid(id))
        return http_fail(c, "invalid_request", "id: 1 to %d letters, digits, '_', '-', '.'", SESSION_ID_MAX);
    if (cwd && cwd[0] != '/')
        return http_fail(c, "invalid_request", "cwd: must be an absolute path");
    if (!env_ok(env))
        return http_fail(c, "invalid_request", "env: must be an object of strings");
    m->id = g_strdup(id);
    m->cwd = g_strdup(cwd);
    m->env = json_incref(env);
    boxed_go(m, BOXED_LOOK, make_go);
}

static void list_go(void *self)
{
    struct boxed *x = self;

    http_reply(x->c, 200, json_pack("{s:o}", "sessions", sessions_json(x->b)));
}

static void route_list(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, list_go); }

static void remove_go(void *self)
{
    struct boxed *x = self;
    const char *id = http_param(x->c, "sid");
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *when = g_date_time_format_iso8601(now);

    if (session_remove(x->b, id) < 0)
        http_fail(x->c, "not_found", "sandbox %s has no session %.128s", x->b->name, id);
    else
        http_reply(x->c, 200, json_pack("{s:b, s:s, s:s}", "success", 1, "sessionId", id, "timestamp", when));
}

static void route_remove(struct http_call *c) { boxed_go(boxed_new(c, sizeof(struct boxed), NULL, NULL), BOXED_LOOK, remove_go); }

#define ID "{\"name\": \"id\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}"
#define ANSWERS(what) "\"responses\": {\"200\": {\"description\": \"" what "\"}, \"default\": {\"$ref\": \"#/components/responses/Error\"}}"
const struct http_route session_routes[] = {
    { "POST", "/v1/sandbox/{id}/session", ROUTE_JSON | ROUTE_BRIDGE, route_make,
      "{\"summary\": \"Make a session\", \"description\": \"Its directory and variables hold from one command to the next.\", \"parameters\": [" ID "], \"requestBody\": {\"content\": "
      "{\"application/json\": {\"schema\": {\"type\": \"object\", \"properties\": {\"id\": {\"type\": \"string\"}, \"cwd\": {\"type\": \"string\"}, \"env\": {\"type\": \"object\"}}}}}}, "
      ANSWERS("Its id") "}" },
    { "GET", "/v1/sandbox/{id}/session", 0, route_list, "{\"summary\": \"List sessions\", \"parameters\": [" ID "], " ANSWERS("Sessions with directory and variables") "}" },
    { "DELETE", "/v1/sandbox/{id}/session/{sid}", ROUTE_BRIDGE, route_remove,
      "{\"summary\": \"Delete a session\", \"parameters\": [" ID ", {\"name\": \"sid\", \"in\": \"path\", \"required\": true, \"schema\": {\"type\": \"string\"}}], " ANSWERS("It is gone") "}" },
    { 0 }
};
