#include "sandbox/egress/audit_log.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/io.h"
#include "base/log.h"
#include "sandbox/egress/audit.h"
#include "sandbox/egress/durable.h"

static void file_name(const struct audit_log *l, const char *end, char ret[80])
{
    snprintf(ret, 80, "%s.%s", l->box, end);
}

static bool ring_add(struct audit_log *l, uint64_t seq, const char *text, size_t n)
{
    struct line *x = mem_alloc(sizeof *x + n + 1);

    if (!x) {
        l->dropped = seq;
        return false;
    }
    *x = (struct line){ .seq = seq, .n = n };
    memcpy(x->text, text, n);
    x->text[n] = 0;
    if (l->last)
        l->last->next = x;
    else
        l->first = x;
    l->last = x;
    l->bytes += sizeof *x + n;
    while (l->bytes > AUDIT_RING_BYTES && l->first != l->last) {
        struct line *old = l->first;
        l->first = old->next;
        l->bytes -= sizeof *old + old->n;
        l->dropped = old->seq;
        free(old);
    }
    return true;
}

/* Lines that are whole, are JSON and go up; a torn or foreign one is left out. */
static bool load_file(struct audit_log *l, int dir, const char *end)
{
    char name[80], *text = NULL;
    size_t n = 0;

    file_name(l, end, name);
    if (durable_get(dir, name, AUDIT_FILE_BYTES + AUDIT_EVENT_BYTES, &text, &n))
        return false;
    for (char *p = text, *stop; (stop = memchr(p, '\n', (size_t)(text + n - p))); p = stop + 1) {
        json_t *j = json_loadb(p, (size_t)(stop - p), JSON_REJECT_DUPLICATES, NULL);
        json_int_t seq = json_integer_value(json_object_get(j, "seq"));
        if (seq > 0 && (!l->last || (uint64_t)seq > l->last->seq))
            ring_add(l, (uint64_t)seq, p, (size_t)(stop - p));
        json_decref(j);
    }
    free(text);
    return true;
}

void audit_log_load(struct audit_log *l, int dir, const char *box)
{
    memset(l, 0, sizeof *l);
    l->fd = -1;
    snprintf(l->box, sizeof l->box, "%s", box);
    if (dir < 0)
        return;
    bool old = load_file(l, dir, "OLD");
    load_file(l, dir, "LOG");
    /* there was another before the old one, perhaps */
    if (old && l->first && !l->dropped)
        l->dropped = l->first->seq - 1;
}

void audit_log_fini(struct audit_log *l)
{
    for (struct line *x = l->first, *next; x; x = next) {
        next = x->next;
        free(x);
    }
    if (l->fd >= 0)
        close(l->fd);
    l->first = l->last = NULL;
    l->fd = -1;
}

static int open_file(struct audit_log *l, int dir)
{
    char name[80];
    off_t end;

    file_name(l, "LOG", name);
    l->fd = disk->open(dir, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
    if (l->fd < 0)
        return l->fd;
    end = lseek(l->fd, 0, SEEK_END);
    l->file_bytes = end < 0 ? 0 : (size_t)end;
    return 0;
}

static int rotate(struct audit_log *l, int dir)
{
    char name[80], old[80];

    file_name(l, "LOG", name);
    file_name(l, "OLD", old);
    close(l->fd);
    l->fd = -1;
    int e = disk->rename(dir, name, old);
    return e ? e : open_file(l, dir);
}

/* A torn line of before is ended by the first line break; so each write begins with none of its own, and a file that does not end in one gets it. */
static int file_add(struct audit_log *l, int dir, const char *text, size_t n)
{
    char line[AUDIT_EVENT_BYTES + 2], last = '\n';
    size_t at = 0;
    int e = l->fd < 0 ? open_file(l, dir) : 0;

    if (!e && l->file_bytes + n + 2 > AUDIT_FILE_BYTES)
        e = rotate(l, dir);
    if (e)
        return e;
    if (l->file_bytes && disk->pread(l->fd, &last, 1, (off_t)l->file_bytes - 1) == 1 && last != '\n')
        line[at++] = '\n';
    memcpy(line + at, text, n);
    at += n;
    line[at++] = '\n';
    e = io_pwrite_full(l->fd, line, at, (off_t)l->file_bytes);
    if (!e)
        l->file_bytes += at;
    return e;
}

bool audit_log_add(struct audit_log *l, int dir, uint64_t seq, const char *text, size_t n)
{
    int e;

    if (n > AUDIT_EVENT_BYTES) {
        l->dropped = seq;
        return false;
    }
    e = dir < 0 ? 0 : file_add(l, dir, text, n);
    if (e && !l->broken)
        log_warn("egress=audit box=%s step=write err=%s text=\"kept in memory only\"", l->box, errno_name(e));
    l->broken = e;
    return ring_add(l, seq, text, n);
}

void audit_log_remove(struct audit_log *l, int dir)
{
    static const char *const ends[] = { "LOG", "OLD" };
    char name[80];

    for (unsigned i = 0; i < 2 && dir >= 0; i++) {
        file_name(l, ends[i], name);
        disk->unlink(dir, name);
    }
}
