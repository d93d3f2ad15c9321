#include "sandbox/run/term_private.h"

bool term_size_valid(int64_t cols, int64_t rows)
{
    return cols >= 0 && rows >= 0 && cols <= TERM_SIDE_MAX && rows <= TERM_SIDE_MAX && (cols ? cols : TERM_COLS) * (rows ? rows : TERM_ROWS) <= TERM_CELLS_MAX;
}
void terms_adopt(struct box *b, struct exec *e) {}
void term_gone(struct exec *e) {}
void terms_stopping(struct box *b) {}
