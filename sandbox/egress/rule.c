/* One rule, from JSON. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "sandbox/egress/policy_private.h"

#define MATCH_FIELDS "name allow deny ports schemes methods paths labels inherit"
#define RULE_FIELDS MATCH_FIELDS " inject set_headers remove_headers upstream answer handler secrets limits require_tls intercept websocket private"

static const char *method_check(const char *text)
{
    return !http1_is_name((struct slice){ text, strlen(text) }) || strlen(text) > 31 ? "is not a method" : NULL;
}

static const char *path_check(const char *text)
{
    if (text[0] != '/')
        return "must start with \"/\"";
    return strpbrk(text, "?#; \\") ? "a path has no \"?\", \"#\", \";\", backslash or space (queries are not matched)" : NULL;
}

static const char *secret_check(const char *text)
{
    return secret_name_ok(text) ? NULL : "is not the name of a secret (letters, digits, \"_\", \"-\", \".\"; 64 at most)";
}

static int ports_parse(const struct at *at, json_t *list, struct ports *ret)
{
    struct at here = at_field(at, "ports");

    if (!list)
        return 0;
    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > PORTS_MAX)
        return at_fault(&here, "must be an array of 1 to %d ports", PORTS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct at item = at_item(&here, i);
        json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 65535)
            return at_fault(&item, "must be a whole number from 1 to 65535");
        ret->v[ret->n++] = (uint16_t)json_integer_value(v);
    }
    return 0;
}

static int schemes_parse(const struct at *at, json_t *list, unsigned *ret)
{
    struct at here = at_field(at, "schemes");

    *ret = SCHEME_HTTP | SCHEME_HTTPS;
    if (!list)
        return 0;
    *ret = 0;
    for (size_t i = 0; json_is_array(list) && i < json_array_size(list) && i < 3; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        unsigned bit = !text ? 0 : !strcmp(text, "http") ? SCHEME_HTTP : !strcmp(text, "https") ? SCHEME_HTTPS : 0;
        if (!bit || *ret & bit)
            return at_fault(&here, "must be an array of \"http\", \"https\", or both");
        *ret |= bit;
    }
    return *ret ? 0 : at_fault(&here, "must be an array of \"http\", \"https\", or both");
}

static int labels_parse(const struct at *at, json_t *j, json_t **ret)
{
    struct at here = at_field(at, "labels");
    const char *key;
    json_t *v;
    int r = at_object(at, j, "labels", ret);

    if (r || !*ret)
        return r;
    if (!json_object_size(*ret) || json_object_size(*ret) > 16)
        return at_fault(&here, "must have 1 to 16 labels");
    json_object_foreach (*ret, key, v)
        if (!json_is_string(v) || json_string_length(v) > 256)
            return at_fault(&here, "the value of \"%.40s\" must be a string of at most 256 bytes", key);
    return 0;
}

static int edits_parse(const struct at *at, json_t *j, struct rule *r)
{
    struct at here = at_field(at, "set_headers");
    const char *key, *why, *value;
    json_t *v;
    int e = at_object(at, j, "set_headers", &r->set_headers);

    if (!e)
        e = at_texts(at, j, "remove_headers", HEADERS_EDIT_MAX, header_check, &r->remove_headers);
    if (e || !r->set_headers)
        return e;
    if (json_object_size(r->set_headers) > HEADERS_EDIT_MAX)
        return at_fault(&here, "must have at most %d headers", HEADERS_EDIT_MAX);
    json_object_foreach (r->set_headers, key, v) {
        struct at item = at_field(&here, key);
        if ((why = header_check(key)))
            return at_fault(&here, "\"%.60s\" %s", key, why);
        if (json_is_string(v) && !json_string_length(v))
            continue;
        if ((e = at_text(&here, r->set_headers, key, HEADER_VALUE_MAX, &value)))
            return e;
        if ((why = header_value_check(value)))
            return at_fault(&item, "%s", why);
        for (unsigned i = 0; i < r->injects; i++)
            if (r->inject[i].header && r->inject[i].kind != INJECT_QUERY && text_folds_to(key, strlen(key), r->inject[i].header))
                return at_fault(&item, "the rule injects a credential into this header");
    }
    return 0;
}

static int upstream_parse(const struct at *at, json_t *j, struct rule *r)
{
    struct at here = at_field(at, "upstream");
    const char *scheme = "https", *host = NULL, *why;
    uint64_t port = 0;
    json_t *o = NULL;
    int e = at_object(at, j, "upstream", &o);

    if (e || !o)
        return e;
    if ((e = at_only(&here, o, "scheme host port")) || (e = at_text(&here, o, "scheme", 8, &scheme)) || (e = at_text(&here, o, "host", 255, &host)) ||
        (e = at_number(&here, o, "port", 1, 65535, &port)))
        return e;
    if (strcmp(scheme, "http") && strcmp(scheme, "https"))
        return at_fault(&here, "scheme must be \"http\" or \"https\"");
    if (!host)
        return at_fault(&here, "host is missing");
    bool tls = scheme[4] == 's';
    uint16_t standard = tls ? 443 : 80;
    if ((why = authority_parse((struct slice){ host, strlen(host) }, tls, standard, &r->upstream)))
        return at_fault(&here, "host: %s", why);
    if (r->upstream.port != standard && port && r->upstream.port != port)
        return at_fault(&here, "host and port name two ports");
    if (port)
        r->upstream.port = (uint16_t)port;
    r->has_upstream = true;
    return 0;
}

static int limits_parse(const struct at *at, json_t *j, struct limits *l)
{
    struct at here = at_field(at, "limits");
    const uint64_t max = (uint64_t)1 << 50;
    json_t *o = NULL;
    int e = at_object(at, j, "limits", &o);

    if (e || !o)
        return e;
    if ((e = at_only(&here, o, "requests_per_minute bytes_per_second request_bytes response_bytes")) ||
        (e = at_number(&here, o, "requests_per_minute", 0, 1000000, &l->requests_per_minute)) || (e = at_number(&here, o, "bytes_per_second", 0, max, &l->bytes_per_second)) ||
        (e = at_number(&here, o, "request_bytes", 0, max, &l->request_bytes)))
        return e;
    return at_number(&here, o, "response_bytes", 0, max, &l->response_bytes);
}

static int match_parse(const struct at *at, json_t *j, unsigned index, struct rule *r)
{
    const char *name = NULL;
    int e;

    if (!json_object_get(j, "allow") == !json_object_get(j, "deny"))
        return at_fault(at, "must have either \"allow\" or \"deny\", an array of hosts");
    r->deny = json_object_get(j, "deny");
    if ((e = at_only(at, j, r->deny ? MATCH_FIELDS : RULE_FIELDS)) || (e = at_text(at, j, "name", 63, &name)))
        return e;
    if (name && !secret_name_ok(name))
        return at_fault(at, "name: letters, digits, \"_\", \"-\", \".\"; not first \"-\" or \".\"");
    r->named = name;
    if (name)
        snprintf(r->name, sizeof r->name, "%s", name);
    else
        snprintf(r->name, sizeof r->name, "rules[%u]", index);
    if ((e = at_texts(at, j, r->deny ? "deny" : "allow", HOSTS_MAX, pattern_check, &r->hosts)) || (e = ports_parse(at, json_object_get(j, "ports"), &r->ports)) ||
        (e = schemes_parse(at, json_object_get(j, "schemes"), &r->schemes)) || (e = at_texts(at, j, "methods", METHODS_MAX, method_check, &r->methods)) ||
        (e = at_texts(at, j, "paths", PATHS_MAX, path_check, &r->paths)) || (e = labels_parse(at, j, &r->labels)))
        return e;
    return at_bool(at, j, "inherit", &r->inherit);
}

/* What does not go together is a mistake of the operator's: said now, not found out later. */
static int check_whole(const struct at *at, const struct rule *r)
{
    if (r->answer && (r->injects || r->has_upstream || r->handler || r->set_headers || r->remove_headers.n))
        return at_fault(at, "\"answer\" sends nothing anywhere: no inject, upstream, handler or headers with it");
    if (r->secrets.n && !r->handler)
        return at_fault(at, "\"secrets\" are what a handler may use: there is none (to inject one, use \"inject\")");
    return 0;
}

