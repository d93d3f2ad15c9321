/* The table of routes and the way from a raw path to one of them. Segments are decoded one by one after the cut at '/', so that an escaped slash stays in its segment. */
#include <string.h>
#include "base/cleanup.h"
#include "sandbox/http/private.h"

char *percent_decode(const char *p, size_t n, bool plus) {
    char *out = g_malloc(n + 1);
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '+' && plus) out[o++] = ' ';
        else if (p[i] != '%') out[o++] = p[i];
        else {
            int a = i + 2 < n ? g_ascii_xdigit_value(p[i + 1]) : -1, b = a >= 0 ? g_ascii_xdigit_value(p[i + 2]) : -1;
            if (b < 0 || !(a | b)) { g_free(out); return NULL; }
            out[o++] = (char)(a << 4 | b);
            i += 2;
        }
    }
    out[o] = 0;
    return out;
}

static struct compiled *find_same(struct http *h, const struct http_route *as) {
    for (unsigned i = 0; i < h->routes->len; i++) {
        struct compiled *r = h->routes->pdata[i];
        if (!strcmp(r->r->method, as->method) && !strcmp(r->r->path, as->path)) return r;
    }
    return NULL;
}

void http_add(struct http *h, const struct http_route *routes) {
    for (; routes->method; routes++) {
        struct compiled *r = find_same(h, routes);
        if (r) { r->r = routes; continue; }
        r = g_new0(struct compiled, 1);
        r->r = routes;
        r->segments = g_strsplit(routes->path + 1, "/", -1);
        r->segment_count = g_strv_length(r->segments);
        r->rest = g_str_has_suffix(routes->path, "*}");
        g_ptr_array_add(h->routes, r);
    }
}

void route_count(struct compiled *r, unsigned status) {
    unsigned i = 0;
    while (i < TALLY - 1 && r->tally[i].n && r->tally[i].status != status) i++;
    r->tally[i].status = status;
    r->tally[i].n++;
}

/* Does the path (after its first '/') match? Static segments win over none: the table's order decides among equals. */
static bool match(const struct compiled *r, const char *path) {
    for (unsigned i = 0; i < r->segment_count; i++) {
        if (r->rest && i + 1 == r->segment_count) return true;
        size_t n = strcspn(path, "/");
        bool last = i + 1 == r->segment_count;
        if (last ? path[n] != 0 : path[n] != '/') return false;
        if (r->segments[i][0] != '{') { if (strlen(r->segments[i]) != n || memcmp(r->segments[i], path, n)) return false; }
        else if (!n) return false;
        path += n + !last;
    }
    return true;
}

/* Decodes the parameters of the route from the path. */
static bool take_params(struct http_call *c, const char *path) {
    const struct compiled *r = c->route;
    for (unsigned i = 0; i < r->segment_count; i++) {
        bool rest = r->rest && i + 1 == r->segment_count;
        size_t n = rest ? strlen(path) : strcspn(path, "/");
        const char *s = r->segments[i];
        if (*s == '{') {
            char *v = percent_decode(path, n, false);
            if (!v) return false;
            c->params[c->param_count++] = (struct pair){ g_strndup(s + 1, strcspn(s + 1, "*}")), v };
        }
        path += n + (path[n] == '/');
    }
    return true;
}

static void allow_method(struct buf *allow, const char *method) {
    buf_printf(allow, "%s%s", allow->len ? ", " : "", method);
    if (!strcmp(method, "GET")) buf_printf(allow, ", HEAD");
}

enum route_found route_find(struct http *h, struct http_call *c, struct buf *ret_allow) {
    bool path_known = false;
    const char *method = c->head_only ? "GET" : soup_server_message_get_method(c->msg);
    for (unsigned i = 0; i < h->routes->len; i++) {
        struct compiled *r = h->routes->pdata[i];
        if (!match(r, c->path + 1)) continue;
        path_known = true;
        if (strcmp(r->r->method, method)) { allow_method(ret_allow, r->r->method); continue; }
        c->route = r;
        return take_params(c, c->path + 1) ? ROUTE_FOUND : ROUTE_BAD_ESCAPE;
    }
    if (path_known) return ROUTE_NO_METHOD;
    _cleanup_free_ char *v = percent_decode(c->path, strlen(c->path), false);
    return v ? ROUTE_NO_PATH : ROUTE_BAD_ESCAPE;
}
