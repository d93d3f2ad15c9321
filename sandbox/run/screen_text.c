/* What libvterm is given is made fit for it first: it reads memory that was never written when a call ends within a character, and keeps combining characters without bound. So: only
 * whole UTF-8 characters, bad bytes as U+FFFD, and at most MARKS_MAX combining characters in a row. */
#include <string.h>

#include <glib.h>

#include "sandbox/run/screen_private.h"

enum { MARKS_MAX = 8, CLEAN = 4096 };
struct clean { struct screen *s; char bytes[CLEAN]; size_t n; };

static void clean_put(struct clean *c, const void *p, size_t n)
{
    if (c->n + n > CLEAN) {
        vterm_input_write(c->s->vt, c->bytes, c->n);
        c->n = 0;
    }
    memcpy(c->bytes + c->n, p, n);
    c->n += n;
}

static bool is_mark(gunichar u)
{
    GUnicodeType t = g_unichar_type(u);

    return g_unichar_iszerowidth(u) || t == G_UNICODE_NON_SPACING_MARK || t == G_UNICODE_ENCLOSING_MARK || t == G_UNICODE_SPACING_MARK || t == G_UNICODE_FORMAT;
}

/* One character at p: its length, 0: its end is missing. */
static size_t clean_char(struct clean *c, const uint8_t *p, size_t n, bool last)
{
    gunichar u = *p < 0x80 ? *p : g_utf8_get_char_validated((const char *)p, (gssize)n);
    size_t len;

    if (u == (gunichar)-2 && !last)
        return 0;
    if (u >= (gunichar)-2) {
        c->s->marks = 0;
        clean_put(c, "\357\277\275", 3);
        return 1;
    }
    len = *p < 0x80 ? 1 : (size_t)(g_utf8_next_char((const char *)p) - (const char *)p);
    c->s->marks = u >= 0x300 && is_mark(u) ? c->s->marks + 1 : 0;
    if (c->s->marks <= MARKS_MAX)
        clean_put(c, p, len);
    return len;
}

static bool is_ascii(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] >= 0x80)
            return false;
    return true;
}

static void span(struct screen *s, const uint8_t *p, size_t n, bool last)
{
    struct clean c;

    for (size_t i = 0; i < n; i++)                    /* LS0, LS1 */
        if (p[i] == 0x0e || p[i] == 0x0f)
            s->m.gl = p[i] == 0x0e;
    if (is_ascii(p, n)) {
        s->marks = 0;
        vterm_input_write(s->vt, (const char *)p, n);
        return;
    }
    c.s = s;
    c.n = 0;
    while (n) {
        size_t len = clean_char(&c, p, n, last);
        if (!len) {
            memcpy(s->tail, p, n);
            s->tail_n = (unsigned)n;
            break;
        }
        p += len;
        n -= len;
    }
    vterm_input_write(s->vt, c.bytes, c.n);
}

void screen_text(struct screen *s, const uint8_t *p, size_t n, bool last)
{
    while (s->tail_n && (n || last)) {                /* a byte at a time, until it is a character or none */
        uint8_t held[5];
        unsigned have = s->tail_n;
        memcpy(held, s->tail, have);
        s->tail_n = 0;
        if (n) {
            held[have++] = *p++;
            n--;
        }
        span(s, held, have, last && !n);
    }
    if (n)
        span(s, p, n, last);
}
