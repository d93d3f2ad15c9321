/* What exchange.c (judging, sending) and exchange_answer.c (answering) share. */
#pragma once
#include "sandbox/egress/conn.h"
#include "sandbox/egress/message.h"
#include "sandbox/egress/pump.h"

enum { INFORM_MAX = 16, ANSWER_HEAD_S = 30 };
struct exchange {
    struct conn *c;
    const struct box_view *v;
    struct authority a, to;              /* who is meant; where it goes */
    struct verdict verdict;
    struct message m;                    /* the request as it goes out */
    char *asked, method[32];             /* as it came */
    enum http1_body body;
    uint64_t length, began_ns, head_ns;
    bool keep, expect, upgrade, http10, body_read;
    bool answered, got, fault_client;    /* the answer's head is out; a byte of an answer came; what broke is the sandbox's side */
    bool upstream_keep;
    struct half up, down;
    size_t seen;                         /* of the answer's head, looked at */
    unsigned informs, status;
    const char *said;                    /* for the log */
    char why[160];
};
/* Both messages, from the moment the request's head was sent. As exchange_run(). */
int exchange_converse(struct exchange *x);
int exchange_say(struct exchange *x, const char *said, unsigned status, const char *error, const char *why, unsigned retry_s);
