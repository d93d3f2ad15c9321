/* Routes with their description for the OpenAPI document. */
#pragma once
#define DOC_BODY_OPEN(props) "\"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"properties\": {" props "}}}}}"
#define BODY_CREATE DOC_BODY_OPEN("\"templateID\": {\"type\": \"string\"}, \"timeout\": {\"type\": \"number\"}, \"metadata\": {\"type\": \"object\"}, \"envVars\": {\"type\": \"object\"}, " \
    "\"secure\": {\"type\": \"boolean\"}, \"allow_internet_access\": {\"type\": \"boolean\"}, \"network\": {\"type\": \"object\"}, \"autoResume\": {\"type\": \"object\"}")
#define E2B_DOC(tag, text, more) "{\"summary\": \"" text "\", \"tags\": [\"" tag "\"]" more ", \"responses\": {\"200\": {\"description\": \"docs/e2b.md\"}, \"default\": {\"description\": \"{code, message}\"}}}"
#define E2B_CONTROL(method, path, flags, fn, text, more) { method, path, (flags) | ROUTE_BRIDGE, fn, E2B_DOC("e2b", text, more), &e2b_control }
#define E2B_HEADER ", \"parameters\": [{\"name\": \"E2b-Sandbox-Id\", \"in\": \"header\", \"required\": true, \"schema\": {\"type\": \"string\"}}, " \
    "{\"name\": \"X-Access-Token\", \"in\": \"header\", \"schema\": {\"type\": \"string\"}}]"
#define E2B_RPC(path, fn, text) { "POST", path, ROUTE_STREAM | ROUTE_BRIDGE, fn, E2B_DOC("e2b envd", text, E2B_HEADER), &e2b_connect }
#define E2B_JSON_BODY ", \"requestBody\": {\"content\": {\"application/json\": {}}}" E2B_HEADER
