/* Faults on purpose, to see that the sanitized variant finds them.  Takes the name of one. */
#include <stdio.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/base/pool.h"

int main(int argc, char **argv)
{
	const char *fault = argc > 1 ? argv[1] : "none";
	struct buf b = { 0 };
	buf_printf(&b, "text of %zu bytes", strlen(fault));
	if (!strcmp(fault, "leak"))
		memset(&b, 0, sizeof(b));	/* the only pointer to it */
	if (!strcmp(fault, "overflow")) {
		struct pool *p = pool_new(NULL, "planted");
		volatile char *mem = pool_alloc(p, 100000);
		mem[100000] = 1;
		pool_destroy(p);
	}
	if (!strcmp(fault, "undefined")) {
		volatile int n = 0x7fffffff;
		n += argc;
		printf("%d\n", n);
	}
	buf_free(&b);
	return 0;
}
