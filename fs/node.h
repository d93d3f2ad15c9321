/* A node of a tree: encoding, and the store's bounded cache of decoded nodes. Format: docs/formats.md "Node". */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "fs/addr.h"

struct meta;
struct node_entry { const uint8_t *key, *val; uint16_t key_len; uint32_t val_len; };
/* Decoded and immutable. level 0: entries of the map. level > 0: key = first key of the child, val = child address (20), count (8, LE). */
struct node {
    struct addr addr;
    uint32_t count;
    uint8_t level;
    struct node_entry *entries;           /* sorted, keys distinct */
};

/* Strict parser of foreign bytes: 0 and a node with one reference outside any cache; -EUCLEAN; -ENOMEM. Keys must ascend; level
 * < NODE_LEVELS_MAX; count >= 1; inner values 28 bytes with count >= 1. Does not look at what keys mean. */
int node_decode(const uint8_t *p, size_t n, struct node **ret);
/* Encodes entries into buf (appended). They must be sorted. */
struct buf;
void node_encode(uint8_t level, const struct node_entry *entries, uint32_t count, struct buf *out);
/* First index whose key >= key (count if none); *ret_exact says if equal. */
uint32_t node_search(const struct node *n, const void *key, size_t key_len, bool *ret_exact);
void node_unref(struct node *n);
struct node *node_ref(struct node *n);

/* The cache: by bytes, sharded, approximate LRU; get is thread-safe. Also the only way to the stored nodes. */
struct node_cache;
struct node_cache *node_cache_new(struct meta *m, size_t budget_bytes);
void node_cache_free(struct node_cache *c);
size_t node_cache_bytes(struct node_cache *c);
/* 0 and a reference; -EIO (missing, or bytes do not match the address: logged). */
int node_get(struct node_cache *c, const struct addr *a, struct node **ret);
/* Stores encoded bytes and gives their address: an equal node that is stored already is shared after comparing bytes (another gets the next
 * discriminator). The put goes into the batch given (not yet written), and is remembered until batch is done so that equal nodes within it
 * are not put twice. 0, -EIO, -ENOMEM. */
struct batch;
int node_put(struct node_cache *c, struct batch *b, const uint8_t *p, size_t n, struct addr *ret);
/* To be called after the batch of node_put()s was written (ok) or given up (not ok). */
void node_put_done(struct node_cache *c, bool ok);
/* Test seam: the hash that addresses are made of (discriminator 0) and checked with. Default addr_of. */
extern struct addr (*node_hash)(const void *bytes, size_t n);
