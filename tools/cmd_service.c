/* service: registers, shows and tells the services of a sandbox. What a service wrote goes to our output as it is when that is no terminal, else without its control characters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/box.h"

static char *service_path(const char *ws, const char *name, const char *rest)
{
    g_autofree char *segment = api_segment(name);

    return api_box(ws, "service/%s%s", segment, rest);
}

/* Names and texts come from the sandbox's owner, errors name files of the workload: nothing of it is a command to a terminal. */
static void print_safe(FILE *f, const char *p, gsize n, bool raw)
{
    for (gsize i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if (raw || c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f && !(c == 0xc2 && i + 1 < n && (unsigned char)p[i + 1] < 0xa0)))
            putc(c, f);
    }
}

static void print_one(const json_t *s)
{
    g_autoptr(GString) command = g_string_new(NULL);
    json_t *v, *port = json_object_get(s, "port"), *code = json_object_get(s, "exit_code");
    size_t i;

    json_array_foreach(json_object_get(s, "argv"), i, v)
        g_string_append_printf(command, " %s", json_string_value(v));
    printf("%-16s %-12s restarts %lld", field_str(s, "name"), field_str(s, "state"), (long long)field_int(s, "restarts"));
    if (json_is_integer(code))
        printf(", last exit %lld", (long long)json_integer_value(code));
    if (port)
        printf(", port %lld", (long long)json_integer_value(port));
    printf(" :");
    print_safe(stdout, command->str, command->len, false);
    putchar('\n');
    if (*field_str(s, "error")) {
        printf("%17s", "");
        print_safe(stdout, field_str(s, "error"), strlen(field_str(s, "error")), false);
        putchar('\n');
    }
}

static int list(struct tool *t, struct api *a, const char *ws)
{
    g_autofree char *path = api_box(ws, "service");
    json_t *ans = NULL, *s;
    size_t i;

    if (api_call(a, "GET", path, NULL, &ans))
        return 1;
    if (t->json)
        tool_print_json(ans);
    else
        json_array_foreach(json_object_get(ans, "services"), i, s)
            print_one(s);
    json_decref(ans);
    return 0;
}

static int tell(struct tool *t, struct api *a, const char *ws, const char *verb, const char *name)
{
    bool rm = !strcmp(verb, "rm");
    g_autofree char *rest = rm ? g_strdup("") : g_strdup_printf("/%s", verb), *path = service_path(ws, name, rest);
    json_t *ans = NULL;

    if (api_call(a, rm ? "DELETE" : "POST", path, rm ? NULL : json_object(), &ans))
        return 1;
    if (t->json && ans)
        tool_print_json(ans);
    json_decref(ans);
    return 0;
}

/* False: it was the last line. */
static bool on_line(void *arg, const char *line, size_t n)
{
    struct tool *t = arg;
    json_t *v = json_loadb(line, n, 0, NULL);
    const char *event = field_str(v, "event"), *data = json_string_value(json_object_get(v, "data"));
    bool err = !strcmp(event, "stderr"), end = !strcmp(event, "end");

    if (t->json) {
        printf("%.*s\n", (int)n, line);
    } else if (data && (err || !strcmp(event, "stdout"))) {
        gsize size;
        g_autofree guchar *bytes = g_base64_decode(data, &size);
        print_safe(err ? stderr : stdout, (const char *)bytes, size, !isatty(err ? 2 : 1));
    } else if (!strcmp(event, "lost")) {
        fprintf(stderr, "[%lld bytes are not kept any more]\n", (long long)field_int(v, "bytes"));
    }
    json_decref(v);
    return !fflush(stdout) && !end;
}

static int logs(struct tool *t, struct api *a, const char *ws, const char *name, bool follow, const char *since)
{
    g_autofree char *rest = g_strdup_printf("/logs?follow=%s%s%s", follow ? "true" : "false", since ? "&since=" : "", since ? since : ""), *path = service_path(ws, name, rest);
    enum api_lines end = api_lines(a, path, on_line, t);

    return end == LINES_BROKEN ? tool_fail("the runner ended before the log's end was told: try again") : end != LINES_ENDED;
}

/* --- add --- */
struct add { const char *cwd, *user, *port, *restart, *max; json_t *env; };

static int add_env(void *arg, const char *val)
{
    g_autofree char *key = g_strndup(val, strcspn(val, "="));

    if (!*key || !strchr(val, '='))
        return args_usage("service", "--env %s: KEY=VALUE", val);
    json_object_set_new(arg, key, json_string(strchr(val, '=') + 1));
    return 0;
}

static int add_send(struct tool *t, struct api *a, const struct add *o, char **v, int n)
{
    g_autofree char *path = api_box(v[0], "service");
    json_t *argv = json_array(), *body, *ans = NULL;
    uint64_t port = 0, max = 0;

    if ((o->port && !args_number(o->port, &port)) || (o->max && !args_number(o->max, &max)))
        return json_decref(argv), args_usage("service", "--port and --max-restarts want numbers");
    for (int i = 3; i < n; i++)
        json_array_append_new(argv, json_string(v[i]));
    body = json_pack("{s:s, s:o, s:s*, s:s*, s:s*}", "name", v[2], "argv", argv, "cwd", o->cwd, "user", o->user, "restart", o->restart);
    if (json_object_size(o->env))
        json_object_set(body, "env", o->env);
    if (port)
        json_object_set_new(body, "port", json_integer((json_int_t)port));
    if (max)
        json_object_set_new(body, "max_restarts", json_integer((json_int_t)max));
    if (api_call(a, "POST", path, body, &ans))
        return 1;
    if (t->json)
        tool_print_json(ans);
    json_decref(ans);
    return 0;
}

static int add(struct tool *t, int argc, char **argv)
{
    struct add o = { .env = json_object() };
    const struct arg_option options[] = { { "cwd", 0, .val = &o.cwd }, { "env", 'e', .each = add_env, .arg = o.env }, { "user", 'u', .val = &o.user }, { "port", 'p', .val = &o.port },
                                          { "restart", 0, .val = &o.restart }, { "max-restarts", 0, .val = &o.max }, { 0 } };
    struct args args;
    struct api a;

    int r = args_parse_command(t, "service", argc, argv, options, 3, 4, &args);
    if (!r && !(r = api_open(t, &a))) {
        r = add_send(t, &a, &o, args.v, args.n);
        api_close(&a);
    }
    json_decref(o.env);
    return r;
}

int box_service(struct tool *t, int argc, char **argv)
{
    static const char *const verbs[] = { "rm", "start", "stop", "restart", "logs", NULL };
    const char *since = NULL;
    bool follow = false;
    const struct arg_option options[] = { { "follow", 'f', .flag = &follow }, { "since", 0, .val = &since }, { 0 } };
    struct args args;
    struct api a;

    if (argc > 2 && !strcmp(argv[2], "add"))
        return add(t, argc, argv);
    int r = args_parse(t, "service", argc, argv, options, 1, 3, &args);
    if (r)
        return r;
    const char *verb = args.n > 1 ? args.v[1] : "list";
    bool is_list = !strcmp(verb, "list");
    if ((!is_list && !g_strv_contains(verbs, verb)) || (is_list ? args.n > 2 : args.n < 3))
        return args_usage("service", "list, or one of add, rm, start, stop, restart, logs and the NAME of a service");
    if ((r = api_open(t, &a)))
        return r;
    r = is_list ? list(t, &a, args.v[0]) : !strcmp(verb, "logs") ? logs(t, &a, args.v[0], args.v[2], follow, since) : tell(t, &a, args.v[0], verb, args.v[2]);
    api_close(&a);
    return r;
}
