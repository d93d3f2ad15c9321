/* The reader of a chunked body: one state per place in the grammar of RFC 9112 7.1, one byte at a time but for data.
 *
 *   SIZE -> (;NAME (=VALUE | ="QUOTED")?)* -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *   size 0: SIZE_LF -> TRAILER (line -> TRAILER_LF -> TRAILER)* -> END_LF -> DONE
 *
 * White space is nowhere allowed outside of quotes and trailers: who accepts it and who does not would see two bodies. BROKEN and DONE stay. */
#include <string.h>

#include "sandbox/egress/http1_private.h"

/* *_FIRST: the word must have a byte yet. */
enum state { SIZE, NAME_FIRST, NAME, VALUE_FIRST, VALUE, QUOTED, ESCAPED, CLOSED, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_LF, END_LF, DONE, BROKEN };
enum { SIZE_DIGITS_MAX = 16, EXTRAS_MAX = 16 * 1024, TRAILERS_MAX = 32 };

void http1_chunks_init(struct http1_chunks *c)
{
    c->state = SIZE;
    c->left = c->total = 0;
    c->line = c->extras = c->trailer_count = 0;
    c->trailers_n = c->trailer_line = 0;
    c->why = NULL;
}

static void broken(struct http1_chunks *c, const char *why)
{
    c->state = BROKEN;
    c->why = why;
}

static int hex(char b)
{
    return b >= '0' && b <= '9' ? b - '0' : (b | 0x20) >= 'a' && (b | 0x20) <= 'f' ? (b | 0x20) - 'a' + 10 : -1;
}

static void size_byte(struct http1_chunks *c, char b)
{
    int digit = hex(b);

    if (digit < 0 && (c->line == 1 || (b != ';' && b != '\r')))
        broken(c, "a chunk size is not a plain hexadecimal number");
    else if (digit < 0)
        c->state = b == ';' ? NAME_FIRST : SIZE_LF;
    else if (c->line > SIZE_DIGITS_MAX || c->left > (uint64_t)INT64_MAX >> 4)
        broken(c, "a chunk size that is too large");
    else
        c->left = c->left << 4 | (unsigned)digit;
}

/* Extensions: checked, so that all readers agree on where they end. */
static void extension_byte(struct http1_chunks *c, char b)
{
    bool token = byte_is(b, BYTE_TOKEN), ends = b == ';' || b == '\r';

    c->extras++;
    if (token && (c->state == NAME_FIRST || c->state == NAME))
        c->state = NAME;
    else if (token && (c->state == VALUE_FIRST || c->state == VALUE))
        c->state = VALUE;
    else if (b == '=' && c->state == NAME)
        c->state = VALUE_FIRST;
    else if (b == '"' && c->state == VALUE_FIRST)
        c->state = QUOTED;
    else if (c->state == QUOTED && byte_is(b, BYTE_VALUE))
        c->state = b == '"' ? CLOSED : b == '\\' ? ESCAPED : QUOTED;
    else if (c->state == ESCAPED && byte_is(b, BYTE_VALUE))
        c->state = QUOTED;
    else if (ends && (c->state == NAME || c->state == VALUE || c->state == CLOSED))
        c->state = b == ';' ? NAME_FIRST : SIZE_LF;
    else
        broken(c, "a chunk extension that is not one");
    if (c->extras > EXTRAS_MAX)
        broken(c, "too many chunk extensions");
}

/* A whole trailer line is at the end of trailers[]. */
static void trailer_end(struct http1_chunks *c)
{
    struct http1_header x;
    size_t used;

    if (http1_line(c->trailers + c->trailer_line, c->trailers_n - c->trailer_line, false, &x, &used, &c->why) != HTTP1_OK)
        return broken(c, c->why ? c->why : "a trailer that is not a header");
    if (!http1_is_trailer(x.name))
        return broken(c, "a header that may not be a trailer");
    if (++c->trailer_count > TRAILERS_MAX)
        return broken(c, "more than 32 trailers");
    c->trailer_line = c->trailers_n;
    c->state = TRAILER;
}

static void trailer_byte(struct http1_chunks *c, char b)
{
    if (c->state == TRAILER && b == '\r' && c->trailers_n == c->trailer_line) {
        c->state = END_LF;
        return;
    }
    if (c->trailers_n == HTTP1_TRAILER_MAX)
        return broken(c, "trailers of more than 16 KiB");
    if ((b == '\n') != (c->state == TRAILER_LF))
        return broken(c, b == '\n' ? "a line ends with LF alone" : "CR without LF");
    c->trailers[c->trailers_n++] = b;
    if (b == '\n')
        trailer_end(c);
    else if (b == '\r')
        c->state = TRAILER_LF;
}

/* The byte that has to be `want` at the end of a line. */
static void expect_byte(struct http1_chunks *c, char b, char want, enum state next)
{
    if (b != want)
        broken(c, b == '\n' ? "a line ends with LF alone" : want == '\n' ? "CR without LF" : "a chunk is longer than it says");
    else
        c->state = next;
}

static void other_byte(struct http1_chunks *c, char b)
{
    switch (c->state) {
    case SIZE_LF:
        return expect_byte(c, b, '\n', c->left ? DATA : TRAILER);
    case DATA_CR:
        return expect_byte(c, b, '\r', DATA_LF);
    case DATA_LF:
        c->line = 0;
        return expect_byte(c, b, '\n', SIZE);
    case END_LF:
        return expect_byte(c, b, '\n', DONE);
    default:
        return trailer_byte(c, b);
    }
}

static void byte(struct http1_chunks *c, char b)
{
    if (c->state > CLOSED)
        return other_byte(c, b);
    if (++c->line > HTTP1_CHUNK_LINE_MAX)
        broken(c, "a chunk size line of more than 1 KiB");
    else if (c->state == SIZE)
        size_byte(c, b);
    else
        extension_byte(c, b);
}

int http1_chunks_feed(struct http1_chunks *c, const char *p, size_t n, size_t *ret_used, struct slice *ret_data)
{
    size_t i = 0;

    *ret_data = (struct slice){ p, 0 };
    while (i < n && c->state != DATA && c->state != DONE && c->state != BROKEN)
        byte(c, p[i++]);
    if (c->state == DATA && i < n) {
        size_t take = n - i < c->left ? n - i : (size_t)c->left;
        if (c->total > (uint64_t)INT64_MAX - take)
            broken(c, "a body that is too large");
        *ret_data = (struct slice){ p + i, take };
        c->left -= take;
        c->total += take;
        i += take;
        if (!c->left)
            c->state = DATA_CR;
    }
    *ret_used = i;
    return c->state == BROKEN ? HTTP1_BAD : c->state == DONE ? HTTP1_OK : HTTP1_MORE;
}

unsigned http1_trailers(const struct http1_chunks *c, struct http1_header *ret, unsigned max)
{
    const char *why;
    unsigned count = 0;

    for (size_t at = 0, used; at < c->trailer_line && count < max; at += used)
        if (http1_line(c->trailers + at, c->trailer_line - at, false, &ret[count++], &used, &why) != HTTP1_OK)
            return count - 1;
    return count;
}
