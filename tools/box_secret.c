/* secret: the credentials that rules put in; a value is read and never shown. */
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tools/box.h"
#include "tools/box_text.h"
#include "tools/table.h"
#include "tools/text.h"

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
    } else if (!text_read_all(0, "standard input", b)) {
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
        list_join(s, json_object_get(one, "hosts"), "");
        cell_text(tab, s);
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
