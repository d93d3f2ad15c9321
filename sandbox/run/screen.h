/* The true screen of a terminal: what a client that comes late must see. Fed with the bytes of the program; gives, at any time, bytes that bring a fresh terminal to the same state:
 * both screens, scrollback, cursor, pen, modes, margins, tab stops, character sets, title. libvterm interprets; this keeps the cells. */
#pragma once
#include "base/buf.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCREEN_HISTORY_CELLS = 32 * 1024, SCREEN_TITLE_MAX = 256 };
struct screen;
/* What libvterm would answer to the program (cursor reports and the like). */
typedef void screen_reply_fn(void *arg, const char *p, size_t n);
struct screen *screen_new(unsigned cols, unsigned rows, screen_reply_fn *reply, void *arg);
void screen_free(struct screen *s);
void screen_write(struct screen *s, const void *p, size_t n);
void screen_resize(struct screen *s, unsigned cols, unsigned rows);
bool screen_untouched(const struct screen *s);        /* nothing was written to it yet */
/* Appends the bytes. No answers of a terminal are asked for by them, nothing rings, no clipboard is touched. */
void screen_dump(const struct screen *s, struct buf *out);
