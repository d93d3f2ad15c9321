/* Rules: what is refused when they are set, what they decide, what a fork gets, what is warned of, and rates. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/egress/policy_trial.h"

/* ---- parsing ---- */
#define RULE(fields) "{'rules': [{'allow': ['a.test']" fields "}]}"

static void what_is_not_understood_is_refused_with_its_place(void **state)
{
    static const struct { const char *doc, *place; } cases[] = {
        { "{'defualt': 'deny'}", "no field \"defualt\"" },
        { "{'': 'deny'}", "no field" },
        { "{'rules': [{'allow': ['a.test'], '': 1}]}", "no field" },
        { "{'default': 'maybe'}", "default" },
        { "{'default': true}", "default" },
        { "{'inherit': 1}", "inherit" },
        { "{'rules': {}}", "rules:" },
        { "{'rules': [1]}", "rules[0]:" },
        { "{'rules': [{}]}", "rules[0]: must have either" },
        { "{'rules': [{'allow': ['a.test'], 'deny': ['b.test']}]}", "either" },
        { "{'rules': [{'allow': []}]}", "rules[0].allow:" },
        { "{'rules': [{'allow': 'a.test'}]}", "rules[0].allow:" },
        { "{'rules': [{'allow': ['a.test', '*.com']}]}", "rules[0].allow[1]:" },
        { "{'rules': [{'allow': ['ex*.com']}]}", "rules[0].allow[0]:" },
        { "{'rules': [{'allow': ['A.test']}]}", "rules[0].allow[0]:" },
        { "{'rules': [{'allow': ['http://a.test']}]}", "rules[0].allow[0]:" },
        { "{'rules': [{'deny': ['a.test'], 'inject': []}]}", "no field \"inject\"" },
        { "{'rules': [{'deny': ['a.test'], 'private': true}]}", "no field \"private\"" },
        { RULE(", 'name': 'a b'"), "name" },
        { RULE(", 'name': 'rules[1]'"), "name" },
        { "{'rules': [{'name': 'x', 'allow': ['a.test']}, {'name': 'x', 'allow': ['b.test']}]}", "rules[1]: name" },
        { RULE(", 'ports': [0]"), "rules[0].ports[0]" },
        { RULE(", 'ports': [65536]"), "rules[0].ports[0]" },
        { RULE(", 'ports': ['443']"), "rules[0].ports[0]" },
        { RULE(", 'ports': 443"), "rules[0].ports" },
        { RULE(", 'schemes': ['ftp']"), "rules[0].schemes" },
        { RULE(", 'schemes': ['http', 'http']"), "rules[0].schemes" },
        { RULE(", 'schemes': []"), "rules[0].schemes" },
        { RULE(", 'methods': ['GE T']"), "rules[0].methods[0]" },
        { RULE(", 'paths': ['x']"), "rules[0].paths[0]" },
        { RULE(", 'paths': ['/a?b']"), "rules[0].paths[0]" },
        { RULE(", 'labels': {'a': 1}"), "rules[0].labels" },
        { RULE(", 'labels': {}"), "rules[0].labels" },
        { RULE(", 'inject': {'bearer': 'S'}"), "rules[0].inject" },
        { RULE(", 'inject': [{'bearer': 'a b'}]"), "rules[0].inject[0].bearer" },
        { RULE(", 'inject': [{'bearer': 'S', 'x': 1}]"), "no field \"x\"" },
        { RULE(", 'inject': [{'bearre': 'S'}]"), "one of" },
        { RULE(", 'inject': [{'bearer': 'S'}, {'basic': {'user': 'u', 'password': 'T'}}]"), "two credentials" },
        { RULE(", 'inject': [{'header': 'x-a', 'secret': 'S'}, {'header': 'X_A', 'secret': 'S'}]"), "two credentials" },
        { RULE(", 'inject': [{'basic': {'user': 'a:b', 'password': 'S'}}]"), "a user" },
        { RULE(", 'inject': [{'header': 'host', 'secret': 'S'}]"), "rules[0].inject[0].header" },
        { RULE(", 'inject': [{'header': 'Transfer_Encoding', 'secret': 'S'}]"), "rules[0].inject[0].header" },
        { RULE(", 'inject': [{'header': 'x-k', 'secret': 'S', 'format': 'no hole'}]"), "format" },
        { RULE(", 'inject': [{'header': 'x-k', 'secret': 'S', 'format': '{}{}'}]"), "format" },
        { RULE(", 'inject': [{'header': 'x-k', 'secret': 'S', 'format': 'a\\r\\n{}'}]"), "printable ASCII" },
        { RULE(", 'inject': [{'query': 'a&b', 'secret': 'S'}]"), "query" },
        { RULE(", 'inject': [{'sigv4': {'access_key': 'A', 'secret_key': 'S', 'region': 'r'}}]"), "service" },
        { RULE(", 'set_headers': {'x-a': 'a\\r\\nx-b: c'}"), "printable ASCII" },
        { RULE(", 'set_headers': {'x-a': 'a\\nb'}"), "printable ASCII" },
        { RULE(", 'set_headers': {'x-a': 'caf\\u00e9'}"), "printable ASCII" },
        { RULE(", 'set_headers': {'x-a': 'a\\u007f'}"), "printable ASCII" },
        { RULE(", 'set_headers': {'x a': 'v'}"), "set_headers" },
        { RULE(", 'set_headers': {'Content-Length': '1'}"), "set_headers" },
        { RULE(", 'inject': [{'bearer': 'S'}], 'set_headers': {'AUTHORIZATION': 'v'}"), "injects" },
        { RULE(", 'remove_headers': ['Connection']"), "remove_headers[0]" },
        { RULE(", 'upstream': {'scheme': 'https'}"), "host is missing" },
        { RULE(", 'upstream': {'host': 'a b'}"), "upstream" },
        { RULE(", 'upstream': {'host': 'h.test', 'scheme': 'ws'}"), "scheme" },
        { RULE(", 'upstream': {'host': 'h.test:8443', 'port': 1}"), "two ports" },
        { RULE(", 'answer': {}"), "status" },
        { RULE(", 'answer': {'status': 100}"), "status" },
        { RULE(", 'answer': {'status': 204, 'body': 'x'}"), "none" },
        { RULE(", 'answer': {'status': 200, 'headers': {'x': 'a\\nb'}}"), "printable ASCII" },
        { RULE(", 'answer': {'status': 200}, 'inject': [{'bearer': 'S'}]"), "answer" },
        { RULE(", 'handler': 'return 1'"), "function" },
        { RULE(", 'handler': 'function(r) x x end'"), "handler:1" },
        { RULE(", 'handler': 'function(r) end, os.exit(1) x'"), "handler" },
        { RULE(", 'secrets': ['S']"), "handler" },
        { RULE(", 'limits': {'requests_per_minute': -1}"), "requests_per_minute" },
        { RULE(", 'limits': {'bytes_per_second': 1.5}"), "bytes_per_second" },
        { RULE(", 'limits': {'request_bytes': 'x'}"), "request_bytes" },
        { RULE(", 'require_tls': 'no'"), "require_tls" },
        { RULE(", 'intercept': 1"), "intercept" },
        { RULE(", 'websocket': null"), "websocket" },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why = trial_refused(cases[i].doc);
        if (!why || !strstr(why, cases[i].place))
            fail_msg("%s: %s (wanted: %s)", cases[i].doc, why ? why : "it was taken", cases[i].place);
    }
}

