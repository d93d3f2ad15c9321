/* Results of code as E2B's clients know them. Pure. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
/* data: MIME type -> content, borrowed. {type: "result", text, html, png, chart, ..., is_main_result}: other types under their own names. Owned. */
json_t *e2b_result(const json_t *data, bool main);
