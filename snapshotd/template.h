/* The built-in template `host`: a hidden workspace whose newest state is the skeleton of a root file system on this host's /usr. */
#pragma once
#include <pthread.h>
#include "fs/object.h"
#include "snapshotd/host_tree.h"

struct call;
#define LABEL_TEMPLATE "coppice.template"        /* of the workspace and its snapshots: "host"; with it they are shown only when asked for */
#define LABEL_TEMPLATE_HASH "coppice.template.hash"      /* of a snapshot: SHA-256 of the entry stream it was made of */
#define TEMPLATE_HOST "host"

struct template {
    pthread_mutex_t lock;                 /* one maker at a time; outermost: held across import, snapshot and restore */
    char snap_id[ID_MAX];                 /* the present one, "" if this daemon has not looked yet */
    struct host_inputs inputs;            /* what it was made of, as it was then */
};
void template_init(struct template *t);
void template_fini(struct template *t);
/* True if `name` means the built-in template: it is "host", and no workspace of somebody else has that name. */
bool template_named(struct call *c, const char *name);
/* The snapshot to make a sandbox's root from; made if there is none, and anew if the host has changed in content. 0; errors are set in the call. */
int template_get(struct call *c, char ret_snap_id[ID_MAX]);
bool template_labels(const struct labels *l);    /* these are of a template's workspace or snapshot */
