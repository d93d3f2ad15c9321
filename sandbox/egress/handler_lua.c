/* One handler, in a process of its own: Lua with base, string, table and math, without what loads code, prints, or is not the same each time.
 *
 * Bounds: memory by the allocator; instructions by the count hook, which ends the process (an error could be caught by pcall); and the processor's time by a timer whose signal ends the
 * process too: the hook is not called inside a C function, and one string.find with a bad pattern can take years there. Whoever asked sees the end without an answer. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <unistd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include "base/io.h"
#include "base/wire.h"
#include "sandbox/egress/handler_values.h"

static size_t used;
static int out_fd = -1;

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

    if (handler_may_use(name)) {
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

static int run(lua_State *L)
{
    struct records *all = lua_touserdata(L, 1);
    struct buf *b = lua_touserdata(L, 2);
    struct record source = handler_build(L, *all);
    static const char *const kept[] = { "scheme", "host", "port" };

    lua_newtable(L);
    for (unsigned i = 0; i < 3; i++) {
        lua_getfield(L, HANDLER_REQUEST, kept[i]);
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
    lua_pushvalue(L, HANDLER_REQUEST);
    lua_pushvalue(L, HANDLER_CONTEXT);
    lua_call(L, 2, 1);
    lua_replace(L, 4);
    lua_settop(L, 4);
    lua_pushlightuserdata(L, b);
    return handler_read_result(L);
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
