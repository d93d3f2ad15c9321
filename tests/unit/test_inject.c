/* What goes out: credentials exactly once and of nobody's but the rule's (E20, E22, E28), AWS signatures by AWS's own vectors, and what must not come back (E25). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sandbox/egress/inject.h"
#include "tests/egress/policy_trial.h"

static struct secrets *secrets;
static char why[160];

static void test_real(struct timespec *ts)
{
    *ts = (struct timespec){ 1440938160, 0 };
}

static uint64_t test_mono(void)
{
    return 1;
}

static const struct clock_ops test_clock = { test_real, test_mono, NULL };

/* Judged and done as egress does it; m is what goes out. */
static enum apply_result apply(const char *rules, const char *url, const char *request, struct message *m, struct authority *upstream, struct message *answer)
{
    struct policy *p = trial_policy(rules);
    struct authority a = trial_authority(url);
    const struct policy_box *box = trial_box(NULL);
    struct verdict v;

    *m = trial_request(request);
    policy_request(p, box, &a, m, &v);
    enum apply_result r = APPLY_DENY;
    if (v.kind == VERDICT_DENY)
        snprintf(why, sizeof why, "%s", v.why);
    else
        r = policy_apply(v.rule, box, secrets, &a, m, upstream, answer, why);
    policy_unref(p);
    return r;
}

#define BEARER "{'rules': [{'allow': ['a.test'], 'inject': [{'bearer': 'S'}]}]}"
#define BASIC "{'rules': [{'allow': ['a.test'], 'inject': [{'basic': {'user': 'me', 'password': 'S'}}]}]}"
#define HEADER "{'rules': [{'allow': ['a.test'], 'inject': [{'header': 'X-Api-Key', 'secret': 'S', 'format': 'key={};'}]}]}"
#define COOKIE "{'rules': [{'allow': ['a.test'], 'inject': [{'header': 'Cookie', 'secret': 'S', 'format': 'sid={}'}]}]}"
#define QUERY "{'rules': [{'allow': ['a.test'], 'inject': [{'query': 'key', 'secret': 'S'}]}]}"
#define SECRET "s3cr3t-Canary+/="
#define BASIC_TEXT "Basic bWU6czNjcjN0LUNhbmFyeSsvPQ=="

static void every_spelling_goes_and_one_is_injected(void **state)
{
    static const char *const sent[] = {
        "GET /", "GET /|Authorization: mine", "GET /|AUTHORIZATION: mine|authorization: mine2|Authorization: mine3", "GET /|Authorization_: x|authorization.: y|-authorization: z|authorization--: z|X: authorization", "GET /|authorization: |Proxy-Authorization: mine",
        "GET /|X-Api-Key: mine|x_api_key: mine|X.Api.Key: mine|x-api_key: mine|X-API-KEY: mine",
    };

    for (unsigned i = 0; i < sizeof sent / sizeof *sent; i++) {
        struct message m, answer;
        struct authority up;
        assert_int_equal(apply(BEARER, "https://a.test", sent[i], &m, &up, &answer), APPLY_SEND);
        assert_int_equal(trial_count(&m, "authorization"), 1);
        assert_int_equal(trial_count(&m, "proxy-authorization"), 0);
        assert_string_equal(message_get(&m, "authorization"), "Bearer " SECRET);
        message_fini(&m);
        assert_int_equal(apply(BASIC, "https://a.test", sent[i], &m, &up, &answer), APPLY_SEND);
        assert_int_equal(trial_count(&m, "authorization"), 1);
        assert_string_equal(message_get(&m, "authorization"), BASIC_TEXT);
        message_fini(&m);
        assert_int_equal(apply(HEADER, "https://a.test", sent[i], &m, &up, &answer), APPLY_SEND);
        assert_int_equal(trial_count(&m, "x-api-key"), 1);
        assert_string_equal(message_get(&m, "x-api-key"), "key=" SECRET ";");
        message_fini(&m);
    }
}

