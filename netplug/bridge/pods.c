/* The pods of a bridge, see the header. */
#include "netplug/bridge/pods.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_tree.h>

static const char *const protocols[] = {
	[CRISP_NET_TCP] = "tcp", [CRISP_NET_UDP] = "udp", [CRISP_NET_SCTP] = "sctp",
};
enum { N_PROTOCOLS = sizeof(protocols) / sizeof(protocols[0]) };

const char *pod_protocol(uint32_t protocol)
{
	return protocol < N_PROTOCOLS ? protocols[protocol] : "?";
}

void pod_write_ip(uint32_t ip, char out[IPAM_TEXT])
{
	struct in_addr a = { htonl(ip) };
	inet_ntop(AF_INET, &a, out, IPAM_TEXT);
}

int pod_veth_name(const char *id, char out[VETH_NAME])
{
	if (!id || strspn(id, "0123456789abcdef") < 11)
		return -EINVAL;
	snprintf(out, VETH_NAME, "veth%.11s", id);
	return 0;
}

/* -- the list -- */

static struct pod *find_from(struct pod *p, const char *id)
{
	while (p && strcmp(p->id, id) != 0)
		p = p->next;
	return p;
}

struct pod *pods_find(const struct pods *ps, const char *id)
{
	return find_from(ps->first, id);
}

bool pod_has_predecessor(const struct pod *p)
{
	return find_from(p->next, p->id) != NULL;
}

static struct pod *pod_new(const char *id, enum pod_state state)
{
	struct pod *p = calloc(1, sizeof(*p));
	if (!p || strlen(id) > POD_ID_MAX || pod_veth_name(id, p->veth) < 0) {
		free(p);
		return NULL;
	}
	strcpy(p->id, id);
	p->state = state;
	return p;
}

static void pods_add(struct pods *ps, struct pod *p)
{
	p->next = ps->first;
	ps->first = p;
	ps->n++;
}

static void pod_free(struct pod *p)
{
	free(p->ports);
	free(p);
}

void pods_forget(struct pods *ps, struct pod *p)
{
	struct pod **at = &ps->first;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	ps->n--;
	if (p->holds_ip)
		ipam_release(&ps->ipam, p->ip);
	pod_free(p);
}

void pod_drop_ports(struct pod *p)
{
	p->n_ports = 0;
}

void pods_free(struct pods *ps)
{
	for (struct pod *p = ps->first, *next; p; p = next) {
		next = p->next;
		pod_free(p);
	}
	ipam_free(&ps->ipam);
}

/* -- host ports -- */

static void port_text(const struct pod_port *p, char *out, size_t size)
{
	char ip[IPAM_TEXT] = "";
	if (p->host_ip)
		pod_write_ip(p->host_ip, ip);
	snprintf(out, size, "%s%s%u/%s", ip, ip[0] ? ":" : "", p->host_port, pod_protocol(p->protocol));
}

static bool ports_clash(const struct pod_port *a, const struct pod_port *b)
{
	return a->protocol == b->protocol && a->host_port == b->host_port &&
	       (!a->host_ip || !b->host_ip || a->host_ip == b->host_ip);
}

static const struct pod_port *find_clash(const struct pod *p, size_t n, const struct pod_port *port)
{
	for (size_t i = 0; i < n; i++)
		if (ports_clash(&p->ports[i], port))
			return &p->ports[i];
	return NULL;
}

static int read_port(const struct crisp_net_port *from, struct pod_port *to, char *msg, size_t size)
{
	struct in_addr a = { 0 };
	const char *ip = from->host_ip ? from->host_ip : "";
	if (from->protocol >= N_PROTOCOLS) {
		snprintf(msg, size, "host port %u: unknown protocol %u", from->host_port, from->protocol);
		return -EINVAL;
	}
	if (ip[0] && strcmp(ip, "::") != 0 && inet_pton(AF_INET, ip, &a) != 1) {
		snprintf(msg, size, "host port %u: host IP %.60s is no IPv4 address", from->host_port, ip);
		return -EINVAL;
	}
	*to = (struct pod_port){ from->protocol, from->host_port, from->container_port, ntohl(a.s_addr) };
	return 0;
}

