/* Each column waits for one id: the parent of the node last drawn in it. When a node's parent is waited for by two columns, the right one
 * bends into the left one, and what is further right moves over by one. */
#include "tools/graph.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct graph { const char **cols; size_t n, cap; };

struct graph *graph_new(void)
{
    return mem_zalloc(sizeof(struct graph));
}

void graph_free(struct graph *g)
{
    if (!g)
        return;
    free(g->cols);
    free(g);
}

static size_t find(const struct graph *g, const char *id, size_t except)
{
    for (size_t i = 0; i < g->n; i++)
        if (i != except && !strcmp(g->cols[i], id))
            return i;
    return SIZE_MAX;
}

static int add(struct graph *g, const char *id)
{
    if (g->n == g->cap) {
        size_t cap = g->cap ? 2 * g->cap : 16;
        const char **cols = mem_realloc(g->cols, cap * sizeof(*cols));
        if (!cols)
            return -ENOMEM;
        g->cols = cols;
        g->cap = cap;
    }
    g->cols[g->n++] = id;
    return 0;
}

static void drop(struct graph *g, size_t at)
{
    memmove(g->cols + at, g->cols + at + 1, (g->n - at - 1) * sizeof(*g->cols));
    g->n--;
}

static void put(FILE *out, const char *s, size_t times)
{
    while (times--)
        fputs(s, out);
}

/* Column hi bends into lo, across those between: "|/", "| |/" and "|/|", "| |_|/" and "|/| |". */
static void bend(const struct graph *g, size_t lo, size_t hi, FILE *out)
{
    put(out, "| ", hi == lo + 1 ? lo : lo + 1);
    if (hi > lo + 1)
        put(out, "|_", hi - lo - 2);
    fputs("|/", out);
    put(out, " /", g->n - hi - 1);
    fputc('\n', out);
    if (hi == lo + 1)
        return;
    put(out, "| ", lo);
    fputs("|/", out);
    for (size_t i = lo + 1; i < g->n - 1; i++)
        fputs(i + 1 < g->n - 1 ? "| " : "|", out);
    fputc('\n', out);
}

int graph_node(struct graph *g, const char *id, const char *parent, const char *text, FILE *out)
{
    size_t at = find(g, id, SIZE_MAX);

    if (at == SIZE_MAX) {
        int r = add(g, id);
        if (r)
            return r;
        at = g->n - 1;
    }
    put(out, "| ", at);
    fputs("* ", out);
    put(out, "| ", g->n - at - 1);
    fprintf(out, "%s\n", text);
    if (!parent || !parent[0]) {
        drop(g, at);
        return 0;
    }
    g->cols[at] = parent;
    size_t other = find(g, parent, at);
    if (other != SIZE_MAX) {
        size_t lo = at < other ? at : other, hi = at < other ? other : at;
        bend(g, lo, hi, out);
        drop(g, hi);
    }
    return 0;
}

int graph_merged(struct graph *g, const char *parent, const char *merged, FILE *out)
{
    size_t at = find(g, parent, SIZE_MAX), other = find(g, merged, SIZE_MAX);
    int r = at == SIZE_MAX ? 0 : add(g, merged);

    if (r || at == SIZE_MAX)
        return r;
    memmove(g->cols + at + 2, g->cols + at + 1, (g->n - at - 2) * sizeof(*g->cols));
    g->cols[at + 1] = merged;
    put(out, "| ", at);
    fputs("|\\", out);
    put(out, " \\", g->n - at - 2);
    fputc('\n', out);
    if (other == SIZE_MAX)
        return 0;
    other += other > at;                  /* it moved over */
    size_t lo = other < at + 1 ? other : at + 1, hi = other < at + 1 ? at + 1 : other;
    bend(g, lo, hi, out);
    drop(g, hi);
    return 0;
}
