/* Handlers: what they may do, what they may not, and that nothing they do costs more than its bound. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "sandbox/egress/handler_result.h"
#include "tests/egress/policy_trial.h"

static struct secrets *secrets;
static char why[160];

struct outcome { enum apply_result result; struct message m, answer; struct authority up; };

/* The handler is given as it is: no quotes are changed. more: other fields of the rule. */
static struct outcome run_for(const char *box_id, const char *handler, const char *more, const char *request, char text[160])
{
    struct outcome o = { .m = trial_request(request) };
    json_t *doc = json_pack("{s:[{s:[s], s:s}]}", "rules", "allow", "a.test", "handler", handler), *extra = trial_json(more);
    struct policy_fault fault;
    struct policy *p = NULL;
    struct authority a = trial_authority("https://a.test");
    json_t *labels = json_pack("{s:s}", "team", "a");
    struct policy_box box = { box_id, "work", labels };
    struct verdict v;

    json_object_update(json_array_get(json_object_get(doc, "rules"), 0), extra);
    if (policy_parse(doc, &p, &fault))
        fail_msg("%s: %s", handler, fault.text);
    policy_request(p, &box, &a, &o.m, &v);
    assert_int_not_equal(v.kind, VERDICT_DENY);
    o.result = policy_apply(v.rule, &box, secrets, &a, &o.m, &o.up, &o.answer, text);
    policy_unref(p);
    json_decref(doc);
    json_decref(extra);
    json_decref(labels);
    return o;
}

static struct outcome run(const char *handler, const char *more, const char *request)
{
    return run_for("box-1", handler, more, request, why);
}

static void done(struct outcome *o)
{
    message_fini(&o->m);
    message_fini(&o->answer);
}

#define NAMED "{'secrets': ['S'], 'methods': ['GET', 'POST']}"

static void a_request_is_passed_on_edited(void **state)
{
    struct outcome o = run("function(r, c) r.headers['X-Path'] = r.path .. '?' .. r.query; r.headers.gone = nil; r.method = 'POST'; r.path = '/v2' .. r.path; r.query = 'q=2'; return r end", "{}",
                           "GET /x?q=1|Keep: a|keep: b|gone: 1|Gone: 2");

    assert_int_equal(o.result, APPLY_SEND);
    assert_string_equal(o.m.method, "POST");
    assert_string_equal(o.m.target, "/v2/x?q=2");
    assert_string_equal(message_get(&o.m, "x-path"), "/x?q=1");
    assert_null(message_get(&o.m, "gone"));
    assert_int_equal(trial_count(&o.m, "keep"), 2);
    done(&o);
    o = run("function(r) r.headers.x = 'edited in place' end", "{}", "GET /x");
    assert_int_equal(o.result, APPLY_SEND);
    assert_string_equal(o.m.target, "/x");
    assert_string_equal(message_get(&o.m, "x"), "edited in place");
    done(&o);
    o = run("function(r) return { method = 'GET', path = '/new', headers = { a = 1, b = false } } end", "{}", "GET /x?y|c: d");
    assert_int_equal(o.result, APPLY_SEND);
    assert_string_equal(o.m.target, "/new");
    assert_int_equal(o.m.count, 1);
    assert_string_equal(message_get(&o.m, "a"), "1");
    done(&o);
}

static void the_context_says_who_asks(void **state)
{
    struct outcome o = run("function(r, c) return { status = 200, body = table.concat({c.sandbox, c.name, c.labels.team, c.rule, r.method, r.scheme, r.host, r.port, math.type(c.time)}, ' ') } end", "{'name': 'the-rule'}", "GET /");

    assert_int_equal(o.result, APPLY_ANSWER);
    assert_string_equal(o.answer.body, "box-1 work a the-rule GET https a.test 443 integer");
    done(&o);
}

static void an_answer_is_the_handlers(void **state)
{
    struct outcome o = run("function() return { status = 403, headers = { ['Content-Type'] = 'text/plain' }, body = 'a\\0b\\255' } end", "{}", "GET /");

    assert_int_equal(o.result, APPLY_ANSWER);
    assert_int_equal(o.answer.status, 403);
    assert_int_equal(o.answer.body_n, 4);
    assert_memory_equal(o.answer.body, "a\0b\xff", 4);
    assert_string_equal(message_get(&o.answer, "content-type"), "text/plain");
    done(&o);
}

