/*
 * Both lists are turned into candidates; exact ids beat names, names beat prefixes.
 */
#include "tools/crispctl/find.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/base/pool.h"
#include "tools/crispctl/crispctl.h"
#include "tools/crispctl/show.h"

struct match {
	const Cri__PodSandbox *pod;
	const Cri__Container *container;
	size_t n, n_live;
	const Cri__PodSandbox *live_pod;
	const Cri__Container *live_container;
};

int find_load(struct ctl *c, struct find *f, struct err *e)
{
	Cri__ListPodSandboxRequest pods = CRI__LIST_POD_SANDBOX_REQUEST__INIT;
	Cri__ListContainersRequest containers = CRI__LIST_CONTAINERS_REQUEST__INIT;
	f->ctl = c;
	int ret = CTL_CALL(c, CTL_RUNTIME, ListPodSandbox, list_pod_sandbox, &pods, &f->pods, e);
	if (ret == 0)
		ret = CTL_CALL(c, CTL_RUNTIME, ListContainers, list_containers, &containers,
			       &f->containers, e);
	return ret;
}

const Cri__PodSandbox *find_pod_by_id(const struct find *f, const char *id)
{
	for (size_t i = 0; i < f->pods->n_items; i++)
		if (!strcmp(f->pods->items[i]->id, id))
			return f->pods->items[i];
	return NULL;
}

const char *find_pod_name(const struct find *f, const char *pod_id)
{
	const Cri__PodSandbox *p = find_pod_by_id(f, pod_id);
	return p && p->metadata ? p->metadata->name : show_id(f->ctl->pool, pod_id);
}

static const char *name_of(const Cri__Container *c)
{
	return c->metadata ? c->metadata->name : "";
}

static void add_pod(struct match *m, const Cri__PodSandbox *p)
{
	m->pod = p;
	m->n++;
	if (p->state == CRI__POD_SANDBOX_STATE__SANDBOX_READY) {
		m->live_pod = p;
		m->n_live++;
	}
}

static void add_container(struct match *m, const Cri__Container *c)
{
	m->container = c;
	m->n++;
	if (c->state == CRI__CONTAINER_STATE__CONTAINER_RUNNING) {
		m->live_container = c;
		m->n_live++;
	}
}

static bool is_id(const char *id, const char *word)
{
	return !strcmp(id, word);
}

static bool is_prefix(const char *id, const char *word)
{
	return !strncmp(id, word, strlen(word));
}

static void match_ids(const struct find *f, const char *word, struct match *m,
		      bool (*is)(const char *id, const char *word))
{
	for (size_t i = 0; i < f->pods->n_items; i++)
		if (is(f->pods->items[i]->id, word))
			add_pod(m, f->pods->items[i]);
	for (size_t i = 0; i < f->containers->n_containers; i++)
		if (is(f->containers->containers[i]->id, word))
			add_container(m, f->containers->containers[i]);
}

static void match_names(const struct find *f, const char *word, struct match *m)
{
	for (size_t i = 0; i < f->pods->n_items; i++) {
		const Cri__PodSandboxMetadata *md = f->pods->items[i]->metadata;
		if (md &&
		    (!strcmp(md->name, word) ||
		     !strcmp(pool_printf(f->ctl->pool, "%s/%s", md->namespace_, md->name), word)))
			add_pod(m, f->pods->items[i]);
	}
	for (size_t i = 0; i < f->containers->n_containers; i++) {
		const Cri__Container *c = f->containers->containers[i];
		const char *name = name_of(c);
		if (!strcmp(name, word) ||
		    !strcmp(pool_printf(f->ctl->pool, "%s/%s", find_pod_name(f, c->pod_sandbox_id),
					name),
			    word))
			add_container(m, c);
	}
}

/* "a pod of one name and a container of the same": the pod, as the outer one, is meant. */
static void prefer_pod(struct match *m)
{
	if (m->pod && m->container && m->n == 2) {
		m->container = m->live_container = NULL;
		m->n = 1;
		m->n_live = m->live_pod != NULL;
	}
}

int find_any(const struct find *f, const char *word, const Cri__PodSandbox **pod,
	     const Cri__Container **container, struct err *e)
{
	struct match m = { 0 };
	*pod = NULL;
	*container = NULL;
	if (*word)
		match_ids(f, word, &m, is_id);
	if (m.n == 0)
		match_names(f, word, &m);
	prefer_pod(&m);
	bool by_prefix = m.n == 0 && *word;
	if (by_prefix)
		match_ids(f, word, &m, is_prefix);
	if (m.n == 0)
		return err_set(e, ENOENT, "no pod or container is called \"%s\"", word);
	if (m.n > 1 && (by_prefix || m.n_live != 1))
		return err_set(e, EINVAL,
			       "\"%s\" may be any of %zu pods and containers: use more of the id",
			       word, m.n);
	*pod = m.n > 1 ? m.live_pod : m.pod;
	*container = m.n > 1 ? m.live_container : m.container;
	return 0;
}

static int only_container(const struct find *f, const Cri__PodSandbox *pod,
			  const Cri__Container **out, struct err *e)
{
	struct match m = { 0 };
	char names[200] = "";
	const char *pod_name = find_pod_name(f, pod->id);
	for (size_t i = 0; i < f->containers->n_containers; i++) {
		const Cri__Container *c = f->containers->containers[i];
		if (strcmp(c->pod_sandbox_id, pod->id))
			continue;
		add_container(&m, c);
		size_t n = strlen(names);
		snprintf(names + n, sizeof(names) - n, " %s/%s", pod_name, name_of(c));
	}
	if (m.n == 0)
		return err_set(e, ENOENT, "pod %s has no container", pod_name);
	if (m.n > 1 && m.n_live != 1)
		return err_set(e, EINVAL, "pod %s has several containers, name one:%s", pod_name,
			       names);
	*out = m.n > 1 ? m.live_container : m.container;
	return 0;
}

int find_container(const struct find *f, const char *word, const Cri__Container **out,
		   struct err *e)
{
	const Cri__PodSandbox *pod;
	int ret = find_any(f, word, &pod, out, e);
	return ret == 0 && pod ? only_container(f, pod, out, e) : ret;
}

int find_pod(const struct find *f, const char *word, const Cri__PodSandbox **out, struct err *e)
{
	const Cri__Container *c;
	int ret = find_any(f, word, out, &c, e);
	if (ret == 0 && c)
		return err_set(e, ENOENT, "\"%s\" is a container, not a pod", word);
	return ret;
}
