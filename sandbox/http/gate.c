#include "sandbox/http/gate.h"
#include <glib.h>
#include <string.h>

enum { FIRST_ROOM = 2048, METHOD_MAX = 24 };

void gate_fini(struct gate *g) { g_free(g->p); *g = (struct gate){ .state = GATE_OPEN }; }

size_t gate_room(struct gate *g, uint8_t **ret) {
    if (g->n == g->cap && g->cap < GATE_MAX) g->p = g_realloc(g->p, g->cap = g->cap ? MIN(g->cap * 4, GATE_MAX) : FIRST_ROOM);
    *ret = g->p + g->n;
    return g->cap - g->n;
}

/* Could this become a head of HTTP/1? Else libsoup says at once what it thinks of it. */
static bool plausible(const struct gate *g) {
    const uint8_t *eol = memchr(g->p, '\n', g->n);
    size_t m = 0;
    while (m < g->n && m < METHOD_MAX && (g_ascii_isalpha(g->p[m]) || g->p[m] == '-')) m++;
    if (m < g->n && (!m || g->p[m] != ' ')) return false;
    if (!eol) return true;
    size_t n = (size_t)(eol - g->p) - (eol > g->p && eol[-1] == '\r');
    return n > 9 && !memcmp(g->p + n - 9, " HTTP/1.", 8);
}

bool gate_add(struct gate *g, size_t n) {
    g->n += n;
    if (!plausible(g)) { g->state = GATE_OPEN; return true; }
    for (size_t i = g->seen > 3 ? g->seen - 3 : 0; i + 1 < g->n; i++) {
        if (g->p[i] != '\n') continue;
        size_t end = g->p[i + 1] == '\n' ? i + 2 : i + 2 < g->n && g->p[i + 1] == '\r' && g->p[i + 2] == '\n' ? i + 3 : 0;
        if (end) { g->head = end; return true; }
    }
    g->seen = g->n;
    if (g->n == GATE_MAX) g->state = GATE_OPEN;
    return g->state == GATE_OPEN;
}

void gate_preload(struct gate *g, const void *p, size_t n) {
    g->p = g_realloc(g->p, g->cap = MAX(n, (size_t)FIRST_ROOM));
    memcpy(g->p, p, n);
    g->n = n;
}

static bool name_is(const uint8_t *line, size_t n, const char *name) { return n > strlen(name) && !g_ascii_strncasecmp((const char *)line, name, strlen(name)) && line[strlen(name)] == ':'; }

/* The length of the body; false: it is not said in a way that only one meaning has. */
static bool body_length(const struct gate *g, uint64_t *ret) {
    bool had = false;
    *ret = 0;
    for (size_t i = 0, n; i < g->head; i += n + 1) {
        const uint8_t *line = g->p + i, *eol = memchr(line, '\n', g->head - i);
        if (!eol) break;
        n = (size_t)(eol - line);
        if (*line == ' ' || *line == '\t' || name_is(line, n, "transfer-encoding")) return false;
        if (!name_is(line, n, "content-length")) continue;
        char *end, text[24];
        size_t from = 15;
        while (from < n && (line[from] == ' ' || line[from] == '\t')) from++;
        g_strlcpy(text, (const char *)line + from, MIN(sizeof text, n - from + 1));
        g_strchomp(text);
        if (had || !g_ascii_isdigit(*text) || strlen(text) > 18) return false;
        *ret = g_ascii_strtoull(text, &end, 10);
        if (*end) return false;
        had = true;
    }
    return true;
}

void gate_pass(struct gate *g) {
    uint64_t body;
    if (!g->head || !body_length(g, &body)) { g->state = GATE_OPEN; return; }
    g->state = GATE_PASS;
    g->left = g->head + body;
}

size_t gate_ready(const struct gate *g) {
    if (g->state != GATE_PASS && g->state != GATE_OPEN) return 0;
    size_t n = g->n - g->at;
    return g->state == GATE_PASS && n > g->left ? (size_t)g->left : n;
}

bool gate_pending(const struct gate *g) { return gate_ready(g) || (g->state == GATE_HEAD && g->seen < g->n); }

size_t gate_may_read(const struct gate *g, size_t n) { return g->state == GATE_PASS && n > g->left ? (size_t)g->left : n; }

void gate_given(struct gate *g, size_t n) {
    if (g->at < g->n) g->at += n;
    if (g->at == g->n) { g_free(g->p); g->p = NULL; g->at = g->n = g->cap = 0; }
    if (g->state == GATE_PASS && !(g->left -= n)) g->state = GATE_SHUT;
}

void gate_next(struct gate *g) {
    if (g->state == GATE_PASS) g->state = GATE_OPEN;          /* answered without its whole body having been read */
    if (g->state != GATE_SHUT) return;
    if (g->at < g->n) memmove(g->p, g->p + g->at, g->n - g->at);
    g->n -= g->at;
    g->at = g->seen = g->head = 0;
    g->state = GATE_HEAD;
}
