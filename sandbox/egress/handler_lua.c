/* One handler, in a process of its own: Lua with base, string, table and math, without what loads code, prints, or is not the same each time.
 *
 * Bounds: memory by the allocator; instructions by the count hook, which ends the process (an error could be caught by pcall); and the processor's time by a timer whose signal ends the
 * process too: the hook is not called inside a C function, and one string.find with a bad pattern can take years there. Whoever asked sees the end without an answer. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <ctype.h>
#include <errno.h>
#include <unistd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include "base/io.h"
#include "base/wire.h"
#include "sandbox/egress/handler_wire.h"

static size_t used;
static int out_fd = -1;
static const char *secret_names[RULE_SECRETS_MAX];
static unsigned secret_count;

static void *allocate(void *ud, void *p, size_t old, size_t n)
{
    if (!p)
        old = 0;
    if (!n) {
        used -= old;
        free(p);
        return NULL;
    }
    if (n > old && used - old + n > HANDLER_MEMORY)
        return NULL;
    void *q = realloc(p, n);
    if (q)
        used += n - old;
    return q;
}

_Noreturn static void finish(struct buf *b)
{
    _exit(buf_err(b) || io_write_full(out_fd, b->data, b->len) ? 1 : 0);
}

_Noreturn static void finish_text(char tag, const char *text, size_t n)
{
    struct buf b = BUF_INIT;

    record_put(&b, tag, text, n < 150 ? n : 150);
    finish(&b);
}

_Noreturn static void fail(const char *text)
{
    finish_text('E', text, strlen(text));
}

static void hook(lua_State *L, lua_Debug *d)
{
    fail("more than 10 million instructions");
}

static int deny(lua_State *L)
{
    size_t n;
    const char *text;

    if (lua_isnoneornil(L, 1))
        finish_text('D', "denied by the handler", 21);
    text = luaL_checklstring(L, 1, &n);
    finish_text('D', text, n);
}

static int secret(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    for (unsigned i = 0; i < secret_count; i++)
        if (!strcmp(secret_names[i], name)) {
            handler_secret_push(L, name);
            return 1;
        }
    return luaL_error(L, "the rule's \"secrets\" do not name this secret");
}

static void take_away(lua_State *L, const char *table, const char *const *names)
{
    if (table)
        lua_getglobal(L, table);
    else
        lua_pushglobaltable(L);
    for (; *names; names++) {
        lua_pushnil(L);
        lua_setfield(L, -2, *names);
    }
    lua_pop(L, 1);
}

static int open_all(lua_State *L)
{
    static const luaL_Reg libs[] = { { "_G", luaopen_base }, { "string", luaopen_string }, { "table", luaopen_table }, { "math", luaopen_math } };
    static const char *const of_base[] = { "dofile", "loadfile", "load", "require", "collectgarbage", "print", "warn", NULL };
    static const char *const of_string[] = { "dump", NULL }, *const of_math[] = { "random", "randomseed", NULL };

    for (unsigned i = 0; i < 4; i++) {
        luaL_requiref(L, libs[i].name, libs[i].func, 1);
        lua_pop(L, 1);
    }
    take_away(L, NULL, of_base);
    take_away(L, "string", of_string);
    take_away(L, "math", of_math);
    lua_pushnil(L);
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    handler_secrets_open(L);
    lua_register(L, "deny", deny);
    lua_register(L, "secret", secret);
    return 0;
}

void *handler_lua_new(void)
{
    lua_State *L = lua_newstate(allocate, NULL);

    if (!L)
        return NULL;
    lua_pushcfunction(L, open_all);
    if (lua_pcall(L, 0, 0, 0)) {
        lua_close(L);
        return NULL;
    }
    return L;
}

/* ---- the request ---- */
static void set_text(lua_State *L, int table, const char *name, const struct record *r)
{
    lua_pushlstring(L, (const char *)r->p, r->n);
    lua_setfield(L, table, name);
}

