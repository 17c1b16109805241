/* References: every short spelling, and what is none. */
#include "core/image/ref.h"

#include <string.h>

#include "core/base/digest.h"
#include "core/base/pool.h"
#include "t/tap.h"

static const struct {
	const char *text, *name;	/* NULL: invalid */
} cases[] = {
	{ "busybox", "docker.io/library/busybox:latest" },
	{ "busybox:1.36", "docker.io/library/busybox:1.36" },
	{ "me/app", "docker.io/me/app:latest" },
	{ "docker.io/x", "docker.io/library/x:latest" },
	{ "index.docker.io/x", "docker.io/library/x:latest" },
	{ "localhost/x", "localhost/x:latest" },
	{ "localhost:5000/x:y", "localhost:5000/x:y" },
	{ "registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10" },
	{ "[::1]:5000/a/b__c:V_1.x-y", "[::1]:5000/a/b__c:V_1.x-y" },
	{ "Host/x", "Host/x:latest" },
	{ "a.b/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	  "a.b/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
	{ "a.b/x:t@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	  "a.b/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" },
	{ "", NULL },
	{ "UPPER", NULL },
	{ "a//b", NULL },
	{ "a/", NULL },
	{ "/a", NULL },
	{ "a_", NULL },
	{ "a..b", NULL },
	{ "a___b", NULL },
	{ "x:", NULL },
	{ "x:-t", NULL },
	{ "x@sha256:abc", NULL },
	{ "x@md5:0123456789abcdef0123456789abcdef", NULL },
	{ "host:port/x", NULL },
	{ "-h.x/x", NULL },
	{ "x y", NULL },
	{ "../../etc/passwd", NULL },
	{ "a.b/../x", NULL },
};

int main(void)
{
	struct pool *p = pool_new(NULL, "test");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *name = image_ref_normalise(p, cases[i].text);
		ok(cases[i].name ? name && !strcmp(name, cases[i].name) : !name, "\"%s\" is %s",
		   cases[i].text, cases[i].name ? cases[i].name : "refused");
	}
	struct image_ref r;
	struct err e = { 0 };
	ok(image_ref_parse(p, "h.x:1/a/b:t", &r, &e) == 0 && !strcmp(r.host, "h.x:1") &&
		   !strcmp(r.path, "a/b") && !strcmp(r.repo, "h.x:1/a/b") && !strcmp(r.tag, "t") &&
		   !r.digest,
	   "the parts of a reference");
	ok(image_ref_parse(p, "a/B", &r, &e) < 0 && strstr(e.msg, "\"a/B\""),
	   "an error names the reference: %s", e.msg);
	char longest[400];
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	ok(!image_ref_valid(longest), "a name of 399 bytes is too long");
	ok(digest_valid(
		   "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
	   "a digest");
	ok(!digest_valid(
		   "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"),
	   "a digest has no capitals");
	pool_destroy(p);
	return done();
}
