/* A token bucket: so many a second, so many at once. Thread-safe. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct bucket { pthread_mutex_t lock; double tokens, per_s, most; uint64_t last_ns; };
void bucket_init(struct bucket *b, unsigned per_s, unsigned most);
/* False: not now. */
bool bucket_take(struct bucket *b, unsigned n);
