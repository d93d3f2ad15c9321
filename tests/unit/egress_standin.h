/* Stands in for egress in tests of the launcher: the test's own program, started as egress (EGRESS_KEY is set then). It answers at each door with the name of the box and the number of the
 * door, and to its client ("look", "die"). In its directory a file `early` lets it end before HELLO; what is in `ca` is a part of its certificate. */
#pragma once
int fake_egress(void);
