/* The screen as bytes. Order: a soft reset and an empty screen; history and primary screen; the saved cursor; if it is shown, the alternate screen; character sets, tab stops,
 * margins, modes; the cursor, last of all with the glyph that makes the next one wrap. */
#include <string.h>

#include <glib.h>

#include "sandbox/run/screen_private.h"

bool pen_equal(const struct pen *a, const struct pen *b)
{
    return vterm_color_is_equal(&a->fg, &b->fg) && vterm_color_is_equal(&a->bg, &b->bg) && VTERM_COLOR_IS_DEFAULT_FG(&a->fg) == VTERM_COLOR_IS_DEFAULT_FG(&b->fg)
        && VTERM_COLOR_IS_DEFAULT_BG(&a->bg) == VTERM_COLOR_IS_DEFAULT_BG(&b->bg) && a->bold == b->bold && a->underline == b->underline && a->italic == b->italic && a->blink == b->blink
        && a->reverse == b->reverse && a->strike == b->strike && a->font == b->font && a->guarded == b->guarded;
}

static void put_color(struct buf *out, const VTermColor *c, int base)
{
    if (VTERM_COLOR_IS_INDEXED(c))
        buf_printf(out, ";%d;5;%u", base, c->indexed.idx);
    else
        buf_printf(out, ";%d;2;%u;%u;%u", base, c->rgb.red, c->rgb.green, c->rgb.blue);
}

static void put_pen(struct buf *out, const struct pen *p, struct pen *have)
{
    if (have && pen_equal(p, have))
        return;
    buf_printf(out, "\033[0");
    if (p->bold)
        buf_printf(out, ";1");
    if (p->underline)
        buf_printf(out, p->underline == VTERM_UNDERLINE_SINGLE ? ";4" : p->underline == VTERM_UNDERLINE_DOUBLE ? ";21" : ";4:3");
    if (p->italic)
        buf_printf(out, ";3");
    if (p->blink)
        buf_printf(out, ";5");
    if (p->reverse)
        buf_printf(out, ";7");
    if (p->strike)
        buf_printf(out, ";9");
    if (p->font)
        buf_printf(out, ";%u", 10 + p->font);
    if (!VTERM_COLOR_IS_DEFAULT_FG(&p->fg))
        put_color(out, &p->fg, 38);
    if (!VTERM_COLOR_IS_DEFAULT_BG(&p->bg))
        put_color(out, &p->bg, 48);
    buf_printf(out, "m");
    if (!have || p->guarded != have->guarded)
        buf_printf(out, "\033[%u\"q", p->guarded);
    if (have)
        *have = *p;
}

static void put_chars(struct buf *out, const uint32_t *chars)
{
    for (unsigned i = 0; i < VTERM_MAX_CHARS_PER_CELL && chars[i]; i++) {
        char utf8[6];
        buf_put(out, utf8, (size_t)g_unichar_to_utf8(chars[i] >= 32 && chars[i] < 0x110000 && g_unichar_validate(chars[i]) ? chars[i] : 0xfffd, utf8));
    }
}

static bool cell_plain(const struct cell *c)
{
    struct pen plain = { .fg = c->pen.fg, .bg = c->pen.bg };

    return !c->chars[0] && VTERM_COLOR_IS_DEFAULT_FG(&c->pen.fg) && VTERM_COLOR_IS_DEFAULT_BG(&c->pen.bg) && pen_equal(&c->pen, &plain);
}

/* n cells of one line, the cursor at its begin. Erased cells are made by erasing, so that their colour comes and they stay empty. */
static void put_cells(struct buf *out, const struct cell *c, unsigned n, unsigned cols, struct pen *pen)
{
    for (unsigned i = 0; i < n;) {
        unsigned run = 1;
        if (c[i].chars[0] == CELL_RIGHT) {            /* the left half of it was overwritten */
            put_pen(out, &c[i].pen, pen);
            buf_printf(out, "\033[X\033[C");
            i++;
        } else if (!c[i].chars[0]) {
            while (i + run < n && !c[i + run].chars[0] && pen_equal(&c[i].pen, &c[i + run].pen))
                run++;
            put_pen(out, &c[i].pen, pen);
            buf_printf(out, "\033[%uX\033[%uC", run, run);
            i += run;
        } else {
            unsigned width = c[i].width > 1 && i + 1 < n && c[i + 1].chars[0] == CELL_RIGHT ? 2 : 1;
            put_pen(out, &c[i].pen, pen);
            if (c[i].width > 1 && i + 1 == cols) {    /* half of it was pushed over the edge: no terminal can be told so */
                buf_printf(out, "\033[X");
                return;
            }
            put_chars(out, c[i].chars);
            if (c[i].width > width)                   /* its right half was overwritten: what is there comes next */
                buf_printf(out, "\033[%uG", i + 2);
            i += width;
        }
    }
}

static unsigned used(const struct cell *c, unsigned n)
{
    while (n && cell_plain(&c[n - 1]))
        n--;
    return n;
}

static void put_screen(const struct screen *s, struct buf *out, int alt)
{
    struct pen pen = { 0 };

    vterm_state_get_default_colors(s->state, &pen.fg, &pen.bg);
    buf_printf(out, "\033[m\033[0\"q");
    for (int row = 0; row < s->rows; row++) {
        const struct cell *c = screen_cell(s, alt, row, 0);
        unsigned n = used(c, (unsigned)s->cols);
        uint8_t size = s->line_size[alt][row];
        if (!n && !size)
            continue;
        buf_printf(out, "\033[%d;1H", row + 1);
        if (size)
            buf_printf(out, "\033#%c", size == 1 ? '6' : size == 2 ? '3' : '4');
        put_cells(out, c, size ? MIN(n, (unsigned)s->cols / 2) : n, (unsigned)s->cols, &pen);
    }
}

