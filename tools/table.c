#include "tools/table.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { COLUMNS_MAX = 12 };

struct table { unsigned columns, right, width[COLUMNS_MAX]; char **cells; size_t count, cap; };

static unsigned width_of(const char *s)
{
    unsigned n = 0;
    for (; *s; s++)
        n += ((uint8_t)*s & 0xc0) != 0x80;
    return n;
}

struct table *table_new(const char *const *headers, unsigned right)
{
    struct table *t = mem_zalloc(sizeof(*t));

    if (!t)
        return NULL;
    while (headers[t->columns] && t->columns < COLUMNS_MAX)
        t->columns++;
    t->right = right;
    for (unsigned i = 0; i < t->columns; i++)
        table_cell(t, headers[i]);
    return t;
}

void table_cell(struct table *t, const char *text)
{
    if (!t)
        return;
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        char **cells = mem_realloc(t->cells, cap * sizeof(*cells));
        if (!cells)
            return;
        t->cells = cells;
        t->cap = cap;
    }
    char *copy = mem_strdup(text);
    if (!copy)
        return;
    unsigned col = (unsigned)(t->count % t->columns), w = width_of(copy);
    if (w > t->width[col])
        t->width[col] = w;
    t->cells[t->count++] = copy;
}

void table_cellf(struct table *t, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    table_cell(t, text);
}

void table_print(struct table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->count; i++) {
        unsigned col = (unsigned)(i % t->columns);
        int pad = (int)(t->width[col] - width_of(t->cells[i]));
        bool last = col + 1 == t->columns;
        if (t->right >> col & 1)
            printf("%*s%s", pad, "", t->cells[i]);
        else
            printf("%s%*s", t->cells[i], last ? 0 : pad, "");
        fputs(last ? "\n" : "  ", stdout);
        free(t->cells[i]);
    }
    free(t->cells);
    free(t);
}