static json_t *many(size_t n, json_t *(*item)(size_t i))
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, item(i));
    return list;
}

static json_t *host(size_t i)
{
    return json_sprintf("h%zu.a.test", i);
}

static json_t *rule(size_t i)
{
    return json_pack("{s:[o]}", "allow", host(i));
}

static bool taken(json_t *doc)
{
    struct policy_fault fault;
    struct policy *p = NULL;
    int r = policy_parse(doc, &p, &fault);

    json_decref(doc);
    policy_unref(p);
    assert_true(!r || *fault.text);
    return !r;
}

static json_t *with_body(size_t n)
{
    char *text = malloc(n + 1);
    memset(text, 'x', n);
    text[n] = 0;
    json_t *j = json_pack("{s:[{s:[s], s:{s:i, s:s}}]}", "rules", "allow", "a.test", "answer", "status", 200, "body", text);
    free(text);
    return j;
}

static void everything_has_a_bound(void **state)
{
    assert_true(taken(json_pack("{s:o}", "rules", many(POLICY_RULES_MAX, rule))));
    assert_false(taken(json_pack("{s:o}", "rules", many(POLICY_RULES_MAX + 1, rule))));
    assert_true(taken(json_pack("{s:[{s:o}]}", "rules", "allow", many(256, host))));
    assert_false(taken(json_pack("{s:[{s:o}]}", "rules", "allow", many(257, host))));
    assert_true(taken(with_body(65536)));
    assert_false(taken(with_body(65537)));
    assert_true(trial_refused(RULE(", 'name': '0123456789012345678901234567890123456789012345678901234567890123'")));
    assert_true(trial_refused(RULE(", 'ports': [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33]")));
    assert_true(trial_refused(RULE(", 'inject': [{'header': 'a', 'secret': 'S'}, {'header': 'b', 'secret': 'S'}, {'header': 'c', 'secret': 'S'}, {'header': 'd', 'secret': 'S'}, {'header': 'e', 'secret': 'S'}, "
                                   "{'header': 'f', 'secret': 'S'}, {'header': 'g', 'secret': 'S'}, {'header': 'i', 'secret': 'S'}, {'header': 'h', 'secret': 'S'}]")));
}

