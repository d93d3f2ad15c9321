/* What E2B has and coppice does not offer: known, and told so with 501. */
#include "sandbox/e2b/doc.h"
#include "sandbox/e2b/e2b.h"

static void no(struct http_call *c) { http_fail(c, "not_supported", "coppice does not offer this part of the E2B API (docs/e2b.md lists what it does)"); }

#define NO(method, path) { method, path, ROUTE_BRIDGE, no, E2B_DOC("e2b", "Not offered: 501", ""), &e2b_control }
const struct http_route e2b_later_routes[] = {
    NO("GET", "/sandboxes/{id}/metrics"), NO("GET", "/sandboxes/metrics"), NO("GET", "/v2/sandboxes/{id}/logs"), NO("GET", "/sandboxes/{id}/logs"),
    NO("GET", "/templates"), NO("POST", "/templates"), NO("POST", "/v2/templates"), NO("POST", "/v3/templates"), NO("GET", "/templates/{id}"), NO("PATCH", "/templates/{id}"),
    NO("POST", "/v2/templates/{id}/builds/{build}"), NO("GET", "/templates/{id}/builds/{build}/status"), NO("GET", "/templates/{id}/builds/{build}/logs"),
    NO("GET", "/templates/{id}/files/{hash}"), NO("GET", "/templates/{id}/tags"), NO("GET", "/templates/aliases/{alias}"), NO("POST", "/templates/tags"), NO("DELETE", "/templates/tags"),
    NO("GET", "/volumes"), NO("POST", "/volumes"), NO("GET", "/volumes/{id}"), NO("DELETE", "/volumes/{id}"),
    NO("GET", "/secrets"), NO("POST", "/secrets"), NO("GET", "/secrets/{id}"), NO("POST", "/secrets/{id}"), NO("DELETE", "/secrets/{id}"),
    NO("GET", "/teams"), NO("GET", "/api-keys"), NO("GET", "/nodes"), NO("POST", "/files/compose"),
    { 0 }
};