/* Everything that is refused, and what the log says of it. */
static void what_a_handler_may_not_do_denies(void **state)
{
    static const struct { const char *handler, *text; } cases[] = {
        { "function() deny('not today') end", "not today" },
        { "function() deny() end", "denied by the handler" },
        { "function() pcall(deny, 'even in pcall') end", "even in pcall" },
        { "function() deny('line\\nbreak') end", "line?break" },
        { "function() error('went wrong') end", "went wrong" },
        { "function() error({}) end", "not a string" },
        { "function() local x = nil; return x.y end", "nil" },
        { "function() return 7 end", "not number" },
        { "function() return 'x' end", "not string" },
        { "function(r) r.host = 'evil.test' return r end", "does not change host" },
        { "function(r) r.scheme = 'http' end", "does not change scheme" },
        { "function(r) r.port = 80 end", "does not change port" },
        { "function(r) r.method = 'CONNECT' end", "method" },
        { "function(r) r.method = 'G T' end", "method" },
        { "function(r) r.method = nil end", "method must be a string" },
        { "function(r) r.path = 'x' end", "path and query" },
        { "function(r) r.path = '/a b' end", "path and query" },
        { "function(r) r.path = '/a\\r\\nb' end", "path and query" },
        { "function(r) r.path = '/a?b' end", "path and query" },
        { "function(r) r.query = 'a#b' end", "path and query" },
        { "function(r) r.headers.x = 'a\\r\\nb: c' end", "name or value" },
        { "function(r) r.headers.x = 'a\\0b' end", "NUL" },
        { "function(r) r.headers['a b'] = 'c' end", "do not write" },
        { "function(r) r.headers.host = 'evil' end", "do not write" },
        { "function(r) r.headers['Content-Length'] = '1' end", "do not write" },
        { "function(r) r.headers.x = {} end", "must be a string" },
        { "function(r) r.headers = 1 end", "must be a table" },
        { "function(r) r.headers[1] = 'x' end", "names of headers" },
        { "function() return { status = 100 } end", "status" },
        { "function() return { status = 'x' } end", "status" },
        { "function() return { status = 200, body = {} } end", "body must be" },
        { "function() return { status = 204, body = 'x' } end", "no body" },
        { "function() return { status = 200, body = string.rep('x', 65537) } end", "64 KiB" },
        /* what is not there */
        { "function() os.exit(1) end", "'os'" }, { "function() io.open('/etc/passwd') end", "'io'" }, { "function() require('os') end", "'require'" }, { "function() load('x')() end", "'load'" },
        { "function() loadfile('x') end", "'loadfile'" }, { "function() dofile('x') end", "'dofile'" }, { "function() debug.getregistry() end", "'debug'" }, { "function() package.loadlib('x', 'y') end", "'package'" },
        { "function() coroutine.create(print) end", "'coroutine'" }, { "function() print('x') end", "'print'" }, { "function() collectgarbage() end", "'collectgarbage'" }, { "function() string.dump(deny) end", "'dump'" },
        { "function() return math.random() end", "'random'" }, { "function() utf8.char(1) end", "'utf8'" },
        /* secrets */
        { "function() secret('T') end", "do not name" },
        { "function() secret('NONE') end", "do not name" },
        { "function(r) r.path = secret('S') end", "path must be a string, not a secret" },
        { "function(r) r.query = 'k=' .. secret('S') end", "query must be a string, not a secret" },
        { "function(r) r.method = secret('S') end", "not a secret" },
        { "function() return { status = 200, body = secret('S') } end", "body must be a string, not a secret" },
        { "function() return { status = 200, headers = { x = secret('S') } } end", "cannot be in an answer" },
        { "function() deny(secret('S')) end", "handler failed" },
        { "function() deny('x' .. secret('S')) end", "handler failed" },
        { "function() deny(tostring(secret('S'))) end", "has no text" },
        { "function() error(secret('S')) end", "not a string" },
        { "function() return string.format('%s', secret('S')) end", "has no text" },
        { "function() return #secret('S') end", "has no text" },
        { "function() return secret('S'):upper() end", "has no text" },
        { "function() return secret('S') < 'z' end", "has no text" },
        { "function() return table.concat({ secret('S') }) end", "invalid value" },
        { "function() return secret('S') .. {} end", "concatenate a secret" },
        { "function() local m = getmetatable(secret('S')); m.__tostring = nil end", "boolean" },
        { "function() setmetatable(secret('S'), {}) end", "table expected" },
        { "function() local s = secret('S'); while true do s = s .. s end end", "longer than" },
        { "function() return string.byte(secret('S')) end", "string expected" },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct outcome o = run(cases[i].handler, NAMED, "GET /|a: b");
        if (o.result != APPLY_DENY || !strstr(why, cases[i].text) || strstr(why, "Canary"))
            fail_msg("%s: %d \"%s\", wanted \"%s\"", cases[i].handler, o.result, why, cases[i].text);
        done(&o);
    }
}

