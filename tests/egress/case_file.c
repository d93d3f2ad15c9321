#include "tests/egress/case_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

unsigned case_file_read(const char *path, void (*each)(void *arg, char **fields, unsigned count), void *arg)
{
    FILE *f = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    unsigned lines = 0;

    if (!f) {
        perror(path);
        abort();
    }
    while (getline(&line, &cap, f) > 0) {
        char *fields[CASE_FIELDS_MAX], *at = line, *next;
        unsigned n = 0;
        line[strcspn(line, "\n")] = '\0';
        if (!*line || *line == '#')
            continue;
        do {
            next = n + 1 < CASE_FIELDS_MAX ? strstr(at, " | ") : NULL;
            if (next)
                *next = '\0';
            fields[n++] = at;
            at = next + 3;
        } while (next);
        each(arg, fields, n);
        lines++;
    }
    free(line);
    fclose(f);
    return lines;
}

static const char *escape(const char *p, struct buf *ret)
{
    static const char from[] = "rnt0\\", to[] = "\r\n\t\0\\";
    const char *s = *p ? strchr(from, *p) : NULL;
    unsigned byte;

    if (s) {
        buf_put_u8(ret, (uint8_t)to[s - from]);
        return p + 1;
    }
    if (*p != 'x' || sscanf(p + 1, "%2x", &byte) != 1)
        abort();
    buf_put_u8(ret, (uint8_t)byte);
    return p + 3;
}

void case_unescape(const char *p, struct buf *ret)
{
    while (*p) {
        char c;
        unsigned long n;
        int used = 0;
        if (*p == '\\') {
            p = escape(p + 1, ret);
        } else if (sscanf(p, "{%lu*%c}%n", &n, &c, &used) == 2 && used) {
            memset(buf_extend(ret, n), c, n);
            p += used;
        } else {
            buf_put_u8(ret, (uint8_t)*p++);
        }
    }
}
