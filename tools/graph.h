/* Lines beside a log, as `git log --graph` draws them. Children come before parents. */
#pragma once
#include <stdio.h>
struct graph;
struct graph *graph_new(void);
void graph_free(struct graph *g);
/* Draws the line of node id (ids are kept by reference) with this text, then the lines that join its branch to its parent's. parent NULL or
 * "": none. 0, -ENOMEM. */
int graph_node(struct graph *g, const char *id, const char *parent, const char *text, FILE *out);
/* After graph_node() of a merge with this parent: another one, which is yet to come. */
int graph_merged(struct graph *g, const char *parent, const char *other, FILE *out);
