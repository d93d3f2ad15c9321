#include "sandbox/egress/ca.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/wire.h"

DEFINE_CLEANUP(X509 *, X509_free)
enum { DAY_S = 86400, SERIAL_BYTES = 16, KEY_MAX = 1024, CERT_MAX = 4096 };
static const char sealed_name[] = "ca";

/* --- certificates --- */

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

static bool set_serial(X509 *x)
{
    unsigned char b[SERIAL_BYTES];

    if (RAND_bytes(b, sizeof(b)) != 1)
        return false;
    b[0] = (b[0] & 0x7f) | 0x40;            /* positive, of full length */
    BIGNUM *n = BN_bin2bn(b, sizeof(b), NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool set_times(X509 *x, int64_t from, int64_t to)
{
    return ASN1_TIME_set(X509_getm_notBefore(x), from) && ASN1_TIME_set(X509_getm_notAfter(x), to);
}

static bool set_name(X509_NAME *n, const char *common)
{
    return X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC, (const unsigned char *)common, -1, -1, 0) == 1;
}

static X509 *make_root(EVP_PKEY *key, int64_t now)
{
    _cleanup_(X509_free_p) X509 *x = X509_new();
    unsigned char mark[4];
    char name[64];

    if (!x || RAND_bytes(mark, sizeof(mark)) != 1)
        return NULL;
    snprintf(name, sizeof(name), "coppice sandbox CA %02x%02x%02x%02x", mark[0], mark[1], mark[2], mark[3]);
    if (!X509_set_version(x, X509_VERSION_3) || !set_serial(x) || !set_times(x, now - CA_SKEW_S, now + (int64_t)CA_DAYS * DAY_S) || !set_name(X509_get_subject_name(x), name) ||
        !X509_set_issuer_name(x, X509_get_subject_name(x)) || !X509_set_pubkey(x, key))
        return NULL;
    if (!add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") || !add_extension(x, x, NID_key_usage, "critical,keyCertSign") ||
        !add_extension(x, x, NID_ext_key_usage, "serverAuth") || !add_extension(x, x, NID_subject_key_identifier, "hash") || !X509_sign(x, key, EVP_sha256()))
        return NULL;
    return TAKE_PTR(x);
}

/* The host as subjectAltName, built as a value and never as text to be parsed. alone: there is no name in the subject. */
static bool add_host(X509 *x, const char *host, bool literal, bool alone)
{
    GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *n = GENERAL_NAME_new();
    ASN1_STRING *s = literal ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    unsigned char at[16];
    int at_n = strchr(host, ':') ? 16 : 4;
    bool ok = names && n && s;

    if (ok && literal)
        ok = inet_pton(at_n == 16 ? AF_INET6 : AF_INET, host, at) == 1 && ASN1_STRING_set(s, at, at_n);
    else if (ok)
        ok = ASN1_STRING_set(s, host, -1);
    if (ok) {
        GENERAL_NAME_set0_value(n, literal ? GEN_IPADD : GEN_DNS, TAKE_PTR(s));
        ok = sk_GENERAL_NAME_push(names, n) > 0;
        n = ok ? NULL : n;
    }
    ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, names, alone, X509V3_ADD_DEFAULT) == 1;
    ASN1_STRING_free(s);
    GENERAL_NAME_free(n);
    sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
    return ok;
}

X509 *ca_mint(const struct ca *c, const char *host, bool literal, int64_t now, unsigned days)
{
    _cleanup_(X509_free_p) X509 *x = X509_new();
    int64_t end = now + (int64_t)days * DAY_S, ca_end = ca_not_after(c);

    if (!x || !X509_set_version(x, X509_VERSION_3) || !set_serial(x) || !set_times(x, now - CA_SKEW_S, end < ca_end ? end : ca_end) ||
        !X509_set_issuer_name(x, X509_get_subject_name(c->cert)) || !X509_set_pubkey(x, c->leaf_key))
        return NULL;
    bool alone = strlen(host) > 64;         /* longer than a common name may be */
    if (!alone && !set_name(X509_get_subject_name(x), host))
        return NULL;
    if (!add_extension(x, c->cert, NID_basic_constraints, "critical,CA:FALSE") || !add_extension(x, c->cert, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(x, c->cert, NID_ext_key_usage, "serverAuth") || !add_extension(x, c->cert, NID_subject_key_identifier, "hash") ||
        !add_extension(x, c->cert, NID_authority_key_identifier, "keyid:always") || !add_host(x, host, literal, alone) || !X509_sign(x, c->key, EVP_sha256()))
        return NULL;
    return TAKE_PTR(x);
}

bool ca_is_in(const struct ca *c, const STACK_OF(X509) *chain)
{
    for (int i = 0; i < sk_X509_num(chain); i++)
        if (EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(chain, i)), c->key) == 1)
            return true;
    return false;
}

