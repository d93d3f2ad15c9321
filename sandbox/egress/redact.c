/* What was injected and must not come back in the headers of a response (E25), in the forms that servers give things back: as it is, percent-encoded, base64, hex. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "base/alloc.h"
#include "sandbox/egress/inject.h"

enum { REDACT_MIN = 4 /* what is shorter is in half of all words */, REDACT_MAX = 256 };
#define HOLE "[redacted]"

static int note(struct message *m, const void *p, size_t n)
{
    char **more, *text;

    for (unsigned i = 0; i < m->redact_count; i++)
        if (strlen(m->redact[i]) == n && !memcmp(m->redact[i], p, n))
            return 0;
    if (n < REDACT_MIN || m->redact_count == REDACT_MAX)
        return n < REDACT_MIN ? 0 : -ENOMEM;
    more = mem_realloc(m->redact, (m->redact_count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    m->redact = more;
    text = mem_zalloc(n + 1);
    if (!text)
        return -ENOMEM;
    memcpy(text, p, n);
    m->redact[m->redact_count++] = text;
    return 0;
}

static void lower_escapes(uint8_t *p, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++)
        if (p[i] == '%')
            for (unsigned k = 1; k < 3; k++)
                if (p[i + k] >= 'A' && p[i + k] <= 'F')
                    p[i + k] = (uint8_t)(p[i + k] + 32);
}

static int note_percent(struct message *m, const char *value)
{
    struct buf b = BUF_INIT;
    int e = -ENOMEM;

    percent_put(&b, value, strlen(value), false);
    if (!buf_err(&b)) {
        e = note(m, b.data, b.len);
        lower_escapes(b.data, b.len);
        e = e ? e : note(m, b.data, b.len);
    }
    buf_wipe(&b);
    return e;
}

static int note_base64(struct message *m, const char *value)
{
    struct buf b = BUF_INIT;
    size_t n = strlen(value);
    uint8_t *at = buf_extend(&b, (n + 2) / 3 * 4 + 1);
    int e;

    if (!at)
        return -ENOMEM;
    int len = EVP_EncodeBlock(at, (const unsigned char *)value, (int)n);
    while (len && at[len - 1] == '=')
        len--;
    e = note(m, at, (size_t)len);
    for (int i = 0; i < len; i++)
        at[i] = at[i] == '+' ? '-' : at[i] == '/' ? '_' : at[i];
    e = e ? e : note(m, at, (size_t)len);
    buf_wipe(&b);
    return e;
}

static int note_hex(struct message *m, const char *value)
{
    struct buf b = BUF_INIT;
    int e = -ENOMEM;

    for (unsigned upper = 0; upper < 2; upper++) {
        buf_clear(&b);
        for (const char *p = value; *p; p++)
            buf_printf(&b, upper ? "%02X" : "%02x", (unsigned char)*p);
        e = buf_err(&b) ? -ENOMEM : note(m, b.data, b.len);
        if (e)
            break;
    }
    buf_wipe(&b);
    return e;
}

int redact_note(struct message *m, const char *value)
{
    int e = note(m, value, strlen(value));

    e = e ? e : note_percent(m, value);
    e = e ? e : note_base64(m, value);
    return e ? e : note_hex(m, value);
}

/* In place where it is shorter; else a new string. No memory: the text goes altogether. */
static void redact(char **text, const char *value)
{
    size_t n = strlen(value);

    for (char *at = *text; (at = strstr(at, value));) {
        size_t before = (size_t)(at - *text), after = strlen(at + n);
        char *out = mem_alloc(before + sizeof HOLE + after);
        if (out) {
            memcpy(out, *text, before);
            memcpy(out + before, HOLE, sizeof HOLE - 1);
            memcpy(out + before + sizeof HOLE - 1, at + n, after + 1);
        }
        OPENSSL_cleanse(*text, before + n + after);
        if (!out) {
            **text = 0;
            return;
        }
        free(*text);
        *text = out;
        at = out + before + sizeof HOLE - 1;
    }
}

static bool names_it(const struct message *request, const char *name)
{
    for (unsigned i = 0; i < request->redact_count; i++)
        if (strcasestr(name, request->redact[i]))
            return true;
    return false;
}

void policy_redact(const struct message *request, struct message *response)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < response->count; i++) {
        struct field f = response->fields[i];
        if (names_it(request, f.name)) {
            free(f.name);
            free(f.value);
            continue;
        }
        for (unsigned k = 0; k < request->redact_count; k++)
            redact(&f.value, request->redact[k]);
        response->fields[kept++] = f;
    }
    response->count = kept;
    for (unsigned k = 0; k < request->redact_count && response->reason; k++)
        redact(&response->reason, request->redact[k]);
}
