#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/wire.h"
#include "sandbox/agent/agent.h"

/* What can be in it: an answer for each request read before it filled, and what each execution, wait and dial says when it ends. */
struct waiting { struct waiting *next; uint8_t type, flags; uint32_t id; uint64_t arg; int fd; size_t n; uint8_t body[]; };
static struct waiting *head, **tail = &head;

bool out_idle(void)
{
    return !head;
}

/* No request is read while answers wait; DATA waits without being queued. */
static void watch(void)
{
    source_want(&agent.peer, head ? EPOLLOUT : EPOLLIN | (execs_pump_waits() ? EPOLLOUT : 0));
}

void out_flush(void)
{
    while (head) {
        struct waiting *w = head;
        int r = frame_send(agent.peer.fd, w->type, w->flags, w->id, w->arg, NULL, 0, w->body, w->n, w->fd);
        if (r == -EAGAIN)
            break;
        head = w->next;
        if (!head)
            tail = &head;
        if (w->fd >= 0)
            close(w->fd);
        free(w);
    }
    if (!head)
        execs_pump();
    watch();
}

/* Without memory for an answer the agent is of no use: it ends, and the sandbox with it, rather than leave its peer waiting. */
static void put(uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n, int fd)
{
    if (!head) {
        int r = frame_send(agent.peer.fd, type, flags, id, arg, NULL, 0, body, n, fd);
        if (r != -EAGAIN) {
            if (fd >= 0)
                close(fd);
            return;
        }
    }
    struct waiting *w = mem_alloc(sizeof *w + n);
    if (!w)
        _exit(1);
    *w = (struct waiting){ .type = type, .flags = flags, .id = id, .arg = arg, .fd = fd, .n = n };
    if (n)
        memcpy(w->body, body, n);
    *tail = w;
    tail = &w->next;
    watch();
}

void out_frame(uint8_t type, uint8_t flags, uint32_t id, uint64_t arg, const void *body, size_t n)
{
    put(type, flags, id, arg, body, n, -1);
}

void out_result(uint32_t id, int err, int fd)
{
    uint8_t body[4];

    put_le32(body, (uint32_t)err);
    put(FRAME_RESULT, 0, id, 0, body, sizeof body, fd);
}

void out_failed(uint32_t id, int err, const char *step)
{
    uint8_t body[4 + 2 + SUPER_STEP];
    size_t n = strnlen(step, SUPER_STEP);

    put_le32(body, (uint32_t)err);
    put_le16(body + 4, (uint16_t)n);
    memcpy(body + 6, step, n);
    put(FRAME_FAILED, 0, id, 0, body, 6 + n, -1);
}

int out_data(uint32_t id, uint8_t stream, uint64_t seq, uint32_t reader, uint32_t lost, const uint8_t *p, size_t n)
{
    uint8_t h[8];

    put_le32(h, reader);
    put_le32(h + 4, lost);
    return frame_send(agent.peer.fd, FRAME_DATA, stream, id, seq, h, sizeof h, p, n, -1);
}
