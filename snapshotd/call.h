/* One request being answered: its arguments, descriptors, what it has said so far, and its end. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>
#include "base/buf.h"
#include "fs/object.h"
#include "fs/inode.h"
#include "fs/verbs.h"
#include "snapshotd/daemon.h"
#include "snapshotd/snap_proto.h"

struct call {
    struct daemon *d;
    struct store *store;                  /* = d->store */
    int sock;
    pid_t pid;                            /* of the peer */
    json_t *req;
    int fds[SNAP_FDS_MAX];                /* -1: taken */
    unsigned fd_count;
    json_t *result;                       /* the body of "ok"; NULL: {} */
    char code[32], message[2048];         /* of "error" */
    char more_key[24];                    /* items collected for "more" */
    struct buf more;
    int broken;                           /* sending failed: nobody listens any more */
    uint64_t progress_ns;                 /* when progress was last told */
    bool sock_taken;                      /* verb shutdown keeps it */
};

struct verb { const char *name; int (*fn)(struct call *c); unsigned fds_max; };
extern const struct verb verbs[];         /* ends with a NULL name */
const struct verb *verb_find(const char *name);

/* --- arguments --- */
/* Strict json_unpack of the request: FMT and pointers as for it, without the verb. 0; -EINVAL and the error is set. */
#define call_args(c, fmt, ...) ({ json_error_t _e; const char *_v; \
    json_unpack_ex((c)->req, &_e, JSON_STRICT, "{s:s" fmt "}", "verb", &_v, ##__VA_ARGS__) ? call_bad(c, _e.text) : 0; })
int call_bad(struct call *c, const char *why);
/* The object named; errors are set. what: "mount", for the text. */
int call_object(struct call *c, const char *doing, const char *name, struct object *ret);
const char *object_id(const struct object *o);
const char *object_label(const struct object *o);      /* its name, or WS@NAME in a static per-thread buffer, or its id */
bool object_is_snapshot(const struct object *o);
/* {key: value} with strings. NULL gives none. */
int call_labels(struct call *c, const json_t *v, struct labels *ret);
/* An array of bytes-or-strings as paths, without leading slashes and "." ; owned, free with paths_fini. */
struct paths { char **v; unsigned n; };
int call_paths(struct call *c, const json_t *v, struct paths *ret);
void paths_fini(struct paths *p);

/* --- the answer --- */
/* Sets the error. Returns err, so that callers can return it. */
int call_fail(struct call *c, int err, const char *code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Sets the error from an errno: "cannot DOING 'OBJECT': why; what to do". */
int call_errno(struct call *c, int err, const char *doing, const char *object);
/* The same, where the object is a new name: tells the rule if it was not a good one. */
int call_name_errno(struct call *c, int err, const char *doing, const char *name);
/* Sends {"more": {key: [item]}}, some at a time (steals item). Ends with call_more_flush(), which peer.c calls too. 0, or negative: nobody
 * listens. */
int call_more(struct call *c, const char *key, json_t *item);
int call_more_flush(struct call *c);
/* {"progress": body}, steals body; not more often than ten times a second unless always. */
int call_progress(struct call *c, json_t *body, bool always);
bool call_progress_due(struct call *c);
/* Sends one frame now, with what was collected before it (steals msg). */
int call_send(struct call *c, json_t *msg, const int *fds, unsigned fd_count);

/* --- what verbs share --- */
json_t *ws_json(struct call *c, const struct ws_rec *w);
json_t *snap_json(struct call *c, const struct snap_rec *s);
json_t *snap_json_named(const struct snap_rec *s, const char *ws_name);     /* whose workspace's name is known */
json_t *labels_json(const struct labels *l);
json_t *timing_json(const struct snapshot_timing *t);
/* Flush before a change; sets the error. Descriptors of the call are used if they came. */
int call_flush(struct call *c, const char *doing, const struct ws_rec *w, struct flushing *ret);

/* explain.c: the texts. */
void explain(int err, const char *doing, const char *object, char ret_code[32], char *ret_text, size_t text_size);
/* A half-made import: its workspace bears this label until it is whole. */
#define LABEL_IMPORTING "coppice.importing"
bool ws_importing(const struct ws_rec *w);
/* Removes what imports that did not end have left; at start. */
void imports_clean(struct store *s);
void import_discard(struct store *s, const char *id);      /* one workspace made for an import, or for a merge */
/* verbs_state.c */
int call_workspace(struct call *c, const char *doing, const char *name, struct object *ret);     /* a workspace that verbs may take states of */
json_t *inode_json(uint64_t ino, const struct inode *in);

int verb_ping(struct call *c), verb_shutdown(struct call *c), verb_upgrade(struct call *c), verb_list(struct call *c), verb_show(struct call *c),
    verb_log(struct call *c);
int verb_do_create(struct call *c), verb_do_rm(struct call *c), verb_do_rename(struct call *c), verb_do_label(struct call *c);
int verb_do_mount(struct call *c), verb_mounts(struct call *c), verb_wait_gone(struct call *c);
int verb_do_snapshot(struct call *c), verb_do_fork(struct call *c), verb_do_restore(struct call *c), verb_do_diff(struct call *c);
int verb_do_tree(struct call *c), verb_do_read(struct call *c);
int verb_do_import(struct call *c), verb_do_import_archive(struct call *c), verb_do_export(struct call *c);
int verb_do_merge(struct call *c), verb_do_auto(struct call *c), verb_do_journal(struct call *c);
int verb_do_gc(struct call *c), verb_do_stats(struct call *c), verb_do_fsck(struct call *c), verb_do_scrub(struct call *c);