#define COMPLETE "{'default': 'allow', 'inherit': true, 'rules': [{'name': 'github', 'allow': ['api.github.com', '*.githubusercontent.com', '10.0.0.1', '*'], 'ports': [443, 8443], 'schemes': ['https'], " \
    "'methods': ['GET'], 'paths': ['/repos/**'], 'labels': {'team': 'a'}, 'inject': [{'bearer': 'S'}, {'header': 'x-api-key', 'secret': 'S', 'format': 'k={}'}, {'query': 'key', 'secret': 'S'}], " \
    "'set_headers': {'x-env': 'test', 'x-empty': ''}, 'remove_headers': ['cookie'], 'upstream': {'scheme': 'http', 'host': 'h.test', 'port': 8080}, 'handler': 'function(r, c) return r end', 'secrets': ['T'], " \
    "'limits': {'requests_per_minute': 60, 'bytes_per_second': 1000000, 'request_bytes': 0, 'response_bytes': 5}, 'require_tls': false, 'intercept': false, 'websocket': true, 'private': false, 'inherit': false}, " \
    "{'deny': ['x.test'], 'methods': ['POST']}, {'allow': ['y.test'], 'answer': {'status': 200, 'headers': {'x': 'y'}, 'body': 'h\\u00e9'}}]}"

static void what_was_given_is_given_back(void **state)
{
    json_t *doc = trial_json(COMPLETE), *back;
    struct policy *p = trial_policy(COMPLETE);

    back = policy_json(p);
    assert_true(json_equal(doc, back));
    json_decref(back);
    json_decref(doc);
    policy_unref(p);
}

/* ---- verdicts ---- */
static const char *const kinds[] = { "deny", "tunnel", "intercept", "plain" };

static void stage_one_tunnels_only_what_no_rule_wants_to_see(void **state)
{
    static const struct { const char *rules, *url, *kind; } cases[] = {
        { "{}", "https://a.test", "deny" },
        { "{'default': 'allow'}", "https://a.test", "tunnel" },
        { "{'default': 'allow'}", "http://a.test", "plain" },
        { "{'default': 'allow'}", "https://93.184.216.34", "deny" },
        { "{'default': 'allow'}", "https://[2606:4700::1111]", "deny" },
        { "{'rules': [{'allow': ['*']}]}", "https://93.184.216.34", "deny" },
        { "{'rules': [{'allow': ['93.184.216.34']}]}", "https://93.184.216.34", "tunnel" },
        { "{'default': 'allow'}", "https://localhost", "deny" },
        { "{'default': 'allow'}", "https://printer.local", "deny" },
        { "{'default': 'allow'}", "https://x.localhost", "deny" },
        { RULE(""), "https://a.test", "tunnel" },
        { RULE(""), "http://a.test", "plain" },
        { RULE(""), "https://a.test:8443", "deny" },
        { RULE(""), "http://a.test:443", "deny" },
        { RULE(", 'ports': [8443]"), "https://a.test:8443", "tunnel" },
        { RULE(", 'ports': [8443]"), "https://a.test", "deny" },
        { RULE(", 'schemes': ['https']"), "http://a.test", "deny" },
        { RULE(""), "https://b.a.test", "deny" },
        { RULE(""), "https://ba.test", "deny" },
        { "{'rules': [{'allow': ['*.a.test']}]}", "https://a.test", "deny" },
        { "{'rules': [{'allow': ['*.a.test']}]}", "https://c.b.a.test", "tunnel" },
        { RULE(", 'methods': ['GET']"), "https://a.test", "intercept" },
        { RULE(", 'paths': ['/x']"), "https://a.test", "intercept" },
        { RULE(", 'inject': [{'bearer': 'S'}]"), "https://a.test", "intercept" },
        { RULE(", 'set_headers': {'a': 'b'}"), "https://a.test", "intercept" },
        { RULE(", 'remove_headers': ['a']"), "https://a.test", "intercept" },
        { RULE(", 'upstream': {'host': 'b.test'}"), "https://a.test", "intercept" },
        { RULE(", 'answer': {'status': 200}"), "https://a.test", "intercept" },
        { RULE(", 'handler': 'function() end'"), "https://a.test", "intercept" },
        { RULE(", 'limits': {'requests_per_minute': 1}"), "https://a.test", "intercept" },
        { RULE(", 'limits': {'request_bytes': 1}"), "https://a.test", "intercept" },
        { RULE(", 'limits': {'response_bytes': 1}"), "https://a.test", "intercept" },
        { RULE(", 'limits': {'bytes_per_second': 1}"), "https://a.test", "tunnel" },
        { RULE(", 'websocket': false"), "https://a.test", "intercept" },
        { RULE(", 'intercept': true"), "https://a.test", "intercept" },
        { "{'rules': [{'allow': ['*']}, {'deny': ['a.test']}]}", "https://a.test", "deny" },
        { "{'rules': [{'allow': ['*']}, {'deny': ['*.a.test']}]}", "https://a.test", "tunnel" },
        { "{'rules': [{'allow': ['*']}, {'deny': ['a.test'], 'methods': ['POST']}]}", "https://a.test", "intercept" },
        { "{'rules': [{'allow': ['*']}, {'deny': ['a.test'], 'ports': [8443]}]}", "https://a.test", "tunnel" },
        { "{'default': 'allow', 'rules': [{'deny': ['a.test'], 'paths': ['/admin/**']}]}", "https://a.test", "intercept" },
        { "{'default': 'allow', 'rules': [{'deny': ['a.test'], 'paths': ['/admin/**']}]}", "https://b.test", "tunnel" },
        { "{'rules': [{'allow': ['a.test'], 'methods': ['PUT']}, {'allow': ['*']}]}", "https://a.test", "intercept" },
        { "{'rules': [{'allow': ['*']}, {'allow': ['a.test'], 'set_headers': {'a': 'b'}}]}", "https://a.test", "tunnel" },
        { RULE(", 'labels': {'team': 'a'}"), "https://a.test", "tunnel" },
        { RULE(", 'labels': {'team': 'b'}"), "https://a.test", "deny" },
        { RULE(", 'labels': {'team': 'a', 'env': 'x'}"), "https://a.test", "deny" },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy *p = trial_policy(cases[i].rules);
        struct authority a = trial_authority(cases[i].url);
        const struct policy_box *box = trial_box("{'team': 'a'}");
        struct verdict v;
        policy_connect(p, box, &a, &v);
        if (strcmp(kinds[v.kind], cases[i].kind) || (v.kind == VERDICT_DENY) != (v.status == 403) || (v.kind == VERDICT_DENY) != (v.why[0] != 0))
            fail_msg("%s %s: %s (%s), wanted %s", cases[i].rules, cases[i].url, kinds[v.kind], v.why, cases[i].kind);
        assert_int_equal(policy_still_allows(p, box, &a, v.kind), v.kind != VERDICT_DENY);
        policy_unref(p);
    }
}

