/* The rules of a sandbox: what it may ask of the world. egress keeps and judges them; here is their HTTP. */
#include <stdlib.h>
#include <string.h>

#include "sandbox/core/route.h"
#include "sandbox/egress_client.h"
#include "sandbox/routes.h"

/* The document with its revision and what is to be said about it. */
static void answer(void *arg, json_t *ok, const struct fault *f, json_t *details)
{
    struct http_call *c = arg;
    json_t *rules = json_object_get(ok, "rules"), *revision = json_object_get(ok, "revision");
    char tag[32];

    if (f) {
        json_t *now = json_object_get(details, "revision");
        if (json_is_integer(now)) {
            g_snprintf(tag, sizeof(tag), "\"%lld\"", (long long)json_integer_value(now));
            http_set_header(c, "ETag", tag);
        }
        http_fault(c, f);
    } else if (!json_is_object(rules) || !json_is_integer(revision)) {
        http_fail(c, "internal", "the answer of the egress proxy is not understood");
    } else {
        json_t *doc = json_deep_copy(rules);
        if (!json_object_get(doc, "default"))
            json_object_set_new(doc, "default", json_string("deny"));
        json_object_set(doc, "revision", revision);
        json_object_set(doc, "warnings", json_object_get(ok, "warnings"));
        g_snprintf(tag, sizeof(tag), "\"%lld\"", (long long)json_integer_value(revision));
        http_set_header(c, "ETag", tag);
        http_reply(c, 200, doc);
    }
}

static void get_box(struct http_call *c, struct box *b)
{
    egress_ask(b->sd->egress, json_pack("{s:s,s:s}", "op", "rules_get", "box", b->id), false, answer, c);
}

/* If-Match, or the revision of the document that was read before: -1 none. False: answered. */
static bool wanted_revision(struct http_call *c, json_t *body, json_int_t *ret)
{
    const char *match = http_header(c, "If-Match");
    json_t *in_body = json_object_get(body, "revision");
    char *end;

    *ret = -1;
    if (match && strcmp(match, "*")) {
        match += *match == '"';
        *ret = strtoll(match, &end, 10);
        if (*match < '0' || *match > '9' || strcmp(end + (*end == '"'), "")) {
            http_fail(c, "invalid_request", "If-Match is the ETag of the rules: a number in quotes, or *");
            return false;
        }
    } else if (in_body && !match) {
        if (!json_is_integer(in_body) || json_integer_value(in_body) < 0) {
            http_fail(c, "invalid_request", "revision is the number that GET gave; leave it out to replace whatever there is");
            return false;
        }
        *ret = json_integer_value(in_body);
    }
    return true;
}

static void ask(struct http_call *c, struct box *b, json_t *req, json_int_t revision)
{
    if (revision >= 0)
        json_object_set_new(req, "if_revision", json_integer(revision));
    egress_ask(b->sd->egress, req, true, answer, c);
}

static void put_box(struct http_call *c, struct box *b)
{
    json_int_t revision;
    json_t *doc;

    if (!wanted_revision(c, http_json(c), &revision))
        return;
    doc = json_copy(http_json(c));
    json_object_del(doc, "revision");
    json_object_del(doc, "warnings");         /* they are GET's: what was read may be given back */
    ask(c, b, json_pack("{s:s,s:s,s:o}", "op", "rules_put", "box", b->id, "doc", doc), revision);
}

static void patch_box(struct http_call *c, struct box *b)
{
    json_t *add = NULL, *rm = NULL;
    const char *fallback = NULL;
    json_int_t revision, skip;

    if (!http_unpack(c, "{s?o,s?o,s?s,s?I}", "add", &add, "remove", &rm, "default", &fallback, "revision", &skip) || !wanted_revision(c, http_json(c), &revision))
        return;
    ask(c, b, json_pack("{s:s,s:s,s:O*,s:O*,s:s*}", "op", "rules_patch", "box", b->id, "add", add, "remove", rm, "default", fallback), revision);
}

static void get_rules(struct http_call *c) { route_box(c, get_box); }
static void put_rules(struct http_call *c) { route_box(c, put_box); }
static void patch_rules(struct http_call *c) { route_box(c, patch_box); }

#define ANSWER DOC_OK("200", "The rules, their revision (also the ETag) and warnings")
#define DOC_ARRAY(name) "\"" name "\": {\"type\": \"array\"}"
const struct http_route rules_routes[] = {
    { "GET", "/v1/sandbox/{id}/rules", 0, get_rules, "{\"summary\": \"What a sandbox may ask of the world\", \"tags\": [\"egress\"], " ANSWER "}" },
    { "PUT", "/v1/sandbox/{id}/rules", ROUTE_JSON, put_rules,
      "{\"summary\": \"Replace the rules\", \"description\": \"The format is in docs/egress.md 2. In force for the next request, and within a second for what is open. With If-Match (or revision in the body) only if "
      "nobody changed them since: else 412.\", \"tags\": [\"egress\"], "
      DOC_BODY("\"default\": {\"enum\": [\"deny\", \"allow\"]}, \"inherit\": {\"type\": \"boolean\"}, " DOC_ARRAY("rules") ", \"revision\": {\"type\": \"integer\"}, " DOC_ARRAY("warnings")) ", " ANSWER "}" },
    { "PATCH", "/v1/sandbox/{id}/rules", ROUTE_JSON, patch_rules,
      "{\"summary\": \"Change the rules\", \"description\": \"remove: names of rules; add: rules, put at the end (one of the same name is replaced).\", \"tags\": [\"egress\"], "
      DOC_BODY(DOC_ARRAY("add") ", " DOC_ARRAY("remove") ", \"default\": {\"enum\": [\"deny\", \"allow\"]}, \"revision\": {\"type\": \"integer\"}") ", " ANSWER "}" },
    { 0 }
};
