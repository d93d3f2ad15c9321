/* Rules: what a sandbox may ask of the world. A policy is immutable once parsed, and counted: a request keeps the one it was judged by. docs/egress.md 2 has the format.
 *
 * Order: a deny that matches wins; else the first allow that matches; else the default. A second matching rule that injects a credential makes the request ambiguous: refused. */
#pragma once
#include <jansson.h>
#include "sandbox/egress/authority.h"
#include "sandbox/egress/message.h"

struct policy; struct rule; struct secrets;
enum { POLICY_RULES_MAX = 256, POLICY_BYTES_MAX = 256 * 1024, HANDLER_BYTES_MAX = 16 * 1024 };
struct policy_fault { char text[400]; };     /* "rules[3].ports[0]: ...": which, why, what to do */
struct policy_box { const char *id; json_t *labels; /* object of strings */ };

/* Strict: an unknown field is refused. doc: as docs/egress.md 2 without revision. */
int policy_parse(json_t *doc, struct policy **ret, struct policy_fault *fault);
struct policy *policy_ref(struct policy *p);
void policy_unref(struct policy *p);         /* NULL is fine */
json_t *policy_json(const struct policy *p); /* as it was given, complete. Owned */
/* Warnings for the operator (A28): "*" rules, a credential on a wildcard, ...: array of strings. Owned. */
json_t *policy_lint(const struct policy *p, const struct secrets *s);
/* What a fork gets: with "inherit" all, else only rules that say so, without grants that do not. NULL: nothing (default deny). Owned reference. */
struct policy *policy_for_fork(const struct policy *p);

enum verdict_kind {
    VERDICT_DENY,
    VERDICT_TUNNEL,      /* TLS, and nothing in the rules needs to see the request: bytes are passed after the name was checked */
    VERDICT_INTERCEPT,   /* TLS is ended here, requests are judged one by one */
    VERDICT_PLAIN,       /* http: requests are judged one by one */
};
struct verdict { enum verdict_kind kind; const struct rule *rule /* NULL: the default */; char rule_name[64]; char why[160]; };
/* Stage 1, of a connection: before anything is resolved, dialled or minted. */
void policy_connect(const struct policy *p, const struct policy_box *box, const struct authority *a, struct verdict *ret);
/* Stage 2, of a request, with its method and path. Also checks E26, E28, E29. The kind is DENY or ALLOW (any other). */
void policy_request(const struct policy *p, const struct policy_box *box, const struct authority *a, const struct message *m, struct verdict *ret);
/* Does a tunnel or a long request begun under another policy still stand? (same stage-1 verdict, not denied) */
bool policy_still_allows(const struct policy *p, const struct policy_box *box, const struct authority *a, enum verdict_kind was);
/* May the addresses of this name be private / loopback? (rule's "private") */
bool rule_allows_private(const struct rule *r);
const char *rule_name(const struct rule *r);

enum apply_result { APPLY_SEND /* m is what goes out, to *upstream */, APPLY_ANSWER /* ret_answer is the response */, APPLY_DENY /* why */ };
/* Does what the rule says with the request: takes every spelling of an injected credential away, injects exactly one, sets and removes headers, rewrites the upstream, signs, runs
 * the handler (bounded). Thread-safe; may take its bounded time. body: what SigV4 and handlers may see is the head only (payload unsigned). */
enum apply_result policy_apply(const struct rule *r, const struct policy_box *box, struct secrets *s, const struct authority *a, struct message *m, struct authority *upstream,
                               struct message *ret_answer, char why[160]);
/* What was injected must not come back: takes the injected values out of response headers. redact: from apply, kept in m. */
void policy_redact(const struct message *request, struct message *response);
/* Rate and byte limits of a rule in one sandbox (state lives with the box, not the policy). */
struct limiter;
struct limiter *limiter_new(void);
void limiter_free(struct limiter *l);
/* May this request begin now? False: why, and *ret_retry_s for Retry-After. */
bool limiter_request(struct limiter *l, const struct rule *r, unsigned *ret_retry_s);
/* How many of n bytes may pass now (0: wait *ret_wait_ms; -EDQUOT: the rule's byte limit is used up). */
long limiter_bytes(struct limiter *l, const struct rule *r, bool up, size_t n, unsigned *ret_wait_ms);
