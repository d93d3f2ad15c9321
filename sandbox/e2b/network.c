#include "sandbox/e2b/network.h"

#include <string.h>

#include "base/log.h"
#include "sandbox/core/box_private.h"
#include "sandbox/egress_client.h"

/* All of the network, as E2B writes it. */
static bool is_all(const char *s) { return !strcmp(s, "0.0.0.0/0") || !strcmp(s, "::/0") || !strcmp(s, "*"); }

/* A pattern of egress: names, wildcards, addresses (also as /32 and /128). Other ranges of addresses have none. */
static char *pattern(const char *s, struct fault *f)
{
    const char *slash = strchr(s, '/');
    char *p = g_ascii_strdown(s, slash ? slash - s : -1);

    if (!slash || !strcmp(slash, "/32") || !strcmp(slash, "/128"))
        return p;
    g_free(p);
    fault_set(f, "invalid_request", "network: %.100s: ranges of addresses have no rule in coppice: give names, single addresses, or 0.0.0.0/0", s);
    return NULL;
}

/* The patterns of a list into out; *all: everything is among them. */
static bool patterns(const json_t *list, const char *what, json_t *out, bool *all, struct fault *f)
{
    json_t *v;
    size_t i;

    *all = false;
    if (list && !json_is_null(list) && !json_is_array(list))
        return fault_set(f, "invalid_request", "network.%s: an array of names and addresses", what), false;
    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        const char *s = json_string_value(v);
        char *p = NULL;
        if (!s || !*s)
            return fault_set(f, "invalid_request", "network.%s: strings", what), false;
        if (is_all(s)) {
            *all = true;
            continue;
        }
        if (!(p = pattern(s, f)))
            return false;
        json_array_append_new(out, json_string(p));
        g_free(p);
    }
    return true;
}

static bool has(const json_t *list, const char *s)
{
    json_t *v;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, v)
        if (!strcmp(json_string_value(v), s))
            return true;
    return false;
}

/* E2B lets what is allowed win over what is denied; egress the other way round. So what is in both is not denied. */
static json_t *without(const json_t *list, const json_t *these)
{
    json_t *out = json_array(), *v;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, v)
        if (!has(these, json_string_value(v)))
            json_array_append(out, v);
    return out;
}

/* "Bearer ${e2b.secrets.NAME}": a secret of the store; else the value as it is. */
static bool header(json_t *rule, const char *name, const char *value, struct fault *f)
{
    static const char begin[] = "${e2b.secrets.";
    const char *at = strstr(value, begin), *end = at ? strchr(at, '}') : NULL;
    json_t *inject = json_object_get(rule, "inject");

    if (!at) {
        if (strstr(value, "${e2b."))
            return fault_set(f, "not_supported", "network.rules: header %.60s: only ${e2b.secrets.NAME} is known here", name), false;
        json_object_set_new(json_object_get(rule, "set_headers"), name, json_string(value));
        return true;
    }
    if (!end || strstr(end, begin) || strchr(value, '{') != at + 1)
        return fault_set(f, "invalid_request", "network.rules: header %.60s: one ${e2b.secrets.NAME} and text", name), false;
    g_autofree char *secret = g_strndup(at + strlen(begin), (gsize)(end - at) - strlen(begin)), *format = g_strdup_printf("%.*s{}%s", (int)(at - value), value, end + 1);
    if (!inject)
        json_object_set_new(rule, "inject", inject = json_array());
    json_array_append_new(inject, json_pack("{s:s,s:s,s:s}", "header", name, "secret", secret, "format", format));
    return true;
}

/* One host's transforms as one rule: only for TLS, so that what they add is never sent in the clear. */
static json_t *transform_rule(const char *host, const json_t *list, struct fault *f)
{
    char *p = pattern(host, f);
    json_t *rule = p ? json_pack("{s:[s],s:[s],s:b,s:{}}", "allow", p, "schemes", "https", "inherit", 1, "set_headers") : NULL, *item, *value;
    const char *name;
    size_t i;
    bool good = rule;

    g_free(p);
    json_array_foreach((json_t *)(uintptr_t)list, i, item)
        json_object_foreach(json_object_get(json_object_get(item, "transform"), "headers"), name, value)
            good = good && (json_is_string(value) ? header(rule, name, json_string_value(value), f) : (fault_set(f, "invalid_request", "network.rules: headers are strings"), false));
    if (good && !json_object_size(json_object_get(rule, "set_headers")))
        json_object_del(rule, "set_headers");
    if (!good)
        json_decref(rule);
    return good ? rule : NULL;
}

