/* The options of our engines, and JSON that is read and written again. */
#include <errno.h>
#include <string.h>
#include <yajl/yajl_gen.h>

#include "engines/share/json.h"
#include "engines/share/options.h"
#include "engines/share/process.h"
#include "t/tap.h"

#include <stdbool.h>
#include <unistd.h>

struct mine {
	char path[OPTION_PATH_MAX], name[OPTION_PATH_MAX];
	bool flag;
	const char *start;
	long long own;
};

static int take_number(void *value, yajl_val v)
{
	if (!YAJL_IS_INTEGER(v))
		return -EINVAL;
	*(long long *)value = YAJL_GET_INTEGER(v);
	return 0;
}

static const char *const starts[] = { "auto", "off", NULL };
static const struct option table[] = {
	OPTION(PATH, struct mine, path),
	OPTION(TEXT, struct mine, name),
	OPTION(BOOL, struct mine, flag),
	OPTION(WORD, struct mine, start, .words = starts, .wanted = "auto or off"),
	OPTION(OWN, struct mine, own, .take = take_number, .wanted = "a number"),
	{ 0 }
};

static char msg[200];

static int read_into(struct mine *m, const char *json)
{
	*m = (struct mine){ .path = "/before", .start = "auto" };
	msg[0] = 0;
	return options_read(table, m, json, msg, sizeof(msg));
}

static void test_values(void)
{
	struct mine m;
	ok(read_into(&m, "{\"path\":\"/a\",\"name\":\"b\",\"flag\":true,\"start\":\"off\",\"own\":7}") == 0 &&
	   !strcmp(m.path, "/a") && !strcmp(m.name, "b") && m.flag && !strcmp(m.start, "off") && m.own == 7,
	   "every kind of option is read");
	ok(read_into(&m, "{}") == 0 && !strcmp(m.path, "/before"), "what is not given stays");
	ok(read_into(&m, "{\"path\":null,\"start\":\"\",\"flag\":null}") == 0 && !strcmp(m.path, "/before") &&
	   !strcmp(m.start, "auto"), "and what is given as nothing");
	ok(read_into(&m, "{\"path\":\"\"}") == 0 && !strcmp(m.path, "/before"), "an empty path, too");
}

static void test_refused(void)
{
	static const struct { const char *json, *words; } bad[] = {
		{ "[]", "no JSON object" },
		{ "{", "no JSON object" },
		{ "", "no JSON object" },
		{ "{\"path\":\"a/b\"}", "option \"path\" must be an absolute path" },
		{ "{\"path\":7}", "\"path\"" },
		{ "{\"name\":[]}", "\"name\" must be a short text" },
		{ "{\"flag\":\"true\"}", "\"flag\" must be true or false" },
		{ "{\"start\":\"on\"}", "\"start\" must be auto or off" },
		{ "{\"start\":1}", "\"start\"" },
		{ "{\"own\":\"7\"}", "\"own\" must be a number" },
		{ "{\"pathh\":\"/a\"}", "unknown option \"pathh\": there are path, name, flag, start, own" },
	};
	struct mine m;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(read_into(&m, bad[i].json) == -EINVAL && strstr(msg, bad[i].words), "refused: %s (%s)", bad[i].json, msg);
	char json[OPTION_PATH_MAX + 20];
	memset(json, 'x', sizeof(json));
	memcpy(json, "{\"path\":\"/", 11);
	strcpy(json + sizeof(json) - 3, "\"}");
	ok(read_into(&m, json) == -EINVAL, "a path that is too long");
	char tiny[12];
	ok(options_read(table, &m, "{\"nosuch\":1}", tiny, sizeof(tiny)) == -EINVAL && strlen(tiny) == sizeof(tiny) - 1,
	   "words are cut to the room that there is");
}

static void test_program(void)
{
	char found[OPTION_PATH_MAX];
	const char *p = options_program("", (const char *const[]){ "nosuch", "sh", NULL }, found);
	ok(p && strstr(p, "/sh") && access(p, X_OK) == 0, "a program is found by one of its names");
	ok(!options_program("", (const char *const[]){ "nosuch", "/no/such", NULL }, found), "or it is nowhere");
	p = options_program("", (const char *const[]){ "/bin/sh", NULL }, found);
	ok(p && !strcmp(p, "/bin/sh"), "or by its path");
	p = options_program("/given", (const char *const[]){ "sh", NULL }, found);
	ok(p && !strcmp(p, "/given"), "one that is given is not looked for");
	char root[OPTION_PATH_MAX], deep[2000];
	memset(deep, 'd', sizeof(deep));
	deep[sizeof(deep) - 1] = 0;
	ok(options_root(root, "/s", msg, sizeof(msg)) == 0 && !strcmp(root, "/s/root"), "a root of its own");
	ok(options_root(root, deep, msg, sizeof(msg)) == -ENAMETOOLONG, "unless the folder lies too deep");
}

static void test_json(void)
{
	static const char text[] = "{\"a\":[1,-2.5,\"x\\u0001\",true,false,null,{}],\"b\":{\"c\":12345678901234567890}}";
	yajl_val v = yajl_tree_parse(text, NULL, 0);
	yajl_gen g = yajl_gen_alloc(NULL);
	const unsigned char *out;
	size_t len;
	json_put(g, v);
	yajl_gen_get_buf(g, &out, &len);
	ok(len == strlen(text) && !memcmp(out, text, len), "what is read is written: %.*s", (int)len, (const char *)out);
	ok(!strcmp(json_text(v, "none"), "") && !json_member(NULL, "a") && json_number(json_member(v, "a"), 5) == 5,
	   "what is not there is not found");
	yajl_gen_free(g);
	yajl_tree_free(v);
}

int main(void)
{
	test_values();
	test_refused();
	test_program();
	test_json();
	ok(process_start(getpid()) > 0 && process_start(getpid()) == process_start(getpid()), "a process has a start time");
	ok(process_start(0) == 0 && process_start(1 << 30) == 0, "none has none");
	return done();
}