#define SCOPED "{'rules': [{'name': 'scoped', 'allow': ['a.test'], 'methods': ['GET', 'POST'], 'paths': ['/repos/**', '/user'], 'inject': [{'bearer': 'S'}]}]}"
#define GUARDED "{'default': 'allow', 'rules': [{'deny': ['a.test'], 'paths': ['/admin/**', '/admin']}, {'deny': ['a.test'], 'methods': ['DELETE']}]}"

#define SPACES8 "%20%20%20%20%20%20%20%20"       /* servers that trim the names of parameters take any number */
#define SPACES64 SPACES8 SPACES8 SPACES8 SPACES8 SPACES8 SPACES8 SPACES8 SPACES8
#define SPACES SPACES64 SPACES64 SPACES64 SPACES64

static void stage_two_judges_method_path_and_headers(void **state)
{
    static const struct { const char *rules, *url, *request; unsigned status; const char *text; } cases[] = {
        { SCOPED, "https://a.test", "GET /repos/x", 0, "scoped" },
        { SCOPED, "https://a.test", "GET /repos/x?y=/../z", 0, "scoped" },
        { SCOPED, "https://a.test", "GET /user", 0, "scoped" },
        { SCOPED, "https://a.test", "GET /users", 403, "allows others of this host" },
        { SCOPED, "https://a.test", "PUT /repos/x", 403, "no rule" },
        { SCOPED, "https://a.test", "get /repos/x", 403, "no rule" },
        { SCOPED, "https://a.test", "GET /REPOS/x", 403, "no rule" },
        { SCOPED, "https://a.test", "GET /repos/../admin", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /repos/%2e%2e/admin", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /repos/..;/admin", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /repos/x;a=b", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /repos//x", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /repos/x%2fy", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /repos/x%5cy", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /repos/\\..\\admin", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /repos/%252e%252e/x", 403, "canonical" },
        { SCOPED, "https://a.test", "GET /%72epos/x", 403, "canonical" },
        { SCOPED, "https://a.test", "POST /repos/x|X-HTTP-Method-Override: DELETE", 403, "methods" },
        { SCOPED, "https://a.test", "POST /repos/x|x_http_method_override: DELETE", 403, "methods" },
        { SCOPED, "https://a.test", "POST /repos/x|X-HTTP-Method: DELETE", 403, "methods" },
        { SCOPED, "https://a.test", "POST /repos/x|X-Method-Override: DELETE", 403, "methods" },
        { SCOPED, "https://a.test", "POST /repos/x?_method=DELETE", 403, "methods" },
        { SCOPED, "https://a.test", "POST /repos/x?a=1&%5fmethod=DELETE", 403, "methods" },
        { SCOPED, "https://a.test", "POST /repos/x?payment_method=card", 0, "scoped" },
        { SCOPED, "https://a.test", "POST /repos/x?" SPACES "_method=DELETE", 403, "methods" },
        { SCOPED, "https://a.test", "GET /repos/x|X-Original-URL: /admin", 403, "paths" },
        { SCOPED, "https://a.test", "GET /repos/x|x_rewrite_url: /admin", 403, "paths" },
        { "{'rules': [{'allow': ['a.test'], 'intercept': true}]}", "https://a.test", "GET /|X-Original-URL: /b", 0, "rules[0]" },
        { SCOPED, "http://a.test", "GET /repos/x", 403, "TLS" },
        { SCOPED, "https://a.test:8443", "GET /repos/x", 403, "no rule" },
        { SCOPED, "https://b.test", "GET /repos/x", 403, "no rule" },
        { GUARDED, "https://a.test", "GET /x", 0, "" },
        { GUARDED, "https://a.test", "GET /admin", 403, "denies" },
        { GUARDED, "https://a.test", "GET /admin/x", 403, "denies" },
        { GUARDED, "https://a.test", "GET /ADMIN/x", 403, "denies" },
        { GUARDED, "https://a.test", "GET /%61dmin/x", 403, "canonical" },
        { GUARDED, "https://a.test", "GET /x/../admin/", 403, "canonical" },
        { GUARDED, "https://a.test", "GET //admin/x", 403, "canonical" },
        { GUARDED, "https://a.test", "DELETE /x", 403, "denies" },
        { GUARDED, "https://a.test", "Delete /x", 403, "denies" },
        { GUARDED, "https://a.test", "POST /x|X-HTTP-Method-Override: DELETE", 403, "methods" },
        { GUARDED, "https://b.test", "DELETE /admin/../x|X-HTTP-Method: Y", 0, "" },
        { "{'default': 'allow'}", "https://a.test", "TRACE /", 405, "method" },
        { "{'default': 'allow'}", "https://a.test", "track /", 405, "method" },
        { "{'default': 'allow'}", "https://a.test", "CONNECT b.test:443", 405, "method" },
        { "{'default': 'allow'}", "https://a.test", "OPTIONS *", 405, "path" },
        { "{'default': 'allow'}", "https://a.test", "GET /|Max-Forwards: 0", 405, "Max-Forwards" },
        { "{'rules': [{'allow': ['a.test'], 'methods': ['TRACE']}]}", "https://a.test", "TRACE /", 405, "method" },
        { "{'default': 'allow'}", "https://127.0.0.1", "GET /", 403, "address" },
        { "{'default': 'allow'}", "http://localhost", "GET /", 403, "dot" },
        /* credentials: one, and no guess */
        { "{'rules': [{'allow': ['a.test'], 'inject': [{'bearer': 'S'}]}, {'allow': ['*.b.test', 'a.test'], 'inject': [{'header': 'x-k', 'secret': 'T'}]}]}", "https://a.test", "GET /", 403, "both" },
        { "{'rules': [{'name': 'wide', 'allow': ['*.a.test'], 'inject': [{'bearer': 'S'}]}, {'name': 'narrow', 'allow': ['api.a.test']}]}", "https://api.a.test", "GET /", 403, "narrow names" },
        { "{'rules': [{'name': 'wide', 'allow': ['*.a.test'], 'inject': [{'bearer': 'S'}]}, {'name': 'narrow', 'allow': ['api.a.test']}]}", "https://b.a.test", "GET /", 0, "wide" },
        { "{'rules': [{'name': 'narrow', 'allow': ['api.a.test']}, {'name': 'wide', 'allow': ['*.a.test'], 'inject': [{'bearer': 'S'}]}]}", "https://api.a.test", "GET /", 0, "narrow" },
        { "{'rules': [{'name': 'one', 'allow': ['a.test'], 'inject': [{'bearer': 'S'}]}, {'name': 'all', 'allow': ['*']}]}", "https://a.test", "GET /", 0, "one" },
        { "{'rules': [{'name': 'one', 'allow': ['a.test'], 'methods': ['GET'], 'inject': [{'bearer': 'S'}]}, {'name': 'two', 'allow': ['a.test'], 'methods': ['PUT'], 'inject': [{'bearer': 'T'}]}]}",
          "https://a.test", "PUT /", 0, "two" },
        { "{'rules': [{'name': 'h', 'allow': ['a.test'], 'handler': 'function() end', 'secrets': ['S']}, {'allow': ['a.test'], 'inject': [{'bearer': 'S'}]}]}", "https://a.test", "GET /", 403, "both" },
        { RULE(", 'inject': [{'bearer': 'S'}], 'require_tls': false, 'name': 'clear'"), "http://a.test", "GET /", 0, "clear" },
        { RULE(", 'inject': [{'bearer': 'S'}], 'upstream': {'host': 'b.test'}, 'name': 'up'"), "http://a.test", "GET /", 0, "up" },
        { RULE(", 'inject': [{'bearer': 'S'}], 'upstream': {'host': 'b.test', 'scheme': 'http'}"), "https://a.test", "GET /", 403, "TLS" },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy *p = trial_policy(cases[i].rules);
        struct authority a = trial_authority(cases[i].url);
        struct message m = trial_request(cases[i].request);
        struct verdict v;
        policy_request(p, trial_box(NULL), &a, &m, &v);
        const char *text = cases[i].status ? v.why : v.rule_name;
        if (v.status != cases[i].status || (v.kind == VERDICT_DENY) != (cases[i].status != 0) || (cases[i].status ? !strstr(text, cases[i].text) : !!strcmp(text, cases[i].text)))
            fail_msg("%s %s %s: %u \"%s\" \"%s\"", cases[i].rules, cases[i].url, cases[i].request, v.status, v.rule_name, v.why);
        message_fini(&m);
        policy_unref(p);
    }
}

