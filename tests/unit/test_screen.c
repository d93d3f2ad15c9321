/* The screen kept by sandboxd against libvterm's own: random programs of text and escapes are given to both; what screen_dump() says is given to a second libvterm terminal; that one
 * must show the same, and must go on in the same way when both get the same further bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <vterm.h>

#include "sandbox/run/screen.h"
#include "tests/lib/seed.h"

enum { PROGRAMS = 400, MOVES = 120 };
static uint64_t rng;
static unsigned below(unsigned n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (unsigned)(rng >> 11) % n;
}

/* --- the reference --- */
struct ref { VTerm *vt; VTermScreen *screen; bool alt, visible; char title[256]; };
static int on_prop(VTermProp prop, VTermValue *v, void *user)
{
    struct ref *r = user;

    if (prop == VTERM_PROP_ALTSCREEN)
        r->alt = v->boolean;
    else if (prop == VTERM_PROP_CURSORVISIBLE)
        r->visible = v->boolean;
    else if (prop == VTERM_PROP_TITLE)
        snprintf(r->title, sizeof(r->title), "%s", v->string);
    return 1;
}
static const VTermScreenCallbacks ref_callbacks = { .settermprop = on_prop };
static void drop(const char *p, size_t n, void *user) {}

static void ref_init(struct ref *r, int cols, int rows)
{
    memset(r, 0, sizeof(*r));
    r->vt = vterm_new(rows, cols);
    vterm_set_utf8(r->vt, 1);
    vterm_output_set_callback(r->vt, drop, NULL);
    r->screen = vterm_obtain_screen(r->vt);
    vterm_screen_enable_altscreen(r->screen, 1);
    vterm_screen_set_callbacks(r->screen, &ref_callbacks, r);
    vterm_screen_reset(r->screen, 1);
    vterm_input_write(r->vt, "\0337", 2);            /* as screen_new(): else a restore without a save hides the cursor */
}
static void ref_write(struct ref *r, const struct buf *b) { vterm_input_write(r->vt, (const char *)b->data, b->len); }

static void show(const char *what, const struct buf *b)
{
    fprintf(stderr, "%s: ", what);
    for (size_t i = 0; i < b->len; i++)
        if (b->data[i] < 32 || b->data[i] >= 127)
            fprintf(stderr, "\\%03o", b->data[i]);
        else
            fputc(b->data[i], stderr);
    fputc('\n', stderr);
}

enum { RIGHT_HALF = -1 };
static uint32_t first_of(struct ref *r, int row, int col, int cols)
{
    VTermScreenCell c;
    if (col < 0 || col >= cols)
        return 0;
    vterm_screen_get_cell(r->screen, (VTermPos){row, col}, &c);
    return c.chars[0];
}
static bool is_wide(uint32_t u)
{
    return u >= 0x1100 && u != (uint32_t)RIGHT_HALF;
}
/* As it would be if libvterm did what terminals do with wide characters. A right half looks as its left one (libvterm leaves it the pen that was there before). Of a left half
 * that was overwritten libvterm leaves the right one, and what was pushed half over the edge it leaves there: these are blanks in a dump. False: such a right half, of which the pen
 * is anybody's guess. */
