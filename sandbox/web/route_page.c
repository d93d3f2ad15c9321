/* The terminal page at /terminal/{id} and what it loads. The page is open: it holds nothing, asks for the token, and cannot be framed or load anything from elsewhere. */
#include <string.h>
#include "sandbox/routes.h"
#include "sandbox/web/page.h"
/* inline styles: xterm.js writes its theme into a style element */
static const char POLICY[] = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static void serve(struct http_call *c, const struct page_file *f) {
    http_set_header(c, "Content-Security-Policy", POLICY);
    http_set_header(c, "Referrer-Policy", "no-referrer");
    http_set_header(c, "Cross-Origin-Opener-Policy", "same-origin");
    http_set_header(c, "Cross-Origin-Resource-Policy", "same-origin");
    http_set_header(c, "X-Frame-Options", "DENY");
    http_reply_bytes(c, 200, f->type, f->p, f->n);
}

static void get_page(struct http_call *c) { serve(c, &page_files[0]); }

static void get_asset(struct http_call *c) {
    for (const struct page_file *f = page_files + 1; f->name; f++)
        if (!strcmp(f->name, http_param(c, "name"))) { serve(c, f); return; }
    http_fail(c, "not_found", "the terminal page has no such file");
}

static void post_ticket(struct http_call *c) {
    if (!http_unpack(c, "{}")) return;
    char *path = g_strconcat("/v1/sandbox/", http_param(c, "id"), "/pty", NULL), hex[33];
    if (http_ticket(c, path, hex)) http_reply(c, 201, json_pack("{s:s, s:i}", "ticket", hex, "expires_s", HTTP_TICKET_S));
    g_free(path);
}

const struct http_route page_routes[] = {
    { "GET", "/terminal/{id}", ROUTE_OPEN, get_page,
      "{\"summary\": \"A page with a terminal of the sandbox\", \"tags\": [\"terminal\"], \"description\": \"It asks for the token. A part `#session=NAME` of its address names the terminal to join.\", "
      "\"responses\": {\"200\": {\"description\": \"The page\", \"content\": {\"text/html\": {\"schema\": {\"type\": \"string\"}}}}}}" },
    { "GET", "/assets/terminal/{name}", ROUTE_OPEN, get_asset,
      "{\"summary\": \"A file of the terminal page\", \"tags\": [\"terminal\"], \"responses\": {\"200\": {\"description\": \"The file\"}}}" },
    { "POST", "/v1/sandbox/{id}/pty/ticket", ROUTE_JSON, post_ticket,
      "{\"summary\": \"A ticket that opens this sandbox's terminal once\", \"tags\": [\"terminal\"], \"description\": \"For browsers, which cannot put a header on a WebSocket: offer the protocols "
      "`coppice.terminal` and `ticket.TICKET` within 30 seconds.\", \"requestBody\": {\"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"additionalProperties\": false}}}}, "
      "\"responses\": {\"201\": {\"description\": \"The ticket\", \"content\": {\"application/json\": {\"schema\": {\"type\": \"object\", \"properties\": {\"ticket\": {\"type\": \"string\"}, "
      "\"expires_s\": {\"type\": \"integer\"}}, \"required\": [\"ticket\", \"expires_s\"]}}}}}}" },
    { 0 }
};