/* Random rules and requests: what stage 1 refuses stage 2 never allows; and what stage 2 allows without a doubt of the method or path, stage 1 did not refuse. */
static void stage_one_and_two_never_disagree(void **state)
{
    static const char *const hosts[] = { "a.test", "*.a.test", "b.a.test", "*", "c.test" }, *const urls[] = { "https://a.test", "http://a.test", "https://b.a.test", "https://c.test:8443", "http://x.y" };
    static const char *const extra[] = { "", ", 'methods': ['GET']", ", 'paths': ['/x/**']", ", 'ports': [8443]", ", 'schemes': ['http']", ", 'labels': {'team': 'a'}" };
    unsigned seed = 20261121, allowed = 0, denied = 0;

    for (unsigned round = 0; round < 3000; round++) {
        char doc[2000];
        unsigned rules = (unsigned)rand_r(&seed) % 5;
        int n = sprintf(doc, "{'default': '%s', 'rules': [", rand_r(&seed) % 4 ? "deny" : "allow");
        for (unsigned i = 0; i < rules; i++)
            n += sprintf(doc + n, "%s{'%s': ['%s']%s}", i ? ", " : "", rand_r(&seed) % 3 ? "allow" : "deny", hosts[rand_r(&seed) % 5], extra[rand_r(&seed) % 6]);
        sprintf(doc + n, "]}");
        struct policy *p = trial_policy(doc);
        struct authority a = trial_authority(urls[rand_r(&seed) % 5]);
        const struct policy_box *box = trial_box(rand_r(&seed) % 2 ? "{'team': 'a'}" : NULL);
        struct message m = trial_request(rand_r(&seed) % 2 ? "GET /x/y" : "PUT /z");
        struct verdict one, two;
        policy_connect(p, box, &a, &one);
        policy_request(p, box, &a, &m, &two);
        if (one.kind == VERDICT_DENY && two.kind != VERDICT_DENY)
            fail_msg("seed 20261121 round %u: %s: stage 1 denies, stage 2 allows %s %s", round, doc, a.host, m.method);
        if (one.kind == VERDICT_TUNNEL && two.kind == VERDICT_DENY)
            fail_msg("seed 20261121 round %u: %s: a tunnel, and stage 2 denies %s %s", round, doc, a.host, m.method);
        allowed += two.kind != VERDICT_DENY;
        denied += two.kind == VERDICT_DENY;
        message_fini(&m);
        policy_unref(p);
    }
    assert_true(allowed > 300 && denied > 300);
}

