/* A request is made ready for its signature, and signed. What the workload signed or wrote of it goes first.
 *
 * The payload: of s3 it is not signed (UNSIGNED-PAYLOAD, which s3 takes over TLS) unless the sandbox said its hash; of others it is the hash of the body, when who forwards has it in memory
 * (rule_wants_body), or what the sandbox says the hash is (the service checks it); else UNSIGNED-PAYLOAD, which some services take and others refuse. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/crypto.h>
#include "base/alloc.h"
#include "sandbox/egress/inject.h"

static const char *const own[] = { "authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "date" };
static const char *const presigned[] = { "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature" };

void sigv4_strip(struct message *m)
{
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++)
        if (strcmp(own[i], "x-amz-content-sha256"))
            message_remove_folded(m, own[i]);
    for (unsigned i = 0; i < sizeof presigned / sizeof *presigned; i++)
        query_remove(m->target, presigned[i]);
}

static bool is_hash(const char *p)
{
    return p && strlen(p) == 64 && strspn(p, "0123456789abcdef") == 64;
}

/* -EPROTO: a body in chunks that the sandbox signed with a key of its own: nobody can sign that again without reading it. */
static int payload(struct message *m, char ret[65])
{
    static const char trailer[] = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    const char *said = message_get(m, "x-amz-content-sha256");

    if (said && !strncmp(said, "STREAMING-", 10) && strcmp(said, trailer))
        return -EPROTO;
    if (said && !strcmp(said, trailer))
        strcpy(ret, trailer);
    else if (m->body)
        sigv4_hash(m->body, m->body_n, ret);
    else
        strcpy(ret, is_hash(said) ? said : "UNSIGNED-PAYLOAD");
    message_remove_folded(m, "x-amz-content-sha256");
    return 0;
}

static int prepare(const struct inject *in, const char *token, struct message *m, const char *date, const char *hash)
{
    bool said = !strcmp(in->service, "s3") || !m->body;
    int e = message_set(m, "X-Amz-Date", date);

    if (!e && token)
        e = message_set(m, "X-Amz-Security-Token", token);
    if (!e && said)
        e = message_set(m, "X-Amz-Content-Sha256", hash);
    return e;
}

/* "+" means a space to some and itself to others: written so that it means one thing. */
static int plus_as_space(char **target)
{
    char *q = strchr(*target, '?');
    struct buf b = BUF_INIT;

    if (!q || !strchr(q, '+'))
        return 0;
    buf_put(&b, *target, (size_t)(q - *target));
    for (; *q; q++)
        buf_put(&b, *q == '+' ? "%20" : q, *q == '+' ? 3 : 1);
    buf_put_u8(&b, 0);
    if (buf_err(&b))
        return -ENOMEM;
    free(*target);
    *target = (char *)b.data;
    return 0;
}

static bool is_signed(const char *name)
{
    return !strncasecmp(name, "x-amz-", 6) || !strcasecmp(name, "content-type") || !strcasecmp(name, "content-md5");
}

int sigv4_inject(const struct inject *in, const char *access_key, const char *secret_key, const char *token, struct message *m, const struct authority *up, time_t now)
{
    struct sigv4_field fields[HTTP1_HEADERS_MAX + 8];
    char date[17], hash[65], host[HOST_MAX + 10];
    unsigned n = 0;
    int e;

    sigv4_date(now, date);
    if ((e = payload(m, hash)) || (e = plus_as_space(&m->target)) || (e = prepare(in, token, m, date, hash)))
        return e;
    const char *fmt = up->kind == HOST_V6 ? "[%s]:%u" : "%s:%u";
    snprintf(host, sizeof host, fmt, up->host, up->port);
    if (up->port == (up->tls ? 443 : 80))
        *strrchr(host, ':') = 0;
    fields[n++] = (struct sigv4_field){ "host", host };
    for (unsigned i = 0; i < m->count && n < HTTP1_HEADERS_MAX + 8; i++)
        if (is_signed(m->fields[i].name))
            fields[n++] = (struct sigv4_field){ m->fields[i].name, m->fields[i].value };
    struct sigv4 s = { access_key, secret_key, in->region, in->service, m->method, m->target, fields, n, hash, date };
    char *value = sigv4_authorization(&s);
    e = value ? message_set(m, "Authorization", value) : -ENOMEM;
    free(value);
    return e;
}
