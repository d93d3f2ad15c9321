/* Errors as E2B's clients expect them: {code: NUMBER, message} with the status; of the Connect protocol {code: "name", message}. The packages make their exception classes of these. */
#include <string.h>

#include "sandbox/e2b/e2b.h"

static void plain_error(struct http_call *c, unsigned status, const char *text)
{
    http_reply(c, status, json_pack("{s:i,s:s}", "code", (int)status, "message", text));
}

static void control_fail(struct http_call *c, unsigned status, const char *code, const char *text) { plain_error(c, status, text); }

/* envd knows 400, 401, 404, 429, 502 (there is no such sandbox, or it does not run) and 507; what is wrong with a path is 400. */
static void plain_fail(struct http_call *c, unsigned status, const char *code, const char *text)
{
    if (status == 409 && strcmp(code, "busy") && strcmp(code, "exists"))
        status = strcmp(code, "not_running") ? 400 : 502;
    plain_error(c, status, text);
}

static const struct { const char *code, *connect; unsigned status; } connect_codes[] = {
    { "invalid_request", "invalid_argument", 400 }, { "unauthorized", "unauthenticated", 401 }, { "forbidden", "permission_denied", 403 }, { "permission_denied", "permission_denied", 403 },
    { "not_found", "not_found", 404 }, { "exists", "already_exists", 409 }, { "is_a_directory", "invalid_argument", 400 }, { "not_a_directory", "invalid_argument", 400 },
    { "not_a_file", "invalid_argument", 400 }, { "not_empty", "failed_precondition", 400 }, { "precondition_failed", "failed_precondition", 400 }, { "busy", "aborted", 409 },
    { "conflict", "aborted", 409 }, { "too_many", "resource_exhausted", 429 }, { "no_space", "resource_exhausted", 429 }, { "payload_too_large", "resource_exhausted", 429 },
    { "out_of_range", "out_of_range", 400 }, { "timeout", "deadline_exceeded", 504 }, { "unavailable", "unavailable", 503 }, { "capacity_exceeded", "unavailable", 503 },
    { "agent_lost", "unavailable", 502 }, { "not_running", "unavailable", 502 }, { "start_failed", "unavailable", 502 }, { "not_supported", "unimplemented", 501 },
    { "program_not_found", "invalid_argument", 400 }, { "program_not_executable", "invalid_argument", 400 },
};

const char *e2b_connect_code(const char *code)
{
    for (size_t i = 0; i < G_N_ELEMENTS(connect_codes); i++)
        if (!strcmp(code, connect_codes[i].code))
            return connect_codes[i].connect;
    return "internal";
}

static void connect_fail(struct http_call *c, unsigned status, const char *code, const char *text)
{
    for (size_t i = 0; i < G_N_ELEMENTS(connect_codes); i++)
        if (!strcmp(code, connect_codes[i].code))
            status = connect_codes[i].status;
    http_reply(c, status, json_pack("{s:s,s:s}", "code", e2b_connect_code(code), "message", text));
}

/* Who says which sandbox and shows something; whether that is right is known when the sandbox has been found, before any of the body is read (call.c). */
static bool sandbox_admit(struct http_call *c) { return true; }

const struct http_manner e2b_control = { .fail = control_fail };
const struct http_manner e2b_plain = { .admit = sandbox_admit, .fail = plain_fail };
const struct http_manner e2b_connect = { .admit = sandbox_admit, .fail = connect_fail };
