/* How events, the heads of their files, and the record of a journal lie on disk: docs/formats.md 13. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/wire.h"
#include "fs/feed_internal.h"

enum { PAD_MARK = 0x50414450, HEAD_SUMMED = FEED_HEAD - 8, REC_VERSION = 1, FILE_VERSION = 1 };
static const char MAGIC[8] = "COPPICEJ";

static uint32_t sum_of(const void *p, size_t n)
{
    return (uint32_t)XXH3_64bits(p, n);
}

static size_t round_up(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

size_t feed_encoded(const struct feed_event *e)
{
    return round_up(FEED_RECORD + (size_t)e->path_len + e->aux_len);
}

static void put_time(uint8_t *p, const struct itime *t)
{
    put_le64(p, (uint64_t)t->sec);
    put_le32(p + 8, t->ns);
}

void feed_encode_head(const struct feed_event *e, uint32_t strings_sum, uint8_t out[FEED_RECORD])
{
    put_le32(out, (uint32_t)feed_encoded(e));
    put_le32(out + 8, strings_sum);
    out[12] = (uint8_t)e->op;
    out[13] = e->kind;
    put_le16(out + 14, e->path_len);
    put_le64(out + 16, e->seq);
    put_time(out + 24, &e->time);
    put_le32(out + 36, e->generation);
    put_le64(out + 40, e->ino);
    put_le64(out + 48, e->other);
    put_le64(out + 56, e->from);
    put_le64(out + 64, e->to);
    put_le64(out + 72, e->size);
    put_le32(out + 80, e->mode);
    put_le32(out + 84, e->rdev);
    put_le16(out + 88, (uint16_t)e->uid);
    put_le16(out + 90, (uint16_t)e->gid);
    put_time(out + 92, &e->mtime);
    put_le32(out + 104, e->count);
    put_le32(out + 108, e->links);
    put_le16(out + 112, e->aux_len);
    put_le16(out + 114, (uint16_t)e->what);
    put_le32(out + 116, 0);
    put_le32(out + 4, sum_of(out + 8, FEED_RECORD - 8));
}

void feed_encode(const struct feed_event *e, uint8_t *out, uint32_t *ret_strings_sum)
{
    uint8_t *text = out + FEED_RECORD;
    size_t n = feed_encoded(e) - FEED_RECORD, used = (size_t)e->path_len + e->aux_len;

    if (e->path_len)
        memcpy(text, e->path, e->path_len);
    if (e->aux_len)
        memcpy(text + e->path_len, e->aux, e->aux_len);
    memset(text + used, 0, n - used);
    *ret_strings_sum = sum_of(text, n);
    feed_encode_head(e, *ret_strings_sum, out);
}

void feed_encode_pad(uint8_t *out, size_t n)
{
    memset(out, 0, n);
    put_le32(out, (uint32_t)n);
    put_le32(out + 4, PAD_MARK);
}

static bool get_time_at(const uint8_t *p, struct itime *ret)
{
    *ret = (struct itime){ (int64_t)le64(p), le32(p + 8) };
    return ret->ns < 1000000000;
}

ssize_t feed_decode(const uint8_t *p, size_t n, struct feed_event *ret, size_t *ret_need)
{
    struct feed_event e = { 0 };

    *ret_need = 8;
    if (n < 8)
        return 0;
    size_t len = le32(p);
    if (len % 8 || len < 8 || len > FEED_RECORD_MAX)
        return -EUCLEAN;
    if (le32(p + 4) == PAD_MARK && len < FEED_RECORD) {
        *ret = e;
        *ret_need = len;
        return n < len ? 0 : (ssize_t)len;
    }
    *ret_need = len;
    if (n < len)
        return 0;
    if (len < FEED_RECORD || le32(p + 4) != sum_of(p + 8, FEED_RECORD - 8) || le32(p + 8) != sum_of(p + FEED_RECORD, len - FEED_RECORD))
        return -EUCLEAN;
    e = (struct feed_event){ .op = p[12], .kind = p[13], .path_len = le16(p + 14), .seq = le64(p + 16), .generation = le32(p + 36), .ino = le64(p + 40), .other = le64(p + 48),
        .from = le64(p + 56), .to = le64(p + 64), .size = le64(p + 72), .mode = le32(p + 80), .rdev = le32(p + 84), .uid = le16(p + 88), .gid = le16(p + 90), .count = le32(p + 104),
        .links = le32(p + 108), .aux_len = le16(p + 112), .what = le16(p + 114), .path = (const char *)p + FEED_RECORD };
    e.aux = e.path + e.path_len;
    if (!get_time_at(p + 24, &e.time) || !get_time_at(p + 92, &e.mtime) || feed_encoded(&e) != len || e.op < FEED_CREATE || e.op >= FEED_OPS || le32(p + 116) || !e.seq)
        return -EUCLEAN;
    *ret = e;
    return (ssize_t)len;
}

/* --- the head of a file --- */

