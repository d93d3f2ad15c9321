/* Where one request ends and the next begins on a connection, so that each head can be looked at before libsoup reads a byte of it. No I/O. States:
 *   HEAD --a whole head, it is libsoup's--> PASS --its head and body were given--> SHUT --answered (gate_next)--> HEAD
 *   any --the end of the body is not known from the head (chunked), or it is no head of HTTP--> OPEN, for good: heads that come then are not looked at here */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gate_state { GATE_HEAD, GATE_PASS, GATE_SHUT, GATE_OPEN };
struct gate { enum gate_state state; uint8_t *p; size_t n, at, cap, seen /* looked through for the head's end */, head; uint64_t left; };
enum { GATE_MAX = 48 * 1024 };
void gate_fini(struct gate *g);
/* Where bytes may be read to while the state is HEAD. */
size_t gate_room(struct gate *g, uint8_t **ret);
/* So many were. True: there is a whole head (p[0..head)), or something that will never be one (state OPEN). */
bool gate_add(struct gate *g, size_t n);
/* Bytes that were read before, at the start. */
void gate_preload(struct gate *g, const void *p, size_t n);
void gate_pass(struct gate *g);           /* the head is libsoup's */
/* What may be given now: from p + at; 0: none here. gate_given() then counts it; bytes that are read past the gate (PASS, OPEN) are counted too. */
size_t gate_ready(const struct gate *g);
bool gate_pending(const struct gate *g);  /* there is something to give, or to look at */
/* How many bytes may be read past the gate. */
size_t gate_may_read(const struct gate *g, size_t n);
void gate_given(struct gate *g, size_t n);
void gate_next(struct gate *g);           /* between two requests */
