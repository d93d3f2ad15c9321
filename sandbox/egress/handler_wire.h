/* Between egress and the processes that run handlers: records of one byte, a length (u32, little-endian), and that many bytes. Each side trusts nothing of the other's.
 *
 * To the process: l source, m method, u scheme, o host, P port, p path, q query, (h name, t value)..., i sandbox, n name, (k label, v value)..., w time, r rule, s secret's name...
 * From it: one of S (send), A (answer), D reason (deny), E text (the handler failed); after S: m, p, q?, (h name, (t text | s secret's name)...)...; after A: c status, (h name, t text)..., b body. */
#pragma once
#include <stdint.h>
#include "base/buf.h"
#include "sandbox/egress/policy_private.h"

enum { HANDLER_MEMORY = 16 << 20, HANDLER_INSTRUCTIONS = 10000000, HANDLER_CPU_MS = 500, HANDLER_CLOCK_MS = 5000, HANDLER_REQUEST_MAX = 512 * 1024, HANDLER_ANSWER_MAX = 1 << 20 };
enum { HANDLERS_AT_ONCE = 32, HANDLERS_OF_A_BOX = 4, HANDLER_OPAQUE_MAX = 16 * 1024 };
struct record { uint8_t tag; const uint8_t *p; uint32_t n; };
struct records { const uint8_t *p, *end; bool bad; };

static inline void record_put(struct buf *b, char tag, const void *p, size_t n)
{
    buf_put_u8(b, (uint8_t)tag);
    buf_put_u32(b, (uint32_t)n);
    buf_put(b, p, n);
}

static inline bool record_next(struct records *r, struct record *ret)
{
    size_t left = (size_t)(r->end - r->p);

    if (!left)
        return false;
    uint32_t n = left < 5 ? 0 : (uint32_t)r->p[1] | (uint32_t)r->p[2] << 8 | (uint32_t)r->p[3] << 16 | (uint32_t)r->p[4] << 24;
    r->bad |= left < 5 || n > left - 5;
    if (r->bad)
        return false;
    *ret = (struct record){ r->p[0], r->p + 5, n };
    r->p += 5 + n;
    return true;
}

/* In the process of one handler: reads the request from fd, writes the answer to it, ends. */
_Noreturn void handler_child(void *lua, int fd);
void *handler_lua_new(void);            /* the state that children begin with; NULL */
void handler_secrets_open(void *lua);   /* the type of opaque values */
/* Is the value at this place opaque? Its records (t, s), borrowed; NULL: no. */
const uint8_t *handler_secret_at(void *lua, int at, size_t *ret_n);
void handler_secret_push(void *lua, const char *name);
_Noreturn void handler_host(int fd);    /* the process that makes them */
