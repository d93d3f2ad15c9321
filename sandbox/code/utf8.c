#include "sandbox/code/utf8.h"

#include <string.h>

/* How many bytes a character that begins so has; 0: none begins so. */
static unsigned length_of(unsigned char c)
{
    return c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
}

/* The bytes at the end that may be the beginning of a character. */
static unsigned cut_of(const char *p, size_t n)
{
    for (unsigned back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)p[n - back];
        if ((c & 0xc0) != 0x80)
            return length_of(c) > back ? back : 0;
    }
    return 0;
}

static void put(const char *p, size_t n, GString *out)
{
    while (n) {
        const char *end;
        if (g_utf8_validate_len(p, n, &end)) {
            g_string_append_len(out, p, (gssize)n);
            return;
        }
        g_string_append_len(out, p, end - p);
        n -= (size_t)(end - p);
        p = end;
        if (*p) {
            g_string_append(out, "\xef\xbf\xbd");
        } else {                             /* g_utf8_validate_len() takes no NUL; JSON does */
            g_string_append_c(out, '\0');
        }
        p++;
        n--;
    }
}

void utf8_feed(struct utf8 *u, const void *bytes, size_t n, bool end, GString *out)
{
    const char *p = bytes;

    while (u->tail_n && n) {                 /* byte by byte until that character is whole, or cannot be one */
        u->tail[u->tail_n++] = *p++;
        n--;
        if (cut_of(u->tail, u->tail_n) != u->tail_n) {
            put(u->tail, u->tail_n, out);
            u->tail_n = 0;
        }
    }
    unsigned cut = n ? cut_of(p, n) : 0;
    put(p, n - cut, out);
    if (cut) {
        memcpy(u->tail, p + n - cut, cut);
        u->tail_n = cut;
    }
    if (end && u->tail_n) {
        put(u->tail, u->tail_n, out);
        u->tail_n = 0;
    }
}
