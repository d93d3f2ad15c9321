/* Making and keeping the template `host`.
 *
 * A new state is imported into a workspace of its own (labelled as an import, so that a crash leaves nothing), and its snapshot becomes:
 *  - the first time: the template's workspace itself, by renaming it;
 *  - later: the new state of the template's workspace, by restoring that to it; so the states of a host follow each other in one line and
 *    what was made from an older one keeps its ancestor.
 * Content decides: equal trees have equal streams (host_tree.h), whose hash the snapshot bears. Whether the tree has to be read again is
 * decided by looking at what it was made of. */
#include "snapshotd/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/wire.h"
#include "fs/import.h"
#include "fs/store.h"
#include "fs/workspace.h"
#include "snapshotd/call.h"

DEFINE_CLEANUP(struct workspace *, workspace_unref)
enum { HASH_HEX = 65, NAMES_MAX = 100 };

void template_init(struct template *t)
{
    *t = (struct template){ 0 };
    pthread_mutex_init(&t->lock, NULL);
}

void template_fini(struct template *t)
{
    struct host_tree old = { .inputs = t->inputs };

    host_tree_fini(&old);
    pthread_mutex_destroy(&t->lock);
}

static const char *label_get(const struct labels *l, const char *key)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (!strcmp(l->l[i].key, key))
            return l->l[i].val;
    return NULL;
}

static void label_add(struct labels *l, const char *key, const char *val)
{
    snprintf(l->l[l->count].key, sizeof(l->l[0].key), "%s", key);
    snprintf(l->l[l->count].val, sizeof(l->l[0].val), "%s", val);
    l->count++;
}

bool template_labels(const struct labels *l)
{
    return label_get(l, LABEL_TEMPLATE) != NULL;
}

bool template_named(struct call *c, const char *name)
{
    struct object o;

    if (strcmp(name, TEMPLATE_HOST))
        return false;
    return object_find(c->store, name, &o) || (!object_is_snapshot(&o) && template_labels(&o.ws.labels));
}

static int is_it(void *arg, const struct ws_rec *w)
{
    if (!template_labels(&w->labels) || ws_importing(w))
        return 0;
    *(struct ws_rec *)arg = *w;
    return 1;
}

/* --- a new state --- */

static int import_tree(struct call *c, struct workspace *w, const struct host_tree *t)
{
    struct importer *im;
    size_t at = 0;
    int r = importer_new(w, "", &im);

    if (r)
        return call_errno(c, r, "make the template", TEMPLATE_HOST);
    while (!r && t->frames.len - at >= 4) {
        uint32_t n = le32(t->frames.data + at);
        r = importer_frame(im, t->frames.data + at + 4, n);
        at += 4 + (size_t)n;
    }
    if (!r && !importer_ended(im))
        r = -EUCLEAN;
    if (r)
        call_fail(c, r, r == -ENOSPC ? "no_space" : "internal", "cannot make the template 'host': %s", importer_error(im));
    importer_free(im);
    return r;
}

static int new_name(struct call *c, const char *stem, struct create_args *a, char *name, size_t size, struct ws_rec *ret)
{
    int r = -EEXIST;

    a->name = name;
    for (int i = 1; r == -EEXIST && i < NAMES_MAX; i++) {
        snprintf(name, size, i > 1 ? "%s-%d" : "%s", stem, i);
        r = verb_create(c->store, a, ret);
    }
    return r ? call_errno(c, r, "make the template", TEMPLATE_HOST) : 0;
}

static void drop(struct call *c, const char *id)
{
    struct object o;
    int r = object_find(c->store, id, &o);

    if (!r)
        r = verb_remove(c->store, &o, true);
    if (r)
        log_warn("object=%s removal of a half-made template err=%s", id, errno_name(r));
}

/* A workspace with the state in it, and its snapshot. */
static int make_state(struct call *c, const struct host_tree *t, const char *hash, struct ws_rec *ret_ws, struct snap_rec *ret)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    struct labels wl = { 0 }, sl = { 0 };
    char name[OBJECT_NAME_MAX + 1];

    label_add(&wl, LABEL_IMPORTING, "");
    label_add(&wl, LABEL_TEMPLATE, TEMPLATE_HOST);
    label_add(&sl, LABEL_TEMPLATE, TEMPLATE_HOST);
    label_add(&sl, LABEL_TEMPLATE_HASH, hash);
    struct create_args a = { .kind = WS_HOST, .labels = &wl };
    int r = new_name(c, "host.new", &a, name, sizeof(name), ret_ws);
    if (r)
        return r;
    r = workspace_open(c->store, ret_ws->id, &w);
    if (r)
        call_errno(c, r, "make the template", TEMPLATE_HOST);
    else
        r = import_tree(c, w, t);
    struct snapshot_args s = { .name = "", .cause = SNAP_AUTO, .message = "root file system on this host's /usr", .labels = &sl };
    if (!r && (r = verb_snapshot(c->store, w, &s, ret, NULL)))
        call_errno(c, r, "make the template", TEMPLATE_HOST);
    if (r) {
        workspace_unref(TAKE_PTR(w));
        drop(c, ret_ws->id);
    }
    return r;
}