static int check_free(const struct pods *ps, const struct pod *pod, const struct pod_port *port,
		      size_t n_before, char *msg, size_t size)
{
	char text[64];
	port_text(port, text, sizeof(text));
	if (find_clash(pod, n_before, port)) {
		snprintf(msg, size, "host port %s is mapped twice", text);
		return -EINVAL;
	}
	for (const struct pod *p = ps->first; p; p = p->next) {
		if (!find_clash(p, p->n_ports, port))
			continue;
		snprintf(msg, size, "host port %s is taken by pod %s (%.13s)", text, p->label, p->id);
		return -EADDRINUSE;
	}
	return 0;
}

static int take_ports(const struct pods *ps, struct pod *pod, const struct crisp_net_attach_args *a,
		      char *msg, size_t size)
{
	if (a->n_ports > POD_PORTS_MAX) {
		snprintf(msg, size, "%u host ports are too many, %d are allowed", a->n_ports, POD_PORTS_MAX);
		return -EINVAL;
	}
	pod->ports = calloc(a->n_ports + 1, sizeof(*pod->ports));
	const char *at = (const char *)a->ports;	/* elements are as large as their writer knew them */
	for (uint32_t i = 0; pod->ports && i < a->n_ports; i++) {
		const struct crisp_net_port *from = (const void *)at;
		int ret = read_port(from, &pod->ports[i], msg, size);
		if (ret == 0)
			ret = check_free(ps, pod, &pod->ports[i], i, msg, size);
		if (ret < 0)
			return ret;
		at += from->size;
	}
	pod->n_ports = a->n_ports;
	return pod->ports ? 0 : -ENOMEM;
}

/* -- making pods -- */

static int take_ip(struct pods *ps, struct pod *p, char *msg, size_t size)
{
	p->ip = ipam_take(&ps->ipam);
	if (!p->ip) {
		int n = snprintf(msg, size, "no free address in");
		for (size_t i = 0; i < ps->ipam.n && n > 0 && (size_t)n < size; i++)
			n += snprintf(msg + n, size - (size_t)n, "%s %s", i ? "," : "",
				      ps->ipam.subnets[i].text);
		return -ENOSPC;
	}
	p->holds_ip = true;
	p->serial = ++ps->serial;
	return 0;
}

int pods_new(struct pods *ps, const struct crisp_net_attach_args *a, struct pod **out, char *msg,
	     size_t msg_size)
{
	if (a->ingress_bps || a->egress_bps) {
		snprintf(msg, msg_size, "bandwidth limits are not supported");
		return -ENOSYS;
	}
	const struct pod *old = pods_find(ps, a->pod_id);
	if (old && old->state != POD_STATE_LEAVING) {
		snprintf(msg, msg_size, "the pod is attached, or was and must be detached first");
		return -EEXIST;
	}
	struct pod *p = pod_new(a->pod_id, POD_STATE_ATTACHING);
	if (!p) {
		snprintf(msg, msg_size, "\"%.64s\" is no pod id", a->pod_id);
		return -EINVAL;
	}
	snprintf(p->label, sizeof(p->label), "%s/%s", a->ns ? a->ns : "", a->name ? a->name : "");
	int ret = take_ports(ps, p, a, msg, msg_size);
	if (ret == 0)
		ret = take_ip(ps, p, msg, msg_size);
	if (ret < 0) {
		pod_free(p);
		return ret;
	}
	pods_add(ps, p);
	*out = p;
	return 0;
}

/* -- the state that the host keeps -- */

void pod_put_str(yajl_gen g, const char *s)
{
	yajl_gen_string(g, (const unsigned char *)s, strlen(s));
}

static void put_port(const struct pod_port *p, yajl_gen g, const char *to_ip)
{
	char ip[IPAM_TEXT];
	yajl_gen_array_open(g);
	pod_put_str(g, pod_protocol(p->protocol));
	pod_write_ip(p->host_ip, ip);
	if (p->host_ip)
		pod_put_str(g, ip);
	else
		yajl_gen_null(g);
	yajl_gen_integer(g, p->host_port);
	if (to_ip)
		pod_put_str(g, to_ip);
	yajl_gen_integer(g, p->container_port);
	yajl_gen_array_close(g);
}

void pod_put_ports(const struct pod *p, yajl_gen g)
{
	char ip[IPAM_TEXT];
	pod_write_ip(p->ip, ip);
	for (size_t i = 0; i < p->n_ports; i++)
		put_port(&p->ports[i], g, ip);
}

