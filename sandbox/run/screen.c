/* Theory: libvterm's state layer interprets the bytes and calls back for each change; here are the cells of both screens and the lines that scrolled away. What the state layer does not
 * tell (margins, modes, tab stops, saved cursor, character sets) is followed from the sequences themselves: input is cut at each escape sequence, so that track_before() and
 * track_after() see the state at exactly that place. Sequences longer than seq[] change nothing that is followed; strings that long are left out. */
#include "sandbox/run/screen_private.h"

#include <string.h>

#include <glib.h>

struct cell *screen_cell(const struct screen *s, int alt, int row, int col) { return &s->cells[alt][(size_t)row * (size_t)s->cols + (size_t)col]; }

/* --- callbacks of the state layer --- */
static int put_glyph(VTermGlyphInfo *info, VTermPos pos, void *user)
{
    struct screen *s = user;
    struct cell *c;
    unsigned i;

    if (pos.row < 0 || pos.row >= s->rows || pos.col < 0 || pos.col >= s->cols)
        return 1;
    c = screen_cell(s, s->m.alt, pos.row, pos.col);
    for (i = 0; i < VTERM_MAX_CHARS_PER_CELL && info->chars[i]; i++)
        c->chars[i] = info->chars[i];
    if (i < VTERM_MAX_CHARS_PER_CELL)
        c->chars[i] = 0;
    c->pen = s->pen;
    c->pen.guarded = info->protected_cell;
    c->width = (uint8_t)info->width;
    for (int k = 1; k < info->width && pos.col + k < s->cols; k++) {
        c[k].chars[0] = CELL_RIGHT;
        c[k].width = 0;
        c[k].pen = s->pen;
    }
    s->last_glyph = pos;
    s->edge = pos.col + info->width >= (s->line_size[s->m.alt][pos.row] ? s->cols / 2 : s->cols);
    s->wrap_next = s->m.autowrap && s->edge;
    return 1;
}

static int move_cursor(VTermPos pos, VTermPos old, int visible, void *user)
{
    struct screen *s = user;

    if (pos.row != s->last_glyph.row || pos.col != s->last_glyph.col)       /* else it is told of the glyph itself, at the end of a text */
        s->wrap_next = s->edge = false;
    return 1;
}

static void history_drop(struct screen *s)
{
    struct line *l = s->history[s->history_first];

    s->history_cells -= l->n + 1;
    g_free(l);
    s->history_first = (s->history_first + 1) % s->history_cap;
    s->history_n--;
}

static bool blank(const struct cell *c) { return !c->chars[0] && VTERM_COLOR_IS_DEFAULT_BG(&c->pen.bg) && !c->pen.reverse; }

static void history_push(struct screen *s, int row)
{
    const struct cell *c = screen_cell(s, 0, row, 0);
    unsigned n = (unsigned)s->cols;
    struct line *l;

    while (n && blank(&c[n - 1]))
        n--;
    while (s->history_n && s->history_cells + n + 1 > SCREEN_HISTORY_CELLS)
        history_drop(s);
    if (s->history_n == s->history_cap) {
        unsigned cap = s->history_cap ? s->history_cap * 2 : 64;
        struct line **grown = g_new(struct line *, cap);
        for (unsigned i = 0; i < s->history_n; i++)
            grown[i] = s->history[(s->history_first + i) % s->history_cap];
        g_free(s->history);
        s->history = grown;
        s->history_cap = cap;
        s->history_first = 0;
    }
    l = g_malloc(sizeof(*l) + n * sizeof(struct cell));
    l->n = n;
    memcpy(l->cells, c, n * sizeof(struct cell));
    s->history[(s->history_first + s->history_n++) % s->history_cap] = l;
    s->history_cells += n + 1;
}

static int scroll_rect(VTermRect rect, int downward, int rightward, void *user)
{
    struct screen *s = user;

    if (!s->m.alt && !rect.start_row && !rect.start_col && rect.end_col == s->cols && downward > 0 && !rightward)
        for (int row = 0; row < downward && row < rect.end_row; row++)
            history_push(s, row);
    return 0;                                 /* libvterm then moves and erases */
}

static int move_rect(VTermRect dest, VTermRect src, void *user)
{
    struct screen *s = user;
    size_t n = (size_t)(src.end_col - src.start_col) * sizeof(struct cell);
    int rows = src.end_row - src.start_row, up = dest.start_row > src.start_row;

    if (src.end_col <= src.start_col)
        return 1;
    for (int i = 0; i < rows; i++) {
        int k = up ? rows - 1 - i : i;
        memmove(screen_cell(s, s->m.alt, dest.start_row + k, dest.start_col), screen_cell(s, s->m.alt, src.start_row + k, src.start_col), n);
    }
    return 1;
}

static int erase(VTermRect rect, int selective, void *user)
{
    struct screen *s = user;

    for (int row = rect.start_row; row < rect.end_row && row < s->rows; row++)
        for (int col = rect.start_col; col < rect.end_col && col < s->cols; col++) {
            struct cell *c = screen_cell(s, s->m.alt, row, col);
            if (selective && c->pen.guarded)
                continue;
            memset(c, 0, sizeof(*c));
            c->pen = s->pen;                  /* as libvterm's own screen; terminals show its background only */
            c->width = 1;
        }
    return 1;
}

