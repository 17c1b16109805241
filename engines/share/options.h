#pragma once
/*
 * The options of a handler, read by a table.
 *
 *	static const struct option options[] = {
 *		OPTION(PATH, struct mine, path),
 *		OPTION(WORD, struct mine, start, .words = starts, .wanted = "auto or off"),
 *		{ 0 }
 *	};
 */
#include <stddef.h>
#include <stdint.h>

#include <yajl/yajl_tree.h>

enum { OPTION_PATH_MAX = 1024 };

enum option_kind {
	OPTION_PATH,	/* char[OPTION_PATH_MAX]: an absolute path */
	OPTION_TEXT,	/* char[OPTION_PATH_MAX] */
	OPTION_BOOL,	/* bool */
	OPTION_WORD,	/* const char *: one of words, the table's own */
	OPTION_OWN,	/* what take() makes of it */
};

struct option {
	const char *name;
	enum option_kind kind;
	size_t at;			/* where the value lies */
	const char *const *words;	/* WORD: NULL-terminated */
	const char *wanted;		/* WORD, OWN: "x must be ..." */
	int (*take)(void *value, yajl_val v);	/* OWN: 0 or -EINVAL */
};
#define OPTION(kind_, type, member, ...)                                                           \
	{ .name = #member, .kind = OPTION_##kind_, .at = offsetof(type, member), ##__VA_ARGS__ }

/* Read an object into *into; what it doesn't name, or names as null or "", stays.  -EINVAL with words
 * in msg for any other name or type. */
int options_read(const struct option *table, void *into, const char *json, char *msg, uint32_t cap);
/* `root` below the handler's state directory, to begin with.  -ENAMETOOLONG with words. */
int options_root(char root[OPTION_PATH_MAX], const char *state_dir, char *msg, uint32_t cap);
/* The program at path; if that is "", the first of names (NULL-terminated; an absolute one is where it
 * says) in the usual folders, into found.  NULL: it is nowhere. */
const char *options_program(const char *path, const char *const *names, char found[OPTION_PATH_MAX]);