static void put_history(const struct screen *s, struct buf *out)
{
    struct pen pen = { 0 };

    vterm_state_get_default_colors(s->state, &pen.fg, &pen.bg);
    if (!s->history_n)
        return;
    for (unsigned i = 0; i < s->history_n; i++) {
        const struct line *l = s->history[(s->history_first + i) % s->history_cap];
        put_cells(out, l->cells, MIN(l->n, (unsigned)s->cols), (unsigned)s->cols, &pen);
        buf_printf(out, "\033[m\r\n");
        memset(&pen, 0, sizeof(pen));
        vterm_state_get_default_colors(s->state, &pen.fg, &pen.bg);
    }
    for (int i = 1; i < s->rows; i++)                 /* what is still on the screen of it goes up too */
        buf_printf(out, "\n");
    buf_printf(out, "\033[H\033[2J");
}

static void put_title(const struct screen *s, struct buf *out)
{
    if (s->title[0])
        buf_printf(out, "\033]2;%s\033\\", s->title);
    if (s->icon[0])
        buf_printf(out, "\033]1;%s\033\\", s->icon);
}

static void put_modes(const struct screen *s, struct buf *out)
{
    const struct modes *m = &s->m;

    if (m->cursor_keys)
        buf_printf(out, "\033[?1h");
    if (m->keypad)
        buf_printf(out, "\033=");
    if (m->reverse)
        buf_printf(out, "\033[?5h");
    if (m->mouse)
        buf_printf(out, "\033[?%uh", m->mouse);
    if (m->mouse_coding)
        buf_printf(out, "\033[?%uh", m->mouse_coding);
    if (m->focus)
        buf_printf(out, "\033[?1004h");
    if (m->paste)
        buf_printf(out, "\033[?2004h");
    if (m->newline)
        buf_printf(out, "\033[20h");
    if (m->shape != VTERM_PROP_CURSORSHAPE_BLOCK || !m->blink)
        buf_printf(out, "\033[%u q", 2 * (m->shape ? m->shape : 1) - (m->blink ? 1 : 0));
    if (!m->visible)
        buf_printf(out, "\033[?25l");
}

static void put_sets(const struct screen *s, struct buf *out)
{
    for (unsigned i = 0; i < 4; i++)
        if (s->m.sets[i] != 'B')
            buf_printf(out, "\033%c%c", "()*+"[i], s->m.sets[i]);
    if (s->m.gl)
        buf_printf(out, "%s", s->m.gl == 1 ? "\016" : s->m.gl == 2 ? "\033n" : "\033o");
}

static void put_tabs(const struct screen *s, struct buf *out)
{
    bool usual = true;

    for (int i = 0; i < s->cols; i++)
        usual &= s->tabs[i] == (i % 8 == 0);
    if (usual)
        return;
    buf_printf(out, "\033[3g");
    for (int i = 0; i < s->cols; i++)
        if (s->tabs[i])
            buf_printf(out, "\033[%dG\033H", i + 1);
}

/* The margins move the cursor home, and origin mode counts from them: both before the cursor. */
static void put_margins(const struct screen *s, struct buf *out)
{
    const struct modes *m = &s->m;

    if (m->top || m->bottom >= 0)
        buf_printf(out, "\033[%d;%dr", m->top + 1, m->bottom < 0 ? s->rows : m->bottom);
    if (m->margins_on)
        buf_printf(out, "\033[?69h");
    if (m->margins_on && (m->left || m->right >= 0))
        buf_printf(out, "\033[%d;%ds", m->left + 1, m->right < 0 ? s->cols : m->right);
    if (m->origin)
        buf_printf(out, "\033[?6h");
}

static void put_cursor(const struct screen *s, struct buf *out)
{
    const struct modes *m = &s->m;
    VTermPos pos;
    int row, col;

    vterm_state_get_cursorpos(s->state, &pos);
    if (s->wrap_next)
        pos = s->last_glyph;
    row = pos.row - (m->origin ? m->top : 0);
    col = pos.col - (m->origin && m->margins_on ? m->left : 0);
    buf_printf(out, "\033[%d;%dH", row + 1, col + 1);
    if (s->wrap_next) {
        const struct cell *c = screen_cell(s, m->alt, pos.row, pos.col);
        put_pen(out, &c->pen, NULL);
        if (c->chars[0] && c->chars[0] != CELL_RIGHT)
            put_chars(out, c->chars);
    }
}

void screen_dump(const struct screen *s, struct buf *out)
{
    buf_printf(out, "\033[?1049l\033[!p\033[?25h\033[?5l\033[?1000l\033[?1006l\033[?1004l\033[?2004l\033[?69l\033[r\033[?6l\033[?7h\033[4l\033[20l\033>\017\033[m\033[H\033[2J");
    put_title(s, out);
    put_history(s, out);
    put_screen(s, out, 0);
    buf_printf(out, "\033[%d;%dH", s->saved.pos.row + 1, s->saved.pos.col + 1);
    put_pen(out, &s->saved.pen, NULL);
    buf_printf(out, "%s%s%s", s->saved.hidden ? "\033[?25l" : "", s->m.alt ? "\033[?1049h" : "\0337", s->saved.hidden ? "\033[?25h" : "");
    if (s->m.alt) {
        buf_printf(out, "\033[m\033[H\033[2J");
        put_screen(s, out, 1);
    }
    put_tabs(s, out);
    put_margins(s, out);
    put_cursor(s, out);
    put_pen(out, &s->pen, NULL);
    if (!s->m.autowrap)
        buf_printf(out, "\033[?7l");
    if (s->m.insert)
        buf_printf(out, "\033[4h");
    put_modes(s, out);
    put_sets(s, out);
}
