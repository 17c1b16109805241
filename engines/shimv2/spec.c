/*
 * The last touch on a spec: what shims read in its annotations, beyond what is there anyway.  They
 * group containers by them, and size virtual machines.
 *
 * Where the sandbox is a guest with a kernel of its own, the first process's small share of the
 * processor would be that of the whole pod; so it has none.
 *
 * A virtual machine's shim looks at the network namespace again when the pod goes, and from the
 * host's mount namespace, so it gets the path that holds as long as the pod does; a /dev/shm of
 * ours it can't see, but it makes one that its containers share.  Where the guest pulls images, it does
 * so by the annotation, which a kubelet fills with an image's id.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engines/shimv2/shimv2.h"

struct edit {
	yajl_gen gen;
	yajl_val facts;
	bool host;		/* containers are processes of the host */
	bool pulls;		/* images are pulled by the guest */
};

/* -- annotations -- */

#define IMAGE_NAME "io.kubernetes.cri.image-name"

static void add_text(struct edit *e, const char *key, const char *value)
{
	if (!*value)
		return;
	json_put_text(e->gen, key);
	json_put_text(e->gen, value);
}

static long long resource(const struct edit *e, const char *name)
{
	yajl_val v = json_member(json_member(e->facts, "sandboxResources"), name);
	return YAJL_IS_INTEGER(v) ? YAJL_GET_INTEGER(v) : 0;
}

static void add_number(struct edit *e, const char *key, long long value)
{
	char text[24];
	snprintf(text, sizeof(text), "%lld", value);
	if (value)
		add_text(e, key, text);
}

static bool is_sandbox(const struct edit *e)
{
	return !strcmp(json_text(e->facts, "containerType"), "sandbox");
}

static void add_annotations(struct edit *e)
{
	add_text(e, "io.kubernetes.cri.sandbox-log-directory", json_text(e->facts, "logDirectory"));
	if (e->pulls)
		add_text(e, IMAGE_NAME, json_text(e->facts, "imageRef"));
	if (!is_sandbox(e))
		return;		/* the core has written the rest */
	add_text(e, "io.kubernetes.cri.sandbox-name", json_text(e->facts, "podName"));
	add_text(e, "io.kubernetes.cri.sandbox-namespace", json_text(e->facts, "podNamespace"));
	add_text(e, "io.kubernetes.cri.sandbox-uid", json_text(e->facts, "podUid"));
	add_number(e, "io.kubernetes.cri.sandbox-cpu-period", resource(e, "cpuPeriod"));
	add_number(e, "io.kubernetes.cri.sandbox-cpu-quota", resource(e, "cpuQuota"));
	add_number(e, "io.kubernetes.cri.sandbox-cpu-shares", resource(e, "cpuShares"));
	add_number(e, "io.kubernetes.cri.sandbox-memory", resource(e, "memory"));
}

/* -- copying -- */

static bool is_network(yajl_val ns)
{
	return !strcmp(json_text(ns, "type"), "network") && *json_text(ns, "path");
}

static void copy_namespaces(struct edit *e, yajl_val list)
{
	const char *pin = json_text(e->facts, "netnsPath");
	yajl_gen_array_open(e->gen);
	for (size_t i = 0; i < list->u.array.len; i++) {
		yajl_val ns = list->u.array.values[i];
		if (!is_network(ns) || !*pin) {
			json_put(e->gen, ns);
			continue;
		}
		yajl_gen_map_open(e->gen);
		add_text(e, "type", "network");
		add_text(e, "path", pin);
		yajl_gen_map_close(e->gen);
	}
	yajl_gen_array_close(e->gen);
}