static void cookies_stay_unless_they_are_injected(void **state)
{
    struct message m, answer;
    struct authority up;

    assert_int_equal(apply(BEARER, "https://a.test", "GET /|Cookie: a=b", &m, &up, &answer), APPLY_SEND);
    assert_string_equal(message_get(&m, "cookie"), "a=b");
    message_fini(&m);
    assert_int_equal(apply(COOKIE, "https://a.test", "GET /|Cookie: a=b|cookie: sid=mine", &m, &up, &answer), APPLY_SEND);
    assert_int_equal(trial_count(&m, "cookie"), 1);
    assert_string_equal(message_get(&m, "cookie"), "sid=" SECRET);
    message_fini(&m);
}

#define Q "key=s3cr3t-Canary%2B%2F%3D"
static void every_spelling_of_a_parameter_goes(void **state)
{
    static const struct { const char *sent, *out; } cases[] = {
        { "/", "/?" Q }, { "/?", "/?" Q }, { "/?a=1", "/?a=1&" Q }, { "/?key=mine", "/?" Q }, { "/?key", "/?" Q }, { "/?key&a", "/?a&" Q }, { "/?a&key", "/?a&" Q }, { "/?a&key=1&b", "/?a&b&" Q },
        { "/?%6bey=mine", "/?" Q }, { "/?%6Bey", "/?" Q }, { "/?ke%79=x&KEY=y&Key=z", "/?" Q }, { "/?%256bey=x", "/?" Q }, { "/?key[]=x", "/?" Q }, { "/?key%5B0%5D=x", "/?" Q },
        { "/?+key=x", "/?" Q }, { "/?%20key=x", "/?" Q }, { "/?a=1;key=x", "/?a=1&" Q }, { "/?key%00=x", "/?" Q }, { "/?key==x&&key", "/?" Q }, { "/?monkey=1&keys=2", "/?monkey=1&keys=2&" Q },
        { "/?a=key&b=%6bey", "/?a=key&b=%6bey&" Q }, { "/?a=%", "/?a=%&" Q }, { "/?&&", "/?" Q },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[200], *out;
        struct message m, answer;
        struct authority up;
        snprintf(request, sizeof request, "GET %s", cases[i].sent);
        assert_int_equal(apply(QUERY, "https://a.test", request, &m, &up, &answer), APPLY_SEND);
        out = m.target;
        /* empty parameters may stay where they were */
        if (strcmp(out, cases[i].out) && strcmp(cases[i].sent, "/?&&") && strcmp(cases[i].sent, "/?"))
            fail_msg("%s: %s, wanted %s", cases[i].sent, out, cases[i].out);
        unsigned n = 0;
        for (const char *p = out; (p = strstr(p, Q)); p++)
            n++;
        assert_int_equal(n, 1);
        message_fini(&m);
    }
}

static void random_queries_keep_all_but_the_injected(void **state)
{
    static const char *const parts[] = { "a=1", "b", "key=x", "KEY", "%6bey=y", "c=%20", "kex=1", "=key", "", "d;e" };
    unsigned seed = 7;

    for (unsigned round = 0; round < 5000; round++) {
        char target[200] = "/p?", want[200] = "/p?";
        unsigned n = (unsigned)rand_r(&seed) % 6;
        for (unsigned i = 0; i < n; i++) {
            unsigned k = (unsigned)rand_r(&seed) % 10;
            strcat(strcat(target, parts[k]), "&");
            if (k < 2 || k > 4)
                strcat(strcat(want, parts[k]), "&");
        }
        query_remove(target, "key");
        assert_false(query_has(target, "key"));
        size_t a = strlen(target), b = strlen(want);
        while (a && strchr("&?", target[a - 1]))
            target[--a] = 0;
        while (b && strchr("&?", want[b - 1]))
            want[--b] = 0;
        assert_string_equal(target, want);
    }
}

