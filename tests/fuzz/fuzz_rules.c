/* A line that is a request's target, then a document of rules. What is accepted is given back as it was and accepted again; the stages agree; what is taken out of a query is gone; the log's
 * shape of the path is printable. The whole as a handler's result: never more than a denial. */
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/audit.h"
#include "sandbox/egress/handler_result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_query(char *target)
{
    char shape[PATH_SHAPE_MAX];

    query_remove(target, "key");
    if (query_has(target, "key") || strlen(path_shape(target, shape)) > 200)
        abort();
    for (const char *p = shape; *p; p++)
        if (*p < 0x21 || *p > 0x7e)
            abort();
}

static void judge(const struct policy *p, const char *target)
{
    static const struct authority hosts[] = { { true, HOST_NAME, "a.test", 443 }, { false, HOST_NAME, "b.a.test", 80 }, { true, HOST_V4, "1.2.3.4", 443 } };
    struct policy_box box = { "b", "b", NULL };

    for (unsigned i = 0; i < 3; i++) {
        struct message m = { .method = "GET", .target = strdup(target) };
        struct verdict one, two;
        policy_connect(p, &box, &hosts[i], &one);
        policy_request(p, &box, &hosts[i], &m, &two);
        if (one.kind == VERDICT_DENY && two.kind != VERDICT_DENY)
            abort();
        message_fini(&m);
    }
}

static void check_rules(const char *text, size_t n, const char *target)
{
    json_t *doc = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL), *back;
    struct policy_fault fault;
    struct policy *p = NULL, *again = NULL;

    if (doc && !policy_parse(doc, &p, &fault)) {
        back = policy_json(p);
        if (!json_equal(doc, back) || policy_parse(back, &again, &fault))
            abort();
        json_decref(back);
        json_decref(policy_lint(p, NULL));
        judge(p, target);
        struct policy *child = policy_for_fork(p);
        policy_unref(child);
        policy_unref(again);
        policy_unref(p);
    } else if (doc && !*fault.text)
        abort();
    json_decref(doc);
}

static void check_result(const uint8_t *data, size_t size)
{
    static const uint8_t key[SECRET_KEY_BYTES];
    static struct secrets *s;
    struct rule r = { .name = "r", .handler = "", .secrets = { (const char *[]){ "S" }, 1 } };
    struct authority a = { true, HOST_NAME, "a.test", 443 };
    struct message m = { .method = "GET", .target = strdup("/") }, answer = { 0 };
    struct buf in = BUF_INIT;
    const char *text;
    char why[160] = "";

    if (!s && (secrets_open(-1, key, &s) || secret_put(s, "S", "canary", 6, NULL, false, &text)))
        abort();
    buf_put(&in, data, size);
    enum apply_result got = handler_result(&r, s, &a, &in, &m, &answer, why);
    if ((got == APPLY_DENY) != (*why != 0) || (strstr(why, "canary") && !memmem(data, size, "canary", 6)) || (got == APPLY_SEND && (m.target[0] != '/' || strpbrk(m.target, " \r\n"))))
        abort();
    message_fini(&m);
    message_fini(&answer);
    buf_fini(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t n = end ? (size_t)(end - data) : 0;
    char *target = malloc(n + 2);

    target[0] = '/';
    memcpy(target + 1, data, n);
    target[n + 1] = 0;
    if (end)
        check_rules((const char *)end + 1, size - n - 1, target);
    check_query(target);
    check_result(data, size);
    free(target);
    return 0;
}