/* ---- forks, warnings ---- */
/* What is open while the rules change, by the rules before and after. */
static void what_is_open_must_stay_allowed_with_what_it_has(void **state)
{
#define WS "{'rules': [{'allow': ['a.test'], 'intercept': true, 'inject': [{'bearer': 'S'}]"
    static const struct { const char *before, *after, *request; bool upgrade, held, stands; } cases[] = {
        { WS "}]}", WS ", 'limits': {'requests_per_minute': 5}}, {'allow': ['b.test']}]}", "GET /ws", true, true, true },
        { WS "}]}", WS ", 'websocket': false}]}", "GET /ws", true, true, false },
        { WS "}]}", WS ", 'websocket': false}]}", "GET /ws", false, false, true },
        { WS "}]}", WS ", 'methods': ['POST']}]}", "GET /ws", true, true, false },
        { WS "}]}", WS ", 'paths': ['/x']}]}", "GET /ws", false, false, false },
        { WS "}]}", "{'rules': [{'allow': ['a.test'], 'intercept': true}]}", "GET /ws", true, true, false },
        { WS "}]}", "{'rules': [{'allow': ['a.test'], 'intercept': true, 'inject': [{'bearer': 'T'}]}]}", "GET /ws", true, true, false },
        { WS "}]}", "{'rules': [{'allow': ['a.test'], 'intercept': true, 'inject': [{'bearer': 'S'}], 'upstream': {'host': 'b.test'}}]}", "GET /ws", true, true, false },
        { WS "}]}", "{'default': 'allow', 'rules': [{'allow': ['b.test'], 'intercept': true}]}", "GET /ws", true, true, false },
        { "{'rules': [{'allow': ['a.test'], 'intercept': true}]}", WS "}]}", "GET /ws", true, false, true },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy *before = trial_policy(cases[i].before), *after = trial_policy(cases[i].after);
        struct authority a = trial_authority("https://a.test");
        struct message m = trial_request(cases[i].request);
        struct verdict v;
        policy_request(before, trial_box("{}"), &a, &m, &v);
        assert_int_not_equal(v.kind, VERDICT_DENY);
        if (policy_still_allows_request(after, trial_box("{}"), &a, m.method, m.target, cases[i].upgrade, cases[i].held ? v.rule : NULL) != cases[i].stands)
            fail_msg("%s, then %s", cases[i].before, cases[i].after);
        message_fini(&m);
        policy_unref(before);
        policy_unref(after);
    }
}