/* headers[lower case name] = value; a second one of the name is put behind a comma. */
static void set_header(lua_State *L, int headers, const struct record *name, const struct record *value)
{
    char low[HTTP1_TARGET_MAX];
    size_t n = name->n < sizeof low ? name->n : sizeof low;

    for (size_t i = 0; i < n; i++)
        low[i] = (char)tolower(name->p[i]);
    lua_pushlstring(L, low, n);
    lua_pushvalue(L, -1);
    if (lua_gettable(L, headers) == LUA_TSTRING) {
        lua_pushlstring(L, ", ", 2);
        lua_pushlstring(L, (const char *)value->p, value->n);
        lua_concat(L, 3);
    } else {
        lua_pop(L, 1);
        lua_pushlstring(L, (const char *)value->p, value->n);
    }
    lua_settable(L, headers);
}

enum { REQUEST = 1, CONTEXT, HEADERS, LABELS };

static void take(lua_State *L, struct record *r, struct record *name)
{
    switch (r->tag) {
    case 'm': set_text(L, REQUEST, "method", r); break;
    case 'u': set_text(L, REQUEST, "scheme", r); break;
    case 'o': set_text(L, REQUEST, "host", r); break;
    case 'P': lua_pushinteger(L, r->n == 2 ? r->p[0] | r->p[1] << 8 : 0); lua_setfield(L, REQUEST, "port"); break;
    case 'p': set_text(L, REQUEST, "path", r); break;
    case 'q': set_text(L, REQUEST, "query", r); break;
    case 'i': set_text(L, CONTEXT, "sandbox", r); break;
    case 'n': set_text(L, CONTEXT, "name", r); break;
    case 'r': set_text(L, CONTEXT, "rule", r); break;
    case 'w': lua_pushinteger(L, r->n == 8 ? (lua_Integer)le64(r->p) : 0); lua_setfield(L, CONTEXT, "time"); break;
    case 'h': case 'k': *name = *r; break;
    case 't': set_header(L, HEADERS, name, r); break;
    case 'v':
        lua_pushlstring(L, (const char *)name->p, name->n);
        lua_pushlstring(L, (const char *)r->p, r->n);
        lua_settable(L, LABELS);
        break;
    case 's':
        if (secret_count < RULE_SECRETS_MAX)
            secret_names[secret_count++] = strndup((const char *)r->p, r->n);
        break;
    }
}

/* Leaves request and context at 1 and 2. */
static struct record build(lua_State *L, struct records all)
{
    struct record r, name = { 0 }, source = { 0 };

    lua_settop(L, 0);
    for (unsigned i = 0; i < 4; i++)
        lua_newtable(L);
    while (record_next(&all, &r))
        if (r.tag == 'l')
            source = r;
        else
            take(L, &r, &name);
    lua_setfield(L, CONTEXT, "labels");
    lua_setfield(L, REQUEST, "headers");
    return source;
}

/* ---- what it returned ---- */
static void put_field(lua_State *L, struct buf *b, int table, const char *name, char tag, bool needed)
{
    size_t n;
    int type = lua_getfield(L, table, name);

    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        const char *text = lua_tolstring(L, -1, &n);
        record_put(b, tag, text, n);
    } else if (type != LUA_TNIL || needed)
        luaL_error(L, "%s must be a string, not %s", name, handler_secret_at(L, -1, &n) ? "a secret" : luaL_typename(L, -1));
    lua_pop(L, 1);
}

static void put_header(lua_State *L, struct buf *b, bool may_be_secret)
{
    size_t n;
    const uint8_t *opaque = handler_secret_at(L, -1, &n);
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL, *text;

    if (!name)
        luaL_error(L, "the names of headers are strings");
    if (lua_type(L, -1) == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        return;
    if (opaque && !may_be_secret)
        luaL_error(L, "a secret cannot be in an answer");
    if (!opaque && lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER)
        luaL_error(L, "the header %s must be a string, not %s", name, luaL_typename(L, -1));
    record_put(b, 'h', name, strlen(name));
    if (opaque)
        buf_put(b, opaque, n);
    else {
        lua_pushvalue(L, -1);
        text = lua_tolstring(L, -1, &n);
        record_put(b, 't', text, n);
        lua_pop(L, 1);
    }
}

/* Names in lower case first: what the handler wrote in another case comes later and wins. */
static void put_headers(lua_State *L, struct buf *b, int table, bool may_be_secret)
{
    int type = lua_getfield(L, table, "headers");

    if (type != LUA_TTABLE && type != LUA_TNIL)
        luaL_error(L, "headers must be a table");
    for (unsigned upper = 0; type == LUA_TTABLE && upper < 2; upper++)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
            bool has_upper = false;
            for (const char *p = name; *p; p++)
                has_upper |= *p >= 'A' && *p <= 'Z';
            if (has_upper == (upper == 1))
                put_header(L, b, may_be_secret);
        }
    lua_pop(L, 1);
}

