/* The closed list of error codes of the API, with their status. Documented in docs/http.md; a test holds the two equal. */
#pragma once
#define HTTP_CODES(X) \
    X(invalid_request, 400) X(unauthorized, 401) X(forbidden, 403) X(not_found, 404) X(method_not_allowed, 405) X(exists, 409) X(busy, 409) X(conflict, 409) \
    X(not_a_file, 409) X(is_a_directory, 409) X(not_a_directory, 409) X(not_empty, 409) X(precondition_failed, 412) X(payload_too_large, 413) X(unsupported_media_type, 415) \
    X(out_of_range, 416) X(too_many, 429) X(no_space, 507) X(permission_denied, 403) X(not_running, 409) X(start_failed, 500) X(agent_lost, 502) X(program_not_found, 400) X(program_not_executable, 400) X(timeout, 504) \
    X(unavailable, 503) X(capacity_exceeded, 503) X(not_supported, 501) X(internal, 500) \
    X(workspace_read_not_found, 404) X(workspace_archive_read_error, 502) X(workspace_archive_write_error, 502) X(exec_transport_error, 502) X(session_error, 502) \
    X(mount_error, 502) X(unmount_error, 502) X(tunnel_error, 502) X(pool_error, 502)
