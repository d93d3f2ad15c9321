#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/crash/shim.h"

bool shim_find(struct shim *ret) {
    *(void **)&ret->watch = dlsym(RTLD_DEFAULT, "shim_watch");
    *(void **)&ret->mark = dlsym(RTLD_DEFAULT, "shim_mark");
    *(void **)&ret->flush = dlsym(RTLD_DEFAULT, "shim_flush");
    *(void **)&ret->arm = dlsym(RTLD_DEFAULT, "shim_arm");
    *(void **)&ret->count = dlsym(RTLD_DEFAULT, "shim_count");
    return ret->watch && ret->mark && ret->flush && ret->arm && ret->count;
}

void shim_exec(char **argv) {
    struct shim s;
    char self[4096], path[4200];
    if (shim_find(&s)) return;
    if (getenv("COPPICE_SHIM_TRIED")) {
        fputs("the shim cannot be loaded\n", stderr);
        exit(1);
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = 0;
    snprintf(path, sizeof path, "%s/libshim.so", dirname(self));
    setenv("LD_PRELOAD", getenv("COPPICE_SHIM") ? getenv("COPPICE_SHIM") : path, 1);
    setenv("COPPICE_SHIM_TRIED", "1", 1);
    /* A sanitizer's runtime is then not the first library; it is told not to mind. */
    if (!getenv("ASAN_OPTIONS")) setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
    execv("/proc/self/exe", argv);
    perror("exec");
    exit(1);
}
