#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tools/args.h"
#include "tools/mount_options.h"

int cmd_mount(struct tool *t, int argc, char **argv)
{
    json_t *options = json_object(), *ans = NULL;
    const struct arg_option defs[] = { { "options", 'o', .each = mount_option_list, .arg = options }, { 0 } };
    _cleanup_free_ char *dir = NULL;
    struct args a;
    struct stat st;

    int r = args_parse(t, "mount", argc, argv, defs, 2, 2, &a);
    bool there = !r && (dir = realpath(a.v[1], NULL)) && !stat(dir, &st);
    if (!r && !there && errno == ENOTCONN)
        r = tool_fail("cannot mount '%s' at %s: a mount whose daemon is gone is there; `coppice umount %s` first", a.v[0], a.v[1], a.v[1]);
    else if (!r && !there)
        r = tool_fail("cannot mount '%s' at %s: %s; make the directory first", a.v[0], a.v[1], strerror(errno));
    if (!r && !S_ISDIR(st.st_mode))
        r = tool_fail("cannot mount '%s' at %s: it is not a directory", a.v[0], a.v[1]);
    if (!r)
        r = tool_open(t, NEED_STORE);
    if (r) {
        json_decref(options);
        return r;
    }
    if (snap_mount(t->client, a.v[0], dir, options, NULL, NULL, &ans, &t->error))
        return tool_error(t);
    if (t->json)
        tool_print_json(ans);
    json_decref(ans);
    return 0;
}
