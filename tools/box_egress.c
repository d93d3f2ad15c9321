/* rules, secret, egress-log: what sandboxes may ask of the world, with which credentials, and what they asked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "tools/box.h"
#include "tools/table.h"
#include "tools/text.h"

enum { INPUT_MAX = 1 << 20 };

/* All of a descriptor, as text ended by NUL. False after saying why. */
static bool read_all(int fd, const char *what, struct buf *b)
{
    uint8_t piece[16384];
    ssize_t n = 0;

    while (b->len <= INPUT_MAX && ((n = read(fd, piece, sizeof(piece))) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0)
            buf_put(b, piece, (size_t)n);
    buf_put_u8(b, 0);
    if (n >= 0 && b->len <= INPUT_MAX && !buf_err(b))
        return true;
    tool_fail("cannot read %s: %s", what, n < 0 ? strerror(errno) : "it is larger than 1 MiB");
    return false;
}

/* --- rules --- */

static void join(GString *s, const json_t *list, const char *before)
{
    json_t *v;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        g_string_append_printf(s, "%s%s", s->len ? (i ? " " : before) : "", json_is_string(v) ? json_string_value(v) : "");
        if (json_is_integer(v))
            g_string_append_printf(s, "%lld", (long long)json_integer_value(v));
    }
}

static void text_cell(struct table *tab, GString *s)
{
    char safe[400];

    if (s->len > 90)
        g_string_append(g_string_truncate(s, 87), "...");
    table_cell(tab, s->len ? text_safe(safe, sizeof(safe), s->str) : "-");
    g_string_truncate(s, 0);
}

/* What a rule does beside allowing, and what it is for. */
static void does_cell(struct table *tab, const json_t *rule, GString *s)
{
    static const char *const words[] = { "inject", "set_headers", "remove_headers", "upstream", "answer", "handler", "limits", "labels", "intercept", "private", "inherit" };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (json_object_get(rule, words[i]) && !json_is_false(json_object_get(rule, words[i])))
            g_string_append_printf(s, "%s%s", s->len ? " " : "", words[i]);
    text_cell(tab, s);
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
            text_cell(tab, s);
            table_cell(tab, deny ? "deny" : "allow");
            join(s, json_object_get(rule, deny ? "deny" : "allow"), "");
            text_cell(tab, s);
            join(s, json_object_get(rule, "ports"), "");
            text_cell(tab, s);
            join(s, json_object_get(rule, "methods"), "");
            join(s, json_object_get(rule, "paths"), " ");
            text_cell(tab, s);
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
    if (!read_all(fd, name, &b))
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

/* --- secrets --- */

/* From the terminal without showing it, or all of standard input without its last newline. False after saying why. */
static bool read_value(const char *name, struct buf *b)
{
    struct termios old, quiet;
    bool terminal = isatty(0) && !tcgetattr(0, &old);

    if (terminal) {
        fprintf(stderr, "value of %s (not shown; end with the return key): ", name);
        fflush(stderr);
        quiet = old;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(0, TCSAFLUSH, &quiet);
        char line[8192];
        char *got = fgets(line, sizeof(line), stdin);
        tcsetattr(0, TCSAFLUSH, &old);
        fputc('\n', stderr);
        if (got)
            buf_put(b, line, strlen(line));
        buf_put_u8(b, 0);
        explicit_bzero(line, sizeof(line));
    } else if (!read_all(0, "standard input", b)) {
        return false;
    }
    char *text = (char *)b->data;
    size_t n = text ? strlen(text) : 0;
    if (n && text[n - 1] == '\n')
        text[--n] = 0;
    if (n && text[n - 1] == '\r')
        text[--n] = 0;
    if (n && strlen(text) + 1 + 2 >= b->len)
        return true;
    tool_fail(n ? "the value holds a NUL" : "no value came; give it on standard input");
    return false;
}

static int collect(void *arg, const char *val)
{
    return json_array_append_new(arg, json_string(val));
}

static int secret_set(struct api *a, const char *name, json_t *hosts, bool plain)
{
    _cleanup_(buf_fini) struct buf b = BUF_INIT;

    if (!read_value(name, &b))
        return 1;
    json_t *body = json_pack("{s:s,s:b}", "value", (char *)b.data, "plain_http", plain);
    explicit_bzero(b.data, b.len);
    if (!body)
        return tool_fail("the value is not UTF-8 text");
    if (json_array_size(hosts))
        json_object_set(body, "hosts", hosts);
    g_autofree char *seg = api_segment(name), *path = g_strdup_printf("/secret/%s", seg);
    return api_call(a, "PUT", path, body, NULL);
}

static void print_secrets(const json_t *list)
{
    static const char *const headers[] = { "SECRET", "HOSTS", "SET", NULL };
    struct table *tab = table_new(headers, 0);
    GString *s = g_string_new(NULL);
    char when[TEXT_TIME], safe[200];
    json_t *one, *set;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, one) {
        table_cell(tab, text_safe(safe, sizeof(safe), field_str(one, "name")));
        join(s, json_object_get(one, "hosts"), "");
        text_cell(tab, s);
        set = json_object_get(one, "updated");
        table_cell(tab, json_is_string(set) ? text_safe(safe, sizeof(safe), json_string_value(set)) : text_time(when, json_integer_value(set)));
    }
    table_print(tab);
    g_string_free(s, TRUE);
}