static bool get_cell(struct ref *r, VTermPos at, int cols, VTermScreenCell *c)
{
    bool left_is_wide = is_wide(first_of(r, at.row, at.col - 1, cols));

    vterm_screen_get_cell(r->screen, at, c);
    if (c->chars[0] == (uint32_t)RIGHT_HALF && left_is_wide) {
        vterm_screen_get_cell(r->screen, (VTermPos){ at.row, at.col - 1 }, c);
        c->chars[0] = (uint32_t)RIGHT_HALF;
        c->width = 1;
        return true;
    }
    c->width = is_wide(c->chars[0]) && first_of(r, at.row, at.col + 1, cols) == (uint32_t)RIGHT_HALF ? 2 : 1;
    if (is_wide(c->chars[0]) && at.col == cols - 1)
        c->chars[0] = 0;
    if (c->chars[0] != (uint32_t)RIGHT_HALF)
        return true;
    c->chars[0] = 0;
    return false;
}
static bool same_cell(const VTermScreenCell *a, const VTermScreenCell *b)
{
    for (unsigned i = 0; i < VTERM_MAX_CHARS_PER_CELL; i++) {
        if (a->chars[i] != b->chars[i])
            return false;
        if (!a->chars[i])
            break;
    }
    return a->width == b->width && a->attrs.bold == b->attrs.bold && a->attrs.underline == b->attrs.underline && a->attrs.italic == b->attrs.italic && a->attrs.blink == b->attrs.blink
        && a->attrs.reverse == b->attrs.reverse && a->attrs.strike == b->attrs.strike && a->attrs.font == b->attrs.font && a->attrs.dwl == b->attrs.dwl && a->attrs.dhl == b->attrs.dhl
        && vterm_color_is_equal(&a->fg, &b->fg) && vterm_color_is_equal(&a->bg, &b->bg);
}

static void show_cell(const VTermScreenCell *c)
{
    fprintf(stderr, "  U+%04x width %d bold %u underline %u italic %u blink %u reverse %u strike %u font %u dwl %u dhl %u fg %02x %u,%u,%u bg %02x %u,%u,%u\n", c->chars[0], c->width,
            c->attrs.bold, c->attrs.underline, c->attrs.italic, c->attrs.blink, c->attrs.reverse, c->attrs.strike, c->attrs.font, c->attrs.dwl, c->attrs.dhl, c->fg.type, c->fg.rgb.red,
            c->fg.rgb.green, c->fg.rgb.blue, c->bg.type, c->bg.rgb.red, c->bg.rgb.green, c->bg.rgb.blue);
}

static bool same(struct ref *a, struct ref *b, const char *when)
{
    VTermPos p, q;
    int rows, cols;
    bool ok = true;

    vterm_get_size(a->vt, &rows, &cols);
    for (VTermPos at = { 0 }; at.row < rows; at.row++)
        for (at.col = 0; at.col < cols; at.col++) {
            VTermScreenCell x, y;
            bool pen = get_cell(a, at, cols, &x);
            pen &= get_cell(b, at, cols, &y);
            if (!(pen ? same_cell(&x, &y) : x.chars[0] == y.chars[0]) && ok) {
                fprintf(stderr, "%s: cell %d,%d\n", when, at.row, at.col);
                show_cell(&x);
                show_cell(&y);
                ok = false;
            }
        }
    vterm_state_get_cursorpos(vterm_obtain_state(a->vt), &p);
    vterm_state_get_cursorpos(vterm_obtain_state(b->vt), &q);
    if (p.row != q.row || p.col != q.col) {
        fprintf(stderr, "%s: cursor %d,%d and %d,%d\n", when, p.row, p.col, q.row, q.col);
        ok = false;
    }
    if (a->alt != b->alt || a->visible != b->visible || strcmp(a->title, b->title)) {
        fprintf(stderr, "%s: alt %d %d visible %d %d title '%s' '%s'\n", when, a->alt, b->alt, a->visible, b->visible, a->title, b->title);
        ok = false;
    }
    return ok;
}

/* --- random programs --- */
static void put_words(struct buf *b)
{
    static const char *const words[] = { "a", "hello world ", "\303\251\303\274", "\346\274\242\345\255\227", "e\314\201", "0123456789012345678901234567890123456789", "\t", "\r\n", "\n", "\b", "x" };

    for (unsigned n = 1 + below(6); n--;) {
        buf_printf(b, "%s", words[below(sizeof(words) / sizeof(*words))]);
    }
}

static void put_csi(struct buf *b)
{
    static const char plain[] = "ABCDEFGHJKLMPSTX@`adef";

    if (below(3) == 0)
        buf_printf(b, "\033[%u;%uH", below(14), below(34));
    else
        buf_printf(b, "\033[%u%c", below(5), plain[below(sizeof(plain) - 1)]);
}

