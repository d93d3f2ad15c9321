/* port: URLs that reach a server in a sandbox. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/box.h"
#include "tools/table.h"
#include "tools/text.h"

static int list_ports(struct api *a, const char *ws, bool json)
{
    static const char *const headers[] = { "PORT", "URLS", NULL };
    g_autofree char *path = api_box(ws, "port");
    json_t *ans = NULL, *p;
    size_t i;

    int r = api_call(a, "GET", path, NULL, &ans);
    if (!r && json) {
        tool_print_json(ans);
    } else if (!r) {
        struct table *tab = table_new(headers, 1 << 0 | 1 << 1);
        json_array_foreach(json_object_get(ans, "ports"), i, p) {
            table_cellf(tab, "%lld", (long long)field_int(p, "port"));
            table_cellf(tab, "%lld", (long long)field_int(p, "tokens"));
        }
        table_print(tab);
    }
    json_decref(ans);
    return r;
}

static int make_url(struct api *a, const char *path, bool json)
{
    json_t *ans = NULL;
    int r = api_call(a, "POST", path, json_object(), &ans);
    const char *url = r ? NULL : json_string_value(json_object_get(ans, "url"));

    if (!r && json)
        tool_print_json(ans);
    else if (!r && url)
        printf("%s\n", url);
    else if (!r)
        r = tool_fail("the runner listens on no TCP port, so no browser reaches it: `coppice down`, then `coppice up --listen ADDR:PORT`");
    json_decref(ans);
    return r;
}

int box_port(struct tool *t, int argc, char **argv)
{
    bool rm = false;
    const struct arg_option options[] = { { "rm", 0, .flag = &rm }, { 0 } };
    struct args args;
    struct api a;

    int r = args_parse(t, "port", argc, argv, options, 1, 2, &args);
    if (!r && rm && args.n < 2)
        r = args_usage("port", "--rm takes back the URLs of a port: which?");
    if (!r)
        r = api_open(t, &a);
    if (r)
        return r;
    if (args.n < 2) {
        r = list_ports(&a, args.v[0], t->json);
    } else {
        g_autofree char *port = api_segment(args.v[1]), *path = api_box(args.v[0], "port/%s", port);
        r = rm ? api_call(&a, "DELETE", path, NULL, NULL) : make_url(&a, path, t->json);
    }
    api_close(&a);
    return r;
}
