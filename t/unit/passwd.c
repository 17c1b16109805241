/* Who a container runs as, from files that an image may have made to hurt. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/work/passwd.h"
#include "t/tap.h"

static const char passwd[] =
	"root:x:0:0:root:/root:/bin/sh\n"
	"www-data:x:33:33:www:/var/www:/usr/sbin/nologin\n"
	"default-user:x:1000:1000::/home/default-user:/bin/sh\n"
	"\n"
	"# a comment:x:7:7::/:\n"
	"shadowed:x:0500:500::/first:/bin/sh\n"
	"shadowed:x:501:501::/second:/bin/sh\n"
	"no-number:x:abc:1::/:\n"
	"negative:x:-1:0::/:\n"
	"no-change:x:4294967295:0::/:\n"
	"huge:x:99999999999999999999:0::/:\n"
	"wraps:x:4294967296:0::/:\n"
	"short:x:7\n"
	":x:9:9::/nameless:\n"
	"bad-home:x:60:60::relative:/bin/sh\n"
	"evil-home:x:61:61::/a\tb:/bin/sh\n"
	"1234:x:77:77::/digits:/bin/sh\n"
	"last:x:4294967294:4294967294::/last:/bin/sh";	/* no newline at the end */

static const char group[] =
	"root:x:0:\n"
	"www-data:x:33:\n"
	"default-user:x:1000:\n"
	"group-defined-in-image:x:50000:default-user\n"
	"many:x:60000:a,default-user,b\n"
	"prefix:x:60001:default-user2,xdefault-user\n"
	"broken:x:notanumber:default-user\n"
	"twice:x:50000:default-user\n"
	"empty:x:60002:,,default-user\n"
	"nonl:x:60003:last";

static struct pool *pool;

static int resolve(const struct user_ask *ask, struct user *u, struct err *e)
{
	struct passwd_file p = { passwd, sizeof(passwd) - 1 }, g = { group, sizeof(group) - 1 };
	*e = (struct err){ 0 };
	return user_resolve(pool, ask, &p, &g, u, e);
}

