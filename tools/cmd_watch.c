/* watch: shows what changes in a directory of a sandbox, one line for each event. Names are the workload's: what is not printable in them is shown as an escape, on a terminal or not, so a
 * line is always one event and no name is a command to a terminal. --json gives the runner's documents as they are. */
#include <stdio.h>
#include <string.h>

#include "tools/box.h"

static GString *safe_name(const json_t *v, const char *key)
{
    g_autofree char *with = g_strdup_printf("%s_base64", key);
    const char *base64 = json_string_value(json_object_get(v, with)), *text = field_str(v, key);
    gsize n = strlen(text);
    g_autofree guchar *bytes = base64 ? g_base64_decode(base64, &n) : g_memdup2(text, n);
    GString *out = g_string_new(NULL);

    for (gsize i = 0; i < n;) {
        gunichar c = g_utf8_get_char_validated((const char *)bytes + i, (gssize)(n - i));
        gsize len = c >= (gunichar)-2 ? 1 : (gsize)g_unichar_to_utf8(c, NULL);
        if (c < (gunichar)-2 && c != '\\' && g_unichar_isprint(c))
            g_string_append_len(out, (const char *)bytes + i, (gssize)len);
        else
            for (gsize k = 0; k < len; k++)
                g_string_append_printf(out, "\\x%02x", bytes[i + k]);
        i += len;
    }
    return out;
}

static void show(const json_t *v)
{
    const char *slash = json_is_true(json_object_get(v, "is_dir")) ? "/" : "", *type = field_str(v, "type");
    g_autoptr(GString) path = safe_name(v, "path");

    if (!strcmp(type, "move")) {
        g_autoptr(GString) to = safe_name(v, "to");
        printf("%-11s %s%s -> %s%s\n", "move", path->str, slash, to->str, slash);
    } else {
        printf("%-11s %s%s\n", type, path->str, slash);
    }
}

struct stream { struct tool *t; int status; };

/* One line of the stream. False: it was the last. */
static bool on_line(void *arg, const char *line, size_t n)
{
    struct stream *s = arg;
    json_t *v = json_loadb(line, n, 0, NULL);
    const char *name = field_str(v, "event");
    bool end = !strcmp(name, "end");

    if (s->t->json) {
        fwrite(line, 1, n, stdout);
        putchar('\n');
    } else if (!strcmp(name, "event")) {
        show(v);
    } else if (!strcmp(name, "overflow")) {
        printf("overflow    (%s: events were lost, look again)\n", field_str(v, "reason"));
    } else if (!strcmp(name, "ready")) {
        g_autoptr(GString) path = safe_name(v, "path");
        fprintf(stderr, "watching %s\n", path->str);
    }
    if (end) {
        g_autoptr(GString) why = safe_name(v, "error");
        s->status = tool_fail("%s", why->str);
    }
    json_decref(v);
    return !fflush(stdout) && !end;
}

static void add(GString *query, const char *key, const char *value)
{
    g_autofree char *escaped = g_uri_escape_string(value, NULL, false);

    g_string_append_printf(query, "%c%s=%s", query->len ? '&' : '?', key, escaped);
}

/* One more of a list with commas. */
static int add_pattern(void *arg, const char *val)
{
    GString *list = arg;

    g_string_append_printf(list, "%s%s", list->len ? "," : "", val);
    return 0;
}

int box_watch(struct tool *t, int argc, char **argv)
{
    const char *user = NULL, *types = NULL;
    bool flat = false, deep = false;
    g_autoptr(GString) query = g_string_new(NULL), include = g_string_new(NULL), exclude = g_string_new(NULL);
    const struct arg_option options[] = { { "recursive", 'r', .flag = &deep }, { "no-recursive", 0, .flag = &flat }, { "include", 'i', .each = add_pattern, .arg = include },
                                          { "exclude", 'x', .each = add_pattern, .arg = exclude }, { "types", 0, .val = &types }, { "user", 'u', .val = &user }, { 0 } };
    struct stream s = { t, 1 };
    struct args args;
    struct api a;

    int r = args_parse(t, "watch", argc, argv, options, 1, 2, &args);
    if (r)
        return r;
    if (args.n > 1)
        add(query, "path", args.v[1]);
    if (flat && !deep)
        add(query, "recursive", "false");
    if (include->len)
        add(query, "include", include->str);
    if (exclude->len)
        add(query, "exclude", exclude->str);
    if (types)
        add(query, "types", types);
    if (user)
        add(query, "user", user);
    if ((r = api_open(t, &a)))
        return r;
    g_autofree char *path = api_box(args.v[0], "watch%s", query->str);
    if (api_lines(&a, path, on_line, &s) == LINES_BROKEN)
        tool_fail("the runner ended the stream before it said why: try again");
    api_close(&a);
    return s.status;
}
