/* What a rule injects, and what it answers, from JSON. */
#include <stdlib.h>
#include <string.h>
#include "sandbox/egress/policy_private.h"

static int secret_text(const struct at *at, json_t *o, const char *field, bool needed, const char **ret)
{
    struct at here = at_field(at, field);
    int e = at_text(at, o, field, 64, ret);

    if (e || (!*ret && !needed))
        return e;
    if (!*ret)
        return at_fault(&here, "the name of a secret is missing");
    return secret_name_ok(*ret) ? 0 : at_fault(&here, "is not the name of a secret (letters, digits, \"_\", \"-\", \".\")");
}

static int bearer_parse(const struct at *at, json_t *o, struct inject *in)
{
    int e = at_only(at, o, "bearer");

    in->kind = INJECT_BEARER;
    in->header = "Authorization";
    in->format = "Bearer {}";
    return e ? e : secret_text(at, o, "bearer", true, &in->secret);
}

static int basic_parse(const struct at *at, json_t *o, struct inject *in)
{
    struct at here = at_field(at, "basic");
    json_t *b = NULL;
    int e = at_only(at, o, "basic");

    in->kind = INJECT_BASIC;
    in->header = "Authorization";
    in->user = "";
    if (e || (e = at_object(at, o, "basic", &b)) || (e = at_only(&here, b, "user password")) || (e = at_text(&here, b, "user", 256, &in->user)))
        return e;
    if (strchr(in->user, ':'))
        return at_fault(&here, "a user has no \":\" in it");
    return secret_text(&here, b, "password", true, &in->secret);
}

static int header_parse(const struct at *at, json_t *o, struct inject *in)
{
    struct at name = at_field(at, "header"), format = at_field(at, "format");
    const char *why, *hole;
    int e = at_only(at, o, "header secret format");

    in->kind = INJECT_HEADER;
    in->format = "{}";
    if (e || (e = at_text(at, o, "header", 128, &in->header)) || (e = secret_text(at, o, "secret", true, &in->secret)) || (e = at_text(at, o, "format", 512, &in->format)))
        return e;
    if ((why = header_check(in->header)))
        return at_fault(&name, "%s", why);
    hole = strstr(in->format, "{}");
    if (!hole || strstr(hole + 2, "{}") || header_value_check(in->format))
        return at_fault(&format, "must have \"{}\" exactly once, where the secret goes");
    return 0;
}

static int query_parse(const struct at *at, json_t *o, struct inject *in)
{
    struct at name = at_field(at, "query");
    int e = at_only(at, o, "query secret");

    in->kind = INJECT_QUERY;
    if (e || (e = at_text(at, o, "query", 64, &in->header)) || (e = secret_text(at, o, "secret", true, &in->secret)))
        return e;
    if (strspn(in->header, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~") != strlen(in->header))
        return at_fault(&name, "the name of a parameter is of letters, digits and \"-._~\"");
    return 0;
}

static const char *word_check(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(text) ? NULL : "is of lower case letters, digits and \"-\"";
}

static int sigv4_parse(const struct at *at, json_t *o, struct inject *in)
{
    struct at here = at_field(at, "sigv4");
    json_t *s = NULL;
    int e = at_only(at, o, "sigv4");

    in->kind = INJECT_SIGV4;
    in->header = "Authorization";
    if (e || (e = at_object(at, o, "sigv4", &s)) || (e = at_only(&here, s, "access_key secret_key session_token region service")) ||
        (e = secret_text(&here, s, "access_key", true, &in->access_key)) || (e = secret_text(&here, s, "secret_key", true, &in->secret)) ||
        (e = secret_text(&here, s, "session_token", false, &in->session_token)) || (e = at_text(&here, s, "region", 64, &in->region)) ||
        (e = at_text(&here, s, "service", 64, &in->service)))
        return e;
    if (!in->region || !in->service)
        return at_fault(&here, "region and service are needed");
    return word_check(in->region) || word_check(in->service) ? at_fault(&here, "region and service: %s", word_check("X")) : 0;
}

static bool same_place(const struct inject *a, const struct inject *b)
{
    return (a->kind == INJECT_QUERY) == (b->kind == INJECT_QUERY) && text_folds_to(a->header, strlen(a->header), b->header);
}

/* The signature's own headers are not anybody else's; and what is signed last is the only signature. */
static bool in_the_way(const struct inject *a, const struct inject *b)
{
    return (a->kind == INJECT_SIGV4 && b->kind != INJECT_SIGV4 && (b->kind == INJECT_QUERY || !strncasecmp(b->header, "x-amz-", 6)));
}

static int item_parse(const struct at *at, json_t *o, struct rule *r)
{
    static const struct { const char *key; int (*parse)(const struct at *, json_t *, struct inject *); } kinds[] = {
        { "bearer", bearer_parse }, { "basic", basic_parse }, { "header", header_parse }, { "query", query_parse }, { "sigv4", sigv4_parse },
    };
    struct inject *in = &r->inject[r->injects];
    unsigned i = 0;
    int e;

    while (i < 5 && !json_object_get(o, kinds[i].key))
        i++;
    if (i == 5)
        return at_fault(at, "must have one of: bearer, basic, header, query, sigv4");
    if ((e = kinds[i].parse(at, o, in)))
        return e;
    for (unsigned k = 0; k < r->injects; k++)
        if (same_place(in, &r->inject[k]) || in_the_way(in, &r->inject[k]) || in_the_way(&r->inject[k], in))
            return at_fault(at, "two credentials for one place");
    r->injects++;
    return 0;
}

int inject_parse(const struct at *at, json_t *list, struct rule *r)
{
    struct at here = at_field(at, "inject");

    if (!list)
        return 0;
    if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > INJECT_MAX)
        return at_fault(&here, "must be an array of 1 to %d credentials", INJECT_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct at item = at_item(&here, i);
        json_t *o = json_array_get(list, i);
        int e = json_is_object(o) ? item_parse(&item, o, r) : at_fault(&item, "must be an object");
        if (e)
            return e;
    }
    return 0;
}

int answer_parse(const struct at *at, json_t *o)
{
    struct at headers_at = at_field(at, "headers"), body_at = at_field(at, "body");
    json_t *headers = NULL, *v, *body = json_object_get(o, "body");
    const char *key, *why, *value;
    uint64_t status = 0;
    int e;

    if ((e = at_only(at, o, "status headers body")) || (e = at_number(at, o, "status", 200, 599, &status)) || (e = at_object(at, o, "headers", &headers)))
        return e;
    if (!status)
        return at_fault(at, "status is missing");
    if (body && (!json_is_string(body) || json_string_length(body) > ANSWER_BODY_MAX))
        return at_fault(&body_at, "must be a string of at most %d bytes", ANSWER_BODY_MAX);
    if (body && json_string_length(body) && (status == 204 || status == 304))
        return at_fault(&body_at, "an answer of status 204 or 304 has none");
    if (headers && json_object_size(headers) > HEADERS_EDIT_MAX)
        return at_fault(&headers_at, "must have at most %d headers", HEADERS_EDIT_MAX);
    if (headers)
        json_object_foreach (headers, key, v) {
            if ((why = header_check(key)))
                return at_fault(&headers_at, "\"%.60s\" %s", key, why);
            if ((e = at_text(&headers_at, headers, key, HEADER_VALUE_MAX, &value)))
                return e;
        }
    return 0;
}