static int init_pen(void *user)
{
    struct screen *s = user;

    memset(&s->pen, 0, sizeof(s->pen));
    vterm_state_get_default_colors(s->state, &s->pen.fg, &s->pen.bg);
    return 1;
}

static int set_pen(VTermAttr attr, VTermValue *v, void *user)
{
    struct pen *p = &((struct screen *)user)->pen;

    switch (attr) {
    case VTERM_ATTR_BOLD: p->bold = v->boolean & 1; return 1;
    case VTERM_ATTR_UNDERLINE: p->underline = v->number & 3; return 1;
    case VTERM_ATTR_ITALIC: p->italic = v->boolean & 1; return 1;
    case VTERM_ATTR_BLINK: p->blink = v->boolean & 1; return 1;
    case VTERM_ATTR_REVERSE: p->reverse = v->boolean & 1; return 1;
    case VTERM_ATTR_STRIKE: p->strike = v->boolean & 1; return 1;
    case VTERM_ATTR_FONT: p->font = v->number & 15; return 1;
    case VTERM_ATTR_FOREGROUND: p->fg = v->color; return 1;
    case VTERM_ATTR_BACKGROUND: p->bg = v->color; return 1;
    default: return 0;
    }
}

/* A title goes into an escape sequence again: what could end or leave it is taken out. */
static void keep_title(char out[SCREEN_TITLE_MAX], const char *text)
{
    size_t n = 0;

    for (; *text && n < SCREEN_TITLE_MAX - 1; text++)
        if ((unsigned char)*text >= 32 && *text != 127)
            out[n++] = *text;
    out[n] = 0;
    g_utf8_validate(out, -1, (const char **)&text);
    out[text - out] = 0;
}

static int set_prop(VTermProp prop, VTermValue *v, void *user)
{
    struct screen *s = user;

    switch (prop) {
    case VTERM_PROP_CURSORVISIBLE: s->m.visible = v->boolean; return 1;
    case VTERM_PROP_CURSORBLINK: s->m.blink = v->boolean; return 1;
    case VTERM_PROP_ALTSCREEN: s->m.alt = v->boolean; return 1;
    case VTERM_PROP_TITLE: keep_title(s->title, v->string); return 1;
    case VTERM_PROP_ICONNAME: keep_title(s->icon, v->string); return 1;
    case VTERM_PROP_REVERSE: s->m.reverse = v->boolean; return 1;
    case VTERM_PROP_CURSORSHAPE: s->m.shape = (unsigned)v->number; return 1;
    case VTERM_PROP_MOUSE: return 1;
    default: return 0;
    }
}

static int set_line_info(int row, const VTermLineInfo *now, const VTermLineInfo *old, void *user)
{
    struct screen *s = user;

    if (row >= 0 && row < s->rows)
        s->line_size[s->m.alt][row] = (uint8_t)(now->doubleheight ? 1 + now->doubleheight : now->doublewidth);
    return 1;
}

static void cells_blank(struct screen *s, struct cell *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        memset(&c[i], 0, sizeof(c[i]));
        vterm_state_get_default_colors(s->state, &c[i].pen.fg, &c[i].pen.bg);
        c[i].width = 1;
    }
}

static uint8_t *tabs_new(int cols)
{
    uint8_t *t = g_malloc0((size_t)cols);

    for (int i = 0; i < cols; i += 8)
        t[i] = 1;
    return t;
}

/* Lines above the cursor go to the history when the screen becomes lower; nothing is wrapped anew: programs redraw. */
static int resized(int rows, int cols, VTermPos *delta, void *user)
{
    struct screen *s = user;
    VTermPos cursor;
    int gone = 0;

    vterm_state_get_cursorpos(s->state, &cursor);
    if (cursor.row >= rows)
        gone = cursor.row - rows + 1;
    if (!s->m.alt)
        for (int row = 0; row < gone; row++)
            history_push(s, row);
    for (int alt = 0; alt < 2; alt++) {
        struct cell *now = g_new(struct cell, (size_t)rows * (size_t)cols);
        uint8_t *size = g_malloc0((size_t)rows);
        cells_blank(s, now, (size_t)rows * (size_t)cols);
        for (int row = gone; row < s->rows && row - gone < rows; row++) {
            memcpy(&now[(size_t)(row - gone) * (size_t)cols], screen_cell(s, alt, row, 0), (size_t)MIN(cols, s->cols) * sizeof(struct cell));
            size[row - gone] = s->line_size[alt][row];
        }
        g_free(s->cells[alt]);
        g_free(s->line_size[alt]);
        s->cells[alt] = now;
        s->line_size[alt] = size;
    }
    uint8_t *tabs = tabs_new(cols);
    memcpy(tabs, s->tabs, (size_t)MIN(cols, s->cols));
    g_free(s->tabs);
    s->tabs = tabs;
    s->rows = rows;
    s->cols = cols;
    if (s->m.bottom > rows)
        s->m.bottom = -1;
    if (s->m.right > cols)
        s->m.right = -1;
    s->wrap_next = false;
    delta->row -= gone;
    return 1;
}

