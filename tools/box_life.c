/* ps, kill, and the life of a sandbox: freeze, sleep, wake, stop, usage. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/box.h"
#include "tools/table.h"
#include "tools/text.h"

static bool ended(const json_t *e)
{
    return !strcmp(field_str(e, "state"), "exited");
}

/* How it stands, for people. */
static const char *state_text(char *out, size_t size, const json_t *e)
{
    const char *sig = field_str(e, "signal");

    if (!ended(e))
        snprintf(out, size, "%.40s", field_str(e, "state"));
    else if (sig[0])
        snprintf(out, size, "%.40s", sig);
    else
        snprintf(out, size, "exit %lld", (long long)field_int(e, "exit_code"));
    return out;
}

/* The command's words, as somebody would type them, cut to what fits a line. */
static void command_cell(struct table *tab, const json_t *e)
{
    GString *s = g_string_new(NULL);
    char safe[300];
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(e, "argv"), i, v)
        g_string_append_printf(s, "%s%.100s", i ? " " : "", json_string_value(v));
    if (s->len > 70)
        g_string_truncate(g_string_append(g_string_truncate(s, 67), "..."), 70);
    table_cell(tab, text_safe(safe, sizeof(safe), s->str));
    g_string_free(s, TRUE);
}

static void print_execs(const json_t *list, bool all)
{
    static const char *const headers[] = { "EXEC", "PID", "STATE", "CPU", "TIME", "TTY", "COMMAND", NULL };
    struct table *tab = table_new(headers, 1 << 1 | 1 << 3 | 1 << 4);
    char text[64];
    json_t *e;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, e) {
        if (ended(e) && !all)
            continue;
        table_cell(tab, text_safe(text, sizeof(text), field_str(e, "exec_id")));
        table_cellf(tab, "%lld", (long long)field_int(e, "pid"));
        table_cell(tab, state_text(text, sizeof(text), e));
        table_cellf(tab, "%.2f s", (double)field_int(e, "cpu_ms") / 1e3);
        table_cellf(tab, "%.1f s", (double)field_int(e, "wall_ms") / 1e3);
        table_cell(tab, field_bool(e, "tty") ? "yes" : "-");
        command_cell(tab, e);
    }
    table_print(tab);
}

int box_ps(struct tool *t, int argc, char **argv)
{
    bool all = false;
    const struct arg_option options[] = { { "all", 'a', .flag = &all }, { 0 } };
    json_t *ans = NULL;
    struct args args;
    struct api a;

    int r = args_parse(t, "ps", argc, argv, options, 1, 1, &args);
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    g_autofree char *path = api_box(args.v[0], "exec");
    r = api_call(&a, "GET", path, NULL, &ans);
    if (!r && t->json)
        tool_print_json(ans);
    else if (!r)
        print_execs(json_object_get(ans, "execs"), all);
    json_decref(ans);
    api_close(&a);
    return r;
}

int box_kill(struct tool *t, int argc, char **argv)
{
    const char *signal = NULL;
    const struct arg_option options[] = { { "signal", 's', .val = &signal }, { 0 } };
    struct args args;
    struct api a;

    int r = args_parse(t, "kill", argc, argv, options, 2, -1, &args);
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    for (int i = 1; !r && i < args.n; i++) {
        g_autofree char *seg = api_segment(args.v[i]), *path = api_box(args.v[0], "exec/%s/signal", seg);
        uint64_t n;
        json_t *what = signal && args_number(signal, &n) ? json_integer((json_int_t)n) : json_string(signal ? signal : "KILL");
        r = api_call(&a, "POST", path, json_pack("{s:o,s:b}", "signal", what, signal ? "group" : "tree", 1), NULL);
    }
    api_close(&a);
    return r;
}

static int life(struct tool *t, const char *verb, const char *method, int argc, char **argv, void (*print)(const json_t *ans))
{
    json_t *ans = NULL;
    struct args args;
    struct api a;

    int r = args_parse(t, verb, argc, argv, NULL, 1, 1, &args);
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    g_autofree char *path = api_box(args.v[0], "%s", verb);
    r = api_call(&a, method, path, !strcmp(method, "POST") ? json_object() : NULL, &ans);
    if (!r && t->json)
        tool_print_json(ans);
    else if (!r && print)
        print(ans);
    json_decref(ans);
    api_close(&a);
    return r;
}

int box_freeze(struct tool *t, int argc, char **argv) { return life(t, "freeze", "POST", argc, argv, NULL); }
int box_sleep(struct tool *t, int argc, char **argv) { return life(t, "sleep", "POST", argc, argv, NULL); }
int box_wake(struct tool *t, int argc, char **argv) { return life(t, "wake", "POST", argc, argv, NULL); }
int box_stop(struct tool *t, int argc, char **argv) { return life(t, "stop", "POST", argc, argv, NULL); }

static void print_bytes(const char *what, const json_t *v)
{
    char text[TEXT_SIZE];

    if (json_is_integer(v))
        printf("%-16s %s\n", what, text_bytes(text, (uint64_t)json_integer_value(v)));
}

static double number(const json_t *v, const char *key)
{
    return json_number_value(json_object_get(v, key));
}

static void print_usage(const json_t *u)
{
    const json_t *cpu = json_object_get(u, "cpu"), *wall = json_object_get(u, "wall_s"), *disk = json_object_get(u, "disk");
    char text[64];

    printf("%-16s %s\n", "state", text_safe(text, sizeof(text), field_str(u, "state")));
    printf("%-16s %.3f s (user %.3f, system %.3f)\n", "cpu used", number(u, "cpu_s"), number(cpu, "user_s"), number(cpu, "system_s"));
    if (wall)
        printf("%-16s running %.1f s, frozen %.1f s, asleep %.0f s\n", "time", number(wall, "running"), number(wall, "frozen"), number(wall, "asleep"));
    print_bytes("memory", json_object_get(u, "memory_bytes"));
    print_bytes("memory, most", json_object_get(u, "memory_peak_bytes"));
    if (json_object_get(u, "pids"))
        printf("%-16s %lld\n", "processes", (long long)field_int(u, "pids"));
    if (field_int(u, "oom_kills"))
        printf("%-16s %lld\n", "out of memory", (long long)field_int(u, "oom_kills"));
    print_bytes("disk, private", json_object_get(disk, "private_bytes"));
    print_bytes("disk, shared", json_object_get(disk, "shared_bytes"));
    print_bytes("network", json_object_get(u, "egress_bytes"));
}

int box_usage(struct tool *t, int argc, char **argv) { return life(t, "usage", "GET", argc, argv, print_usage); }
