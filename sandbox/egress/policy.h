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
struct policy_box { const char *id, *name; json_t *labels; /* object of strings */ };

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
/* status: for the answer to the sandbox when it is DENY: 403, 405 (E26). rule is valid as long as the policy. Deny in stage 1 also: a name without a dot, .local, .localhost, an address that
 * no rule names exactly. rule_name: of the rule that decided, "" the default. */
struct verdict { enum verdict_kind kind; const struct rule *rule /* NULL: the default */; unsigned status; char rule_name[64]; char why[160]; };
/* Stage 1, of a connection: before anything is resolved, dialled or minted. */
void policy_connect(const struct policy *p, const struct policy_box *box, const struct authority *a, struct verdict *ret);
/* Stage 2, of a request, with its method and path. Also checks E26, E28, E29. The kind is DENY or ALLOW (any other). */
void policy_request(const struct policy *p, const struct policy_box *box, const struct authority *a, const struct message *m, struct verdict *ret);
/* Does a tunnel or a long request begun under another policy still stand? (same stage-1 verdict, not denied) */
bool policy_still_allows(const struct policy *p, const struct policy_box *box, const struct authority *a, enum verdict_kind was);
/* The same for a request that is not over, an opened WebSocket among them. held: the rule (of the old policy) whose credential it has; it must be given the same one. NULL: it has none. */
bool policy_still_allows_request(const struct policy *p, const struct policy_box *box, const struct authority *a, const char *method, const char *target, bool upgrade, const struct rule *held);
/* Is this address, with the port and scheme that are meant, denied by a rule without conditions? Names may resolve to it. */
bool policy_denies_address(const struct policy *p, const struct policy_box *box, const struct authority *literal);
/* Does this rule write headers of requests? Then trailers, which some servers merge into the headers, are not passed on. */
bool rule_edits_headers(const struct rule *r);
/* May the addresses of this name be private / loopback? (rule's "private") */
bool rule_allows_private(const struct rule *r);
const char *rule_name(const struct rule *r);
bool rule_allows_websocket(const struct rule *r);       /* these three: NULL (the default) is fine. An upgrade that is not allowed is refused by who forwards (403) */
/* How much of a body who forwards should have in message.body (with body_n; an empty body: non-NULL, 0) before policy_apply, when its Content-Length is known and not more; 0: none.
 * SigV4 of services other than s3 signs a hash of it; without, the payload is signed as UNSIGNED-PAYLOAD. A body given so is what goes out. */
size_t rule_wants_body(const struct rule *r);

enum apply_result { APPLY_SEND /* m is what goes out, to *upstream */, APPLY_ANSWER /* ret_answer is the response */, APPLY_DENY /* why */ };
/* Does what the rule says with the request, in this order: takes every spelling of an injected credential away, removes and sets headers, runs the handler (bounded), takes away again and
 * injects exactly one, signs. *upstream: where it goes (the rule's upstream, else a); who forwards writes Host from it, and TLS is verified for it. r NULL (the default): nothing is
 * changed. m->redact gets what must not come back. Thread-safe; may take its bounded time (a handler: 0.5 s of processor, 5 s of clock at most). On DENY m is not to be sent. */
enum apply_result policy_apply(const struct rule *r, const struct policy_box *box, struct secrets *s, const struct authority *a, struct message *m, struct authority *upstream,
                               struct message *ret_answer, char why[160]);
/* Handlers run in processes of their own, which hold no secret and can do nothing but compute. Call once, first thing in main: before any thread, descriptor or secret that they must not
 * have (seccomp that forbids fork may follow). Not called, or gone: a rule with a handler denies. -errno. */
int handlers_start(void);
void handlers_stop(void);
/* What was injected must not come back: takes the injected values out of response headers. redact: from apply, kept in m. */
void policy_redact(const struct message *request, struct message *response);
/* Rate and byte limits of a rule in one sandbox (state lives with the box, not the policy). */
struct limiter;
struct limiter *limiter_new(void);
void limiter_free(struct limiter *l);
/* May this request begin now? False: why, and *ret_retry_s for Retry-After. */
bool limiter_request(struct limiter *l, const struct rule *r, unsigned *ret_retry_s);
/* How many of n bytes may pass now (0: wait *ret_wait_ms; -EDQUOT: the rule's limit of bytes in this direction for one request is used up). *total: of this request and direction,
 * begins at 0, advanced here. bytes_per_second counts both directions of all requests of the rule in the box. */
long limiter_bytes(struct limiter *l, const struct rule *r, bool up, size_t n, uint64_t *total, unsigned *ret_wait_ms);