static void put_sgr(struct buf *b)
{
    switch (below(5)) {
    case 0: buf_printf(b, "\033[m"); break;
    case 1: buf_printf(b, "\033[%u;%um", below(10), 30 + below(8)); break;
    case 2: buf_printf(b, "\033[%um", 40 + below(8)); break;
    case 3: buf_printf(b, "\033[38;5;%um", below(256)); break;
    case 4: buf_printf(b, "\033[48;2;%u;%u;%um", below(256), below(256), below(256)); break;
    }
}

static void put_mode(struct buf *b)
{
    static const unsigned dec[] = { 1, 5, 6, 7, 25, 47, 1047, 1049, 2004, 1000, 1006, 69 };

    switch (below(9)) {
    case 0: case 1: case 2: buf_printf(b, "\033[?%u%c", dec[below(sizeof(dec) / sizeof(*dec))], below(2) ? 'h' : 'l'); break;
    case 3: buf_printf(b, "\033[%u%c", below(2) ? 4 : 20, below(3) ? 'l' : 'h'); break;
    case 4: buf_printf(b, "\033[%u;%ur", below(5), 4 + below(10)); break;
    case 5: buf_printf(b, below(2) ? "\0337" : "\0338"); break;
    case 6: buf_printf(b, below(3) ? "\033H" : below(2) ? "\033[g" : "\033[3g"); break;
    case 7: buf_printf(b, "\033]2;title %u\033\\", below(9)); break;
    case 8: buf_printf(b, below(2) ? "\033M" : below(6) ? "\033D" : "\033[?1047l\033[?5l\033c\0337"); break;
    }
}

static void put_move(struct buf *b)
{
    switch (below(8)) {
    case 0: put_csi(b); break;
    case 1: case 2: put_sgr(b); break;
    case 3: put_mode(b); break;
    default: put_words(b); break;
    }
}

static void give(struct screen *s, const struct buf *b)
{
    for (size_t off = 0; off < b->len;) {            /* in pieces that cut sequences anywhere */
        size_t n = 1 + below(20);
        n = n < b->len - off ? n : b->len - off;
        screen_write(s, b->data + off, n);
        off += n;
    }
}

static void one_program(uint64_t seed)
{
    int cols = 20 + (int)(seed % 3) * 6, rows = 6 + (int)(seed % 5);
    struct buf program = BUF_INIT, dump = BUF_INIT, more = BUF_INIT;
    struct screen *s = screen_new((unsigned)cols, (unsigned)rows, NULL, NULL);
    struct ref a, b;
    bool ok;

    rng = seed * 0x9e3779b97f4a7c15 + 1;
    ref_init(&a, cols, rows);
    ref_init(&b, cols, rows);
    for (unsigned n = 1 + below(MOVES); n--;)
        put_move(&program);
    for (unsigned n = 30; n--;)
        put_move(&more);
    give(s, &program);
    screen_dump(s, &dump);
    ref_write(&a, &program);
    ref_write(&b, &dump);
    ok = same(&a, &b, "after the dump");
    ref_write(&a, &more);
    ref_write(&b, &more);
    ok = ok && same(&a, &b, "after the same further bytes");
    if (!ok) {
        fprintf(stderr, "seed %llu, %dx%d\n", (unsigned long long)seed, cols, rows);
        show("program", &program);
        show("dump", &dump);
        show("more", &more);
    }
    vterm_free(a.vt);
    vterm_free(b.vt);
    screen_free(s);
    buf_fini(&program);
    buf_fini(&dump);
    buf_fini(&more);
    assert_true(ok);
}

static void a_dump_shows_and_goes_on_as_the_original(void **state)
{
    uint64_t first = test_seed();

    printf("seed %llu\n", (unsigned long long)first);

    for (uint64_t i = 0; i < PROGRAMS; i++)
        one_program(first + i);
}

