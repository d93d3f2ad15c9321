/* Strict JSON in, and strict shapes of it. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include "sandbox/http/private.h"

/* Depth without a parser: brackets outside strings. */
static bool too_deep(const uint8_t *p, size_t n) {
    unsigned depth = 0;
    bool text = false;
    for (size_t i = 0; i < n; i++) {
        if (text) { if (p[i] == '\\') i++; else if (p[i] == '"') text = false; }
        else if (p[i] == '"') text = true;
        else if (p[i] == '{' || p[i] == '[') { if (++depth > HTTP_JSON_DEPTH) return true; }
        else if ((p[i] == '}' || p[i] == ']') && depth) depth--;
    }
    return false;
}

int json_strict(const uint8_t *p, size_t n, json_t **ret, char *ret_why, size_t why_size) {
    json_error_t e;
    if (too_deep(p, n)) { g_snprintf(ret_why, why_size, "the JSON body is nested deeper than %d", HTTP_JSON_DEPTH); return -EINVAL; }
    json_t *j = json_loadb((const char *)p, n, JSON_REJECT_DUPLICATES, &e);
    if (!j) {
        char *clean = g_utf8_make_valid(e.text, -1);
        g_snprintf(ret_why, why_size, "the body is not strict JSON: %s (line %d, column %d)", clean, e.line, e.column);
        g_free(clean);
        return -EINVAL;
    }
    if (!json_is_object(j)) {
        json_decref(j);
        g_snprintf(ret_why, why_size, "the JSON body must be an object");
        return -EINVAL;
    }
    *ret = j;
    return 0;
}

static bool fits(json_t *v, char type) {
    switch (type) {
    case 's': return json_is_string(v);
    case 'b': return json_is_boolean(v);
    case 'i': case 'I': return json_is_integer(v);
    case 'f': return json_is_real(v);
    case 'F': return json_is_number(v);
    case 'n': return json_is_null(v);
    case '{': return json_is_object(v);
    case '[': return json_is_array(v);
    default: return true;
    }
}

static const char *kind(char type) {
    switch (type) {
    case 's': return "a string";
    case 'b': return "true or false";
    case 'i': case 'I': return "a whole number";
    case 'f': case 'F': return "a number";
    case '{': return "an object";
    case '[': return "an array";
    default: return "something else";
    }
}

/* Finds the field of the outermost object that does not fit, and says so. Only flat formats are looked through; within others jansson's own words must do. */
static bool blame(struct http_call *c, const char *fmt, va_list ap) {
    json_t *seen = json_object();
    for (const char *p = fmt + 1; *p && *p != '}';) {
        if (strchr(" ,:\t\n!*", *p)) { p++; continue; }
        if (*p != 's') break;
        const char *key = va_arg(ap, const char *);
        p++;
        bool optional = *p == '?';
        while (*p && strchr("?: ", *p)) p++;
        json_t *v = json_object_get(c->json, key);
        json_object_set_new(seen, key, json_true());
        if ((!v && !optional) || (v && !fits(v, *p))) {
            json_decref(seen);
            if (!v) http_fail_details(c, "invalid_request", json_pack("{s:s}", "field", key), "the field %s is missing", key);
            else http_fail_details(c, "invalid_request", json_pack("{s:s}", "field", key), "the field %s must be %s", key, kind(*p));
            return true;
        }
        if (*p == '{' || *p == '[') { json_decref(seen); return false; }
        if (*p != 'n') (void)va_arg(ap, void *);
        p++;
        if (*p == '%') { (void)va_arg(ap, size_t *); p++; }
    }
    const char *key;
    json_t *v;
    if (!(c->route->r->flags & ROUTE_BRIDGE)) json_object_foreach(c->json, key, v)
        if (!json_object_get(seen, key)) {
            json_t *d = json_pack("{s:s}", "field", key);
            http_fail_details(c, "invalid_request", d, "the field %.100s is not known here", key);
            json_decref(seen);
            return true;
        }
    json_decref(seen);
    return false;
}

bool http_unpack(struct http_call *c, const char *fmt, ...) {
    json_error_t e;
    va_list ap;
    va_start(ap, fmt);
    int bad = json_vunpack_ex(c->json, &e, c->route->r->flags & ROUTE_BRIDGE ? 0 : JSON_STRICT, fmt, ap);
    va_end(ap);
    if (!bad) return true;
    va_start(ap, fmt);
    bool said = blame(c, fmt, ap);
    va_end(ap);
    if (!said) {
        char *clean = g_utf8_make_valid(e.text, -1);
        http_fail(c, "invalid_request", "the body has not the right shape: %s", clean);
        g_free(clean);
    }
    return false;
}
