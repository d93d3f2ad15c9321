/* What libvterm knows and does not tell, followed from the sequences that change it. Only what libvterm itself understands counts; the rest it ignores. */
#include <stdio.h>
#include <string.h>

#include <glib.h>

#include "sandbox/run/screen_private.h"

enum { ARGS_MAX = 16 };
struct csi { char leader, final; bool intermediate, bang; int args[ARGS_MAX]; unsigned n; };      /* -1: not given */

void modes_reset(struct screen *s)
{
    bool alt = s->m.alt;

    s->m = (struct modes){ .autowrap = true, .blink = true, .visible = true, .alt = alt, .shape = VTERM_PROP_CURSORSHAPE_BLOCK, .bottom = -1, .right = -1, .sets = { 'B', 'B', 'B', 'B' } };
    for (int i = 0; i < s->cols; i++)
        s->tabs[i] = i % 8 == 0;
    s->wrap_next = false;
}

static bool csi_parse(const struct screen *s, struct csi *ret)
{
    const uint8_t *p = s->seq + 2, *end = s->seq + s->seq_n - 1;

    if (s->seq[1] != '[')
        return false;
    *ret = (struct csi){ .final = (char)*end, .args = { -1 }, .n = 1 };
    if (p < end && strchr("?<=>", *p))
        ret->leader = (char)*p++;
    for (; p < end; p++) {
        if (*p >= '0' && *p <= '9' && ret->args[ret->n - 1] < 100000)
            ret->args[ret->n - 1] = (ret->args[ret->n - 1] < 0 ? 0 : ret->args[ret->n - 1] * 10) + *p - '0';
        else if (*p == ';' && ret->n < ARGS_MAX)
            ret->args[ret->n++] = -1;
        else if (*p == '!')
            ret->bang = true;
        else if (*p < 0x30)
            ret->intermediate = true;
    }
    return true;
}

static void cursor_save(struct screen *s)
{
    vterm_state_get_cursorpos(s->state, &s->saved.pos);
    s->saved.pen = s->pen;
    s->saved.hidden = !s->m.visible;
}

static void dec_mode(struct screen *s, int mode, bool on)
{
    struct modes *m = &s->m;

    switch (mode) {
    case 1: m->cursor_keys = on; break;
    case 6: m->origin = on; s->wrap_next = false; break;
    case 7: m->autowrap = on; break;
    case 69: m->margins_on = on; m->left = 0; m->right = -1; break;
    case 1000: case 1002: case 1003: m->mouse = on ? (unsigned)mode : 0; break;
    case 1004: m->focus = on; break;
    case 1005: case 1006: case 1015: m->mouse_coding = on ? (unsigned)mode : 0; break;
    case 2004: m->paste = on; break;
    default: break;                           /* the others are told by libvterm */
    }
}

/* CSI top ; bottom r, CSI left ; right s, as libvterm reads them. */
static void margins(struct screen *s, const struct csi *c, int size, int *first, int *last)
{
    int a = c->args[0] > 0 ? c->args[0] - 1 : 0, b = c->n > 1 && c->args[1] > 0 ? c->args[1] : -1;

    a = MIN(a, size);
    b = b > size ? size : b;
    if (b == size)
        b = -1;
    if ((b < 0 ? size : b) <= a) {
        a = 0;
        b = -1;
    }
    *first = a;
    *last = b;
    s->wrap_next = false;
}

static void tab_set(struct screen *s, int on)
{
    VTermPos pos;

    vterm_state_get_cursorpos(s->state, &pos);
    if (pos.col >= 0 && pos.col < s->cols)
        s->tabs[pos.col] = (uint8_t)on;
}

void track_before(struct screen *s)
{
    struct csi c;

    if (s->seq_n == 2 && s->seq[1] == '7')
        cursor_save(s);
    else if (s->seq_n == 2 && s->seq[1] == 'H')
        tab_set(s, 1);
    else if (s->seq_n == 2 && s->seq[1] == 'c' && s->m.alt)
        vterm_input_write(s->vt, "\033[?1047l", 8);   /* libvterm would erase the alternate screen and stay there */
    else if (csi_parse(s, &c) && c.leader == '?' && c.final == 'h')
        for (unsigned i = 0; i < c.n; i++)
            if (c.args[i] == 1048 || c.args[i] == 1049)
                cursor_save(s);
}

/* DECSTR, as xterm does it: libvterm 0.1.4 ignores it. The cursor stays where it is, so do tab stops, mouse modes and the shape of the cursor. */
static void soft_reset(struct screen *s)
{
    static const char reset[] = "\033[4l\033[?7h\033[?1l\033>\033[m\033[0\"q\033[?25h\033[?69l\033[?6l\033[r\033[H\0337";
    struct modes *m = &s->m;
    VTermPos pos;
    char back[32];
    vterm_state_get_cursorpos(s->state, &pos);
    vterm_input_write(s->vt, reset, sizeof reset - 1);
    vterm_input_write(s->vt, back, (size_t)snprintf(back, sizeof back, "\033[%d;%dH", pos.row + 1, pos.col + 1));
    m->cursor_keys = m->keypad = m->insert = m->origin = m->margins_on = m->paste = m->focus = false;
    m->autowrap = true;
    m->top = m->left = 0;
    m->bottom = m->right = -1;
    memcpy(m->sets, "BBBB", 4);
    m->gl = 0;
    s->saved = (struct saved){ .pen = s->pen };
    s->wrap_next = s->edge = false;
}

static void escape_after(struct screen *s)
{
    static const char set_of[] = "()*+";
    const char *which = s->seq_n == 3 ? strchr(set_of, s->seq[1]) : NULL;

    if (which && *which && strchr("0AB", s->seq[2]))
        s->m.sets[which - set_of] = (char)s->seq[2];
    if (s->seq_n != 2)
        return;
    switch (s->seq[1]) {
    case '=': s->m.keypad = true; break;
    case '>': s->m.keypad = false; break;
    case 'N': s->single = 2; break;
    case 'O': s->single = 3; break;
    case 'n': s->m.gl = 2; break;
    case 'o': s->m.gl = 3; break;
    case 'c':
        modes_reset(s);
        vterm_input_write(s->vt, "\0337", 2);         /* what was saved is forgotten too */
        s->saved = (struct saved){ .pen = s->pen };
        break;
    default: break;
    }
}

void track_after(struct screen *s)
{
    struct csi c;

    if (!csi_parse(s, &c))
        return escape_after(s);
    if (c.bang && c.final == 'p')
        return soft_reset(s);
    if (c.intermediate || c.bang)
        return;
    if (c.leader == '?' && (c.final == 'h' || c.final == 'l'))
        for (unsigned i = 0; i < c.n; i++)
            dec_mode(s, c.args[i], c.final == 'h');
    if (c.leader)
        return;
    if (c.final == 'h' || c.final == 'l')
        for (unsigned i = 0; i < c.n; i++) {
            if (c.args[i] == 4)
                s->m.insert = c.final == 'h';
            else if (c.args[i] == 20)
                s->m.newline = c.final == 'h';
        }
    else if (c.final == 'r')
        margins(s, &c, s->rows, &s->m.top, &s->m.bottom);
    else if (c.final == 's' && s->m.margins_on)
        margins(s, &c, s->cols, &s->m.left, &s->m.right);
    else if (c.final == 'g' && c.args[0] <= 0)
        tab_set(s, 0);
    else if (c.final == 'g' && (c.args[0] == 3 || c.args[0] == 5))
        memset(s->tabs, 0, (size_t)s->cols);
}