static void copy_mounts(struct edit *e, yajl_val list)
{
	static const char *const options[] = { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" };
	yajl_gen_array_open(e->gen);
	for (size_t i = 0; i < list->u.array.len; i++) {
		yajl_val m = list->u.array.values[i];
		if (strcmp(json_text(m, "destination"), "/dev/shm") || strcmp(json_text(m, "type"), "bind")) {
			json_put(e->gen, m);
			continue;
		}
		yajl_gen_map_open(e->gen);
		add_text(e, "destination", "/dev/shm");
		add_text(e, "type", "tmpfs");
		add_text(e, "source", "shm");
		json_put_text(e->gen, "options");
		yajl_gen_array_open(e->gen);
		for (size_t k = 0; k < sizeof(options) / sizeof(options[0]); k++)
			json_put_text(e->gen, options[k]);
		yajl_gen_array_close(e->gen);
		yajl_gen_map_close(e->gen);
	}
	yajl_gen_array_close(e->gen);
}

/* The members of an object; where: what it is. */
enum where { ROOT, LINUX, RESOURCES, ANNOTATIONS, ELSEWHERE };

static void copy_members(struct edit *e, yajl_val v, enum where where)
{
	for (size_t i = 0; i < v->u.object.len; i++) {
		const char *key = v->u.object.keys[i];
		yajl_val member = v->u.object.values[i];
		if (where == ROOT && !strcmp(key, "annotations"))
			continue;	/* at the end */
		if (where == RESOURCES && !strcmp(key, "cpu"))
			continue;
		if (where == ANNOTATIONS && e->pulls && !strcmp(key, IMAGE_NAME))
			continue;
		json_put_text(e->gen, key);
		if (where == ROOT && !strcmp(key, "linux") && YAJL_IS_OBJECT(member)) {
			yajl_gen_map_open(e->gen);
			copy_members(e, member, LINUX);
			yajl_gen_map_close(e->gen);
		} else if (where == LINUX && !strcmp(key, "resources") && YAJL_IS_OBJECT(member)) {
			yajl_gen_map_open(e->gen);
			copy_members(e, member, is_sandbox(e) && !e->host ? RESOURCES : ELSEWHERE);
			yajl_gen_map_close(e->gen);
		} else if (where == LINUX && !strcmp(key, "namespaces") && YAJL_IS_ARRAY(member) && shim_profile.guest) {
			copy_namespaces(e, member);
		} else if (where == ROOT && !strcmp(key, "mounts") && YAJL_IS_ARRAY(member) && shim_profile.guest) {
			copy_mounts(e, member);
		} else {
			json_put(e->gen, member);
		}
	}
}

static void write_spec(struct edit *e, yajl_val spec)
{
	yajl_val annotations = json_member(spec, "annotations");
	yajl_gen_map_open(e->gen);
	copy_members(e, spec, ROOT);
	json_put_text(e->gen, "annotations");
	yajl_gen_map_open(e->gen);
	if (YAJL_IS_OBJECT(annotations))
		copy_members(e, annotations, ANNOTATIONS);
	add_annotations(e);
	yajl_gen_map_close(e->gen);
	yajl_gen_map_close(e->gen);
}

int spec_prepare(struct crisp_instance *i, struct crisp_req *r, const struct crisp_spec_args *args)
{
	yajl_val spec = args->spec_json ? yajl_tree_parse(args->spec_json, NULL, 0) : NULL;
	struct edit e = { .facts = args->facts_json ? yajl_tree_parse(args->facts_json, NULL, 0) : NULL };
	struct crisp_result res = { .size = sizeof(res) };
	char found[SHIM_PATH_MAX];
	const char *program = shim_program(&i->options, found);
	e.host = program && shim_is_host(program);
	e.pulls = i->options.guest_pull;
	if (!YAJL_IS_OBJECT(spec)) {
		res.err = -EINVAL;
		res.msg = "the spec is no JSON object";
		i->host->done(r, &res);
	} else {
		const unsigned char *text;
		size_t len = 0;
		e.gen = yajl_gen_alloc(NULL);
		write_spec(&e, spec);
		yajl_gen_get_buf(e.gen, &text, &len);
		res.data = text;
		res.data_len = (uint32_t)len;
		i->host->done(r, &res);
		yajl_gen_free(e.gen);
	}
	yajl_tree_free(spec);
	yajl_tree_free(e.facts);
	return 0;
}
