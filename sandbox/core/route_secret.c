/* Secrets: written here and never read again. egress keeps them; what passes through is not logged. */
#include <string.h>

#include "sandbox/core/route.h"
#include "sandbox/egress_client.h"
#include "sandbox/routes.h"

static bool name_ok(struct http_call *c, const char *name)
{
    size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");

    if (n && !name[n] && n < 64 && name[0] != '.' && name[0] != '-')
        return true;
    http_fail(c, "invalid_request", "the name of a secret is of A-Z a-z 0-9 . _ -, at most 63, and begins with a letter, a digit or _");
    return false;
}

static void listed(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    struct http_call *c = arg;
    json_t *all = json_is_array(ok) ? ok : json_object_get(ok, "secrets");

    if (f)
        http_fault(c, f);
    else
        http_reply(c, 200, json_pack("{s:O}", "secrets", all));
}

static void get_secrets(struct http_call *c)
{
    egress_ask(http_sandboxd(c)->egress, json_pack("{s:s}", "op", "secret_list"), false, listed, c);
}

static void shown(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    struct http_call *c = arg;
    json_t *all = json_is_array(ok) ? ok : json_object_get(ok, "secrets"), *one;
    size_t i;

    json_array_foreach(all, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && !strcmp(name, http_param(c, "name"))) {
            http_reply(c, 200, json_incref(one));
            return;
        }
    }
    if (f)
        http_fault(c, f);
    else
        http_fail(c, "not_found", "there is no secret '%s'; GET /v1/secret (coppice secret list) shows them", http_param(c, "name"));
}

static void show(struct http_call *c)
{
    egress_ask(http_sandboxd(c)->egress, json_pack("{s:s}", "op", "secret_list"), false, shown, c);
}

static void get_secret(struct http_call *c)
{
    if (name_ok(c, http_param(c, "name")))
        show(c);
}

static void written(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    if (f)
        http_fault(arg, f);
    else
        show(arg);
}

static void put_secret(struct http_call *c)
{
    const char *value = NULL;
    json_t *hosts = NULL;
    int plain = 0;

    if (!name_ok(c, http_param(c, "name")) || !http_unpack(c, "{s:s,s?o,s?b}", "value", &value, "hosts", &hosts, "plain_http", &plain))
        return;
    json_t *req = json_pack("{s:s,s:s,s:s,s:O*,s:b}", "op", "secret_put", "name", http_param(c, "name"), "value", value, "hosts", hosts, "plain_http", plain);
    egress_ask(http_sandboxd(c)->egress, req, false, written, c);
}

static void deleted(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    if (f)
        http_fault(arg, f);
    else
        http_reply(arg, 204, NULL);
}

static void delete_secret(struct http_call *c)
{
    if (name_ok(c, http_param(c, "name")))
        egress_ask(http_sandboxd(c)->egress, json_pack("{s:s,s:s}", "op", "secret_delete", "name", http_param(c, "name")), true, deleted, c);
}

/* --- the proxy itself --- */

static void status(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    if (f)
        http_fault(arg, f);
    else
        http_reply(arg, 200, json_incref(ok));
}

static void get_egress(struct http_call *c)
{
    egress_ask(http_sandboxd(c)->egress, json_pack("{s:s}", "op", "status"), false, status, c);
}

const struct http_route secret_routes[] = {
    { "GET", "/v1/egress", 0, get_egress, DOC_SIMPLE("egress", "The egress proxy: its CA, key, connections", "200", "How it is") },
    { "GET", "/v1/secret", 0, get_secrets, DOC_SIMPLE("egress", "List secrets: names, hosts and times, never a value", "200", "The secrets") },
    { "GET", "/v1/secret/{name}", 0, get_secret, DOC_SIMPLE("egress", "Show a secret, but not its value", "200", "Its name, hosts and times") },
    { "PUT", "/v1/secret/{name}", ROUTE_JSON, put_secret,
      "{\"summary\": \"Set a secret\", \"description\": \"The value is never given out again. hosts: patterns of the only hosts that it may be sent to; without them the rules that name it decide. Only over https, "
      "unless plain_http. A value that replaces another counts from the next request on.\", \"tags\": [\"egress\"], "
      DOC_BODY(DOC_STR("value") ", \"hosts\": {\"type\": \"array\"}, \"plain_http\": {\"type\": \"boolean\"}") ", " DOC_OK("200", "What is known of it") "}" },
    { "DELETE", "/v1/secret/{name}", 0, delete_secret,
      "{\"summary\": \"Remove a secret\", \"description\": \"Rules that name it refuse what they matched.\", \"tags\": [\"egress\"], \"responses\": {\"204\": {\"description\": \"It is gone\"}}}" },
    { 0 }
};
