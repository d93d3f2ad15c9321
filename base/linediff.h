/* The shortest way from one text to another, in lines (Myers), with a limit on the work: past it the result is right but not the shortest.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct line { const uint8_t *p; size_t n; };              /* with its newline, if it has one */
struct lines { struct line *v; size_t n; bool *changed; }; /* changed: deleted from A, or added in B */
struct linediff { struct lines a, b; size_t deleted, added; uint64_t same_bytes; };

/* The bytes are borrowed. 0, -ENOMEM, -EFBIG (over 2^31 lines). */
int linediff_make(const void *a, size_t a_n, const void *b, size_t b_n, struct linediff *ret);
void linediff_fini(struct linediff *d);
/* As git decides: a NUL in the first 8000 bytes. */
bool linediff_is_binary(const void *p, size_t n);
