/* PUT /sandboxes/{id}/network: the options anew; what is not given is as if it never was, but for allowPublicTraffic. */
#include "sandbox/core/route.h"
#include "sandbox/e2b/control.h"
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/network.h"

struct update { struct http_call *c; struct box *b; json_t *network, *internet; };

static void update_free(void *p)
{
    struct update *u = p;

    if (u->b)
        box_unref(u->b);
    json_decref(u->network);
    json_decref(u->internet);
    g_free(u);
}

static void applied(void *arg, const struct fault *fault)
{
    struct update *u = arg;

    if (fault) {                          /* as before */
        e2b_set(u->b, "network", u->network ? json_incref(u->network) : json_null());
        e2b_set(u->b, "allow_internet_access", u->internet ? json_incref(u->internet) : json_null());
        http_fault(u->c, fault);
    } else if (e2b_public(u->b) || e2b_save(u->c, u->b)) {
        http_reply(u->c, 204, NULL);
    }
}

static void update(struct http_call *c, struct box *b)
{
    struct update *u = http_state(c);
    json_t *body = json_deep_copy(http_json(c)), *internet = json_object_get(body, "allow_internet_access");

    u->b = box_ref(b);
    u->network = json_incref(json_object_get(b->config.e2b, "network"));
    u->internet = json_incref(json_object_get(b->config.e2b, "allow_internet_access"));
    e2b_set(b, "allow_internet_access", internet ? json_incref(internet) : json_null());
    json_object_del(body, "allow_internet_access");
    if (!json_is_boolean(json_object_get(body, "allowPublicTraffic")) && json_object_get(u->network, "allowPublicTraffic"))
        json_object_set(body, "allowPublicTraffic", json_object_get(u->network, "allowPublicTraffic"));      /* the packages have no word for it here: what create said stays */
    e2b_set(b, "network", body);
    e2b_network_apply(b, applied, u);
}

static void update_known(struct http_call *c, struct box *b) { e2b_known(c, b, update); }

static void put_network(struct http_call *c)
{
    struct update *u = g_new0(struct update, 1);

    u->c = c;
    http_set_state(c, u, update_free);
    route_box(c, update_known);
}

const struct http_route e2b_network_routes[] = {
    E2B_CONTROL("PUT", "/sandboxes/{id}/network", ROUTE_JSON, put_network, "What the sandbox may reach, as rules of egress", ", "
                DOC_BODY_OPEN("\"allowOut\": {\"type\": \"array\"}, \"denyOut\": {\"type\": \"array\"}, \"rules\": {\"type\": \"object\"}, \"allow_internet_access\": {\"type\": \"boolean\"}")),
    { 0 }
};
