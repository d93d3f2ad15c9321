/* Tunnels of the bridge API: a public address for a port of the sandbox. They are previews; `name` is told back, and changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "sandbox/core/route.h"
#include "sandbox/preview.h"
#include "sandbox/routes.h"

/* What unmodified clients read; errors are the bridge's. */
static void open_tunnel(struct http_call *c, struct box *b)
{
    const char *text = http_param(c, "port"), *name = NULL;
    char *token = NULL, *url = NULL, *host, *id;
    struct fault fault;

    if (!http_unpack(c, "{s?s}", "name", &name))
        return;
    if (!preview_open(b, (unsigned)(strspn(text, "0123456789") == strlen(text) && strlen(text) < 6 ? atoi(text) : 0), &token, &url, &fault)) {
        http_fail(c, strcmp(fault.code, "invalid_request") ? "tunnel_error" : "invalid_request", "%s", fault.text);
        return;
    }
    host = g_strdup_printf("%s-%s-%s.%s", text, b->id, token, preview_domain(b->sd));
    id = g_strdup_printf("%s-%s", b->id, text);
    GDateTime *now = g_date_time_new_now_utc();
    char *created = g_date_time_format_iso8601(now);
    json_t *j = json_pack("{s:s,s:i,s:o,s:s,s:s}", "id", id, "port", atoi(text), "url", url ? json_string(url) : json_null(), "hostname", host, "createdAt", created);
    if (name)
        json_object_set_new(j, "name", json_string(name));
    http_reply(c, 200, j);
    g_date_time_unref(now);
    g_free(created);
    g_free(id);
    g_free(host);
    g_free(url);
    g_free(token);
}

static void close_tunnel(struct http_call *c, struct box *b)
{
    struct fault fault;

    if (preview_close(b, (unsigned)atoi(http_param(c, "port")), &fault) || !strcmp(fault.code, "not_found"))
        http_reply(c, 204, NULL);         /* one that is not there is closed */
    else
        http_fail(c, "tunnel_error", "%s", fault.text);
}

static void post_tunnel(struct http_call *c) { route_box(c, open_tunnel); }
static void delete_tunnel(struct http_call *c) { route_box(c, close_tunnel); }

const struct http_route tunnel_routes[] = {
    { "POST", "/v1/sandbox/{id}/tunnel/{port}", ROUTE_BRIDGE | ROUTE_JSON, post_tunnel, DOC_SIMPLE("bridge", "A tunnel to a port: a preview of it", "200", "{id, port, url, hostname, name?, createdAt}") },
    { "DELETE", "/v1/sandbox/{id}/tunnel/{port}", ROUTE_BRIDGE, delete_tunnel, "{\"summary\": \"Take the previews of a port back\", \"tags\": [\"bridge\"], \"responses\": {\"204\": {\"description\": \"Done\"}}}" },
    { 0 }
};
