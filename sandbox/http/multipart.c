/*   BEFORE --delimiter--> HEAD --empty line--> DATA --delimiter--> HEAD ... --"--"--> AFTER
 * The delimiter is CRLF "--" boundary; the body is read as if a CRLF stood before it. */
#include "sandbox/http/multipart.h"

#include <errno.h>
#include <libsoup/soup.h>
#include <string.h>

enum at { BEFORE, HEAD, DATA, ENDING, AFTER };
struct multipart {
    enum at at;
    GByteArray *in;
    size_t off;                           /* of in: what was given on */
    char *delimiter;                      /* NULL: one part, to the end */
    bool finished;
    const struct multipart_ops *ops; void *arg;
};

struct multipart *multipart_whole(const struct multipart_ops *ops, void *arg)
{
    struct multipart *m = g_new0(struct multipart, 1);

    m->in = g_byte_array_new();
    m->ops = ops;
    m->arg = arg;
    return m;
}

struct multipart *multipart_new(const char *content_type, const struct multipart_ops *ops, void *arg)
{
    static const char begin[] = "multipart/form-data";
    size_t n = content_type ? strcspn(content_type, "; \t") : 0;
    const char *rest = content_type ? content_type + n + strspn(content_type + n, "; \t") : "", *boundary;
    struct multipart *m = NULL;

    if (n != strlen(begin) || g_ascii_strncasecmp(content_type, begin, n))
        return NULL;
    g_autoptr(GHashTable) params = soup_header_parse_semi_param_list(rest);
    boundary = params ? g_hash_table_lookup(params, "boundary") : NULL;
    if (boundary && *boundary && strlen(boundary) <= MULTIPART_BOUNDARY_MAX) {
        m = multipart_whole(ops, arg);
        m->delimiter = g_strconcat("\r\n--", boundary, NULL);
        g_byte_array_append(m->in, (const guint8 *)"\r\n", 2);
    }
    return m;
}

void multipart_free(struct multipart *m)
{
    if (!m)
        return;
    g_byte_array_unref(m->in);
    g_free(m->delimiter);
    g_free(m);
}

void multipart_add(struct multipart *m, const uint8_t *p, size_t n)
{
    if (m->off) {
        g_byte_array_remove_range(m->in, 0, (guint)m->off);
        m->off = 0;
    }
    g_byte_array_append(m->in, p, (guint)n);
}

void multipart_finish(struct multipart *m) { m->finished = true; }
size_t multipart_waiting(const struct multipart *m) { return m->in->len - m->off; }

static const uint8_t *here(const struct multipart *m) { return m->in->data + m->off; }

/* Browsers and undici write these three for what would end the string. */
static char *unescape(const char *s)
{
    GString *out = g_string_new(s ? s : "");

    g_string_replace(out, "%22", "\"", 0);
    g_string_replace(out, "%0D", "\r", 0);
    g_string_replace(out, "%0A", "\n", 0);
    return g_string_free(out, false);
}

static bool head(struct multipart *m, const char *text, size_t n)
{
    SoupMessageHeaders *h = soup_message_headers_new(SOUP_MESSAGE_HEADERS_MULTIPART);
    g_autofree char *with_line = g_strdup_printf("part\r\n%.*s\r\n", (int)n, text), *name = NULL, *filename = NULL;
    const char *disposition = soup_headers_parse(with_line, (int)strlen(with_line), h) ? soup_message_headers_get_one(h, "Content-Disposition") : NULL;
    g_autoptr(GHashTable) params = disposition ? soup_header_parse_semi_param_list(disposition) : NULL;

    name = unescape(params ? g_hash_table_lookup(params, "name") : NULL);
    filename = unescape(params ? g_hash_table_lookup(params, "filename") : NULL);
    soup_message_headers_unref(h);
    return m->ops->begin(m->arg, name, filename);
}

/* 2: go on; else as multipart_pump(). */
static int pump_head(struct multipart *m)
{
    const char *p = (const char *)here(m);
    size_t n = multipart_waiting(m);
    const char *line = memmem(p, n, "\r\n", 2), *end;

    if (n >= 2 && !memcmp(p, "--", 2)) {
        m->off += n;
        m->at = AFTER;
        return 2;
    }
    if (!line)
        return n > MULTIPART_HEAD_MAX || m->finished ? -EBADMSG : 0;
    if ((size_t)(line - p) != strspn(p, " \t"))
        return -EBADMSG;                  /* behind the delimiter only blanks may stand */
    end = memmem(line, n - (size_t)(line - p), "\r\n\r\n", 4);
    if (!end)
        return n > MULTIPART_HEAD_MAX || m->finished ? -EBADMSG : 0;
    m->off += (size_t)(end + 4 - p);
    m->at = DATA;
    return head(m, end > line ? line + 2 : line, end > line ? (size_t)(end - line - 2) : 0) ? 2 : 0;
}

/* Gives on what is surely content: to the delimiter, or up to what might be its beginning. */
static int pump_data(struct multipart *m)
{
    const uint8_t *p = here(m);
    size_t n = multipart_waiting(m), d = m->delimiter ? strlen(m->delimiter) : 0, keep = d ? d - 1 : 0;
    const uint8_t *found = d ? memmem(p, n, m->delimiter, d) : NULL;
    size_t safe = found ? (size_t)(found - p) : n > keep ? n - keep : 0, taken = 0;

    if (safe && m->at == DATA)
        taken = m->ops->data(m->arg, p, safe);
    else if (safe)
        taken = safe;                     /* before the first part */
    m->off += taken;
    if (taken < safe)
        return 0;
    if (found) {
        m->off += d;
        m->at = m->at == DATA ? ENDING : HEAD;
        return 2;
    }
    if (!m->finished)
        return 0;
    if (d)
        return -EBADMSG;
    m->at = ENDING;
    return 2;
}

int multipart_pump(struct multipart *m)
{
    int r = 2;

    if (!m->delimiter && m->at == BEFORE) {
        m->at = DATA;
        if (!m->ops->begin(m->arg, "file", ""))
            return 0;
    }
    while (r == 2) {
        switch (m->at) {
        case HEAD:
            r = pump_head(m);
            break;
        case ENDING:
            m->at = m->delimiter ? HEAD : AFTER;
            r = m->ops->end(m->arg) ? 2 : 0;
            break;
        case AFTER:
            m->off = m->in->len;
            r = m->finished;
            break;
        case BEFORE:
        case DATA:
            r = pump_data(m);
            break;
        }
    }
    return r;
}
