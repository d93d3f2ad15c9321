/* Brings an archive into the store's directory, and reads its bytes and its header from there. See archive_import.c. */
#include "fs/archive_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/wire.h"
#include "fs/limits.h"
#include "fs/store.h"

int archive_refuse(struct archive_in *in, int result, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(in->err, in->err_size, fmt, ap);
    va_end(ap);
    return result;
}

int archive_bad(struct archive_in *in, const char *what)
{
    return archive_refuse(in, -EUCLEAN, "the archive is damaged or not genuine: %s (record %llu)", what, (unsigned long long)in->records);
}

/* --- pass 1: spool --- */

static int spool_open(struct archive_in *in)
{
    int fd = disk->open(in->s->dirfd, ".", O_TMPFILE | O_RDWR, 0600);

    if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -ENOENT) {
        fd = disk->open(in->s->dirfd, "import.spool", O_CREAT | O_EXCL | O_RDWR, 0600);
        if (fd >= 0)
            disk->unlink(in->s->dirfd, "import.spool");
    }
    if (fd < 0)
        return archive_refuse(in, fd, "cannot make a temporary file in the store: %s", strerror(-fd));
    in->spool = fd;
    return 0;
}

static ssize_t client_read(int fd, void *p, size_t n)
{
    ssize_t r;

    do {
        r = read(fd, p, n);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

static int check_start(struct archive_in *in, const uint8_t *p, size_t n)
{
    if (!archive_is(p, n))
        return archive_refuse(in, -EUCLEAN, "not a coppice archive");
    if (n < 16 || le32(p + 8) != ARCHIVE_VERSION)
        return n < 16 ? archive_bad(in, "it is cut off") :
               archive_refuse(in, -EPROTONOSUPPORT, "the archive has version %u, this program reads version %d: use a newer one",
                              le32(p + 8), ARCHIVE_VERSION);
    return 0;
}

/* Copies all of it; the last 32 bytes are the digest of those before. */
static int spool_fill(struct archive_in *in, EVP_MD_CTX *sha)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    size_t held = 0;                         /* bytes at the start of piece that may be the digest: not hashed yet */
    bool started = false;

    if (EVP_DigestInit_ex(sha, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    for (;;) {
        ssize_t n = client_read(in->client, in->piece + held, ARCHIVE_PIECE - held);
        if (n < 0)
            return archive_refuse(in, (int)n, "cannot read the archive: %s", strerror((int)-n));
        if (n == 0)
            break;
        int r = io_pwrite_full(in->spool, in->piece + held, (size_t)n, (off_t)in->size);
        if (r)
            return archive_refuse(in, r, "cannot keep the archive in the store: %s", strerror(-r));
        in->size += (uint64_t)n;
        held += (size_t)n;
        if (!started && held >= 16) {
            started = true;
            r = check_start(in, in->piece, held);
            if (r)
                return r;
        }
        if (held > ARCHIVE_SHA && started) {
            if (EVP_DigestUpdate(sha, in->piece, held - ARCHIVE_SHA) != 1)
                return -ENOMEM;
            memmove(in->piece, in->piece + held - ARCHIVE_SHA, ARCHIVE_SHA);
            held = ARCHIVE_SHA;
        }
        if (in->progress)
            in->progress(in->arg, in->size);
    }
    if (!started)
        return held && archive_is(in->piece, held) ? archive_bad(in, "it is cut off") :
               archive_refuse(in, -EUCLEAN, "not a coppice archive");
    if (EVP_DigestFinal_ex(sha, digest, NULL) != 1)
        return -ENOMEM;
    if (held != ARCHIVE_SHA || memcmp(digest, in->piece, ARCHIVE_SHA))
        return archive_bad(in, "its SHA-256 does not agree, or it is cut off");
    return 0;
}

int archive_spool(struct archive_in *in)
{
    int r = spool_open(in);
    EVP_MD_CTX *sha = EVP_MD_CTX_new();

    if (!r)
        r = sha ? spool_fill(in, sha) : -ENOMEM;
    EVP_MD_CTX_free(sha);
    return r;
}

/* --- pass 2: bytes --- */

/* n (at most PIECE) bytes of the archive before its digest, in place; valid until the next call. */
int archive_take(struct archive_in *in, size_t n, const uint8_t **ret)
{
    uint64_t end = in->size - ARCHIVE_SHA;

    if (in->have - in->at < n) {
        size_t rest = in->have - in->at;
        memmove(in->piece, in->piece + in->at, rest);
        in->at = 0;
        in->have = rest;
        uint64_t want = ARCHIVE_PIECE - rest < end - in->off ? ARCHIVE_PIECE - rest : end - in->off;
        ssize_t r = io_pread_full(in->spool, in->piece + rest, (size_t)want, (off_t)in->off);
        if (r < 0)
            return archive_refuse(in, (int)r, "cannot read the archive back: %s", strerror((int)-r));
        in->have += (size_t)r;
        in->off += (uint64_t)r;
        if (in->have < n)
            return archive_bad(in, "a record is cut off");
    }
    *ret = in->piece + in->at;
    in->at += n;
    return 0;
}

bool archive_at_end(const struct archive_in *in)
{
    return in->at == in->have && in->off == in->size - ARCHIVE_SHA;
}

int archive_parse_header(struct archive_in *in)
{
    struct archive_header *h = &in->h;
    const uint8_t *p;
    int r = archive_take(in, 16, &p);

    if (r)
        return r;
    r = check_start(in, p, 16);
    uint32_t n = le32(p + 12);
    if (!r && n > ARCHIVE_HEADER_MAX)
        r = archive_bad(in, "header length");
    if (!r)
        r = archive_take(in, n, &p);
    if (r)
        return r;
    struct reader rd = reader_of(p, n);
    uint32_t flags = get_u32(&rd);
    const uint8_t *root = get_bytes(&rd, ADDR_BYTES), *base = get_bytes(&rd, ADDR_BYTES);
    h->next_ino = get_u64(&rd);
    get_u64(&rd);                            /* inodes and units are counted anew */
    get_u64(&rd);
    h->kind = (enum ws_kind)get_u8(&rd);
    h->snap.created = (int64_t)get_u64(&rd);
    get_str(&rd, h->snap.name, sizeof(h->snap.name));
    get_str(&rd, h->snap.message, sizeof(h->snap.message));
    h->snap.labels.count = get_u32(&rd);
    if (h->snap.labels.count > LABEL_MAX)
        return archive_bad(in, "labels");
    for (uint32_t i = 0; i < h->snap.labels.count; i++) {
        get_str(&rd, h->snap.labels.l[i].key, sizeof(h->snap.labels.l[i].key));
        get_str(&rd, h->snap.labels.l[i].val, sizeof(h->snap.labels.l[i].val));
    }
    if (rd.bad || reader_left(&rd) || flags & ~(uint32_t)ARCHIVE_DELTA)
        return archive_bad(in, "header");
    memcpy(h->root.b, root, ADDR_BYTES);
    memcpy(h->base.b, base, ADDR_BYTES);
    h->delta = flags & ARCHIVE_DELTA;
    if (h->kind < WS_BARE || h->kind > WS_HOST || h->next_ino < 2 || h->next_ino >= INO_IMPORT / 2 ||
        (!h->delta && !addr_is_zero(&h->base)) || (h->snap.name[0] && !object_name_valid(h->snap.name)))
        return archive_bad(in, "header");
    /* The record must be one that this store would write itself. */
    struct buf enc = BUF_INIT;
    struct snap_rec copy = h->snap, back;
    strcpy(copy.id, "snap-aaaaaaaaaa");
    strcpy(copy.ws_id, "ws-aaaaaaaaaa");
    strcpy(copy.ws_name, "x");
    copy.base = copy.seq = 1;
    copy.cause = SNAP_IMPORT;
    snap_rec_encode(&copy, &enc);
    r = buf_err(&enc) ? -ENOMEM : snap_rec_decode(enc.data, enc.len, &back) ? archive_bad(in, "snapshot record") : 0;
    buf_fini(&enc);
    return r;
}

