/* What the files of the screen share. */
#pragma once
#include <vterm.h>
#include "sandbox/run/screen.h"

struct pen { VTermColor fg, bg; unsigned bold : 1, underline : 2, italic : 1, blink : 1, reverse : 1, strike : 1, font : 4, guarded : 1; };   /* guarded: DECSCA */
struct cell { uint32_t chars[VTERM_MAX_CHARS_PER_CELL]; struct pen pen; uint8_t width; };      /* chars[0] 0: erased; CELL_RIGHT: right half of the wide one before it */
#define CELL_RIGHT UINT32_MAX
struct line { unsigned n; struct cell cells[]; };     /* of the history; without blanks at its end */
/* Modes that libvterm keeps to itself, followed from the sequences that set them (screen_track.c). */
struct modes {
    bool cursor_keys, keypad, autowrap, insert, newline, origin, margins_on, paste, focus, blink, reverse, visible, alt;
    unsigned mouse, mouse_coding;                     /* 0, 1000, 1002, 1003; 0, 1005, 1006, 1015 */
    unsigned shape;                                   /* VTERM_PROP_CURSORSHAPE_* */
    int top, bottom, left, right;                     /* bottom, right: behind the last; -1: the side of the screen */
    char sets[4];                                     /* G0..G3: 'B', '0', 'A' */
    unsigned gl;
};
struct saved { bool hidden; VTermPos pos; struct pen pen; };
struct screen {
    VTerm *vt;
    VTermState *state;
    int rows, cols;
    struct cell *cells[2];                            /* primary, alternate */
    uint8_t *line_size[2];                            /* of each row: 0, 1 double width, 2 and 3 top and bottom of double height */
    struct line **history;                            /* a ring of history_cap */
    unsigned history_first, history_n, history_cap;
    size_t history_cells;
    struct pen pen;
    struct modes m;
    struct saved saved;
    uint8_t *tabs;                                    /* of each column */
    bool touched, wrap_next;                          /* wrap_next: the last glyph filled the line and the next one goes to the next */
    bool edge;                                        /* the last glyph filled the line, and the cursor stands in it */
    VTermPos last_glyph;
    char title[SCREEN_TITLE_MAX], icon[SCREEN_TITLE_MAX];
    uint8_t seq[1024];                                /* an escape sequence being collected */
    unsigned seq_n;
    bool too_long;                                    /* a string that did not fit: it is left out to its end */
    uint8_t tail[4];                                  /* the begin of a character whose end has not come */
    unsigned tail_n, single;                          /* single: SS2, SS3: the set of the next character, else 0 */
    screen_reply_fn *reply; void *arg;
};
/* Text without escapes, made fit for libvterm (screen_text.c). last: no more bytes of it come, what is incomplete stays so. */
void screen_text(struct screen *s, const uint8_t *p, size_t n, bool last);
struct cell *screen_cell(const struct screen *s, int alt, int row, int col);
bool pen_equal(const struct pen *a, const struct pen *b);
void modes_reset(struct screen *s);
/* Before and after libvterm has had the whole sequence in seq. */
void track_before(struct screen *s);
void track_after(struct screen *s);
