/* Pages of lists, newest first. */
#pragma once
#include "sandbox/e2b/e2b.h"
/* item: stolen. */
void e2b_page_add(json_t *all, double time, json_t *item);
/* Steals all; answers the array of items by ?order=, ?limit=, ?nextToken=, and the header X-Next-Token if there are more. id: the member that tells items of one time apart. */
void e2b_page_reply(struct http_call *c, json_t *all, const char *id);
