/* What egress keeps over restarts: for each box its name, labels and rules (boxes/ID.json in egress's directory), and the secrets. Thread-safe; nobody waits for the disk but who changes something.
 *
 * Who serves a request takes a view: name, labels, policy as they were at one moment, immutable, counted. A change makes a new view: durable first, then in force, then answered. */
#pragma once
#include <jansson.h>
#include <stdint.h>
#include "sandbox/egress/policy.h"
#include "sandbox/egress/secret.h"

struct state;
/* Also reads all that is there. dir_fd borrowed (stays open until state_free). A box whose file cannot be read or understood gets no rules (all is denied), is named in the log, and
 * its file is kept: only rules_put replaces it (rules_patch is refused). -errno: the directory cannot be used. dir_fd -1: in memory only. */
int state_open(int dir_fd, const uint8_t key[SECRET_KEY_BYTES], struct state **ret);
void state_free(struct state *s);                          /* NULL is fine. No view or other thread is left */
struct secrets *state_secrets(struct state *s);            /* borrowed */

struct box_view {
    const char *id, *name;                                 /* name: as the operator calls it; the id when nobody said */
    struct policy_box box;                                 /* what policy_*() want: id and labels */
    struct policy *policy;                                 /* never NULL: no rules deny everything */
    struct limiter *limiter;                               /* of the box: the same over all its views */
    uint64_t revision, generation;                         /* of the rules; of the state when this view was made */
};
/* The view in force now, a reference of the caller's. A box that nobody told of has one that denies everything. NULL: no memory. */
const struct box_view *state_box(struct state *s, const char *id);
const struct box_view *box_view_ref(const struct box_view *v);
void box_view_unref(const struct box_view *v);             /* NULL is fine */
/* Changes with every change of rules, labels, boxes or secrets: one atomic load. Who holds a tunnel or a long request looks at it at least twice a second, and when it changed takes the
 * view anew and asks policy_still_allows() (E43). */
uint64_t state_generation(const struct state *s);

/* The ops box, rules_get, rules_put, rules_patch, rules_check, fork, forget, secret_put, secret_delete, secret_list of sandbox/egress_proto.h. *ret: {"ok": ...} or {"error": {"code", "text", "details"?}},
 * owned, without the tag. Durable when it returns. 0; 1: not one of these ops (*ret untouched); -ENOMEM. May wait for the disk. */
int state_op(struct state *s, json_t *req, json_t **ret);
json_t *state_error(const char *code, json_t *details /* taken, NULL */, const char *fmt, ...) __attribute__((format(printf, 3, 4)));    /* {"error": ...} for others who answer on that line */
unsigned state_boxes(const struct state *s);               /* how many are known */
