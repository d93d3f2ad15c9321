/* A change of a document of rules. */
#include <string.h>
#include "sandbox/egress/state_private.h"

static ssize_t find_rule(json_t *rules, const char *name)
{
    for (size_t i = 0; name && i < json_array_size(rules); i++) {
        const char *other = json_string_value(json_object_get(json_array_get(rules, i), "name"));
        if (other && !strcmp(other, name))
            return (ssize_t)i;
    }
    return -1;
}

json_t *rules_patched(json_t *doc, json_t *add, json_t *remove, json_t *by_default)
{
    json_t *rules = json_object_get(doc, "rules");

    if (!rules) {
        rules = json_array();
        json_object_set_new(doc, "rules", rules);
    }
    if ((add && !json_is_array(add)) || (remove && !json_is_array(remove)))
        return state_error("invalid_request", NULL, "add must be an array of rules, remove an array of names of rules");
    for (size_t i = 0; i < json_array_size(remove); i++) {
        const char *name = json_string_value(json_array_get(remove, i));
        ssize_t at = find_rule(rules, name);
        if (at < 0)
            return state_error(name ? "not_found" : "invalid_request", NULL, name ? "there is no rule named \"%.80s\"" : "remove must be an array of names of rules%s", name ? name : "");
        json_array_remove(rules, (size_t)at);
    }
    for (size_t i = 0; i < json_array_size(add); i++) {
        json_t *rule = json_array_get(add, i);
        ssize_t at = find_rule(rules, json_string_value(json_object_get(rule, "name")));
        if (at >= 0)
            json_array_set(rules, (size_t)at, rule);
        else
            json_array_append(rules, rule);
    }
    if (by_default)
        json_object_set(doc, "default", by_default);
    return NULL;
}
