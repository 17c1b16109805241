/*
 * passwd(5) and group(5) as an image has them: lines that make no sense are skipped, numbers that
 * are no ids are no numbers, of two lines the first counts.
 *
 * The primary group is also listed as a supplementary one: a process that drops it would
 * otherwise get around permissions that deny something to the group (CVE-2022-36109).
 */
#include "core/work/passwd.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "core/base/pool.h"
#include "core/base/utf8.h"

enum { MAX_FIELDS = 7, MAX_GROUPS = 4096 };

struct field {
	const char *at;
	size_t len;
};

static bool field_is(const struct field *f, const char *text)
{
	return f->len == strlen(text) && !memcmp(f->at, text, f->len);
}

/* The last number means "no change" to the kernel. */
static bool field_id(const struct field *f, uint32_t *out)
{
	uint64_t n = 0;
	if (!f->len || f->len > 10)
		return false;
	for (size_t i = 0; i < f->len; i++) {
		if (f->at[i] < '0' || f->at[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(f->at[i] - '0');
	}
	*out = (uint32_t)n;
	return n < UINT32_MAX;
}

/* Split the line at *pos by colons; the last field takes what is left.  Returns the number of
 * fields, 0 at the end of the file. */
static size_t next_line(const struct passwd_file *file, size_t *pos, struct field f[MAX_FIELDS])
{
	while (*pos < file->len) {
		const char *line = file->text + *pos, *end = memchr(line, '\n', file->len - *pos);
		size_t len = end ? (size_t)(end - line) : file->len - *pos, n = 0;
		*pos += len + 1;
		if (!len || *line == '#')
			continue;
		for (const char *at = line, *stop = line + len; n < MAX_FIELDS; at += f[n - 1].len + 1) {
			const char *colon = n + 1 < MAX_FIELDS ? memchr(at, ':', (size_t)(stop - at)) : NULL;
			f[n++] = (struct field){ at, (size_t)((colon ? colon : stop) - at) };
			if (!colon)
				break;
		}
		return n;
	}
	return 0;
}

struct entry {
	const char *name;
	uint32_t uid, gid;
	const char *home;
};

/* By name, or by uid if name is NULL. */
static bool find_user(struct pool *p, const struct passwd_file *file, const char *name, uint32_t uid,
		      struct entry *out)
{
	struct field f[MAX_FIELDS];
	for (size_t pos = 0, n; (n = next_line(file, &pos, f));) {
		struct entry e;
		if (n < 4 || !f[0].len || !field_id(&f[2], &e.uid) || !field_id(&f[3], &e.gid))
			continue;
		if (name ? !field_is(&f[0], name) : e.uid != uid)
			continue;
		e.name = pool_strndup(p, f[0].at, f[0].len);
		e.home = n > 5 && f[5].len ? pool_strndup(p, f[5].at, f[5].len) : NULL;
		*out = e;
		return true;
	}
	return false;
}

static bool find_group(const struct passwd_file *file, const char *name, uint32_t *gid)
{
	struct field f[MAX_FIELDS];
	for (size_t pos = 0, n; (n = next_line(file, &pos, f));)
		if (n >= 3 && field_is(&f[0], name) && field_id(&f[2], gid))
			return true;
	return false;
}

static bool is_member(const struct field *list, const char *name)
{
	for (size_t at = 0; at < list->len;) {
		const char *comma = memchr(list->at + at, ',', list->len - at);
		struct field one = { list->at + at, comma ? (size_t)(comma - list->at) - at : list->len - at };
		if (field_is(&one, name))
			return true;
		at += one.len + 1;
	}
	return false;
}

static int add_group(struct user *u, size_t room, uint32_t gid, struct err *e)
{
	for (size_t i = 0; i < u->n_groups; i++)
		if (u->groups[i] == gid)
			return 0;
	if (u->n_groups == room)
		return err_set(e, EINVAL, "the user is in more than %zu groups", room);
	u->groups[u->n_groups++] = gid;
	return 0;
}

/* "user[:group]" of the image, in two. */
static int split_image_user(struct pool *p, const char *text, char **user, char **group, struct err *e)
{
	*user = pool_strdup(p, text ? text : "");
	*group = strchr(*user, ':');
	if (*group)
		*(*group)++ = '\0';
	if (strlen(*user) > LOGIN_NAME_MAX || (*group && strlen(*group) > LOGIN_NAME_MAX))
		return err_set(e, EINVAL, "the image's user \"%.100s...\" is too long", text);
	return 0;
}

/* The uid and what passwd says of it; *found is false when it says nothing. */
static int resolve_uid(struct pool *p, const struct user_ask *ask, const char *image_user,
		       const struct passwd_file *passwd, struct user *u, struct entry *entry, bool *found,
		       struct err *e)
{
	struct field f = { image_user, strlen(image_user) };
	const char *name = NULL;
	if (ask->name)
		name = ask->name;
	else if (ask->has_uid)
		u->uid = ask->uid;
	else if (!*image_user)
		u->uid = 0;
	else if (!field_id(&f, &u->uid))
		name = image_user;
	*found = find_user(p, passwd, name, u->uid, entry);
	if (name && !*found)
		return err_set(e, EINVAL, "%s \"%s\": the image's /etc/passwd has no such user",
			       ask->name ? "linux.security_context.run_as_username" : "the image's user", name);
	if (*found)
		u->uid = entry->uid;
	return 0;
}

static int resolve_gid(const struct user_ask *ask, const char *image_group, const struct passwd_file *group,
		       const struct entry *entry, bool found, struct user *u, struct err *e)
{
	bool by_image = !ask->name && !ask->has_uid;
	u->gid = found ? entry->gid : 0;
	if (ask->has_gid) {
		u->gid = ask->gid;
	} else if (by_image && image_group && *image_group) {
		struct field f = { image_group, strlen(image_group) };
		if (!field_id(&f, &u->gid) && !find_group(group, image_group, &u->gid))
			return err_set(e, EINVAL, "the image's group \"%s\": the image's /etc/group has no such group",
				       image_group);
	}
	return 0;
}

static int resolve_groups(struct pool *p, const struct user_ask *ask, const struct passwd_file *group,
			  struct user *u, struct err *e)
{
	struct field f[MAX_FIELDS];
	size_t n_lines = 1;
	for (size_t i = 0; i < group->len; i++)
		n_lines += group->text[i] == '\n';
	size_t room = 1 + n_lines + ask->n_groups;
	if (room > MAX_GROUPS)
		room = MAX_GROUPS;
	u->groups = pool_alloc(p, room * sizeof(*u->groups));
	int ret = add_group(u, room, u->gid, e);
	for (size_t pos = 0, n; !ret && !ask->strict && u->name && (n = next_line(group, &pos, f));) {
		uint32_t gid;
		if (n >= 4 && field_id(&f[2], &gid) && is_member(&f[3], u->name))
			ret = add_group(u, room, gid, e);
	}
	for (size_t i = 0; !ret && i < ask->n_groups; i++)
		ret = add_group(u, room, ask->groups[i], e);
	return ret;
}

/* A home that can stand in an environment. */
static const char *usable_home(const char *home)
{
	if (!home || *home != '/' || utf8_valid(home, strlen(home)) != strlen(home))
		return "/";
	for (const char *c = home; *c; c++)
		if ((unsigned char)*c < 0x20)
			return "/";
	return home;
}

int user_resolve(struct pool *p, const struct user_ask *ask, const struct passwd_file *passwd,
		 const struct passwd_file *group, struct user *out, struct err *e)
{
	char *image_user, *image_group;
	struct entry entry = { 0 };
	bool found;
	*out = (struct user){ 0 };
	int ret = split_image_user(p, ask->image, &image_user, &image_group, e);
	if (!ret)
		ret = resolve_uid(p, ask, image_user, passwd, out, &entry, &found, e);
	if (ret < 0)
		return ret;
	ret = resolve_gid(ask, image_group, group, &entry, found, out, e);
	if (ret < 0)
		return ret;
	out->name = entry.name;
	out->home = usable_home(entry.home);
	return resolve_groups(p, ask, group, out, e);
}
