/* For the agent under test, linked with --wrap=confine_self_test: the test's namespaces are not what a launcher makes, so its self-test would refuse them. Everything else of
 * confine (ids, capabilities, Landlock, seccomp) is the real one. */
#include <stdint.h>
#include "sandbox/confine/confine.h"

uint64_t __wrap_confine_self_test(void);
uint64_t __wrap_confine_self_test(void)
{
    return LAYERS_NEEDED;
}