static void a_secret_is_put_in_by_egress_in_a_header_only(void **state)
{
    struct outcome o = run("function(r) local s = secret('S'); r.headers['X-Key'] = 'a-' .. s .. '-' .. 1 .. s .. '!'; r.headers.plain = s end", NAMED, "GET /|x_key: mine|X.Key: mine");

    assert_int_equal(o.result, APPLY_SEND);
    assert_string_equal(message_get(&o.m, "x-key"), "a-s3cr3t-Canary+/=-1s3cr3t-Canary+/=!");
    assert_string_equal(message_get(&o.m, "plain"), "s3cr3t-Canary+/=");
    assert_int_equal(trial_count(&o.m, "x-key"), 1);
    done(&o);
    /* in whatever order Lua gives its table */
    for (unsigned i = 0; i < 40; i++) {
        char handler[120];
        snprintf(handler, sizeof handler, "function(r) r.headers['x-key%u'] = secret('S') end", i);
        char request[160];
        snprintf(request, sizeof request, "GET /|X_Key%u: mine|x.key%u: mine|X-KEY%u: mine|X-Key%u_: mine", i, i, i, i);
        o = run(handler, NAMED, request);
        assert_int_equal(o.result, APPLY_SEND);
        assert_int_equal(o.m.count, 1);
        assert_string_equal(o.m.fields[0].value, "s3cr3t-Canary+/=");
        done(&o);
    }
    o = run("function(r) r.headers['X-Key'] = secret('S') end", NAMED, "GET /");
    struct message r = { .status = 200 };
    assert_int_equal(message_add(&r, "echo", "s3cr3t-Canary+/="), 0);
    policy_redact(&o.m, &r);
    assert_string_equal(message_get(&r, "echo"), "[redacted]");
    message_fini(&r);
    done(&o);
    o = run("function(r) r.headers.x = secret('S') end", "{'secrets': ['S'], 'upstream': {'host': 'b.test', 'scheme': 'http'}, 'require_tls': false}", "GET /");
    assert_int_equal(o.result, APPLY_DENY);
    assert_non_null(strstr(why, "not bound"));
    done(&o);
}

/* Whatever a handler does: an answer in bounded time, and the next one works. */
static void nothing_costs_more_than_its_bound(void **state)
{
    static const struct { const char *handler, *text; } cases[] = {
        { "function() while true do end end", "10 million instructions" },
        { "function() while true do pcall(function() while true do end end) end end", "10 million instructions" },
        { "function() local function f() return f() end return f() end", "10 million instructions" },
        { "function() local function f() return 1 + f() end return f() end", "" },
        { "function() local t = {} for i = 1, 1e9 do t[i] = {} end end", "not enough memory" },
        { "function() local s = 'x' while true do s = s .. s end end", "not enough memory" },
        { "function() return { status = 200, body = string.rep('x', 1 << 40) } end", "" },
        { "function() return string.rep('x', 1 << 62, 'yy') end", "too large" },
        { "function() local t = setmetatable({}, { __index = function(t, k) return t[k] end }) return t.x end", "C stack overflow" },
        /* the count hook never fires inside these */
        { "function() return string.find(string.rep('a', 30000), '.-.-.-.-.-.-.-.-b') end", "too long" },
        { "function() return string.match(string.rep('a', 200), string.rep('a?', 200) .. string.rep('a', 201)) end", "" },
        { "function() return string.gsub(string.rep('a', 60000), '(a*)*b', '') end", "" },
        { "function() for _ in string.gmatch(string.rep('x', 60000), '(.-)(.-)(.-)y') do end end", "too long" },
        { "function(r) return r.headers.evil:find('^(.*)(.*)(.*)(.*)(.*)(.*)z$') end", "too long" },
        { "function() local t = {} for i = 1, 200000 do t[i] = i % 7 end while true do table.sort(t, function(a, b) return a > b end) end end", "" },
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[4000] = "GET /|evil: ";
        memset(request + strlen(request), 'a', 3000);
        struct outcome o = run(cases[i].handler, "{}", request);
        if (o.result != APPLY_DENY || !strstr(why, cases[i].text))
            fail_msg("%s: %d \"%s\"", cases[i].handler, o.result, why);
        done(&o);
        o = run("function() end", "{}", "GET /");
        assert_int_equal(o.result, APPLY_SEND);
        done(&o);
    }
}

static void nothing_stays_from_one_request_to_the_next(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        struct outcome o = run("function() local was = seen; seen = true; string.seen = (string.seen or 0) + 1; return { status = 200, body = tostring(was) .. string.seen } end", "{}", "GET /");
        assert_int_equal(o.result, APPLY_ANSWER);
        assert_string_equal(o.answer.body, "nil1");
        done(&o);
    }
}

static void *slow_ones(void *arg)
{
    char text[160];

    struct outcome o = run_for("box-slow", "function() return string.find(string.rep('a', 30000), '.-.-.-.-.-.-.-.-b') end", "{}", "GET /", text);
    assert_int_equal(o.result, APPLY_DENY);
    done(&o);
    return NULL;
}

