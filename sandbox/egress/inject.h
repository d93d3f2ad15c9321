/* Between the files that do what a rule says with a request. */
#pragma once
#include <time.h>
#include "sandbox/egress/policy_private.h"
#include "sandbox/egress/secret.h"

/* Parameters of the query of a target, by name in every spelling that some server takes for it: percent-encoded (twice too), case, "[...]" after it, "_" "." " " "-", after ";" as well. */
bool query_has(const char *target, const char *name);
void query_remove(char *target, const char *name);                      /* in place */
int query_append(char **target, const char *name, const char *value);   /* percent-encoded; the old target is wiped. 0 or -ENOMEM */
/* RFC 3986: all but unreserved as %XX; slash: "/" stays. */
void percent_put(struct buf *b, const char *p, size_t n, bool slash);
size_t percent_decode(const char *p, size_t n, char *out /* n bytes */);
void buf_wipe(struct buf *b);                                           /* and fini */

/* AWS Signature Version 4 (header form). query and path as on the wire, headers are all that are signed, host among them. */
struct sigv4_field { const char *name, *value; };
struct sigv4 {
    const char *access_key, *secret_key, *region, *service, *method, *target;
    const struct sigv4_field *fields;
    unsigned count;
    const char *payload;      /* hex hash, or UNSIGNED-PAYLOAD */
    const char *date;         /* 20150830T123600Z */
};
/* The value of Authorization. Owned, NULL: no memory. */
char *sigv4_authorization(const struct sigv4 *s);
void sigv4_hash(const void *p, size_t n, char ret[65]);
void sigv4_date(time_t now, char ret[17]);
/* All that inject does for it: dates, token, hash, signature. access_key ...: values. 0 or -errno. */
int sigv4_inject(const struct inject *in, const char *access_key, const char *secret_key, const char *token, struct message *m, const struct authority *upstream, time_t now);
void sigv4_strip(struct message *m);

/* Takes every spelling of what the rule injects away. */
void inject_strip(const struct rule *r, struct message *m);
/* Adds each exactly once. 0, or -errno with why. */
int inject_add(const struct rule *r, struct secrets *s, const struct authority *upstream, struct message *m, char why[160]);
/* Notes a value that must not come back, in the forms that it may take. */
int redact_note(struct message *m, const char *value);

/* The handler's answer. m is edited. headers with secrets are set here: the values never go to the handler. */
enum apply_result handler_run(const struct rule *r, const struct policy_box *box, struct secrets *s, const struct authority *a, const struct authority *upstream, struct message *m,
                              struct message *ret_answer, char why[160]);