void feed_head_encode(uint64_t journal, uint64_t first, int64_t made, uint8_t out[FEED_HEAD])
{
    memset(out, 0, FEED_HEAD);
    memcpy(out, MAGIC, sizeof MAGIC);
    put_le32(out + 8, FILE_VERSION);
    put_le64(out + 16, journal);
    put_le64(out + 24, first);
    put_le64(out + 32, (uint64_t)made);
    put_le64(out + HEAD_SUMMED, XXH3_64bits(out, HEAD_SUMMED));
}

int feed_head_decode(const uint8_t p[FEED_HEAD], uint64_t *ret_journal, uint64_t *ret_first, int64_t *ret_made)
{
    uint8_t again[FEED_HEAD];

    feed_head_encode(le64(p + 16), le64(p + 24), (int64_t)le64(p + 32), again);
    if (memcmp(again, p, FEED_HEAD) != 0)
        return -EUCLEAN;
    *ret_journal = le64(p + 16);
    *ret_first = le64(p + 24);
    *ret_made = (int64_t)le64(p + 32);
    return 0;
}

/* --- the record --- */

void feed_rec_encode(const struct feed_rec *r, uint8_t out[FEED_REC_BYTES])
{
    out[0] = REC_VERSION;
    put_le64(out + 1, r->journal);
    put_le64(out + 9, r->seq);
    put_le32(out + 17, r->generation);
    out[21] = r->clean;
    put_le64(out + 22, r->limits.bytes);
    put_le32(out + 30, r->limits.keep_s);
    put_le64(out + 34, (uint64_t)r->since);
}

int feed_rec_decode(const uint8_t *p, size_t n, struct feed_rec *ret)
{
    if (n != FEED_REC_BYTES || p[0] != REC_VERSION || p[21] > 1)
        return -EUCLEAN;
    *ret = (struct feed_rec){ .journal = le64(p + 1), .seq = le64(p + 9), .generation = le32(p + 17), .clean = p[21], .limits = { le64(p + 22), le32(p + 30) }, .since = (int64_t)le64(p + 34) };
    return ret->limits.bytes < FEED_BYTES_MIN || ret->limits.bytes > FEED_BYTES_MAX || ret->limits.keep_s < FEED_KEEP_MIN_S || !ret->generation ? -EUCLEAN : 0;
}

/* --- cursors --- */

void feed_cursor_format(const struct feed_cursor *c, char out[FEED_CURSOR_TEXT])
{
    snprintf(out, FEED_CURSOR_TEXT, "%016" PRIx64 "-%" PRIu32 "-%" PRIu64, c->journal, c->generation, c->seq);
}

bool feed_cursor_parse(const char *s, struct feed_cursor *ret)
{
    char again[FEED_CURSOR_TEXT];
    struct feed_cursor c;

    if (strlen(s) >= FEED_CURSOR_TEXT || sscanf(s, "%16" SCNx64 "-%" SCNu32 "-%" SCNu64, &c.journal, &c.generation, &c.seq) != 3)
        return false;
    feed_cursor_format(&c, again);        /* there is one way to write it */
    if (strcmp(again, s) != 0)
        return false;
    *ret = c;
    return true;
}
