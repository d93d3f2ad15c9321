/* What a policy is once it was understood. Strings are the document's: the policy keeps it. */
#pragma once
#include <stdatomic.h>
#include <errno.h>
#include <strings.h>
#include "sandbox/egress/policy.h"

enum { HOSTS_MAX = 256, PORTS_MAX = 32, METHODS_MAX = 32, PATHS_MAX = 128, INJECT_MAX = 8, HEADERS_EDIT_MAX = 64, HEADER_VALUE_MAX = 8 * 1024, ANSWER_BODY_MAX = 64 * 1024, RULE_SECRETS_MAX = 16 };
enum { SCHEME_HTTP = 1, SCHEME_HTTPS = 2 };
struct texts { const char **v; unsigned n; };
struct ports { uint16_t v[PORTS_MAX]; unsigned n; };
enum inject_kind { INJECT_BEARER, INJECT_BASIC, INJECT_HEADER, INJECT_QUERY, INJECT_SIGV4 };
/* header: the name, or of a query parameter; user of basic, format of header ("{}" once in it) */
struct inject { enum inject_kind kind; const char *header, *secret, *user, *format, *access_key, *session_token, *region, *service; };
struct limits { uint64_t requests_per_minute, bytes_per_second, request_bytes, response_bytes; };
struct rule {
    char name[64];                    /* given, or "rules[N]" */
    bool named, deny;
    struct texts hosts, methods, paths, remove_headers, secrets;
    struct ports ports;               /* none: 443 for https, 80 for http */
    unsigned schemes;
    json_t *labels, *set_headers;     /* objects of strings; borrowed, NULL */
    struct inject inject[INJECT_MAX];
    unsigned injects;
    bool has_upstream;
    struct authority upstream;
    json_t *answer;                   /* borrowed, NULL */
    const char *handler;
    struct limits limits;
    bool require_tls, intercept, websocket, private_, inherit;
};
struct policy { atomic_uint refs; json_t *doc; bool allow /* the default */, inherit; struct rule *rules; unsigned count; };

static inline bool rule_has_credential(const struct rule *r)
{
    return r->injects || r->secrets.n;
}
/* Reading strict JSON: where we are, and what is wrong there. */
struct at { struct policy_fault *fault; char path[160]; };
struct at at_field(const struct at *at, const char *name);          /* "rules[3]" -> "rules[3].hosts" */
struct at at_item(const struct at *at, size_t i);                   /* -> "rules[3].hosts[0]" */
int at_fault(const struct at *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));      /* -EINVAL */
/* Every key of the object is in the list (space-separated): 0 or -EINVAL. */
int at_only(const struct at *at, json_t *object, const char *known);
/* NULL values leave *ret as it is; a wrong type or a bad value is -EINVAL. text: printable ASCII (E22), 1..max bytes. */
int at_text(const struct at *at, json_t *object, const char *field, size_t max, const char **ret);
int at_bool(const struct at *at, json_t *object, const char *field, bool *ret);
int at_number(const struct at *at, json_t *object, const char *field, uint64_t min, uint64_t max, uint64_t *ret);
typedef const char *check_fn(const char *text);                     /* NULL, or what is wrong */
int at_texts(const struct at *at, json_t *object, const char *field, unsigned max, check_fn *check, struct texts *ret);      /* an array of 1..max texts; owned v */
int at_object(const struct at *at, json_t *object, const char *field, json_t **ret);        /* borrowed */
bool text_plain(const char *p, size_t n);
const char *header_check(const char *name);                         /* may a rule set or inject it? NULL, or why not */
const char *header_value_check(const char *value);
bool secret_name_ok(const char *name);
bool text_folds_to(const char *p, size_t n, const char *name);      /* http1_same_folded */

int rule_parse(const struct at *at, json_t *j, unsigned index, struct rule *ret);     /* on failure too: rule_fini */
void rule_fini(struct rule *r);
int inject_parse(const struct at *at, json_t *j, struct rule *r);
int answer_parse(const struct at *at, json_t *j);
/* Is it one Lua function? NULL, or what Lua says (in why). */
const char *handler_check(const char *source, char why[160]);
