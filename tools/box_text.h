/* What verbs about rules and secrets share: text that comes in, and lists in the cells of a table. */
#pragma once
#include <glib.h>
#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "tools/table.h"

enum { TEXT_INPUT_MAX = 1 << 20 };
/* All of a descriptor (at most TEXT_INPUT_MAX bytes), as text ended by NUL. False after saying why; what names it. */
bool text_read_all(int fd, const char *what, struct buf *b);
/* The strings and numbers of a list with spaces between them, after `before` if s is not empty. */
void list_join(GString *s, const json_t *list, const char *before);
/* s as a cell without control characters, cut to what fits a line, "-" if empty; s is empty then. */
void cell_text(struct table *tab, GString *s);
