/* A request or response that may be edited: what rules, injection and handlers work on. Owned strings; single thread. */
#pragma once
#include <stdbool.h>
#include "base/buf.h"
#include "sandbox/egress/http1.h"

struct field { char *name, *value; };
struct message {
    char method[32];
    char *target;                         /* origin form: path and query */
    unsigned status;                      /* of a response */
    char *reason;
    struct field *fields;
    unsigned count;
    char *body; size_t body_n;            /* of a fixed answer or a handler's; NULL: the body is streamed */
    char **redact; unsigned redact_count; /* values that must not come back */
};
void message_fini(struct message *m);     /* what may hold a credential (values, target, redact) is wiped */
/* Copies of what may be passed on: no hop-by-hop headers, no Host, no Content-Length, no Expect (who sends it writes these). 0 or -ENOMEM. */
int message_from(const struct http1_head *h, struct message *ret);
const char *message_get(const struct message *m, const char *name);       /* the first */
int message_set(struct message *m, const char *name, const char *value);  /* replaces all of the name; -EINVAL: not a header */
int message_add(struct message *m, const char *name, const char *value);
/* Every spelling that some server folds into this name (http1_same_folded(), E20). */
unsigned message_remove_folded(struct message *m, const char *name);
void message_put_fields(const struct message *m, struct buf *b);
