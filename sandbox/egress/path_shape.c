/* A path as the log shows it: what looks like an identifier, and so might be somebody's or a secret, is left out. */
#include <stdio.h>
#include <string.h>
#include "sandbox/egress/audit.h"

enum { WORD_MAX = 40, SHAPE = 200 };

/* Numbers; hex of 8 or more (uuids with their hyphens); anything long; and what mixes digits with letters in 12 or more, or three kinds of bytes in 16 or more: tokens, keys, hashes. */
static bool looks_like_id(const char *p, size_t n)
{
    unsigned digits = 0, hex = 0, lower = 0, upper = 0;

    for (size_t i = 0; i < n; i++) {
        bool d = p[i] >= '0' && p[i] <= '9';
        digits += d;
        lower += p[i] >= 'a' && p[i] <= 'z';
        upper += p[i] >= 'A' && p[i] <= 'Z';
        hex += d || (p[i] >= 'a' && p[i] <= 'f') || (p[i] >= 'A' && p[i] <= 'F') || p[i] == '-';
    }
    if (!n)
        return false;
    return digits == n || n > WORD_MAX || (n >= 8 && hex == n && digits) || (n >= 12 && digits && lower + upper && digits * 6 >= n) || (n >= 16 && (digits != 0) + (lower != 0) + (upper != 0) == 3) ||
           (n >= 20 && upper && lower);
}

static size_t put(char *out, size_t at, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool plain = p[i] > 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\';
        if (at + (plain ? 1 : 4) > SHAPE)
            break;
        if (plain)
            out[at++] = p[i];
        else
            at += (size_t)sprintf(out + at, "\\x%02x", (unsigned char)p[i]);
    }
    return at;
}

const char *path_shape(const char *target, char out[PATH_SHAPE_MAX])
{
    size_t n = target ? strcspn(target, "?#") : 0, at = 0;

    for (size_t i = 0; i < n && at < SHAPE;) {
        size_t word = 0;
        while (i + word < n && target[i + word] != '/' && target[i + word] != ';' && target[i + word] != ':' && target[i + word] != '=' && target[i + word] != '@')
            word++;
        at = looks_like_id(target + i, word) ? put(out, at, "{}", 2) : put(out, at, target + i, word);
        i += word;
        if (i < n)
            at = put(out, at, target + i++, 1);
    }
    out[at] = 0;
    return out;
}
