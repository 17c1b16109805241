#pragma once
/*
 * AppArmor's profile "crisp-default": of containers that ask for the runtime's own, or for none.  The
 * kernel keeps it until a reboot; it is compiled and loaded by apparmor_parser, a short-lived program.
 */
#include <stdbool.h>

struct loop;
struct oci_host;
struct pool;
struct spawner;

/*
 * Load it where AppArmor is enabled, and tell h of it.  afresh: also if the kernel has one of that name,
 * which may be an older crisp's.  cb comes once, maybe before this returns; that it could not be
 * loaded is said in the log, and such containers run without.
 */
void apparmor_load(struct spawner *s, struct pool *p, struct oci_host *h, bool afresh, void (*cb)(void *data),
		   void *data);