/* A rule for a host transforms; it does not open the way to it. */
static bool is_open(const char *host, bool open, const json_t *allow, const json_t *deny)
{
    json_t *v;
    size_t i;

    if (has(deny, host))
        return false;
    json_array_foreach((json_t *)(uintptr_t)allow, i, v) {
        const char *p = json_string_value(v);
        if (!strcmp(p, host) || (g_str_has_prefix(p, "*.") && g_str_has_suffix(host, p + 1)))
            return true;
    }
    return open;
}

static bool add_transforms(json_t *rules, const json_t *hosts, bool open, const json_t *allow, const json_t *deny, struct fault *f)
{
    const char *host;
    json_t *list, *rule;

    if (hosts && !json_is_null(hosts) && !json_is_object(hosts))
        return fault_set(f, "invalid_request", "network.rules: an object of hosts"), false;
    json_object_foreach((json_t *)(uintptr_t)hosts, host, list) {
        if (!is_open(host, open, allow, deny))
            continue;
        if (!(rule = transform_rule(host, list, f)))
            return false;
        json_array_append_new(rules, rule);
    }
    return true;
}

json_t *e2b_network_rules(const json_t *network, const json_t *internet, struct fault *fault)
{
    json_t *allow = json_array(), *deny = json_array(), *rules = json_array(), *left = NULL, *doc = NULL;
    const json_t *proxy = json_object_get(network, "egressProxy");
    bool all_allowed = false, all_denied = false, good;

    good = patterns(json_object_get(network, "allowOut"), "allowOut", allow, &all_allowed, fault) && patterns(json_object_get(network, "denyOut"), "denyOut", deny, &all_denied, fault);
    if (good && proxy && !json_is_null(proxy))
        good = (fault_set(fault, "not_supported", "network.egressProxy: coppice has its own egress proxy and no other behind it"), false);
    if (good) {
        bool open = all_allowed || (!all_denied && !json_is_false(internet));
        left = without(deny, allow);
        good = add_transforms(rules, json_object_get(network, "rules"), open, allow, left, fault);
        if (good && json_array_size(left))
            json_array_append_new(rules, json_pack("{s:O,s:b}", "deny", left, "inherit", 1));
        if (good && json_array_size(allow))
            json_array_append_new(rules, json_pack("{s:O,s:b}", "allow", allow, "inherit", 1));
        if (good)
            doc = json_pack("{s:s,s:b,s:O}", "default", open ? "allow" : "deny", "inherit", 1, "rules", rules);
    }
    json_decref(allow);
    json_decref(deny);
    json_decref(left);
    json_decref(rules);
    return doc;
}

/* --- into force --- */
struct apply { struct box *b; json_t *doc; bool asked; void (*fn)(void *arg, const struct fault *fault); void *arg; };

static void over(struct apply *a, const struct fault *fault)
{
    if (fault && !a->asked) {
        log_warn("box=%s e2b: step=rules code=%s", a->b->id, fault->code);
        fault = NULL;
    }
    a->fn(a->arg, fault);
    box_unref(a->b);
    json_decref(a->doc);
    g_free(a);
}

static void put(void *arg, json_t *ok, const struct fault *fault, json_t *details) { over(arg, fault); }

static void told(void *arg)
{
    struct apply *a = arg;

    egress_ask(a->b->sd->egress, json_pack("{s:s,s:s,s:O}", "op", "rules_put", "box", a->b->id, "doc", a->doc), false, put, a);
}

void e2b_network_apply(struct box *b, void (*fn)(void *arg, const struct fault *fault), void *arg)
{
    const json_t *network = json_object_get(b->config.e2b, "network"), *internet = json_object_get(b->config.e2b, "allow_internet_access");
    struct fault f;
    json_t *doc = e2b_network_rules(network, internet, &f);
    struct apply *a;

    if (!doc) {
        fn(arg, &f);
        return;
    }
    a = g_new(struct apply, 1);
    /* What is not allowed is not reached without the proxy either: only who opens something is told that it is not there. */
    *a = (struct apply){ box_ref(b), doc, json_array_size(json_object_get(network, "allowOut")) || json_object_size(json_object_get(network, "rules")), fn, arg };
    if (b->sd->egress) {
        box_egress_tell(b, told, a);
        return;
    }
    fault_set(&f, "unavailable", "network: this coppice runs without its egress proxy, so the options cannot be put into force");
    over(a, &f);
}