/* groups: the numbers as text */
static bool groups_are(const struct user *u, const char *want)
{
	char text[512] = "";
	for (size_t i = 0; i < u->n_groups; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", i ? " " : "", u->groups[i]);
	if (strcmp(text, want))
		printf("# groups are %s\n", text);
	return !strcmp(text, want);
}

static void test_found(void)
{
	static const uint32_t extra[] = { 1234, 50000 };
	static const struct {
		const char *what;
		struct user_ask ask;
		uint32_t uid, gid;
		const char *groups, *home, *name;
	} cases[] = {
		{ "nothing asked is root", { 0 }, 0, 0, "0", "/root", "root" },
		{ "empty image user is root", { .image = "" }, 0, 0, "0", "/root", "root" },
		{ "image user by name", { .image = "www-data" }, 33, 33, "33", "/var/www", "www-data" },
		{ "image user by number", { .image = "1000" }, 1000, 1000, "1000 50000 60000 60002",
		  "/home/default-user", "default-user" },
		{ "image user and group by number", { .image = "1003:1004" }, 1003, 1004, "1004", "/", NULL },
		{ "image group by name", { .image = "www-data:many" }, 33, 60000, "60000", "/var/www", "www-data" },
		{ "image group without user", { .image = ":33" }, 0, 33, "33", "/root", "root" },
		{ "digits are a number, not a name", { .image = "1234" }, 1234, 0, "0", "/", NULL },
		{ "a uid without a line", { .has_uid = true, .uid = 4711 }, 4711, 0, "0", "/", NULL },
		{ "uid 0 is not unset", { .image = "1000", .has_uid = true, .uid = 0 }, 0, 0, "0", "/root", "root" },
		{ "the config's uid voids the image's group", { .image = "1:2", .has_uid = true, .uid = 33 }, 33, 33,
		  "33", "/var/www", "www-data" },
		{ "run_as_group beats passwd", { .has_uid = true, .uid = 1000, .has_gid = true, .gid = 5 }, 1000, 5,
		  "5 50000 60000 60002", "/home/default-user", "default-user" },
		{ "by name", { .name = "default-user" }, 1000, 1000, "1000 50000 60000 60002", "/home/default-user",
		  "default-user" },
		{ "merged groups, each once", { .name = "default-user", .groups = extra, .n_groups = 2 }, 1000, 1000,
		  "1000 50000 60000 60002 1234", "/home/default-user", "default-user" },
		{ "strict groups", { .name = "default-user", .groups = extra, .n_groups = 1, .strict = true }, 1000,
		  1000, "1000 1234", "/home/default-user", "default-user" },
		{ "of two lines the first", { .name = "shadowed" }, 500, 500, "500", "/first", "shadowed" },
		{ "last line without newline", { .name = "last" }, 4294967294u, 4294967294u, "4294967294 60003",
		  "/last", "last" },
		{ "a relative home is none", { .name = "bad-home" }, 60, 60, "60", "/", "bad-home" },
		{ "a home with a tab is none", { .name = "evil-home" }, 61, 61, "61", "/", "evil-home" },
		{ "no comment counts", { .has_uid = true, .uid = 7 }, 7, 0, "0", "/", NULL },
		{ "no nameless line counts", { .has_uid = true, .uid = 9 }, 9, 0, "0", "/", NULL },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct user u;
		struct err e;
		int ret = resolve(&cases[i].ask, &u, &e);
		ok(!ret && u.uid == cases[i].uid && u.gid == cases[i].gid && groups_are(&u, cases[i].groups) &&
			   !strcmp(u.home, cases[i].home) &&
			   (cases[i].name ? u.name && !strcmp(u.name, cases[i].name) : !u.name),
		   "%s", cases[i].what);
	}
}

static void test_refused(void)
{
	static const struct {
		const char *what;
		struct user_ask ask;
		const char *says;
	} cases[] = {
		{ "unknown name", { .name = "ghost" }, "run_as_username \"ghost\"" },
		{ "a name that is a number has to be in passwd", { .name = "1000" }, "\"1000\"" },
		{ "unknown image user", { .image = "ghost" }, "the image's user \"ghost\"" },
		{ "unknown image group", { .image = "www-data:ghosts" }, "\"ghosts\"" },
		{ "a uid that is no number", { .name = "no-number" }, "\"no-number\"" },
		{ "a negative uid", { .name = "negative" }, "\"negative\"" },
		{ "the uid that means no change", { .name = "no-change" }, "\"no-change\"" },
		{ "a uid too long", { .name = "huge" }, "\"huge\"" },
		{ "a uid that would wrap to root", { .name = "wraps" }, "\"wraps\"" },
		{ "an image uid that would wrap to root", { .image = "4294967296" }, "\"4294967296\"" },
		{ "a line that is cut", { .name = "short" }, "\"short\"" },
		{ "the prefix of a name", { .name = "www" }, "\"www\"" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct user u;
		struct err e;
		int ret = resolve(&cases[i].ask, &u, &e);
		ok(ret == -EINVAL && strstr(e.msg, cases[i].says), "%s is refused: %s", cases[i].what, e.msg);
	}
}

static void test_hostile(void)
{
	struct user u;
	struct err e = { 0 };
	/* a NUL in a name must not make it equal to its beginning */
	static const char nul[] = "root\0x:x:5:5::/evil:\nroot:x:0:0::/good:\n";
	struct passwd_file p = { nul, sizeof(nul) - 1 }, none = { 0 };
	ok(!user_resolve(pool, &(struct user_ask){ .name = "root" }, &p, &none, &u, &e) && u.uid == 0,
	   "a NUL ends no name");
	ok(!user_resolve(pool, &(struct user_ask){ .image = "12:13" }, &none, &none, &u, &e) && u.uid == 12 &&
		   u.gid == 13,
	   "no files at all");

	/* a user in very many groups */
	size_t len = 0, room = 1 << 20;
	char *big = malloc(room);
	for (unsigned i = 1; i < 20000; i++)
		len += (size_t)snprintf(big + len, room - len, "g:x:%u:u\n", i);
	struct passwd_file pw = { "u:x:1:1::/:\n", 12 }, gr = { big, len };
	e = (struct err){ 0 };
	ok(user_resolve(pool, &(struct user_ask){ .name = "u" }, &pw, &gr, &u, &e) == -EINVAL &&
		   strstr(e.msg, "groups"),
	   "20,000 groups are refused: %s", e.msg);

	/* one line of a megabyte, colons alone */
	memset(big, ':', room);
	ok(!user_resolve(pool, &(struct user_ask){ .has_uid = true, .uid = 1 }, &(struct passwd_file){ big, room },
			 &(struct passwd_file){ big, room }, &u, &e),
	   "a megabyte of colons");
	free(big);
}

int main(void)
{
	pool = pool_new(NULL, "test");
	test_found();
	test_refused();
	test_hostile();
	pool_destroy(pool);
	return done();
}
