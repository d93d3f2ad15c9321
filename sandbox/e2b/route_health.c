/* GET /health: with E2b-Sandbox-Id, whether that sandbox runs (204, or 502); else whether the daemon is there. */
#include "sandbox/e2b/e2b.h"

static void runs(void *self) { http_reply(((struct e2b_call *)self)->x.c, 204, NULL); }

static void health_fail(struct http_call *c, unsigned status, const char *code, const char *text)
{
    e2b_plain.fail(c, status, code, text);
}

static void get_health(struct http_call *c)
{
    struct e2b_call *k;

    if (!http_header(c, "E2b-Sandbox-Id") && !http_header(c, "X-Access-Token")) {
        http_reply(c, 200, json_pack("{s:b}", "ok", 1));
        return;
    }
    k = e2b_call_new(c, sizeof(*k), NULL, NULL);
    if (!k)
        return;
    k->run_asleep = k->traffic = true;
    e2b_call_go(k, runs);
}

static bool anyone(struct http_call *c) { return true; }

static const struct http_manner health_manner = { .admit = anyone, .fail = health_fail };
const struct http_route e2b_health_routes[] = {
    { "GET", "/health", ROUTE_OPEN, get_health,
      "{\"summary\": \"Is the daemon there; with the header E2b-Sandbox-Id: does this sandbox run (204)\", \"tags\": [\"system\"], \"security\": [], \"responses\": {\"200\": {\"description\": \"It is\", "
      "\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"properties\": {\"ok\": {\"type\": \"boolean\"}}, \"required\": [\"ok\"]}}}}, \"204\": {\"description\": \"The sandbox runs\"}, "
      "\"502\": {\"description\": \"It does not\"}}}", &health_manner },
    { 0 }
};