int64_t ca_not_after(const struct ca *c)
{
    struct tm tm;

    return c->cert && ASN1_TIME_to_tm(X509_get0_notAfter(c->cert), &tm) ? timegm(&tm) : 0;
}

/* --- at rest: u16 length (little-endian) and DER of the key, then DER of the certificate --- */

static int store(struct secrets *s, const struct ca *c)
{
    unsigned char b[2 + KEY_MAX + CERT_MAX], *p = b + 2;
    int key_n = i2d_PrivateKey(c->key, NULL), cert_n = i2d_X509(c->cert, NULL);

    if (key_n <= 0 || key_n > KEY_MAX || cert_n <= 0 || cert_n > CERT_MAX)
        return -ENOMEM;
    put_le16(b, (uint16_t)key_n);
    i2d_PrivateKey(c->key, &p);
    i2d_X509(c->cert, &p);
    int r = secrets_seal(s, sealed_name, b, (size_t)(2 + key_n + cert_n));
    OPENSSL_cleanse(b, sizeof(b));
    return r;
}

static int load(struct secrets *s, struct ca *c)
{
    void *blob;
    size_t n;

    int r = secrets_unseal(s, sealed_name, &blob, &n);
    if (r)
        return r;
    const unsigned char *p = (unsigned char *)blob + 2, *cert = n < 2 ? NULL : p + le16(blob);
    if (n >= 2 && le16(blob) <= n - 2) {
        c->key = d2i_PrivateKey(EVP_PKEY_EC, NULL, &p, le16(blob));
        c->cert = d2i_X509(NULL, &cert, (long)(n - 2 - le16(blob)));
    }
    OPENSSL_cleanse(blob, n);
    free(blob);
    return c->key && c->cert && X509_check_private_key(c->cert, c->key) == 1 ? 0 : -EBADMSG;
}

static void drop(struct ca *c)
{
    X509_free(c->cert);
    EVP_PKEY_free(c->key);
    c->cert = NULL;
    c->key = NULL;
}

static int make(struct secrets *s, int64_t now, struct ca *c)
{
    drop(c);
    c->key = EVP_EC_gen("P-256");
    c->cert = c->key ? make_root(c->key, now) : NULL;
    return c->cert ? store(s, c) : -ENOMEM;
}

static int describe(struct ca *c)
{
    _cleanup_free_ char *pem = NULL;
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned md_n = 0;
    BIO *b = BIO_new(BIO_s_mem());
    char *p;
    struct tm tm;

    int r = b && PEM_write_bio_X509(b, c->cert) ? 0 : -ENOMEM;
    long n = r ? 0 : BIO_get_mem_data(b, &p);
    pem = r ? NULL : malloc((size_t)n + 1);
    if (pem) {
        memcpy(pem, p, (size_t)n);
        pem[n] = 0;
    }
    BIO_free(b);
    if (!pem || !X509_digest(c->cert, EVP_sha256(), md, &md_n) || !ASN1_TIME_to_tm(X509_get0_notAfter(c->cert), &tm))
        return -ENOMEM;
    for (unsigned i = 0; i < md_n && i < 32; i++)
        snprintf(c->sha256 + 2 * i, 3, "%02x", md[i]);
    strftime(c->not_after, sizeof(c->not_after), "%Y-%m-%dT%H:%M:%SZ", &tm);
    X509_NAME_get_text_by_NID(X509_get_subject_name(c->cert), NID_commonName, c->subject, sizeof(c->subject));
    c->pem_n = (size_t)n;
    c->pem = TAKE_PTR(pem);
    return 0;
}

int ca_open(struct secrets *s, int64_t now, struct ca *ret)
{
    struct ca c = { 0 };

    int r = load(s, &c);
    if (r && r != -ENOENT)
        log_warn("step=ca err=%s the stored one cannot be used: a new one is made; sandboxes that run do not trust it", errno_name(r));
    if (r || now > ca_not_after(&c) - (int64_t)CA_RENEW_DAYS * DAY_S)
        r = make(s, now, &c);
    if (!r && !(c.leaf_key = EVP_EC_gen("P-256")))
        r = -ENOMEM;
    if (!r)
        r = describe(&c);
    ERR_clear_error();
    if (r) {
        ca_fini(&c);
        return r;
    }
    *ret = c;
    return 0;
}

void ca_fini(struct ca *c)
{
    drop(c);
    EVP_PKEY_free(c->leaf_key);
    free(c->pem);
    *c = (struct ca){ 0 };
}