static void a_fork_gets_what_is_meant_for_forks(void **state)
{
    static const struct { const char *rules, *child; } cases[] = {
        { "{'rules': [{'allow': ['a.test']}]}", NULL },
        { "{}", NULL },
        { "{'inherit': true, 'default': 'allow', 'rules': [{'allow': ['a.test']}]}", "{'inherit': true, 'default': 'allow', 'rules': [{'allow': ['a.test']}]}" },
        { "{'default': 'allow', 'rules': [{'deny': ['c.test']}, {'allow': ['a.test']}, {'name': 'b', 'allow': ['b.test'], 'inherit': true}]}",
          "{'default': 'deny', 'inherit': false, 'rules': [{'deny': ['c.test']}, {'name': 'b', 'allow': ['b.test'], 'inherit': true}]}" },
        { "{'rules': [{'deny': ['c.test'], 'inherit': true}]}", NULL },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy *p = trial_policy(cases[i].rules), *child = policy_for_fork(p);
        json_t *want = cases[i].child ? trial_json(cases[i].child) : NULL, *got = child ? policy_json(child) : NULL;
        if (want ? !got || !json_equal(want, got) : got != NULL)
            fail_msg("%s: %s", cases[i].rules, got ? json_dumps(got, 0) : "nothing");
        json_decref(want);
        json_decref(got);
        policy_unref(child);
        policy_unref(p);
    }
}

static void what_an_operator_may_not_mean_is_warned_of(void **state)
{
    static const struct { const char *rules, *warning; } cases[] = {
        { "{'default': 'allow'}", "default is \"allow\"" },
        { "{'rules': [{'allow': ['*']}]}", "\"*\" allows every host" },
        { "{'rules': [{'allow': ['*.a.test'], 'methods': ['GET'], 'inject': [{'bearer': 'S'}]}]}", "who controls one" },
        { RULE(", 'methods': ['GET'], 'inject': [{'bearer': 'S'}], 'require_tls': false"), "clear text" },
        { RULE(", 'inject': [{'bearer': 'S'}]"), "every method and path" },
        { RULE(", 'methods': ['GET'], 'inject': [{'bearer': 'NONE'}]"), "no secret \"NONE\"" },
        { RULE(", 'methods': ['GET'], 'inject': [{'query': 'k', 'secret': 'S'}]"), "in the query" },
        { RULE(", 'methods': ['GET'], 'handler': 'function() end', 'secrets': ['NONE']"), "no secret \"NONE\"" },
        { RULE(", 'set_headers': {'Authorization': 'Bearer x'}"), "everybody who may read" },
        { RULE(", 'private': true"), "private" },
        { RULE(", 'upstream': {'scheme': 'http', 'host': 'b.test'}"), "clear text" },
        { RULE(", 'methods': ['TRACE']"), "never passed on" },
        { "{'rules': [{'name': 'first', 'allow': ['*.a.test']}, {'allow': ['b.a.test'], 'set_headers': {'a': 'b'}}]}", "first comes first" },
        { RULE(""), NULL },
        { RULE(", 'methods': ['GET'], 'inject': [{'bearer': 'S'}]"), NULL },
        { "{'rules': [{'deny': ['*']}]}", NULL },
    };
    struct secrets *s = trial_secrets();

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct policy *p = trial_policy(cases[i].rules);
        json_t *list = policy_lint(p, s);
        if (json_array_size(list) != (cases[i].warning ? 1 : 0) || (cases[i].warning && !strstr(json_string_value(json_array_get(list, 0)), cases[i].warning)))
            fail_msg("%s: %s", cases[i].rules, json_dumps(list, 0));
        json_decref(list);
        policy_unref(p);
    }
    secrets_free(s);
}

