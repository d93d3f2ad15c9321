/* What the routes of sandboxes and snapshots share. */
#pragma once
#include "sandbox/box.h"
#include "sandbox/http/http.h"
#include "sandbox/stock.h"

/* Finds the box of the path's {id}, or answers why not. then: a reference is held until it returns. */
void route_box(struct http_call *c, void (*then)(struct http_call *c, struct box *b));
/* Box functions that end in a box_fn: answers with the box's description, or the fault. arg: the call. */
void route_box_answer(void *arg, struct box *b, const struct fault *fault);
/* Calls snapshotd; ok gets the result, a fault is answered. b: whose mount it concerns (may be NULL), or descriptors of mounts. */
void route_stock_fds(struct http_call *c, json_t *req, const int *fds, unsigned fd_count, void (*ok)(struct http_call *c, json_t *result));
void route_stock(struct http_call *c, json_t *req, struct box *b, void (*ok)(struct http_call *c, json_t *result));
/* The public form of a snapshot's record: what people see is the same as the store's, without what is its own. Borrowed in, owned out. */
json_t *route_snapshot_json(const json_t *rec);
/* limit and after: a page of a sorted array of objects with "id". Steals all; answers {key: [...], "next": ID or null}. */
void route_page(struct http_call *c, const char *key, json_t *all);
/* The name of an object in a path or query: not something that changes what a request means. */
bool route_name_ok(struct http_call *c, const char *name);

#define DOC_PARAM(name, type) "{\"name\": \"" name "\", \"in\": \"query\", \"schema\": {\"type\": \"" type "\"}}"
#define DOC_BODY(props) "\"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"additionalProperties\": false, \"properties\": {" props "}}}}}"
#define DOC_STR(name) "\"" name "\": {\"type\": \"string\"}"
#define DOC_OBJ(name) "\"" name "\": {\"type\": \"object\"}"
#define DOC_OK(code, text) "\"responses\": {\"" code "\": {\"description\": \"" text "\", \"content\": {\"application/json\": {\"schema\": {\"type\": \"object\"}}}}}"
#define DOC_SIMPLE(tag, text, code, answer) "{\"summary\": \"" text "\", \"tags\": [\"" tag "\"], " DOC_OK(code, answer) "}"
