/* Memory that can fail, and a seam through which tests make it fail. */
#pragma once
#include <stddef.h>

/* All memory of base/, fs/ and snapshotd/ comes through these; NULL means out of memory. Free with free(). */
void *mem_alloc(size_t size) __attribute__((malloc, warn_unused_result));
void *mem_zalloc(size_t size) __attribute__((malloc, warn_unused_result));
/* Like realloc(): on NULL the old block is untouched. */
void *mem_realloc(void *p, size_t size) __attribute__((warn_unused_result));
void *mem_dup(const void *p, size_t size) __attribute__((malloc, warn_unused_result));
char *mem_strdup(const char *s) __attribute__((malloc, warn_unused_result));

/* Test seam: called before every allocation; true makes it fail. NULL (the default) never fails. Not thread-safe to change. */
extern _Bool (*mem_fault)(size_t size);
