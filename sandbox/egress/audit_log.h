/* The events of one box: a ring of lines, and two files. Not thread-safe: who holds it locks it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "sandbox/egress/audit.h"

struct line { struct line *next; uint64_t seq; size_t n; char text[]; };
struct audit_log { char box[64]; struct line *first, *last; size_t bytes; uint64_t dropped /* seq of the newest that is not there any more */; int fd; size_t file_bytes; bool broken /* said */; };
/* Reads what the files hold. dir -1: no files. */
void audit_log_load(struct audit_log *l, int dir, const char *box);
void audit_log_fini(struct audit_log *l);
/* Into the ring and the file; text without a line break. false: no memory (or it does not fit); the file is tried all the same. */
bool audit_log_add(struct audit_log *l, int dir, uint64_t seq, const char *text, size_t n);
void audit_log_remove(struct audit_log *l, int dir);
char *audit_text(const struct audit_event *e, uint64_t seq);      /* owned, NULL: no memory */
