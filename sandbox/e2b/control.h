/* What the control routes share. */
#pragma once
#include "sandbox/e2b/e2b.h"
/* Seconds of a body. False: answered 400. */
bool e2b_timeout(struct http_call *c, json_t *v, double absent, double *ret);
/* An object of strings, null, or nothing. False: answered 400. */
bool e2b_strings(struct http_call *c, const json_t *o, const char *what);
/* For route_box(): then, if it was made by the E2B API; else it is answered 404. */
void e2b_known(struct http_call *c, struct box *b, void (*then)(struct http_call *c, struct box *b));
const char *e2b_template(const json_t *body);
/* The fields of a create's body into a new box. */
void e2b_configure(struct box *b, const json_t *body, const char *template, double timeout);
