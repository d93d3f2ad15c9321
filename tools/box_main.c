/* coppice-box: `coppice` runs it for the verbs about sandboxes, with the same words. It is a program of its own because libsoup's libraries take longer to load than
 * most other verbs take to run. Besides: `request METHOD PATH [BODY]`, one call of the API for `coppice` itself (answer: {"status", "body" or "error", "code"}). */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/box.h"
#include "tools/tool_runner.h"

const struct command commands[] = {
#define X(name, args, summary, help) { #name, box_##name, args, summary, help },
    BOX_VERBS(X)
#undef X
#define E(name, fn, args, summary, help) { name, box_##fn, args, summary, help },
    BOX_NAMED_VERBS(E)
#undef E
    { 0 }
};

static int request(struct tool *t, int argc, char **argv)
{
    struct api_error e;
    json_t *ans = NULL, *body;
    struct api a;

    if (argc < 3)
        return 2;
    if (api_open(t, &a))
        return 1;
    int r = api_try(&a, argv[1], argv[2], argc > 3 ? json_loads(argv[3], 0, NULL) : NULL, &ans, &e);
    body = r ? json_pack("{s:i,s:s,s:s}", "status", (int)e.status, "code", e.code, "error", e.text)
             : json_pack("{s:i,s:o}", "status", 200, "body", ans ? ans : json_null());
    tool_print_json(body);
    json_decref(body);
    api_close(&a);
    return 0;
}

int main(int argc, char **argv)
{
    const char *store = getenv("COPPICE_STORE");
    struct tool t = { .store = store && *store ? store : STORE_DEFAULT };
    int i = 1;

    setlocale(LC_CTYPE, "C.UTF-8");
    signal(SIGPIPE, SIG_IGN);
    for (; i < argc && argv[i][0] == '-'; i++) {
        if (!strcmp(argv[i], "--json"))
            t.json = true;
        else if (!strcmp(argv[i], "--store") && i + 1 < argc)
            t.store = argv[++i];
    }
    if (i < argc && !strcmp(argv[i], "request"))
        return request(&t, argc - i, argv + i);
    for (const struct command *c = commands; i < argc && c->name; c++)
        if (!strcmp(c->name, argv[i])) {
            int r = c->fn(&t, argc - i, argv + i);
            tool_close(&t);
            if (fflush(stdout) && !r)
                r = 1;
            return r == ARGS_HELP ? 0 : r;
        }
    fprintf(stderr, "usage: coppice-box [--store DIR] [--json] VERB ...\nThe part of `coppice` for sandboxes; use that.\n");
    return 2;
}