/* ---- rates ---- */
static uint64_t now_ns = 1000000000000;

static uint64_t test_mono(void)
{
    return now_ns;
}

static void test_real(struct timespec *ts)
{
    *ts = (struct timespec){ 1440938160, 0 };
}

static const struct clock_ops test_clock = { test_real, test_mono, NULL };

static const struct rule *rule_of(struct policy *p)
{
    struct authority a = trial_authority("https://a.test");
    struct verdict v;

    policy_connect(p, trial_box(NULL), &a, &v);
    assert_non_null(v.rule);
    return v.rule;
}

static void requests_are_counted_by_rule_and_box(void **state)
{
    const struct clock_ops *before = clock_src;
    struct policy *p = trial_policy(RULE(", 'limits': {'requests_per_minute': 30}")), *other = trial_policy(RULE(""));
    const struct rule *r = rule_of(p);
    struct limiter *l = limiter_new(), *second = limiter_new();
    unsigned retry = 9, passed = 0;

    clock_src = &test_clock;
    for (unsigned i = 0; i < 100; i++)
        passed += limiter_request(l, r, &retry);
    assert_int_equal(passed, 30);
    assert_int_equal(retry, 2);
    assert_true(limiter_request(second, r, &retry));
    assert_true(limiter_request(l, rule_of(other), &retry));
    now_ns += 1999000000;
    assert_false(limiter_request(l, r, &retry));
    now_ns += 2000000;
    assert_true(limiter_request(l, r, &retry));
    assert_false(limiter_request(l, r, &retry));
    passed = 0;
    for (unsigned i = 0; i < 600; i++, now_ns += 100000000)       /* a minute */
        passed += limiter_request(l, r, &retry);
    assert_in_range(passed, 29, 31);
    limiter_free(l);
    limiter_free(second);
    policy_unref(p);
    policy_unref(other);
    clock_src = before;
}

static void bytes_are_paced_and_bounded(void **state)
{
    const struct clock_ops *before = clock_src;
    struct policy *p = trial_policy(RULE(", 'limits': {'bytes_per_second': 1000, 'request_bytes': 10, 'response_bytes': 100000}"));
    const struct rule *r = rule_of(p);
    struct limiter *l = limiter_new();
    uint64_t total = 0, sent = 0;
    unsigned wait = 0;

    clock_src = &test_clock;
    assert_int_equal(limiter_bytes(l, r, true, 4, &total, &wait), 4);
    assert_int_equal(limiter_bytes(l, r, true, 100, &total, &wait), 6);
    assert_int_equal(limiter_bytes(l, r, true, 1, &total, &wait), -EDQUOT);
    assert_int_equal(limiter_bytes(l, r, true, 0, &total, &wait), 0);
    total = 0;
    uint64_t until = now_ns + 10000000000;
    while (now_ns < until) {
        long n = limiter_bytes(l, r, false, 65536, &total, &wait);
        assert_true(n >= 0 && (n || wait));
        sent += (uint64_t)n;
        now_ns += n ? 0 : wait * 1000000ull;
    }
    assert_in_range(sent, 9900, 11100);
    assert_int_equal(sent, total);
    assert_int_equal(limiter_bytes(l, NULL, false, 77, &total, &wait), 77);
    limiter_free(l);
    policy_unref(p);
    clock_src = before;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_understood_is_refused_with_its_place),
        cmocka_unit_test(everything_has_a_bound),
        cmocka_unit_test(what_was_given_is_given_back),
        cmocka_unit_test(stage_one_tunnels_only_what_no_rule_wants_to_see),
        cmocka_unit_test(stage_two_judges_method_path_and_headers),
        cmocka_unit_test(stage_one_and_two_never_disagree),
        cmocka_unit_test(what_is_open_must_stay_allowed_with_what_it_has),
        cmocka_unit_test(a_fork_gets_what_is_meant_for_forks),
        cmocka_unit_test(what_an_operator_may_not_mean_is_warned_of),
        cmocka_unit_test(requests_are_counted_by_rule_and_box),
        cmocka_unit_test(bytes_are_paced_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