static void headers_are_set_and_removed_and_the_upstream_is_another(void **state)
{
    struct message m, answer;
    struct authority up;

    assert_int_equal(apply("{'rules': [{'allow': ['a.test'], 'set_headers': {'X-Env': 'test', 'x-empty': ''}, 'remove_headers': ['cookie'], 'upstream': {'host': 'b.test', 'port': 8443}}]}", "https://a.test",
                           "GET /x|x_env: mine|X-ENV: mine|Cookie: a|cookie: b|keep: me", &m, &up, &answer), APPLY_SEND);
    assert_int_equal(trial_count(&m, "x-env"), 1);
    assert_string_equal(message_get(&m, "x-env"), "test");
    assert_string_equal(message_get(&m, "x-empty"), "");
    assert_null(message_get(&m, "cookie"));
    assert_string_equal(message_get(&m, "keep"), "me");
    assert_string_equal(up.host, "b.test");
    assert_int_equal(up.port, 8443);
    assert_true(up.tls);
    message_fini(&m);
    assert_int_equal(apply("{'default': 'allow'}", "https://a.test", "GET /x|Authorization: mine", &m, &up, &answer), APPLY_SEND);
    assert_string_equal(message_get(&m, "authorization"), "mine");
    assert_string_equal(up.host, "a.test");
    message_fini(&m);
}

static void an_answer_goes_nowhere(void **state)
{
    struct message m, answer;
    struct authority up;

    assert_int_equal(apply("{'rules': [{'allow': ['a.test'], 'answer': {'status': 418, 'headers': {'content-type': 'text/plain'}, 'body': 'no tea'}}]}", "https://a.test", "GET /x", &m, &up, &answer), APPLY_ANSWER);
    assert_int_equal(answer.status, 418);
    assert_string_equal(message_get(&answer, "content-type"), "text/plain");
    assert_int_equal(answer.body_n, 6);
    assert_memory_equal(answer.body, "no tea", 6);
    message_fini(&m);
    message_fini(&answer);
}

static void a_credential_goes_only_where_it_is_bound(void **state)
{
    static const struct { const char *hosts; bool plain; const char *extra, *url; const char *refused; } cases[] = {
        { NULL, false, "", "https://a.test", NULL },
        { "['a.test']", false, "", "https://a.test", NULL },
        { "['b.test']", false, "", "https://a.test", "not bound" },
        { "['*.a.test']", false, "", "https://a.test", "not bound" },
        { NULL, false, "", "http://a.test", "TLS" },
        { NULL, true, "", "http://a.test", "TLS" },
        { NULL, false, ", 'require_tls': false", "http://a.test", "not bound" },
        { NULL, true, ", 'require_tls': false", "http://a.test", NULL },
        { "['a.test']", false, ", 'upstream': {'host': 'evil.test'}", "https://a.test", "not bound" },
        { "['b.test']", false, ", 'upstream': {'host': 'b.test'}", "https://a.test", NULL },
        { "['b.test']", false, ", 'upstream': {'host': 'b.test'}", "http://a.test", NULL },
    };
    const char *text;

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char rules[300];
        struct message m, answer;
        struct authority up;
        json_t *hosts = cases[i].hosts ? trial_json(cases[i].hosts) : NULL;
        assert_int_equal(secret_put(secrets, "BOUND", "bound-canary", 12, hosts, cases[i].plain, &text), 0);
        json_decref(hosts);
        snprintf(rules, sizeof rules, "{'rules': [{'allow': ['a.test'], 'inject': [{'bearer': 'BOUND'}]%s}]}", cases[i].extra);
        enum apply_result r = apply(rules, cases[i].url, "GET /|Authorization: mine", &m, &up, &answer);
        if (r != (cases[i].refused ? APPLY_DENY : APPLY_SEND) || (cases[i].refused && !strstr(why, cases[i].refused)))
            fail_msg("case %u: %d %s", i, r, why);
        assert_null(strstr(why, "canary"));
        message_fini(&m);
    }
    struct message m, answer;
    struct authority up;
    assert_int_equal(apply("{'rules': [{'allow': ['a.test'], 'inject': [{'bearer': 'GONE'}]}]}", "https://a.test", "GET /", &m, &up, &answer), APPLY_DENY);
    assert_non_null(strstr(why, "no secret GONE"));
    message_fini(&m);
}

