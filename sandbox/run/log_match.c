#include "sandbox/run/log_match.h"

#include <string.h>

#include "sandbox/frame.h"

struct line { char text[LOG_LINE_MAX + 1]; size_t n; };
struct log_match {
    char *text;
    GRegex *regex;
    struct line lines[2];              /* stdout (or terminal), stderr */
};

struct log_match *log_match_new(const char *pattern, bool regex, const char **ret_error)
{
    struct log_match *m;
    GRegex *r = NULL;

    *ret_error = "1 to 1024 bytes are needed";
    if (!*pattern || strlen(pattern) > LOG_PATTERN_MAX)
        return NULL;
    if (regex) {
        /* what is said first binds: a limit further on in the pattern can only lower it */
        g_autofree char *limited = g_strdup_printf("(*LIMIT_MATCH=20000)(*LIMIT_DEPTH=2000)%s", pattern);
        r = g_regex_new(limited, G_REGEX_RAW, G_REGEX_MATCH_DEFAULT, NULL);
        *ret_error = "it is not a Perl-compatible regular expression";
        if (!r)
            return NULL;
    }
    m = g_new0(struct log_match, 1);
    m->regex = r;
    m->text = g_strdup(pattern);
    return m;
}

void log_match_free(struct log_match *m)
{
    if (!m)
        return;
    if (m->regex)
        g_regex_unref(m->regex);
    g_free(m->text);
    g_free(m);
}

static bool matches(struct log_match *m, const struct line *l)
{
    return m->regex ? g_regex_match_full(m->regex, l->text, (gssize)l->n, 0, G_REGEX_MATCH_DEFAULT, NULL, NULL) : memmem(l->text, l->n, m->text, strlen(m->text)) != NULL;
}

bool log_match_feed(struct log_match *m, unsigned stream, uint64_t lost, const uint8_t *p, size_t n, const char **ret_line)
{
    struct line *l = &m->lines[stream == STREAM_ERR];

    if (lost)
        m->lines[0].n = m->lines[1].n = 0;
    while (n) {
        const uint8_t *nl = memchr(p, '\n', n);
        size_t whole = nl ? (size_t)(nl - p) : n, part = whole < LOG_LINE_MAX - l->n ? whole : LOG_LINE_MAX - l->n;
        memcpy(l->text + l->n, p, part);
        l->n += part;
        if (l->n && l->text[l->n - 1] == '\r' && nl)
            l->n--;
        l->text[l->n] = 0;
        if (part && matches(m, l)) {
            *ret_line = l->text;
            return true;
        }
        if (nl)
            l->n = 0;
        p += whole + (nl != NULL);
        n -= whole + (nl != NULL);
    }
    return false;
}
