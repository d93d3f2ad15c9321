/* Verb auto, and how the history thread reaches mounts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "fs/store.h"
#include "snapshotd/call.h"
#include "snapshotd/keep.h"

int verb_do_auto(struct call *c)
{
    struct label_change ch = { LABEL_AUTO, NULL };
    const char *name, *policy, *why = NULL;
    struct keep k;
    struct object o;

    int r = call_args(c, ",s:s,s:s", "object", &name, "policy", &policy);
    if (!r && strcmp(policy, "off")) {
        if (strlen(policy) > LABEL_VAL_MAX || keep_parse(policy, &k, &why))
            return call_fail(c, -EINVAL, "invalid", "cannot set the policy of '%s': %s; for example every=10m,keep-last=12,hourly=24,daily=7,weekly=4, or off", name,
                             why ? why : "it is too long");
        ch.val = policy;
    }
    if (!r)
        r = call_workspace(c, "set the policy of", name, &o);
    if (r)
        return r;
    r = verb_label(c->store, &o, &ch, 1);
    if (r)
        return call_errno(c, r, "set the policy of", name);
    history_wake(&c->d->history);
    c->result = json_pack("{s:s,s:s}", "id", o.ws.id, "policy", policy);
    return 0;
}

static int flush(void *arg, const struct ws_rec *w, void **ret)
{
    struct daemon *d = arg;
    struct flushing *f = mem_zalloc(sizeof *f);
    int r = f ? mounts_flush_begin(&d->mounts, w->id, NULL, 0, f) : -ENOMEM;

    if (r && f)
        mounts_flush_end(f);
    if (r)
        free(TAKE_PTR(f));
    *ret = f;
    return r;
}

static void flushed(void *arg, void *f)
{
    (void)arg;
    mounts_flush_end(f);
    free(f);
}

const struct history_ops history_mounts = { flush, flushed };
