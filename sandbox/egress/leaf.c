#include "sandbox/egress/leaf.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

enum { FRESH_S = (LEAF_DAYS - 1) * 86400 };
struct leaf { char host[HOST_MAX]; X509 *cert; uint64_t used; int64_t until; };
struct leaves {
    const struct ca *ca;
    pthread_mutex_t lock;                 /* guards the rest; held across a minting (0.1 ms) */
    uint64_t turn;
    struct leaf at[LEAF_MAX];
};

struct leaves *leaves_new(const struct ca *ca)
{
    struct leaves *l = mem_zalloc(sizeof(*l));

    if (l) {
        l->ca = ca;
        pthread_mutex_init(&l->lock, NULL);
    }
    return l;
}

void leaves_free(struct leaves *l)
{
    for (unsigned i = 0; l && i < LEAF_MAX; i++)
        X509_free(l->at[i].cert);
    free(l);
}

/* The host's place, or else the one that was not used for longest. */
static struct leaf *find(struct leaves *l, const char *host)
{
    struct leaf *oldest = &l->at[0];

    for (unsigned i = 0; i < LEAF_MAX; i++) {
        if (l->at[i].cert && !strcmp(l->at[i].host, host))
            return &l->at[i];
        if (l->at[i].used < oldest->used)
            oldest = &l->at[i];
    }
    return oldest;
}

static int get(struct leaves *l, const struct authority *host, struct bucket *mint, X509 **ret)
{
    struct timespec now;

    clock_real(&now);
    struct leaf *x = find(l, host->host);
    if (!x->cert || strcmp(x->host, host->host) || now.tv_sec >= x->until || now.tv_sec + FRESH_S < x->until) {
        if (!bucket_take(mint, 1))
            return -EAGAIN;
        X509 *cert = ca_mint(l->ca, host->host, host->kind != HOST_NAME, now.tv_sec, LEAF_DAYS);
        if (!cert)
            return -ENOMEM;
        X509_free(x->cert);
        *x = (struct leaf){ .cert = cert, .until = now.tv_sec + FRESH_S };
        memcpy(x->host, host->host, sizeof(x->host));
    }
    x->used = ++l->turn;
    X509_up_ref(x->cert);
    *ret = x->cert;
    return 0;
}

int leaf_use(struct leaves *l, const struct authority *host, struct bucket *mint, SSL *ssl)
{
    X509 *cert = NULL;

    pthread_mutex_lock(&l->lock);
    int r = get(l, host, mint, &cert);
    pthread_mutex_unlock(&l->lock);
    if (!r && (SSL_use_certificate(ssl, cert) != 1 || SSL_use_PrivateKey(ssl, l->ca->leaf_key) != 1))
        r = -ENOMEM;
    X509_free(cert);
    return r;
}