static const VTermStateCallbacks callbacks = { .putglyph = put_glyph, .movecursor = move_cursor, .scrollrect = scroll_rect, .moverect = move_rect, .erase = erase, .initpen = init_pen,
                                               .setpenattr = set_pen, .settermprop = set_prop, .resize = resized, .setlineinfo = set_line_info };

static void on_output(const char *p, size_t n, void *user)
{
    struct screen *s = user;

    if (s->reply)
        s->reply(s->arg, p, n);
}

struct screen *screen_new(unsigned cols, unsigned rows, screen_reply_fn *reply, void *arg)
{
    struct screen *s = g_new0(struct screen, 1);

    s->rows = (int)rows;
    s->cols = (int)cols;
    s->reply = reply;
    s->arg = arg;
    s->vt = vterm_new(s->rows, s->cols);
    vterm_set_utf8(s->vt, 1);
    vterm_output_set_callback(s->vt, on_output, s);
    s->state = vterm_obtain_state(s->vt);
    for (int alt = 0; alt < 2; alt++) {
        s->cells[alt] = g_new(struct cell, (size_t)rows * cols);
        s->line_size[alt] = g_malloc0(rows);
        cells_blank(s, s->cells[alt], (size_t)rows * cols);
    }
    s->tabs = tabs_new(s->cols);
    vterm_state_set_callbacks(s->state, &callbacks, s);
    vterm_state_reset(s->state, 1);
    modes_reset(s);
    vterm_input_write(s->vt, "\0337", 2);           /* a restore without a save would hide the cursor in libvterm */
    s->saved = (struct saved){ .pen = s->pen };
    return s;
}

void screen_free(struct screen *s)
{
    if (!s)
        return;
    while (s->history_n)
        history_drop(s);
    g_free(s->history);
    for (int alt = 0; alt < 2; alt++) {
        g_free(s->cells[alt]);
        g_free(s->line_size[alt]);
    }
    g_free(s->tabs);
    vterm_free(s->vt);
    g_free(s);
}

void screen_resize(struct screen *s, unsigned cols, unsigned rows)
{
    if ((int)cols != s->cols || (int)rows != s->rows)
        vterm_set_size(s->vt, (int)rows, (int)cols);
}

bool screen_untouched(const struct screen *s) { return !s->touched; }

/* --- input, cut at escape sequences --- */
enum seq_step { SEQ_MORE, SEQ_DONE, SEQ_NONE };       /* NONE: nothing that is followed */
static bool is_string(const struct screen *s) { return s->seq_n > 1 && s->seq[1] && strchr("]PX^_", s->seq[1]); }

/* Of character sets: libvterm is not told (screen_text.c). */
static bool is_set(const struct screen *s)
{
    return (s->seq_n == 3 && strchr("()*+", s->seq[1]) && s->seq[1]) || (s->seq_n == 2 && strchr("noNO", s->seq[1]) && s->seq[1]);
}

static enum seq_step seq_step(const struct screen *s)
{
    uint8_t last = s->seq[s->seq_n - 1], before = s->seq_n > 2 ? s->seq[s->seq_n - 2] : 0;

    if (s->seq_n == 1)
        return SEQ_MORE;
    if (is_string(s))
        return last == 0x07 || last == 0x18 || last == 0x1a || before == 0x1b ? SEQ_NONE : SEQ_MORE;
    if (last < 0x20 || last >= 0x7f)
        return SEQ_NONE;
    if (s->seq[1] == '[')
        return s->seq_n > 2 && last >= 0x40 ? SEQ_DONE : SEQ_MORE;
    return last >= 0x30 ? SEQ_DONE : SEQ_MORE;
}

/* Sequences go to libvterm in one piece: it loses strings that come in several. */
static void seq_byte(struct screen *s, uint8_t b)
{
    enum seq_step step;

    s->seq[s->seq_n++] = b;
    step = seq_step(s);
    if (step == SEQ_MORE && s->seq_n < sizeof(s->seq))
        return;
    if (step == SEQ_MORE && is_string(s)) {
        s->too_long = true;
        s->seq[2] = b;                                /* an ESC that comes last counts */
        s->seq_n = 3;
        return;
    }
    if (step == SEQ_DONE)
        track_before(s);
    if (!s->too_long && !is_set(s))
        vterm_input_write(s->vt, (char *)s->seq, s->seq_n);
    if (step == SEQ_DONE)
        track_after(s);
    s->seq_n = 0;
    s->too_long = false;
}

void screen_write(struct screen *s, const void *data, size_t n)
{
    const uint8_t *p = data, *end = p + n;

    s->touched |= n > 0;
    while (p < end) {
        const uint8_t *esc;
        if (s->seq_n) {
            seq_byte(s, *p++);
            continue;
        }
        esc = memchr(p, 0x1b, (size_t)(end - p));
        screen_text(s, p, (size_t)((esc ? esc : end) - p), esc);
        if (!esc)
            return;
        s->seq[s->seq_n++] = 0x1b;
        p = esc + 1;
    }
}
