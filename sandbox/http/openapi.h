/* The OpenAPI 3.1 document, made from the tables of routes. */
#pragma once
#include <jansson.h>
struct http;
/* Owned, or NULL: a route's doc is not JSON. Every operation gets its operationId, its path parameters, its error answers (x-coppice-codes: the codes it may give,
 * all of codes.h unless the doc says) and, but for open routes, the security requirement. */
json_t *openapi_document(struct http *h);