static int secret_list(struct tool *t, struct api *a)
{
    json_t *ans = NULL;
    int r = api_call(a, "GET", "/secret", NULL, &ans);

    if (!r && t->json)
        tool_print_json(ans);
    else if (!r)
        print_secrets(json_object_get(ans, "secrets"));
    json_decref(ans);
    return r;
}

int box_secret(struct tool *t, int argc, char **argv)
{
    json_t *hosts = json_array();
    bool plain = false;
    const struct arg_option options[] = { { "host", 0, .each = collect, .arg = hosts }, { "plain-http", 0, .flag = &plain }, { 0 } };
    struct args args;
    struct api a;

    int r = args_parse(t, "secret", argc, argv, options, 1, -1, &args);
    const char *what = r ? "" : args.v[0];
    bool set = !strcmp(what, "set") && args.n == 2, list = !strcmp(what, "list") && args.n == 1, rm = !strcmp(what, "rm") && args.n > 1;
    if (!r && !set && !list && !rm)
        r = args_usage("secret", "say set NAME, list, or rm NAME...; the value comes on standard input, never as a word");
    if (!r)
        r = api_open(t, &a);
    if (!r) {
        r = set ? secret_set(&a, args.v[1], hosts, plain) : list ? secret_list(t, &a) : 0;
        for (int i = 1; rm && !r && i < args.n; i++) {
            g_autofree char *seg = api_segment(args.v[i]), *path = g_strdup_printf("/secret/%s", seg);
            r = api_call(&a, "DELETE", path, NULL, NULL);
        }
        api_close(&a);
    }
    json_decref(hosts);
    return r;
}

/* --- the log --- */

static void print_event(const json_t *e)
{
    char what[700], rule[160], why[300], target[600];

    if (field_int(e, "port"))
        snprintf(target, sizeof(target), "%s%s%.250s:%lld%.250s", field_str(e, "scheme"), field_str(e, "scheme")[0] ? "://" : "", field_str(e, "host"), (long long)field_int(e, "port"),
                 field_str(e, "path_shape"));
    else
        snprintf(target, sizeof(target), "%.250s", field_str(e, "host"));
    printf("%-24.24s %-7.7s %-6.6s %s%s%s", field_str(e, "time"), field_str(e, "kind"), field_str(e, "verdict"), field_str(e, "method"), field_str(e, "method")[0] ? " " : "",
           text_safe(what, sizeof(what), target));
    if (field_int(e, "status"))
        printf(" %lld", (long long)field_int(e, "status"));
    if (field_str(e, "rule")[0])
        printf(" [%s]", text_safe(rule, sizeof(rule), field_str(e, "rule")));
    printf("%s%s\n", field_str(e, "why")[0] ? " " : "", text_safe(why, sizeof(why), field_str(e, "why")));
}

/* A log that is read; when its stream breaks off it is asked for again from the last event on. */
struct tail { struct tool *t; struct api *a; const char *ws; bool follow, ended; uint64_t since; unsigned tries; int status; };
enum { TRIES_MAX = 5 };

/* False: nothing comes any more, or is wanted. */
static bool on_line(void *arg, const char *line, size_t n)
{
    struct tail *k = arg;
    json_t *j = json_loadb(line, n, 0, NULL);
    const char *kind = field_str(j, "event");
    bool event = !strcmp(kind, "egress"), lost = event && field_bool(j, "lost");

    if (event && k->t->json)
        puts(line);
    else if (lost)
        puts("(events are missing here: they are not kept any more)");
    else if (event)
        print_event(j);
    if (event && json_object_get(j, "seq"))
        k->since = (uint64_t)field_int(j, "seq");
    if (event)
        k->tries = 0;
    else if (!strcmp(kind, "error"))
        k->status = tool_fail("%s", field_str(j, "error"));
    k->ended = !strcmp(kind, "error") || !strcmp(kind, "end") || fflush(stdout) || ferror(stdout);      /* after `overflow` it is asked for again */
    json_decref(j);
    return !k->ended;
}

/* One connection: until its end, or until the log's (k->ended). */
static void tail_once(struct tail *k)
{
    g_autofree char *path = api_box(k->ws, "egress-log?since=%llu%s", (unsigned long long)k->since, k->follow ? "&follow=true" : "");

    if (api_lines(k->a, path, on_line, k) == LINES_REFUSED) {
        k->status = 1;
        k->ended = true;
    }
}

int box_egress_log(struct tool *t, int argc, char **argv)
{
    const char *since = "0";
    bool on = false;
    const struct arg_option options[] = { { "follow", 'f', .flag = &on }, { "since", 0, .val = &since }, { 0 } };
    struct args args;
    struct api a;
    uint64_t n;

    int r = args_parse(t, "egress-log", argc, argv, options, 1, 1, &args);
    if (!r && !args_number(since, &n))
        r = args_usage("egress-log", "--since is the seq of an event");
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    struct tail k = { .t = t, .a = &a, .ws = args.v[0], .follow = on, .since = n };
    while (!k.ended && k.tries++ < TRIES_MAX)
        tail_once(&k);
    if (!k.ended)
        k.status = tool_fail("the runner ended the log before its end was told: try again");
    api_close(&a);
    return k.status;
}
