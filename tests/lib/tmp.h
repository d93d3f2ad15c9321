/* Temporary directories of tests: below $COPPICE_TEST_TMP, else /dev/shm (fast), else /tmp. */
#pragma once
#include <stddef.h>

int tmp_make(const char *stem, char *ret, size_t size);   /* 0 or -errno; said on stderr */
void tmp_remove(const char *dir);                         /* with all that is in it; of any depth */
int tmp_open(const char *stem, char *ret, size_t size);   /* the same, opened: its descriptor, or -errno */
void tmp_close(const char *dir, int fd);                  /* removed and closed */
