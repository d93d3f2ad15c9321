/* What came back from the process of a handler, which nobody trusts: read strictly, then done. */
#pragma once
#include "sandbox/egress/handler_wire.h"
#include "sandbox/egress/inject.h"

/* As policy_apply: m is edited (SEND), ret_answer made (ANSWER), or why (DENY). */
enum apply_result handler_result(const struct rule *r, struct secrets *s, const struct authority *upstream, const struct buf *in, struct message *m, struct message *ret_answer, char why[160]);
