/* What tests of rules share: documents with ' for ", requests in one line. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sandbox/egress/policy.h"
#include "sandbox/egress/secret.h"

json_t *trial_json(const char *text);                     /* ' stands for " */
struct policy *trial_policy(const char *text);            /* fails the test when it is refused */
const char *trial_refused(const char *text);              /* why it is refused (static); NULL: it was not */
struct authority trial_authority(const char *url);        /* "https://host:port" */
/* "METHOD /path|name: value|name: value" */
struct message trial_request(const char *text);
const struct policy_box *trial_box(const char *labels);   /* static */
struct secrets *trial_secrets(void);                      /* in memory: S, T, USER, KEY */
unsigned trial_count(const struct message *m, const char *name);     /* headers that fold to the name */