/* --- what libvterm 0.1.4 itself does not do, so that it is no reference for it: against the same picture made otherwise --- */
static void dumps_the_same(const char *program, const char *other)
{
    struct screen *s = screen_new(20, 6, NULL, NULL), *o = screen_new(20, 6, NULL, NULL);
    struct buf x = BUF_INIT, y = BUF_INIT;

    for (const char *p = program; *p; p++)            /* one by one: nothing may depend on how it is cut */
        screen_write(s, p, 1);
    screen_write(o, other, strlen(other));
    screen_dump(s, &x);
    screen_dump(o, &y);
    if (x.len != y.len || memcmp(x.data, y.data, x.len)) {
        show("one", &x);
        show("other", &y);
        fail_msg("the dumps differ");
    }
    screen_free(s);
    screen_free(o);
    buf_fini(&x);
    buf_fini(&y);
}

static void marks_join_their_base_however_they_come(void **state)
{
    dumps_the_same("\033(Be\314\201x", "e\314\201x");
    dumps_the_same("e\033[31m\314\201", "e\314\201\033[31m");
    dumps_the_same("\033[1;20He\314\201z", "\033[1;20He\314\201\r\nz");        /* at the edge: no line of its own */
    dumps_the_same("\346\274\242\314\201x", "\346\274\242\314\201x");
    dumps_the_same("\314\201x", "x");                                             /* no base */
    dumps_the_same("\033[?7l\033[1;19Habc\314\201", "\033[?7l\033[1;19Hac\314\201");
    dumps_the_same("e\314\201\314\201\314\201\314\201\314\201\314\201\314\201\314\201\314\201x", "e\314\201\314\201\314\201\314\201\314\201x");     /* as many as a cell has room for */
}

static void character_sets_are_translated(void **state)
{
    dumps_the_same("\033(0lqk\033(Bq#", "\342\224\214\342\224\200\342\224\220q#");
    dumps_the_same("\033)0a\016q\017q\033)B", "a\342\224\200q");
    dumps_the_same("\033(A#\033(B#", "\302\243#");
    dumps_the_same("\033*0\033Nqq\033*B", "\342\224\200q");
    dumps_the_same("\033(0\303\251\033(B", "\303\251");
    dumps_the_same("\033(0\033[!pq", "q");
    dumps_the_same("\033)0\033nq\016\033cq", "q");
}

static void resets_reset(void **state)
{
    static const char *const modes[] = { "\033[2;4r", "\033[?7l", "\033[4h", "\033[?1h", "\033=", "\033[31;1m", "\033[?25l", "\033[?69h\033[3;9s", "\033[?6h", "\033[1\"q", "\033[?2004h", "\0337" };

    for (unsigned i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s\033[!p\033[4;19Habc\ndef\0338x", modes[i]);
        dumps_the_same(text, "\033[4;19Habc\ndef\033[Hx");
        snprintf(text, sizeof(text), "ab\033[?1049hcd%s\033c\033[4;19Habc\ndef", modes[i]);
        dumps_the_same(text, "\033[4;19Habc\ndef");
    }
    dumps_the_same("ab\033[!pcd", "abcd");            /* the cursor stays */
}

static void junk_costs_no_memory_and_ends(void **state)
{
    struct screen *s = screen_new(20, 6, NULL, NULL);
    struct buf out = BUF_INIT;
    uint8_t junk[4096];

    rng = test_seed();
    for (unsigned n = 0; n < 2000; n++) {
        for (unsigned i = 0; i < sizeof(junk); i++)
            junk[i] = (uint8_t)(below(4) ? (uint8_t)below(256) : (uint8_t)"\033[]P;?1049h\033\\m"[below(14)]);
        screen_write(s, junk, below(sizeof(junk)) + 1);
        if (n % 50 == 0)
            screen_resize(s, 1 + below(200), 1 + below(100));
    }
    screen_write(s, "\033\\", 2);
    for (unsigned n = 0; n < 100000; n++)
        screen_write(s, "\314\201", 2);
    screen_dump(s, &out);
    assert_int_equal(buf_err(&out), 0);
    assert_true(out.len < 32 << 20);
    buf_fini(&out);
    screen_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dump_shows_and_goes_on_as_the_original), cmocka_unit_test(marks_join_their_base_however_they_come),
        cmocka_unit_test(character_sets_are_translated), cmocka_unit_test(resets_reset), cmocka_unit_test(junk_costs_no_memory_and_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
