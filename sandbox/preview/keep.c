#include "sandbox/preview/keep.h"

#include <string.h>

static json_t *ports_of(const json_t *keep) { return json_object_get(keep, "ports"); }

static json_t *port_find(const json_t *keep, unsigned port, size_t *ret_at)
{
    json_t *p;
    size_t i;

    json_array_foreach(ports_of(keep), i, p)
        if (json_integer_value(json_object_get(p, "port")) == (json_int_t)port) {
            if (ret_at)
                *ret_at = i;
            return p;
        }
    return NULL;
}

static bool is_hash(const json_t *v)
{
    return json_is_string(v) && json_string_length(v) == TOKEN_HASH && strspn(json_string_value(v), "0123456789abcdef") == TOKEN_HASH;
}

static bool port_valid(json_t *p)
{
    json_int_t port, created;
    json_t *tokens, *t;
    size_t i;

    if (json_unpack_ex(p, NULL, JSON_STRICT, "{s:I,s:I,s:o}", "port", &port, "created", &created, "tokens", &tokens) || port < 1 || port > 65535 || preview_reserved((unsigned)port) ||
        !json_array_size(tokens) || json_array_size(tokens) > KEEP_TOKENS_MAX)
        return false;
    json_array_foreach(tokens, i, t)
        if (!is_hash(t))
            return false;
    return true;
}

bool preview_keep_valid(const json_t *keep)
{
    json_t *ports = NULL, *traffic = NULL, *p;
    int public = 0;
    size_t i;

    if (json_unpack_ex((json_t *)(uintptr_t)keep, NULL, JSON_STRICT, "{s?o,s?b,s?o}", "ports", &ports, "public", &public, "traffic", &traffic) || (ports && !json_is_array(ports)) ||
        json_array_size(ports) > KEEP_PORTS_MAX || (traffic && !json_is_null(traffic) && !is_hash(traffic)))
        return false;
    json_array_foreach(ports, i, p)
        if (!port_valid(p) || port_find(keep, (unsigned)json_integer_value(json_object_get(p, "port")), NULL) != p)
            return false;
    return true;
}

bool preview_keep_add(json_t *keep, unsigned port, const char *token, int64_t now_s)
{
    json_t *p = port_find(keep, port, NULL), *tokens;
    char hash[TOKEN_HASH + 1];

    if (!p) {
        if (json_array_size(ports_of(keep)) >= KEEP_PORTS_MAX)
            return false;
        if (!ports_of(keep))
            json_object_set_new(keep, "ports", json_array());
        p = json_pack("{s:i,s:I,s:[]}", "port", (int)port, "created", (json_int_t)now_s, "tokens");
        json_array_append_new(ports_of(keep), p);
    }
    tokens = json_object_get(p, "tokens");
    if (json_array_size(tokens) >= KEEP_TOKENS_MAX)
        json_array_remove(tokens, 0);
    preview_token_hash(token, hash);
    json_array_append_new(tokens, json_string(hash));
    return true;
}

bool preview_keep_remove(json_t *keep, unsigned port)
{
    size_t at;

    if (!port_find(keep, port, &at))
        return false;
    json_array_remove(ports_of(keep), at);
    if (!json_array_size(ports_of(keep)))
        json_object_del(keep, "ports");
    return true;
}

void preview_keep_public(json_t *keep, bool on, const char *traffic_token)
{
    char hash[TOKEN_HASH + 1];

    json_object_del(keep, "public");
    json_object_del(keep, "traffic");
    if (!on)
        return;
    json_object_set_new(keep, "public", json_true());
    if (!traffic_token)
        return;
    preview_token_hash(traffic_token, hash);
    json_object_set_new(keep, "traffic", json_string(hash));
}

bool preview_keep_is_public(const json_t *keep) { return json_is_true(json_object_get(keep, "public")); }

static bool public_allows(const json_t *keep, struct slice traffic)
{
    const json_t *want = json_object_get(keep, "traffic");
    char given[256] = "", hash[TOKEN_HASH + 1];

    if (!preview_keep_is_public(keep))
        return false;
    if (!want)
        return true;
    if (!traffic.n || traffic.n >= sizeof(given))
        return false;
    memcpy(given, traffic.p, traffic.n);
    preview_token_hash(given, hash);
    return preview_same(hash, json_string_value(want), TOKEN_HASH);
}

bool preview_keep_allows(const json_t *keep, const struct preview_name *name, struct slice traffic)
{
    const json_t *tokens, *t;
    char hash[TOKEN_HASH + 1];
    bool found = false;
    size_t i;

    if (!name->port || preview_reserved(name->port))
        return false;
    if (!name->token[0])
        return !preview_is_api_port(name->port) && public_allows(keep, traffic);
    preview_token_hash(name->token, hash);
    tokens = json_object_get(port_find(keep, name->port, NULL), "tokens");
    json_array_foreach(tokens, i, t)
        found |= preview_same(hash, json_string_value(t), TOKEN_HASH);
    return found;
}

json_t *preview_keep_list(const json_t *keep)
{
    json_t *all = json_array(), *p;
    size_t i;

    json_array_foreach(ports_of(keep), i, p)
        json_array_append_new(all, json_pack("{s:O,s:O,s:i}", "port", json_object_get(p, "port"), "created", json_object_get(p, "created"), "tokens",
                                             (int)json_array_size(json_object_get(p, "tokens"))));
    return all;
}