static void same(lua_State *L, const char *name)
{
    lua_getfield(L, 4, name);
    lua_getfield(L, REQUEST + 2, name);
    if (!lua_isnil(L, -2) && !lua_rawequal(L, -1, -2))
        luaL_error(L, "a handler does not change %s: use the rule's \"upstream\"", name);
    lua_pop(L, 2);
}

/* At 1 the request, 2 the context, 3 a copy of scheme, host, port; 4: what came back. */
static int read_result(lua_State *L)
{
    struct buf *b = lua_touserdata(L, 5);

    lua_settop(L, 4);
    if (lua_isnil(L, 4)) {
        lua_pushvalue(L, REQUEST);
        lua_replace(L, 4);
    }
    if (lua_type(L, 4) != LUA_TTABLE)
        return luaL_error(L, "a handler returns a request, an answer or nothing, not %s", luaL_typename(L, 4));
    bool answers = lua_getfield(L, 4, "status") != LUA_TNIL;
    lua_pop(L, 1);
    record_put(b, answers ? 'A' : 'S', NULL, 0);
    if (answers)
        put_field(L, b, 4, "status", 'c', true);
    else {
        same(L, "scheme");
        same(L, "host");
        same(L, "port");
        put_field(L, b, 4, "method", 'm', true);
        put_field(L, b, 4, "path", 'p', true);
        put_field(L, b, 4, "query", 'q', false);
    }
    put_headers(L, b, 4, !answers);
    if (answers)
        put_field(L, b, 4, "body", 'b', false);
    return 0;
}

static int run(lua_State *L)
{
    struct records *all = lua_touserdata(L, 1);
    struct buf *b = lua_touserdata(L, 2);
    struct record source = build(L, *all);
    static const char *const kept[] = { "scheme", "host", "port" };

    lua_newtable(L);
    for (unsigned i = 0; i < 3; i++) {
        lua_getfield(L, REQUEST, kept[i]);
        lua_setfield(L, 3, kept[i]);
    }
    lua_pushliteral(L, "return ");
    lua_pushlstring(L, (const char *)source.p, source.n);
    lua_concat(L, 2);
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    if (luaL_loadbufferx(L, text, n, "=handler", "t"))
        return lua_error(L);
    lua_sethook(L, hook, LUA_MASKCOUNT, HANDLER_INSTRUCTIONS);
    lua_call(L, 0, 1);
    lua_pushvalue(L, REQUEST);
    lua_pushvalue(L, CONTEXT);
    lua_call(L, 2, 1);
    lua_replace(L, 4);
    lua_settop(L, 4);
    lua_pushlightuserdata(L, b);
    return read_result(L);
}

_Noreturn void handler_child(void *lua, int fd)
{
    struct itimerval cpu = { .it_value = { HANDLER_CPU_MS / 1000, HANDLER_CPU_MS % 1000 * 1000 } };
    static uint8_t in[HANDLER_REQUEST_MAX];
    lua_State *L = lua;
    uint8_t head[4];
    struct buf b = BUF_INIT;

    out_fd = fd;
    if (setitimer(ITIMER_PROF, &cpu, NULL) || io_read_full(fd, head, 4) || le32(head) > sizeof in || io_read_full(fd, in, le32(head)))
        _exit(1);
    struct records all = { in, in + le32(head), false };
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, &all);
    lua_pushlightuserdata(L, &b);
    if (lua_pcall(L, 2, 0, 0)) {
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "an error that is not a string";
        fail(text);
    }
    if (b.len > HANDLER_ANSWER_MAX)
        fail("the result is too large");
    finish(&b);
}
