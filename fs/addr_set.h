/* A compact open-addressing set of addresses, each with a value of fixed size (possibly none). And a sorted vector of numbers. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/addr.h"

struct addr_set { uint8_t *slots; size_t cap, count, val_bytes; };
#define ADDR_SET(bytes) ((struct addr_set){ .val_bytes = (bytes) })
void addr_set_fini(struct addr_set *s);
/* 1 added (the value is zeroed), 0 was there, -ENOMEM. *ret_val (may be NULL): where the value is, until the next add. Not the zero address. */
int addr_set_add(struct addr_set *s, const struct addr *a, void **ret_val);
bool addr_set_has(const struct addr_set *s, const struct addr *a);
void *addr_set_val(const struct addr_set *s, const struct addr *a);      /* NULL: not in the set */

struct id_vec { uint64_t *v; size_t count, cap; };
void id_vec_fini(struct id_vec *x);
int id_vec_add(struct id_vec *x, uint64_t id);                /* -ENOMEM */
void id_vec_sort(struct id_vec *x);                           /* and drops doubles; needed before id_vec_has */
bool id_vec_has(const struct id_vec *x, uint64_t id);
