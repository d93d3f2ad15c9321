#include "tests/egress/policy_trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox/egress/policy_private.h"

json_t *trial_json(const char *text)
{
    json_error_t e;
    char *copy = strdup(text);

    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_t *j = json_loads(copy, JSON_REJECT_DUPLICATES, &e);
    if (!j)
        fail_msg("%s: %s", copy, e.text);
    free(copy);
    return j;
}

static struct policy_fault fault;

struct policy *trial_policy(const char *text)
{
    json_t *j = trial_json(text);
    struct policy *p = NULL;

    if (policy_parse(j, &p, &fault))
        fail_msg("%s: %s", text, fault.text);
    json_decref(j);
    return p;
}

const char *trial_refused(const char *text)
{
    json_t *j = trial_json(text);
    struct policy *p = NULL;
    int r = policy_parse(j, &p, &fault);

    json_decref(j);
    policy_unref(p);
    assert_true(!r || r == -EINVAL);
    return r ? fault.text : NULL;
}

struct authority trial_authority(const char *url)
{
    struct authority a;
    bool tls = !strncmp(url, "https://", 8);
    const char *host = url + (tls ? 8 : 7);
    const char *why = authority_parse((struct slice){ host, strlen(host) }, tls, tls ? 443 : 80, &a);

    if (why)
        fail_msg("%s: %s", url, why);
    return a;
}

struct message trial_request(const char *text)
{
    struct message m = { 0 };
    char *copy = strdup(text), *save = NULL, *part = strtok_r(copy, "|", &save), *space = strchr(part, ' ');

    snprintf(m.method, sizeof m.method, "%.*s", (int)(space - part), part);
    m.target = strdup(space + 1);
    while ((part = strtok_r(NULL, "|", &save))) {
        char *colon = strchr(part, ':');
        *colon = 0;
        assert_int_equal(message_add(&m, part, colon + 2), 0);
    }
    free(copy);
    return m;
}

const struct policy_box *trial_box(const char *labels)
{
    static struct policy_box box;

    json_decref(box.labels);
    box = (struct policy_box){ "box-1", "work", trial_json(labels ? labels : "{}") };
    return &box;
}

struct secrets *trial_secrets(void)
{
    static const uint8_t key[SECRET_KEY_BYTES] = { 1, 2, 3 };
    static const char *const values[][2] = { { "S", "s3cr3t-Canary+/=" }, { "T", "other.Canary_2" }, { "AKID", "AKIDEXAMPLE" }, { "AKEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" } };
    struct secrets *s = NULL;
    const char *why;

    assert_int_equal(secrets_open(-1, key, &s), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(secret_put(s, values[i][0], values[i][1], strlen(values[i][1]), NULL, false, &why), 0);
    return s;
}

unsigned trial_count(const struct message *m, const char *name)
{
    unsigned n = 0;

    for (unsigned i = 0; i < m->count; i++)
        n += text_folds_to(m->fields[i].name, strlen(m->fields[i].name), name);
    return n;
}