int rule_parse(const struct at *at, json_t *j, unsigned index, struct rule *r)
{
    struct at handler = at_field(at, "handler"), answer = at_field(at, "answer");
    char why[160];
    int e;

    *r = (struct rule){ .websocket = true };
    if (!json_is_object(j))
        return at_fault(at, "must be an object");
    if ((e = match_parse(at, j, index, r)) || r->deny)
        return e;
    if ((e = inject_parse(at, json_object_get(j, "inject"), r)) || (e = edits_parse(at, j, r)) || (e = upstream_parse(at, j, r)) || (e = at_object(at, j, "answer", &r->answer)) ||
        (r->answer && (e = answer_parse(&answer, r->answer))) || (e = at_texts(at, j, "secrets", RULE_SECRETS_MAX, secret_check, &r->secrets)) || (e = limits_parse(at, j, &r->limits)))
        return e;
    json_t *h = json_object_get(j, "handler");
    if (h && (!json_is_string(h) || !json_string_length(h) || json_string_length(h) > HANDLER_BYTES_MAX))
        return at_fault(&handler, "must be a Lua function as a string of at most %d bytes", HANDLER_BYTES_MAX);
    r->handler = json_string_value(h);
    if (r->handler && handler_check(r->handler, why))
        return at_fault(&handler, "%s", why);
    r->require_tls = rule_has_credential(r);
    if ((e = at_bool(at, j, "require_tls", &r->require_tls)) || (e = at_bool(at, j, "intercept", &r->intercept)) || (e = at_bool(at, j, "websocket", &r->websocket)) ||
        (e = at_bool(at, j, "private", &r->private_)))
        return e;
    return check_whole(at, r);
}

void rule_fini(struct rule *r)
{
    free(r->hosts.v);
    free(r->methods.v);
    free(r->paths.v);
    free(r->remove_headers.v);
    free(r->secrets.v);
}

const char *rule_name(const struct rule *r)
{
    return r ? r->name : "";
}

bool rule_allows_private(const struct rule *r)
{
    return r && r->private_;
}

bool rule_allows_websocket(const struct rule *r)
{
    return !r || r->websocket;
}
