/* Text without escapes, on its way to libvterm.
 *
 * Three things libvterm 0.1.4 cannot do are done here, so that it is only ever given whole characters that each have a width:
 *  - it reads memory that was never written when a call ends within a character: only whole UTF-8 characters go on, bad bytes as U+FFFD;
 *  - a combining character that does not come in one call with its base (and, once ESC ( B was seen, any that follows ASCII) it takes for a
 *    character of its own at the right edge, and it keeps them without bound: they are put into the cell of their base here;
 *  - character sets: the line-drawing and the British set are translated here, it never hears of them. */
#include "sandbox/run/screen_private.h"
#include <assert.h>
#include <glib.h>
#include <string.h>

enum { CLEAN = 4096 };
struct clean { struct screen *s; char bytes[CLEAN]; size_t n; };
/* DEC's special graphics, from '`' to '~' */
static const uint16_t graphics[] = {
    0x25c6, 0x2592, 0x2409, 0x240c, 0x240d, 0x240a, 0x00b0, 0x00b1, 0x2424, 0x240b, 0x2518, 0x2510, 0x250c, 0x2514, 0x253c, 0x23ba,
    0x23bb, 0x2500, 0x23bc, 0x23bd, 0x251c, 0x2524, 0x2534, 0x252c, 0x2502, 0x2264, 0x2265, 0x03c0, 0x2260, 0x00a3, 0x00b7,
};

static void clean_flush(struct clean *c)
{
    if (c->n)
        vterm_input_write(c->s->vt, c->bytes, c->n);
    c->n = 0;
}
static void clean_put(struct clean *c, const void *p, size_t n)
{
    if (c->n + n > CLEAN)
        clean_flush(c);
    memcpy(c->bytes + c->n, p, n);
    c->n += n;
}
static bool is_mark(gunichar u)
{
    GUnicodeType t = g_unichar_type(u);
    return g_unichar_iszerowidth(u) || t == G_UNICODE_NON_SPACING_MARK || t == G_UNICODE_ENCLOSING_MARK || t == G_UNICODE_SPACING_MARK ||
           t == G_UNICODE_FORMAT;
}
/* To the character before the cursor; there, or in that cell, is no room for it: it is dropped. */
static void mark_put(struct screen *s, gunichar u)
{
    VTermPos pos;
    vterm_state_get_cursorpos(s->state, &pos);
    bool at_edge = s->edge && pos.row == s->last_glyph.row;
    int col = at_edge ? s->last_glyph.col : pos.col - 1;
    if (pos.row < 0 || pos.row >= s->rows || col < 0 || col >= s->cols)
        return;
    struct cell *c = screen_cell(s, s->m.alt, pos.row, col);
    if (c->chars[0] == CELL_RIGHT && col > 0)
        c--;
    unsigned n = 0;
    while (n < VTERM_MAX_CHARS_PER_CELL && c->chars[n])
        n++;
    if (!n || n >= VTERM_MAX_CHARS_PER_CELL || c->chars[0] == CELL_RIGHT)
        return;
    c->chars[n] = u;
    if (n + 1 < VTERM_MAX_CHARS_PER_CELL)
        c->chars[n + 1] = 0;
}
static char set_now(struct screen *s)
{
    unsigned i = s->single ? s->single : s->m.gl;
    s->single = 0;
    return s->m.sets[i];
}
static void ascii_put(struct clean *c, uint8_t b)
{
    struct screen *s = c->s;
    if (b == 0x0e || b == 0x0f) {
        s->m.gl = b == 0x0e;
        return;
    }
    if (b < 0x20 || b == 0x7f)
        return clean_put(c, &b, 1);
    char set = set_now(s), utf8[6];
    if (set == '0' && b >= '`')
        clean_put(c, utf8, (size_t)g_unichar_to_utf8(graphics[b - '`'], utf8));
    else if (set == 'A' && b == '#')
        clean_put(c, "\302\243", 2);
    else
        clean_put(c, &b, 1);
}
/* One character at p: its length, 0: its end is missing. */
static size_t clean_char(struct clean *c, const uint8_t *p, size_t n, bool last)
{
    if (*p < 0x80) {
        ascii_put(c, *p);
        return 1;
    }
    /* GLib would wait for the rest of sequences of five and six bytes, and of such as have a NUL within */
    gunichar u = *p >= 0xf8 ? (gunichar)-1 : g_utf8_get_char_validated((const char *)p, (gssize)n);
    if (u == (gunichar)-2 && !last && n < 4 && !memchr(p, 0, n))
        return 0;
    c->s->single = 0;
    if (u >= (gunichar)-2) {
        clean_put(c, "\357\277\275", 3);
        return 1;
    }
    size_t len = (size_t)(g_utf8_next_char((const char *)p) - (const char *)p);
    if (u >= 0x300 && is_mark(u)) {
        clean_flush(c); /* its base must be in its cell */
        mark_put(c->s, u);
    } else {
        clean_put(c, p, len);
    }
    return len;
}
/* Printable ASCII and controls that mean the same in every set. */
static bool is_plain(const struct screen *s, const uint8_t *p, size_t n)
{
    if (s->single || s->m.sets[s->m.gl] != 'B')
        return false;
    for (size_t i = 0; i < n; i++)
        if (p[i] >= 0x80 || p[i] == 0x0e || p[i] == 0x0f)
            return false;
    return true;
}
static void span(struct screen *s, const uint8_t *p, size_t n, bool last)
{
    if (is_plain(s, p, n)) {
        vterm_input_write(s->vt, (const char *)p, n);
        return;
    }
    struct clean c = {.s = s};
    while (n) {
        size_t len = clean_char(&c, p, n, last);
        if (!len) {
            assert(n <= sizeof s->tail);
            memcpy(s->tail, p, n);
            s->tail_n = (unsigned)n;
            break;
        }
        p += len;
        n -= len;
    }
    clean_flush(&c);
}
void screen_text(struct screen *s, const uint8_t *p, size_t n, bool last)
{
    while (s->tail_n && (n || last)) { /* a byte at a time, until it is a character or none */
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
