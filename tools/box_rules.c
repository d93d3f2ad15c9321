/* rules: what a sandbox may ask of the world. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "tools/box.h"
#include "tools/box_text.h"
#include "tools/table.h"
#include "tools/text.h"

/* What a rule does beside allowing, and what it is for. */
static void does_cell(struct table *tab, const json_t *rule, GString *s)
{
    static const char *const words[] = { "inject", "set_headers", "remove_headers", "upstream", "answer", "handler", "limits", "labels", "intercept", "private", "inherit" };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (json_object_get(rule, words[i]) && !json_is_false(json_object_get(rule, words[i])))
            g_string_append_printf(s, "%s%s", s->len ? " " : "", words[i]);
    cell_text(tab, s);
}

static void print_rules(const json_t *doc)
{
    static const char *const headers[] = { "NAME", "RULE", "HOSTS", "PORTS", "REQUESTS", "DOES", NULL };
    json_t *rules = json_object_get(doc, "rules"), *rule, *w;
    GString *s = g_string_new(NULL);
    size_t i;

    if (json_array_size(rules)) {
        struct table *tab = table_new(headers, 0);
        json_array_foreach(rules, i, rule) {
            bool deny = json_object_get(rule, "deny");
            g_string_append(s, field_str(rule, "name"));
            cell_text(tab, s);
            table_cell(tab, deny ? "deny" : "allow");
            list_join(s, json_object_get(rule, deny ? "deny" : "allow"), "");
            cell_text(tab, s);
            list_join(s, json_object_get(rule, "ports"), "");
            cell_text(tab, s);
            list_join(s, json_object_get(rule, "methods"), "");
            list_join(s, json_object_get(rule, "paths"), " ");
            cell_text(tab, s);
            does_cell(tab, rule, s);
        }
        table_print(tab);
    }
    printf("everything else: %s (revision %lld)\n", field_str(doc, "default"), (long long)field_int(doc, "revision"));
    json_array_foreach(json_object_get(doc, "warnings"), i, w) {
        char safe[500];
        fprintf(stderr, "coppice: warning: %s\n", text_safe(safe, sizeof(safe), json_string_value(w) ? json_string_value(w) : ""));
    }
    g_string_free(s, TRUE);
}

/* A rule of its own for one host, named after it so that `rm` finds it. HOST or HOST:PORT. Owned. */
static json_t *host_rule(const char *what, const char *host, bool inherit)
{
    const char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
    uint64_t port = 0;
    bool has_port = colon && (!bracket || colon > bracket) && strchr(host, ':') == colon && args_number(colon + 1, &port);
    g_autofree char *name = g_strdup_printf("%s-%s", what, host), *bare = has_port ? g_strndup(host, (gsize)(colon - host)) : g_strdup(host);

    for (char *p = name; *p; p++)
        if (!g_ascii_isalnum(*p) && !strchr("._-", *p))
            *p = *p == '*' ? '_' : '-';
    json_t *rule = json_pack("{s:s,s:[s]}", "name", name, what, bare);
    if (has_port)
        json_object_set_new(rule, "ports", json_pack("[I]", (json_int_t)port));
    if (inherit)
        json_object_set_new(rule, "inherit", json_true());
    return rule;
}

static json_t *rules_of_file(const char *path)
{
    const char *name = strcmp(path, "-") ? path : "standard input";
    _cleanup_(buf_fini) struct buf b = BUF_INIT;
    _cleanup_close_ int fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(0, F_DUPFD_CLOEXEC, 3);
    json_error_t e;

    if (fd < 0) {
        tool_fail("cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    if (!text_read_all(fd, name, &b))
        return NULL;
    json_t *doc = json_loads((char *)b.data, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_object(doc)) {
        doc ? tool_fail("%s is not a document of rules: {\"default\": \"deny\", \"rules\": [...]}", name) : tool_fail("%s, line %d: %s", name, e.line, e.text);
        json_decref(doc);
        return NULL;
    }
    json_object_del(doc, "revision");         /* of the moment when it was read */
    json_object_del(doc, "warnings");
    return doc;
}

/* The request that the words after WS ask for: method and body. False after saying why; 2 is the status then if *ret_usage. */
static bool rules_request(const struct args *args, bool inherit, const char **ret_method, json_t **ret_body, bool *ret_usage)
{
    const char *what = args->n > 1 ? args->v[1] : "get";
    json_t *list = json_array();

    *ret_usage = true;
    *ret_method = "PATCH";
    for (int i = 2; (!strcmp(what, "allow") || !strcmp(what, "deny")) && i < args->n; i++)
        if (strchr(args->v[i], '/')) {
            json_decref(list);
            args_usage("rules", "%s: give a host, without scheme and path: example.com, example.com:8443, *.example.com (paths: rules WS set FILE)", args->v[i]);
            return false;
        }
    for (int i = 2; i < args->n; i++)
        json_array_append_new(list, !strcmp(what, "allow") || !strcmp(what, "deny") ? host_rule(what, args->v[i], inherit) : json_string(args->v[i]));
    if (!strcmp(what, "get") && args->n <= 2) {
        *ret_method = "GET";
        *ret_body = NULL;
    } else if (!strcmp(what, "set") && args->n == 3) {
        *ret_method = "PUT";
        *ret_usage = false;
        *ret_body = rules_of_file(args->v[2]);
        json_decref(list);
        return *ret_body != NULL;
    } else if ((!strcmp(what, "allow") || !strcmp(what, "deny")) && args->n > 2) {
        *ret_body = json_pack("{s:O}", "add", list);
    } else if (!strcmp(what, "rm") && args->n > 2) {
        *ret_body = json_pack("{s:O}", "remove", list);
    } else if (!strcmp(what, "default") && args->n == 3) {
        *ret_body = json_pack("{s:s}", "default", args->v[2]);
    } else {
        json_decref(list);
        args_usage("rules", "say get, set FILE, allow HOST..., deny HOST..., rm NAME..., or default allow|deny");
        return false;
    }
    json_decref(list);
    return true;
}

int box_rules(struct tool *t, int argc, char **argv)
{
    bool inherit = false, usage;
    const struct arg_option options[] = { { "inherit", 0, .flag = &inherit }, { 0 } };
    json_t *body, *ans = NULL;
    const char *method;
    struct args args;
    struct api a;

    int r = args_parse(t, "rules", argc, argv, options, 1, -1, &args);
    if (r)
        return r;
    if (!rules_request(&args, inherit, &method, &body, &usage))
        return usage ? 2 : 1;
    if ((r = api_open(t, &a))) {
        json_decref(body);
        return r;
    }
    g_autofree char *path = api_box(args.v[0], "rules");
    r = api_call(&a, method, path, body, &ans);
    if (!r && t->json)
        tool_print_json(ans);
    else if (!r)
        print_rules(ans);
    json_decref(ans);
    api_close(&a);
    return r;
}