/* ---- AWS: the suite aws-sig-v4-test-suite, and the examples of "Signature Calculations for the Authorization Header" (S3) ---- */
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
struct vector { const char *name, *service, *date, *method, *target, *headers /* host: ...|... */, *payload, *names, *signature; };
#define SUITE(name, target, extra, names, signature) { name, "service", "20150830T123600Z", "GET", target, "Host: example.amazonaws.com|X-Amz-Date: 20150830T123600Z" extra, EMPTY, names, signature }
#define PLAIN_NAMES "host;x-amz-date"
#define S3(name, method, target, extra, payload, names, signature) { name, "s3", "20130524T000000Z", method, target, "host: examplebucket.s3.amazonaws.com|x-amz-date: 20130524T000000Z|x-amz-content-sha256: " payload extra, payload, names, signature }
#define S3_NAMES "host;x-amz-content-sha256;x-amz-date"
static const struct vector vectors[] = {
    SUITE("get-vanilla", "/", "", PLAIN_NAMES, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    { "post-vanilla", "service", "20150830T123600Z", "POST", "/", "Host: example.amazonaws.com|X-Amz-Date: 20150830T123600Z", EMPTY, PLAIN_NAMES, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b" },
    SUITE("get-vanilla-query-order-key-case", "/?Param2=value2&Param1=value1", "", PLAIN_NAMES, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    SUITE("get-vanilla-query-order-encoded", "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", "", PLAIN_NAMES, "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"),
    SUITE("get-vanilla-query-unreserved", "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", "", PLAIN_NAMES,
          "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
    SUITE("get-vanilla-utf8-query", "/?\xe1\x88\xb4=bar", "", PLAIN_NAMES, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    SUITE("get-slashes-normalized", "//example//", "", PLAIN_NAMES, "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
    SUITE("get-relative-relative-normalized", "/example1/example2/../..", "", PLAIN_NAMES, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    SUITE("get-slash-pointless-dot-normalized", "/./example", "", PLAIN_NAMES, "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
    SUITE("get-space-normalized", "/example space/", "", PLAIN_NAMES, "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
    SUITE("get-header-value-trim", "/", "|My-Header1:  value1|My-Header2:  \"a   b   c\"", "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
    SUITE("get-header-key-duplicate", "/", "|My-Header1: value2|My-Header1: value2|My-Header1: value1", "host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"),
    SUITE("get-vanilla-with-session-token", "/", "|X-Amz-Security-Token: 6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267", "host;x-amz-date;x-amz-security-token",
          "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"),
    { "post-x-www-form-urlencoded", "service", "20150830T123600Z", "POST", "/",
      "Content-Type: application/x-www-form-urlencoded|Host: example.amazonaws.com|Content-Length: 13|x-amz-content-sha256: 9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e|X-Amz-Date: 20150830T123600Z",
      "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e", "content-length;content-type;host;x-amz-content-sha256;x-amz-date", "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b" },
    S3("s3 GET object", "GET", "/test.txt", "|Range: bytes=0-9", EMPTY, "host;range;x-amz-content-sha256;x-amz-date", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    S3("s3 PUT object", "PUT", "/test$file.text", "|Date: Fri, 24 May 2013 00:00:00 GMT|x-amz-storage-class: REDUCED_REDUNDANCY", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
       "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
    S3("s3 PUT object, encoded on the wire", "PUT", "/test%24file.text", "|Date: Fri, 24 May 2013 00:00:00 GMT|x-amz-storage-class: REDUCED_REDUNDANCY",
       "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class", "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
    S3("s3 GET bucket lifecycle", "GET", "/?lifecycle", "", EMPTY, S3_NAMES, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    S3("s3 list objects", "GET", "/?prefix=J&max-keys=2", "", EMPTY, S3_NAMES, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
};

static void signatures_are_those_that_aws_publishes(void **state)
{
    for (unsigned i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const struct vector *v = &vectors[i];
        bool s3 = !strcmp(v->service, "s3");
        char *headers = strdup(v->headers), *save = NULL, want[400];
        struct sigv4_field fields[10];
        unsigned n = 0;
        for (char *p = strtok_r(headers, "|", &save); p; p = strtok_r(NULL, "|", &save)) {
            char *colon = strchr(p, ':');
            *colon = 0;
            fields[n++] = (struct sigv4_field){ p, colon + 2 };
        }
        struct sigv4 s = { s3 ? "AKIAIOSFODNN7EXAMPLE" : "AKIDEXAMPLE", s3 ? "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" : "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1", v->service, v->method,
                           v->target, fields, n, v->payload, v->date };
        snprintf(want, sizeof want, "AWS4-HMAC-SHA256 Credential=%s/%.8s/us-east-1/%s/aws4_request, SignedHeaders=%s, Signature=%s", s.access_key, v->date, v->service, v->names, v->signature);
        char *got = sigv4_authorization(&s);
        if (!got || strcmp(got, want))
            fail_msg("%s:\n got %s\nwant %s", v->name, got, want);
        free(got);
        free(headers);
    }
}

#define AWS(service, more) "{'rules': [{'allow': ['example.amazonaws.com'], 'inject': [{'sigv4': {'access_key': 'AKID', 'secret_key': 'AKEY', 'region': 'us-east-1', 'service': '" service "'" more "}}]}]}"
static void a_rule_signs_what_goes_out_and_nothing_of_the_workloads_stays(void **state)
{
    const struct clock_ops *before = clock_src;
    struct message m, answer;
    struct authority up;

    clock_src = &test_clock;
    /* with an empty body in memory this is get-vanilla of the suite */
    struct policy *p = trial_policy(AWS("service", ""));
    struct authority a = trial_authority("https://example.amazonaws.com");
    struct verdict v;
    m = trial_request("GET /?X-Amz-Signature=mine&X-Amz-Credential=mine|Authorization: AWS4-HMAC-SHA256 mine|x-amz-date: 20200101T000000Z|x_amz_date: 1|X-Amz-Security-Token: mine|Date: now");
    m.body = strdup("");
    policy_request(p, trial_box(NULL), &a, &m, &v);
    assert_int_equal(rule_wants_body(v.rule), 1 << 20);
    assert_int_equal(policy_apply(v.rule, trial_box(NULL), secrets, &a, &m, &up, &answer, why), APPLY_SEND);
    assert_string_equal(message_get(&m, "authorization"),
                        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    assert_string_equal(m.target, "/");
    assert_int_equal(trial_count(&m, "x-amz-date"), 1);
    assert_string_equal(message_get(&m, "x-amz-date"), "20150830T123600Z");
    assert_null(message_get(&m, "x-amz-security-token"));
    assert_null(message_get(&m, "date"));
    message_fini(&m);
    policy_unref(p);
    /* s3: unsigned, or what the sandbox says it is; a body that was signed in chunks is refused */
    assert_int_equal(apply(AWS("s3", ""), "https://example.amazonaws.com", "PUT /k?a=1+2", &m, &up, &answer), APPLY_SEND);
    assert_string_equal(message_get(&m, "x-amz-content-sha256"), "UNSIGNED-PAYLOAD");
    assert_string_equal(m.target, "/k?a=1%202");
    message_fini(&m);
    assert_int_equal(apply(AWS("s3", ""), "https://example.amazonaws.com", "PUT /k|X-Amz-Content-Sha256: " EMPTY, &m, &up, &answer), APPLY_SEND);
    assert_string_equal(message_get(&m, "x-amz-content-sha256"), EMPTY);
    message_fini(&m);
    assert_int_equal(apply(AWS("s3", ""), "https://example.amazonaws.com", "PUT /k|X-Amz-Content-Sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER", &m, &up, &answer), APPLY_SEND);
    assert_string_equal(message_get(&m, "x-amz-content-sha256"), "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    message_fini(&m);
    assert_int_equal(apply(AWS("s3", ""), "https://example.amazonaws.com", "PUT /k|X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD", &m, &up, &answer), APPLY_DENY);
    assert_non_null(strstr(why, "aws-chunked"));
    message_fini(&m);
    assert_int_equal(apply(AWS("s3", ", 'session_token': 'T'"), "https://example.amazonaws.com", "GET /k", &m, &up, &answer), APPLY_SEND);
    assert_string_equal(message_get(&m, "x-amz-security-token"), "other.Canary_2");
    assert_non_null(strstr(message_get(&m, "authorization"), "x-amz-security-token"));
    message_fini(&m);
    clock_src = before;
}

/* ---- what must not come back ---- */
static void what_was_injected_does_not_come_back_in_headers(void **state)
{
    static const char *const forms[] = { SECRET, "s3cr3t-Canary%2B%2F%3D", "s3cr3t-Canary%2b%2f%3d", "czNjcjN0LUNhbmFyeSsvPQ==", "czNjcjN0LUNhbmFyeSsvPQ", "bWU6czNjcjN0LUNhbmFyeSsvPQ==", BASIC_TEXT,
                                         "7333637233742d43616e6172792b2f3d", "7333637233742D43616E6172792B2F3D" };
    struct message m, answer;
    struct authority up;

    assert_int_equal(apply(BASIC, "https://a.test", "GET /", &m, &up, &answer), APPLY_SEND);
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct message r = { .status = 302 };
        char value[300];
        snprintf(value, sizeof value, "https://x.test/?a=%s&b=%s;", forms[i], forms[i]);
        assert_int_equal(message_add(&r, "Location", value), 0);
        assert_int_equal(message_add(&r, "Set-Cookie", forms[i]), 0);
        assert_int_equal(message_add(&r, "X-Fine", "fine"), 0);
        r.reason = strdup(forms[i]);
        policy_redact(&m, &r);
        for (unsigned k = 0; k < r.count; k++)
            assert_null(strstr(r.fields[k].value, forms[i]));
        assert_null(strstr(r.reason, forms[i]));
        assert_string_equal(message_get(&r, "x-fine"), "fine");
        assert_int_equal(r.count, 3);
        message_fini(&r);
    }
    message_fini(&m);
    assert_int_equal(apply("{'rules': [{'allow': ['a.test'], 'inject': [{'bearer': 'T'}]}]}", "https://a.test", "GET /", &m, &up, &answer), APPLY_SEND);
    struct message r = { .status = 200 };
    assert_int_equal(message_add(&r, "x-OTHER.canary_2", "v"), 0);
    policy_redact(&m, &r);
    assert_int_equal(r.count, 0);
    message_fini(&r);
    message_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_spelling_goes_and_one_is_injected),
        cmocka_unit_test(cookies_stay_unless_they_are_injected),
        cmocka_unit_test(every_spelling_of_a_parameter_goes),
        cmocka_unit_test(random_queries_keep_all_but_the_injected),
        cmocka_unit_test(headers_are_set_and_removed_and_the_upstream_is_another),
        cmocka_unit_test(an_answer_goes_nowhere),
        cmocka_unit_test(a_credential_goes_only_where_it_is_bound),
        cmocka_unit_test(signatures_are_those_that_aws_publishes),
        cmocka_unit_test(a_rule_signs_what_goes_out_and_nothing_of_the_workloads_stays),
        cmocka_unit_test(what_was_injected_does_not_come_back_in_headers),
    };

    secrets = trial_secrets();
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    secrets_free(secrets);
    trial_box(NULL);
    return r;
}
