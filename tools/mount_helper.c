/* mount.fuse.coppice: what mount(8) runs for `mount -t fuse.coppice OBJECT DIR -o store=STORE,...` and for fstab lines of this type. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "tools/mount_options.h"
#include "tools/tool.h"

const struct command commands[] = { { 0 } };

static int usage(void)
{
    fputs("usage: mount.fuse.coppice OBJECT DIR [-sfnv] [-r|-w] [-o store=STORE,OPTIONS]\nRun by mount(8); for people there is `coppice "
          "mount`.\n",
          stderr);
    return 1;             /* mount(8): incorrect invocation */
}

struct request { const char *object, *dir; char *store; json_t *options; bool fake; };

static int parse(int argc, char **argv, struct request *q)
{
    int k, r = 0;

    while (!r && (k = getopt(argc, argv, "o:sfnvrwN:t:h")) != -1) {
        if (k == 'o')
            r = mount_option_list_generic(q->options, optarg, &q->store) ? 1 : 0;
        else if (k == 'r' || k == 'w')
            json_object_set_new(q->options, "ro", json_boolean(k == 'r'));
        else if (k == 'f')
            q->fake = true;
        else if (k == 'h' || k == '?')
            r = usage();
        /* -s sloppy, -n no mtab, -v verbose, -N namespace, -t type: mount(8)'s own affairs */
    }
    if (r)
        return r;
    if (argc - optind != 2)
        return usage();
    q->object = argv[optind];
    q->dir = argv[optind + 1];
    /* "fuse.coppice" lines may carry a prefix as FUSE's do: coppice#NAME */
    if (!strncmp(q->object, "coppice#", 8))
        q->object += 8;
    return 0;
}

static int run(struct request *q)
{
    const char *env = getenv("COPPICE_STORE");
    struct tool t = { .store = q->store ? q->store : env && *env ? env : STORE_DEFAULT };
    _cleanup_free_ char *dir = realpath(q->dir, NULL);

    if (!dir)
        return tool_fail("cannot mount '%s' at %s: %s", q->object, q->dir, strerror(errno));
    if (tool_open(&t, NEED_STORE))
        return 32;
    int r = q->fake ? 0 : snap_mount(t.client, q->object, dir, json_incref(q->options), NULL, NULL, NULL, &t.error) ? tool_error(&t) : 0;
    tool_close(&t);
    return r;
}

int main(int argc, char **argv)
{
    struct request q = { .options = json_object() };

    signal(SIGPIPE, SIG_IGN);
    int r = parse(argc, argv, &q);
    if (!r && run(&q))
        r = 32;               /* mount(8): mount failure */
    json_decref(q.options);
    free(q.store);
    return r;
}
