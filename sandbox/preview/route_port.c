/* Previews of ports: made, listed, taken back. */
#include <string.h>

#include "sandbox/core/route.h"
#include "sandbox/preview.h"
#include "sandbox/preview/visit.h"
#include "sandbox/routes.h"

static bool port_of(struct http_call *c, unsigned *ret)
{
    const char *text = http_param(c, "port");
    size_t n = strspn(text, "0123456789");
    unsigned long v = n && n <= 5 && !text[n] && text[0] != '0' ? strtoul(text, NULL, 10) : 0;

    if (v < 1 || v > 65535) {
        http_fail(c, "invalid_request", "a port is a number from 1 to 65535");
        return false;
    }
    *ret = (unsigned)v;
    return true;
}

static void open_port(struct http_call *c, struct box *b)
{
    char *token = NULL, *url = NULL, *path, *host, *listener;
    const char *domain = preview_domain(b->sd);
    unsigned port, tcp = http_port(b->sd->http);
    struct fault fault;

    if (!http_unpack(c, "{}") || !port_of(c, &port))
        return;
    if (!preview_open(b, port, &token, &url, &fault)) {
        http_fault(c, &fault);
        return;
    }
    path = g_strdup_printf("/p/%u-%s-%s/", port, b->id, token);
    host = g_strdup_printf("%u-%s-%s.%s", port, b->id, token, domain);
    listener = tcp ? g_strdup_printf("http://127.0.0.1:%u%s", tcp, path) : NULL;
    http_reply(c, 201, json_pack("{s:i,s:s,s:o,s:o,s:s,s:s}", "port", (int)port, "token", token, "url", url ? json_string(url) : json_null(), "path_url",
                                 listener ? json_string(listener) : json_null(), "host", host, "path", path));
    g_free(listener);
    g_free(host);
    g_free(path);
    g_free(url);
    g_free(token);
}

static void list_ports(struct http_call *c, struct box *b)
{
    const json_t *keep = previews_keep(b);

    http_reply(c, 200, json_pack("{s:o,s:b}", "ports", preview_keep_list(keep), "public", preview_keep_is_public(keep)));
}

static void close_port(struct http_call *c, struct box *b)
{
    struct fault fault;
    unsigned port;

    if (!port_of(c, &port))
        return;
    if (preview_close(b, port, &fault))
        http_reply(c, 204, NULL);
    else
        http_fault(c, &fault);
}

static void post_port(struct http_call *c) { route_box(c, open_port); }
static void get_ports(struct http_call *c) { route_box(c, list_ports); }
static void delete_port(struct http_call *c) { route_box(c, close_port); }

const struct http_route port_routes[] = {
    { "POST", "/v1/sandbox/{id}/port/{port}", ROUTE_JSON, post_port,
      "{\"summary\": \"A URL that reaches a server inside the sandbox\", \"description\": \"Each call gives a new token; the newest 8 of a port hold until the port is taken back. url: an origin of its own. "
      "path_url: below /p/ of this server, with a CSP sandbox and without cookies. The first request starts the sandbox if need be, and waits up to 30 s until something listens.\", "
      "\"tags\": [\"preview\"], \"responses\": {\"201\": {\"description\": \"The preview\", \"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"properties\": {\"port\": {\"type\": \"integer\"}, "
      "\"token\": {\"type\": \"string\"}, \"url\": {\"type\": [\"string\", \"null\"]}, \"path_url\": {\"type\": [\"string\", \"null\"]}, \"host\": {\"type\": \"string\"}, \"path\": {\"type\": \"string\"}}}}}}}}" },
    { "GET", "/v1/sandbox/{id}/port", 0, get_ports, DOC_SIMPLE("preview", "The ports that have previews (tokens are not told again)", "200", "ports: [{port, created, tokens}]; public") },
    { "DELETE", "/v1/sandbox/{id}/port/{port}", 0, delete_port,
      "{\"summary\": \"Take the preview of a port back: its tokens are worth nothing, what is open is cut\", \"tags\": [\"preview\"], \"responses\": {\"204\": {\"description\": \"Done\"}}}" },
    { 0 }
};
