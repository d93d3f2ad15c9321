#include "tools/box_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/box.h"
#include "tools/text.h"

bool text_read_all(int fd, const char *what, struct buf *b)
{
    uint8_t piece[16384];
    ssize_t n = 0;

    while (b->len <= TEXT_INPUT_MAX && ((n = read(fd, piece, sizeof(piece))) > 0 || (n < 0 && errno == EINTR)))
        if (n > 0)
            buf_put(b, piece, (size_t)n);
    buf_put_u8(b, 0);
    if (n >= 0 && b->len <= TEXT_INPUT_MAX && !buf_err(b))
        return true;
    tool_fail("cannot read %s: %s", what, n < 0 ? strerror(errno) : "it is larger than 1 MiB");
    return false;
}

void list_join(GString *s, const json_t *list, const char *before)
{
    json_t *v;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        g_string_append_printf(s, "%s%s", s->len ? (i ? " " : before) : "", json_is_string(v) ? json_string_value(v) : "");
        if (json_is_integer(v))
            g_string_append_printf(s, "%lld", (long long)json_integer_value(v));
    }
}

void cell_text(struct table *tab, GString *s)
{
    char safe[400];

    if (s->len > 90)
        g_string_append(g_string_truncate(s, 87), "...");
    table_cell(tab, s->len ? text_safe(safe, sizeof(safe), s->str) : "-");
    g_string_truncate(s, 0);
}
