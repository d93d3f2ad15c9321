/* The tables of tests/egress/cases: lines of fields with " | " between them; '#' begins a comment line. The last field may be escaped bytes. */
#pragma once
#include "base/buf.h"

enum { CASE_FIELDS_MAX = 6 };
/* Calls each() for every line of the file with its fields (trimmed). Returns how many, aborts if there is no such file. */
unsigned case_file_read(const char *path, void (*each)(void *arg, char **fields, unsigned count), void *arg);
/* \r \n \t \0 \\ \xNN, and {N*c}: N times c. */
void case_unescape(const char *text, struct buf *ret);
