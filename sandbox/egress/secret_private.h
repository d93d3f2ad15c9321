/* Inside the secrets. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "sandbox/egress/policy_private.h"
#include "sandbox/egress/seal.h"
#include "sandbox/egress/secret.h"

#define SECRET_KIND "secret"
#define BLOB_KIND "sealed"
enum { SECRET_HOSTS_MAX = 64, SEALED_MAX = SECRET_VALUE_MAX + SEAL_META_MAX + SEAL_MORE, BLOBS_MAX = 16 };
struct secret { char name[65]; uint8_t *sealed; size_t n; json_t *meta /* {hosts, plain_http, created, updated} */; bool usable; };
struct secrets {
    int dir, blobs;                       /* -1: in memory only */
    struct seal_key *key;
    pthread_mutex_t writing;              /* before `lock`; held across the disk */
    pthread_rwlock_t lock;                /* guards the tables; nothing is called under it but OpenSSL */
    struct secret *table[SECRETS_MAX];    /* by name */
    unsigned count;
    struct secret *blob[BLOBS_MAX];              /* of secrets_seal: a handful */
    unsigned blob_count;
    atomic_uint_fast64_t generation;
};

void secret_free(struct secret *x);
struct secret **secret_find(struct secret **table, unsigned count, const char *name);      /* NULL: not there */
/* The new one is sealed and on the disk, then in the table. With `writing` held. Takes nothing. -EDQUOT: there are as many as there may be. */
int secret_replace(struct secrets *s, const char *kind, const char *name, json_t *meta, const void *p, size_t n);