/* The first one: its workspace becomes the template's. */
static int adopt(struct call *c, const struct ws_rec *made)
{
    struct label_change done = { LABEL_IMPORTING, NULL };
    char name[OBJECT_NAME_MAX + 1];
    struct object o;
    int r = object_find(c->store, made->id, &o);

    for (int i = 1; !r && i < NAMES_MAX; i++) {
        snprintf(name, sizeof(name), i > 1 ? "%s-template%d" : "%s", TEMPLATE_HOST, i);
        r = verb_rename(c->store, &o, name);
        if (r != -EEXIST)
            break;
        r = 0;
    }
    if (!r)
        r = object_find(c->store, made->id, &o);
    if (!r)
        r = verb_label(c->store, &o, &done, 1);
    return r ? call_errno(c, r, "make the template", TEMPLATE_HOST) : 0;
}

/* A later one: the template's workspace is restored to it. *io: the snapshot in that workspace's own line. */
static int follow(struct call *c, const struct ws_rec *host, struct snap_rec *io)
{
    _cleanup_(workspace_unref_p) struct workspace *w = NULL;
    struct flushing f = { .dir_fd = -1 };
    struct restore_report rep;
    struct labels labels = io->labels;

    int r = workspace_open(c->store, host->id, &w);
    if (r)
        return call_errno(c, r, "make the template", TEMPLATE_HOST);
    if ((r = call_flush(c, "make the template", host, &f)))
        return r;
    r = verb_restore(c->store, w, io, NULL, 0, &rep);
    mounts_flush_end(&f);
    struct snapshot_args s = { .name = "", .cause = SNAP_AUTO, .message = "root file system on this host's /usr", .labels = &labels };
    if (!r)
        r = verb_snapshot(c->store, w, &s, io, NULL);
    return r ? call_errno(c, r, "make the template", TEMPLATE_HOST) : 0;
}

static int make(struct call *c, const struct host_tree *t, const char *hash, const struct ws_rec *host, char ret[ID_MAX])
{
    struct snap_rec s;
    struct ws_rec made;
    int r = make_state(c, t, hash, &made, &s);

    if (r)
        return r;
    r = host ? follow(c, host, &s) : adopt(c, &made);
    if (r || host)
        drop(c, made.id);
    if (r)
        return r;
    log_info("template=host snapshot=%s entries=%llu", s.id, (unsigned long long)t->entries);
    strcpy(ret, s.id);
    return 0;
}

/* --- the present one --- */

static int hash_hex(const struct buf *b, char ret[HASH_HEX])
{
    uint8_t md[32];

    if (!EVP_Digest(b->data, b->len, md, NULL, EVP_sha256(), NULL))
        return -ENOMEM;
    for (size_t i = 0; i < sizeof(md); i++)
        snprintf(ret + 2 * i, 3, "%02x", md[i]);
    return 0;
}

/* Reads the host; takes the store's if it is of that content, else makes it. */
static int look(struct call *c, struct template *tm)
{
    struct host_tree t;
    struct ws_rec host;
    struct snap_rec s;
    char hash[HASH_HEX];
    const char *had = NULL;

    int r = host_tree_read("", &t);
    if (r) {
        call_fail(c, r, r == -ENOTSUP ? "unsupported" : r == -ENOMEM ? "no_memory" : "io_error", "cannot make the template 'host': %s", t.error);
        host_tree_fini(&t);
        return r;
    }
    r = hash_hex(&t.frames, hash);
    int there = r ? r : ws_rec_each(c->store->meta, is_it, &host);
    if (there < 0)
        r = call_errno(c, there, "look for the template", TEMPLATE_HOST);
    if (there > 0 && host.parent_snap[0] && !snap_rec_get(c->store->meta, host.parent_snap, &s))
        had = label_get(&s.labels, LABEL_TEMPLATE_HASH);
    if (!r && had && !strcmp(had, hash))
        strcpy(tm->snap_id, s.id);
    else if (!r)
        r = make(c, &t, hash, there > 0 ? &host : NULL, tm->snap_id);
    if (!r) {
        struct host_inputs old = tm->inputs;
        tm->inputs = t.inputs;
        t.inputs = old;
    }
    host_tree_fini(&t);
    return r;
}

int template_get(struct call *c, char ret_snap_id[ID_MAX])
{
    struct template *t = &c->d->template;
    struct snap_rec s;
    int r = 0;

    pthread_mutex_lock(&t->lock);
    if (!t->snap_id[0] || !host_inputs_same(&t->inputs) || snap_rec_get(c->store->meta, t->snap_id, &s)) {
        t->snap_id[0] = 0;
        r = look(c, t);
    }
    if (!r)
        strcpy(ret_snap_id, t->snap_id);
    pthread_mutex_unlock(&t->lock);
    return r;
}
