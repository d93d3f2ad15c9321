/* What a terminal shows after the bytes on stdin, by libvterm: screen_text COLS ROWS. A line of text for each row, without blanks at its end, then "cursor ROW COL". */
#include <stdio.h>
#include <stdlib.h>
#include <vterm.h>

int main(int argc, char **argv)
{
    int cols = argc == 3 ? atoi(argv[1]) : 0, rows = argc == 3 ? atoi(argv[2]) : 0;
    static char bytes[65536], line[8192];
    VTermPos pos;
    size_t n;

    if (cols < 1 || rows < 1 || cols > 1000)
        return 2;
    VTerm *vt = vterm_new(rows, cols);
    VTermScreen *screen = vterm_obtain_screen(vt);
    vterm_set_utf8(vt, 1);
    vterm_screen_enable_altscreen(screen, 1);
    vterm_screen_reset(screen, 1);
    while ((n = fread(bytes, 1, sizeof(bytes), stdin)) > 0)
        vterm_input_write(vt, bytes, n);
    for (int row = 0; row < rows; row++) {
        n = vterm_screen_get_text(screen, line, sizeof(line), (VTermRect){ row, row + 1, 0, cols });
        while (n && line[n - 1] == ' ')
            n--;
        printf("%.*s\n", (int)n, line);
    }
    vterm_state_get_cursorpos(vterm_obtain_state(vt), &pos);
    printf("cursor %d %d\n", pos.row, pos.col);
    vterm_free(vt);
    return 0;
}
