/* Tunnels of the bridge API: a public address for a port of the sandbox. Known, and not offered until previews are. */
#include "sandbox/routes.h"

static void no_tunnel(struct http_call *c) { http_fail(c, "not_supported", "ports of a sandbox cannot be reached from outside in this version: run the client inside it"); }

#define NO "{\"summary\": \"A tunnel to a port (not offered yet)\", \"tags\": [\"bridge\"], \"responses\": {\"501\": {\"description\": \"Not offered by this version\"}}}"
const struct http_route tunnel_routes[] = {
    { "POST", "/v1/sandbox/{id}/tunnel/{port}", ROUTE_BRIDGE | ROUTE_JSON, no_tunnel, NO },
    { "DELETE", "/v1/sandbox/{id}/tunnel/{port}", ROUTE_BRIDGE, no_tunnel, NO },
    { 0 }
};
