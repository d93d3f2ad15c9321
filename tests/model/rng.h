/* A small deterministic generator (splitmix64): the same seed gives the same run on every machine. */
#pragma once
#include <stdint.h>

struct rng { uint64_t s; };
static inline uint64_t rng_next(struct rng *r) {
    uint64_t z = (r->s += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
static inline uint64_t rng_below(struct rng *r, uint64_t n) { return n ? rng_next(r) % n : 0; }
static inline int rng_chance(struct rng *r, unsigned percent) { return rng_below(r, 100) < percent; }
