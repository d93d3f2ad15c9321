/* Made anew for each request: it is asked for rarely, and so cannot differ from the tables. */
#include "sandbox/http/openapi.h"
#include <string.h>
#include "sandbox/http/private.h"

/* "/v1/sandbox/{id}/file/{path*}" -> "/v1/sandbox/{id}/file/{path}" */
static char *public_path(const char *path) {
    char **parts = g_strsplit(path, "*}", -1), *out = g_strjoinv("}", parts);
    g_strfreev(parts);
    return out;
}

static char *operation_id(const char *method, const char *path) {
    GString *s = g_string_new(NULL);
    for (const char *p = method; *p; p++) g_string_append_c(s, g_ascii_tolower(*p));
    bool gap = false;
    for (const char *p = path; *p; p++) {
        if (!g_ascii_isalnum(*p)) { gap = true; continue; }
        if (gap) g_string_append_c(s, '_');
        gap = false;
        g_string_append_c(s, *p);
    }
    return g_string_free(s, FALSE);
}

static bool has_parameter(json_t *list, const char *name) {
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        const char *n = json_string_value(json_object_get(v, "name"));
        if (n && !strcmp(n, name)) return true;
    }
    return false;
}

/* Path parameters that the doc does not describe itself. */
static void add_parameters(json_t *op, const struct compiled *r) {
    json_t *list = json_object_get(op, "parameters");
    if (!list) json_object_set_new(op, "parameters", list = json_array());
    for (unsigned i = 0; i < r->segment_count; i++) {
        if (r->segments[i][0] != '{') continue;
        char *name = g_strndup(r->segments[i] + 1, strcspn(r->segments[i] + 1, "*}"));
        bool rest = r->rest && i + 1 == r->segment_count;
        const char *what = !strcmp(name, "id") ? "Id or name of the sandbox or snapshot" : rest ? "Path; slashes stand for themselves, other bytes percent-encoded" : name;
        if (!has_parameter(list, name))
            json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s, s:{s:s}}", "name", name, "in", "path", "required", 1, "description", what, "schema", "type", "string"));
        g_free(name);
    }
    if (!json_array_size(list)) json_object_del(op, "parameters");
}

static json_t *operation(const struct compiled *r) {
    json_t *op = json_loads(r->r->doc, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(op)) { json_decref(op); return NULL; }
    char *id = operation_id(r->r->method, r->r->path);
    json_object_set_new(op, "operationId", json_string(id));
    g_free(id);
    add_parameters(op, r);
    json_t *responses = json_object_get(op, "responses");
    if (!responses) json_object_set_new(op, "responses", responses = json_object());
    if (!json_object_get(responses, "default"))
        json_object_set_new(responses, "default", json_pack("{s:s}", "$ref", "#/components/responses/Error"));
    if (r->r->flags & ROUTE_OPEN) json_object_set_new(op, "security", json_array());
    if (r->r->flags & ROUTE_WEBSOCKET) json_object_set_new(op, "x-websocket", json_true());
    return op;
}

static json_t *components(void) {
    json_t *codes = json_array();
#define X(code, status) json_array_append_new(codes, json_string(#code));
    HTTP_CODES(X)
#undef X
    json_t *error = json_pack("{s:s, s:[s,s,s], s:{s:{s:s, s:s}, s:{s:s, s:o}, s:{s:s}}}", "type", "object", "required", "error", "code", "details", "properties", "error", "type", "string",
                              "description", "For people: what, which object, why, what to do", "code", "type", "string", "enum", codes, "details", "type", "object");
    json_t *answer = json_pack("{s:s, s:{s:{s:{s:s}}}}", "description", "It failed", "content", "application/json", "schema", "$ref", "#/components/schemas/Error");
    return json_pack("{s:{s:o}, s:{s:o}, s:{s:{s:s, s:s, s:s}}}", "schemas", "Error", error, "responses", "Error", answer, "securitySchemes", "token", "type", "http", "scheme", "bearer",
                     "description", "On TCP. The Unix socket asks the kernel who it is instead");
}

json_t *openapi_document(struct http *h) {
    json_t *paths = json_object();
    for (unsigned i = 0; i < h->routes->len; i++) {
        const struct compiled *r = h->routes->pdata[i];
        char *path = public_path(r->r->path), *method = g_ascii_strdown(r->r->method, -1);
        json_t *op = r->r->doc ? operation(r) : NULL, *item = json_object_get(paths, path);
        if (op && !item) json_object_set_new(paths, path, item = json_object());
        if (op) json_object_set_new(item, method, op);
        g_free(path);
        g_free(method);
        if (!op) { json_decref(paths); return NULL; }
    }
    return json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:s}], s:[{s:[]}], s:o, s:o}", "openapi", "3.1.0", "info", "title", "coppice", "version", COPPICE_VERSION, "description",
                     "Workspaces that fork instantly and sandboxes to run untrusted code in them.", "servers", "url", "/", "security", "token", "paths", paths, "components", components());
}
