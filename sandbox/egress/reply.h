/* Answers that egress gives itself. */
#pragma once
#include "sandbox/egress/conn.h"
#include "sandbox/egress/message.h"

struct refusal {
    unsigned status;
    const char *error;               /* a word: denied, bad_request, misdirected, upstream_unreachable ... */
    const char *why;                 /* for people; never an address, a path of the host, a secret */
    const char *rule;                /* "" or NULL: the default */
    const struct authority *to;      /* NULL: unknown */
    const char *name;                /* of the sandbox, for the advice; NULL: none */
    unsigned retry_s;                /* 0: none */
};
/* JSON with all of this. head: to a HEAD, without the body. keep: the connection goes on. 0 or -errno. */
int reply_refuse(struct conn *c, const struct refusal *r, bool head, bool keep);
/* An answer of a rule. */
int reply_message(struct conn *c, const struct message *m, bool head, bool keep);
/* What came and will not be read is read away for a moment, so that the answer is not lost to a reset. */
void reply_linger(struct conn *c);
const char *reply_reason(unsigned status);       /* the words for a status; static */
