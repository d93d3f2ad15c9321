/* The terminal page's files, in the program itself. */
#pragma once
#include <stddef.h>
struct page_file { const char *name, *type; const unsigned char *p; size_t n; };
extern const struct page_file page_files[];      /* ends with name NULL; the first is the page */
