/* A policy: the document, and what was understood of it. */
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/cleanup.h"
#include "sandbox/egress/policy_private.h"

static void policy_free(struct policy *p)
{
    for (unsigned i = 0; i < p->count; i++)
        rule_fini(&p->rules[i]);
    free(p->rules);
    json_decref(p->doc);
    free(p);
}

struct policy *policy_ref(struct policy *p)
{
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void policy_unref(struct policy *p)
{
    if (p && atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) == 1)
        policy_free(p);
}

json_t *policy_json(const struct policy *p)
{
    return json_deep_copy(p->doc);
}

static int default_parse(const struct at *at, struct policy *p)
{
    const char *text = "deny";
    int e = at_text(at, p->doc, "default", 8, &text);

    if (e)
        return e;
    if (strcmp(text, "deny") && strcmp(text, "allow"))
        return at_fault(at, "default: must be \"deny\" or \"allow\"");
    p->allow = text[0] == 'a';
    return at_bool(at, p->doc, "inherit", &p->inherit);
}

static int rules_parse(const struct at *at, struct policy *p)
{
    json_t *list = json_object_get(p->doc, "rules");
    struct at here = at_field(at, "rules");
    size_t n = json_array_size(list);

    if (list && (!json_is_array(list) || n > POLICY_RULES_MAX))
        return at_fault(&here, "must be an array of at most %d rules", POLICY_RULES_MAX);
    p->rules = mem_zalloc((n + 1) * sizeof *p->rules);
    if (!p->rules)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        struct at item = at_item(&here, i);
        p->count++;
        int e = rule_parse(&item, json_array_get(list, i), (unsigned)i, &p->rules[i]);
        if (e)
            return e;
        for (size_t k = 0; k < i; k++)
            if (!strcmp(p->rules[k].name, p->rules[i].name))
                return at_fault(&item, "name: rules[%zu] has the same", k);
    }
    return 0;
}

int policy_parse(json_t *doc, struct policy **ret, struct policy_fault *fault)
{
    struct at at = { .fault = fault };
    size_t size;
    int e;

    *fault->text = 0;
    if (!json_is_object(doc))
        return at_fault(&at, "rules are a JSON object");
    size = json_dumpb(doc, NULL, 0, JSON_COMPACT);
    if (!size || size > POLICY_BYTES_MAX)
        return at_fault(&at, "rules are at most %d bytes of JSON, in proper UTF-8", POLICY_BYTES_MAX);
    struct policy *p = mem_zalloc(sizeof *p);
    if (!p)
        return -ENOMEM;
    p->refs = 1;
    p->doc = json_deep_copy(doc);
    e = !p->doc ? -ENOMEM : at_only(&at, doc, "default inherit rules");
    if (!e)
        e = default_parse(&at, p);
    if (!e)
        e = rules_parse(&at, p);
    if (e) {
        policy_free(p);
        return e;
    }
    *ret = p;
    return 0;
}

/* A fork has no grant that was not meant for forks; a deny always stays (it takes away only), and so does a default that denies. */
struct policy *policy_for_fork(const struct policy *p)
{
    struct policy_fault fault;
    struct policy *child = NULL;
    json_t *rules = json_array(), *doc;
    bool any = false;

    if (p->inherit) {
        json_decref(rules);
        return policy_parse(p->doc, &child, &fault) ? NULL : child;
    }
    for (unsigned i = 0; i < p->count; i++)
        if (p->rules[i].inherit || p->rules[i].deny) {
            json_array_append(rules, json_array_get(json_object_get(p->doc, "rules"), i));
            any |= p->rules[i].inherit && !p->rules[i].deny;
        }
    doc = json_pack("{s:s, s:b, s:o}", "default", "deny", "inherit", 0, "rules", rules);
    if (doc && any && policy_parse(doc, &child, &fault))
        child = NULL;
    json_decref(doc);
    return child;
}