static void *quick_ones(void *arg)
{
    char text[160];

    for (unsigned i = 0; i < 100; i++) {
        char request[64];
        snprintf(request, sizeof request, "GET /%p/%u", arg, i);
        struct outcome o = run_for("box-quick", "function(r) return { status = 200, body = r.path } end", "{}", request, text);
        if (o.result == APPLY_ANSWER)
            assert_string_equal(o.answer.body, request + 4);
        *(unsigned *)arg += o.result == APPLY_ANSWER;
        done(&o);
    }
    return NULL;
}

static void slow_handlers_of_one_box_do_not_stop_another(void **state)
{
    pthread_t slow[6], quick[4];
    unsigned good[4] = { 0 };

    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(pthread_create(&slow[i], NULL, slow_ones, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&quick[i], NULL, quick_ones, &good[i]), 0);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(quick[i], NULL);
        assert_int_equal(good[i], 100);
    }
    for (unsigned i = 0; i < 6; i++)
        pthread_join(slow[i], NULL);
}

/* Whatever comes back from a process that somebody took over is judged like any other input. */
static void a_result_that_is_not_one_denies(void **state)
{
    unsigned seed = 5, sent = 0;
    static const char tags[] = "SADEmpqhtscbx";
    struct policy *p = trial_policy("{'rules': [{'allow': ['a.test'], 'handler': 'function() end', 'secrets': ['S']}]}");
    struct authority a = trial_authority("https://a.test");
    struct verdict v;

    policy_connect(p, trial_box(NULL), &a, &v);
    for (unsigned round = 0; round < 20000; round++) {
        static const char *const values[] = { "", "GET", "/x", "a=b", "x-a", "v", "S", "T", "200", "999", "a\r\nb", "host" };
        struct buf b = BUF_INIT;
        struct message m = trial_request("GET /old|h: v"), answer = { 0 };
        unsigned n = (unsigned)rand_r(&seed) % 8;
        if (rand_r(&seed) % 2) {
            record_put(&b, 'S', NULL, 0);
            record_put(&b, 'm', "PUT", 3);
            record_put(&b, 'p', "/new", 4);
        }
        for (unsigned i = 0; i < n; i++) {
            const char *x = values[rand_r(&seed) % 12];
            buf_put_u8(&b, (uint8_t)tags[i || rand_r(&seed) % 2 ? (unsigned)rand_r(&seed) % 13 : 0]);
            buf_put_u32(&b, (uint32_t)(rand_r(&seed) % 50 ? strlen(x) : (unsigned)rand_r(&seed)));
            buf_put(&b, x, strlen(x));
        }
        *why = 0;
        enum apply_result r = handler_result(v.rule, secrets, &a, &b, &m, &answer, why);
        if (r == APPLY_SEND) {
            assert_true(m.target[0] == '/' && !strpbrk(m.target, " \r\n") && m.method[0]);
            sent++;
        }
        for (unsigned i = 0; i < m.count; i++)
            assert_null(strpbrk(m.fields[i].value, "\r\n"));
        assert_true(r == APPLY_DENY ? *why : !*why);
        assert_null(strstr(why, "Canary"));
        message_fini(&m);
        message_fini(&answer);
        buf_fini(&b);
    }
    assert_true(sent > 500);
    policy_unref(p);
}

static void what_it_costs(void **state)
{
    uint64_t begin = clock_mono_ns();
    enum { N = 100 };

    for (unsigned i = 0; i < N; i++) {
        struct outcome o = run("function(r, c) r.headers['x-sandbox'] = c.sandbox return r end", "{}", "GET /|a: b");
        assert_int_equal(o.result, APPLY_SEND);
        done(&o);
    }
    print_message("a handler: %llu us\n", (unsigned long long)((clock_mono_ns() - begin) / 1000 / N));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_costs),
        cmocka_unit_test(a_request_is_passed_on_edited),
        cmocka_unit_test(the_context_says_who_asks),
        cmocka_unit_test(an_answer_is_the_handlers),
        cmocka_unit_test(what_a_handler_may_not_do_denies),
        cmocka_unit_test(a_secret_is_put_in_by_egress_in_a_header_only),
        cmocka_unit_test(nothing_costs_more_than_its_bound),
        cmocka_unit_test(nothing_stays_from_one_request_to_the_next),
        cmocka_unit_test(slow_handlers_of_one_box_do_not_stop_another),
        cmocka_unit_test(a_result_that_is_not_one_denies),
    };

    if (handlers_start())
        return 1;
    secrets = trial_secrets();
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    secrets_free(secrets);
    handlers_stop();
    trial_box(NULL);
    return r;
}
