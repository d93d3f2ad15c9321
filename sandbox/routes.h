/* The tables of routes, one for each file that has some: NAME_routes, ended by a method of NULL. Add X(NAME) here; main.c adds them all to the server. */
#pragma once
#include "sandbox/http/http.h"
#define ROUTES(X) X(box) X(box_life) X(box_usage) X(box_fork) X(rules) X(secret) X(egress_log) X(bridge_box) X(snapshot) X(snapshot_read) X(diff) X(merge) X(exec) X(execs) X(wait) X(session) X(file) X(dir) X(tree) X(pty) X(page) X(tunnel) X(port) X(context) X(watch) X(service) X(e2b_later) X(e2b_control) X(e2b_start) X(e2b_process) X(e2b_fs) X(e2b_files) X(e2b_upload) X(e2b_health) X(e2b_code) X(e2b_code_contexts) X(e2b_list) X(e2b_fork) X(e2b_snapshot) X(e2b_network) X(e2b_watch) X(e2b_stream_input)
#define X(name) extern const struct http_route name##_routes[];
ROUTES(X)
#undef X
