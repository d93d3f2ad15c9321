/* Lines beside a log, as `git log --graph` draws them. Every node has at most one parent; children come before parents. */
#pragma once
#include <stdio.h>
struct graph;
struct graph *graph_new(void);
void graph_free(struct graph *g);
/* Draws the line of node id (ids are kept by reference) with this text, then the lines that join its branch to its parent's. parent NULL or
 * "": none. 0, -ENOMEM. */
int graph_node(struct graph *g, const char *id, const char *parent, const char *text, FILE *out);
