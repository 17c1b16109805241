/*
 * A runtime compiles a seccomp profile for each container, which takes it as long as all else.  crun also
 * takes the program ready made, in an annotation; so the one that it has made for the first container
 * of a profile is given to the next ones.  Profiles are few, and told apart by their text.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engines/cli/cli.h"
#include "engines/share/base64.h"
#include "engines/share/json.h"

enum { FILTERS_MAX = 8, PROGRAM_MAX = 4096 * 8 };	/* the kernel takes 4096 instructions of 8 bytes */

struct filter {
	struct filter *next;	/* used less lately */
	char *profile;
	char *program;		/* base64; NULL: not known yet */
	char *maker;		/* the container that it is being made for; NULL: none */
};

static void filter_free(struct filter *x)
{
	free(x->profile);
	free(x->program);
	free(x->maker);
	free(x);
}

void filters_free(struct filters *f)
{
	while (f->list) {
		struct filter *x = f->list;
		f->list = x->next;
		filter_free(x);
	}
}

static char *text_of(yajl_gen g)
{
	const unsigned char *text;
	size_t len;
	yajl_gen_get_buf(g, &text, &len);
	char *copy = strndup((const char *)text, len);
	if (!copy)
		abort();
	return copy;
}

/* A profile that asks somebody else for each decision has a program that is not all. */
static char *profile_of(yajl_val spec)
{
	yajl_val seccomp = json_member(json_member(spec, "linux"), "seccomp");
	if (!YAJL_IS_OBJECT(seccomp) || *json_text(seccomp, "listenerPath"))
		return NULL;
	yajl_gen g = yajl_gen_alloc(NULL);
	json_put(g, seccomp);
	char *text = text_of(g);
	yajl_gen_free(g);
	return text;
}

static struct filter *take_out(struct filters *f, const char *profile)
{
	for (struct filter **at = &f->list, *x; (x = *at); at = &x->next)
		if (!strcmp(x->profile, profile)) {
			*at = x->next;
			return x;
		}
	return NULL;
}

static void drop_last(struct filters *f)
{
	struct filter **at = &f->list;
	unsigned n = 0;
	while (*at && ++n < FILTERS_MAX)
		at = &(*at)->next;
	if (*at) {
		filter_free(*at);
		*at = NULL;
	}
}

/* To the front of the list, made if there was none.  Takes profile. */
static struct filter *use(struct filters *f, char *profile)
{
	struct filter *x = take_out(f, profile);
	if (x) {
		free(profile);
	} else {
		drop_last(f);
		x = calloc(1, sizeof(*x));
		if (!x)
			abort();
		x->profile = profile;
	}
	x->next = f->list;
	f->list = x;
	return x;
}

static char *spec_with(yajl_val spec, const char *program)
{
	yajl_gen g = yajl_gen_alloc(NULL);
	yajl_gen_map_open(g);
	for (size_t i = 0; i < spec->u.object.len; i++) {
		if (!strcmp(spec->u.object.keys[i], "annotations"))
			continue;
		json_put_text(g, spec->u.object.keys[i]);
		json_put(g, spec->u.object.values[i]);
	}
	yajl_val notes = json_member(spec, "annotations");
	json_put_text(g, "annotations");
	yajl_gen_map_open(g);
	for (size_t i = 0; YAJL_IS_OBJECT(notes) && i < notes->u.object.len; i++) {
		json_put_text(g, notes->u.object.keys[i]);
		json_put(g, notes->u.object.values[i]);
	}
	json_put_text(g, cli_profile.filter_note);
	json_put_text(g, program);
	yajl_gen_map_close(g);
	yajl_gen_map_close(g);
	char *text = text_of(g);
	yajl_gen_free(g);
	return text;
}

char *filters_apply(struct filters *f, const char *id, const char *spec_json)
{
	yajl_val spec = yajl_tree_parse(spec_json, NULL, 0);
	char *profile = profile_of(spec), *changed = NULL;
	bool theirs = *json_text(json_member(spec, "annotations"), cli_profile.filter_note);
	if (theirs)
		free(profile);	/* somebody who may has said what it is to be */
	struct filter *x = profile && !theirs ? use(f, profile) : NULL;
	if (x && x->program) {
		changed = spec_with(spec, x->program);
	} else if (x) {
		free(x->maker);
		x->maker = strdup(id);
	}
	yajl_tree_free(spec);
	return changed;
}

void filters_learn(struct filters *f, const char *id, const char *path)
{
	static char program[PROGRAM_MAX + 1];
	struct filter *x = f->list;
	while (x && (!x->maker || strcmp(x->maker, id)))
		x = x->next;
	if (!x)
		return;
	free(x->maker);
	x->maker = NULL;
	int fd = x->program ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, program, sizeof(program));
	if (fd >= 0)
		close(fd);
	if (n > 0 && n <= PROGRAM_MAX && n % 8 == 0)
		x->program = base64(program, (size_t)n);
}
