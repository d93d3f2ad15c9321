/* Processes as envd shows them: executions with a pid, and what their client said of them (tag, environment, directory), which is kept while they run. */
#pragma once
#include "sandbox/e2b/e2b.h"
#include "sandbox/exec.h"
/* The running execution of {pid} or {tag}; NULL: fault is set. */
struct exec *e2b_process_find(struct box *b, const json_t *selector, struct fault *fault);
unsigned e2b_process_pid(struct exec *e);
void e2b_process_note(struct exec *e, const json_t *start_request);
json_t *e2b_processes_json(struct box *b);
