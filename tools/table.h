/* Columns of text, each as wide as its widest cell (UTF-8 counted by characters). */
#pragma once
#include <stdbool.h>
struct table;
/* headers: NULL-terminated. right: a mask of columns that are aligned to the right. */
struct table *table_new(const char *const *headers, unsigned right);
/* A cell of the present row; rows begin by themselves. Copies. */
void table_cell(struct table *t, const char *text);
void table_cellf(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints to stdout and frees. */
void table_print(struct table *t);