char *pod_state_text(const struct pod *p)
{
	yajl_gen g = yajl_gen_alloc(NULL);
	char ip[IPAM_TEXT];
	pod_write_ip(p->ip, ip);
	yajl_gen_map_open(g);
	pod_put_str(g, "v");
	yajl_gen_integer(g, 1);
	pod_put_str(g, "pod");
	pod_put_str(g, p->label);
	pod_put_str(g, "ip");
	pod_put_str(g, ip);
	pod_put_str(g, "serial");
	yajl_gen_integer(g, (long long)p->serial);
	pod_put_str(g, "ports");
	yajl_gen_array_open(g);
	for (size_t i = 0; i < p->n_ports; i++)
		put_port(&p->ports[i], g, NULL);
	yajl_gen_array_close(g);
	yajl_gen_map_close(g);
	const unsigned char *text = NULL;
	size_t len = 0;
	yajl_gen_get_buf(g, &text, &len);
	char *copy = text ? strndup((const char *)text, len) : NULL;
	yajl_gen_free(g);
	return copy;
}

static int recall_port(struct pod_port *to, yajl_val v)
{
	struct in_addr a = { 0 };
	if (!YAJL_IS_ARRAY(v) || v->u.array.len != 4)
		return -EINVAL;
	yajl_val *item = v->u.array.values;
	const char *proto = YAJL_GET_STRING(item[0]), *ip = YAJL_GET_STRING(item[1]);
	uint32_t at = 0;
	while (proto && at < N_PROTOCOLS && strcmp(proto, protocols[at]) != 0)
		at++;
	if (!proto || at == N_PROTOCOLS || (ip && inet_pton(AF_INET, ip, &a) != 1) ||
	    !YAJL_IS_INTEGER(item[2]) || !YAJL_IS_INTEGER(item[3]))
		return -EINVAL;
	*to = (struct pod_port){ at, (uint16_t)YAJL_GET_INTEGER(item[2]),
				 (uint16_t)YAJL_GET_INTEGER(item[3]), ntohl(a.s_addr) };
	return 0;
}

static yajl_val get(yajl_val v, const char *name, yajl_type type)
{
	return yajl_tree_get(v, (const char *[]){ name, NULL }, type);
}

static int recall(struct pods *ps, struct pod *p, yajl_val v)
{
	struct in_addr a;
	yajl_val ip = get(v, "ip", yajl_t_string), label = get(v, "pod", yajl_t_string);
	yajl_val serial = get(v, "serial", yajl_t_number), ports = get(v, "ports", yajl_t_array);
	size_t n = ports ? ports->u.array.len : 0;
	if (!ip || inet_pton(AF_INET, YAJL_GET_STRING(ip), &a) != 1 || n > POD_PORTS_MAX)
		return -EINVAL;
	p->ports = calloc(n + 1, sizeof(*p->ports));
	for (size_t i = 0; p->ports && i < n; i++)
		if (recall_port(&p->ports[i], ports->u.array.values[i]) < 0)
			return -EINVAL;
	p->n_ports = n;
	p->ip = ntohl(a.s_addr);
	p->serial = YAJL_IS_INTEGER(serial) ? (uint64_t)YAJL_GET_INTEGER(serial) : 0;
	snprintf(p->label, sizeof(p->label), "%s", label ? YAJL_GET_STRING(label) : "");
	p->holds_ip = ipam_claim(&ps->ipam, p->ip);
	if (p->serial > ps->serial) {
		ps->serial = p->serial;
		ipam_skip_to(&ps->ipam, p->ip);
	}
	return p->ports ? 0 : -ENOMEM;
}

int pods_recall(struct pods *ps, const char *id, const char *state, struct pod **out)
{
	*out = pods_find(ps, id);
	if (*out)
		return 0;
	struct pod *p = pod_new(id, POD_STATE_LEFT);
	if (!p)
		return -EINVAL;
	int ret = 0;
	if (state && state[0]) {
		char msg[128];
		yajl_val v = yajl_tree_parse(state, msg, sizeof(msg));
		ret = v ? recall(ps, p, v) : -EINVAL;
		yajl_tree_free(v);
		p->state = POD_STATE_ATTACHED;
	}
	if (ret < 0) {
		pod_free(p);
		return ret;
	}
	pods_add(ps, p);
	*out = p;
	return 0;
}
