/* ctnetlink by libmnl, see the header: a dump, then a delete for each flow that was meant. */
#include "netplug/bridge/work/flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "core/base/list.h"
#include "core/base/pool.h"
#include "netplug/bridge/work/ports.h"

enum { ANSWER_SIZE = 32768, FLOWS_MAX = 65536 };

struct tuple {
	struct in_addr src, dst;
	uint8_t proto;
	uint16_t dport;
};

/* A flow to forget: its own attribute, as the kernel wants it back. */
struct flow {
	struct list link;
	struct nlattr *orig;
};

struct search {
	struct pool *pool;
	const struct port *ports;
	size_t n_ports;
	enum flows_which which;
	struct list found;
	size_t n_found;
};

static void read_tuple(const struct nlattr *nest, struct tuple *t)
{
	const struct nlattr *a, *b;
	mnl_attr_for_each_nested(a, nest) {
		uint16_t type = mnl_attr_get_type(a);
		if (type != CTA_TUPLE_IP && type != CTA_TUPLE_PROTO)
			continue;
		mnl_attr_for_each_nested(b, a) {
			uint16_t inner = mnl_attr_get_type(b);
			if (type == CTA_TUPLE_IP && inner == CTA_IP_V4_SRC)
				t->src.s_addr = mnl_attr_get_u32(b);
			else if (type == CTA_TUPLE_IP && inner == CTA_IP_V4_DST)
				t->dst.s_addr = mnl_attr_get_u32(b);
			else if (type == CTA_TUPLE_PROTO && inner == CTA_PROTO_NUM)
				t->proto = mnl_attr_get_u8(b);
			else if (type == CTA_TUPLE_PROTO && inner == CTA_PROTO_DST_PORT)
				t->dport = ntohs(mnl_attr_get_u16(b));
		}
	}
}

static bool is_udp(const struct port *p)
{
	return strcmp(p->proto, "udp") == 0;
}

static bool same_ip(const char *text, struct in_addr ip)
{
	struct in_addr a;
	return inet_pton(AF_INET, text, &a) == 1 && a.s_addr == ip.s_addr;
}

static bool is_meant(const struct search *s, const struct tuple *orig, const struct tuple *reply,
		     uint32_t status)
{
	bool to_pod = orig->dst.s_addr != reply->src.s_addr;
	for (size_t i = 0; i < s->n_ports; i++) {
		const struct port *p = &s->ports[i];
		if (!is_udp(p) || orig->dport != p->host_port)
			continue;
		if (s->which == FLOWS_TO_PODS && to_pod && same_ip(p->to_ip, reply->src))
			return true;
		/* What is masqueraded only passes through the node. */
		if (s->which == FLOWS_TO_PORTS && !to_pod && !(status & IPS_SRC_NAT) &&
		    (!p->host_ip || same_ip(p->host_ip, orig->dst)))
			return true;
	}
	return false;
}

static int handle_flow(const struct nlmsghdr *nlh, void *data)
{
	struct search *s = data;
	struct tuple orig = { 0 }, reply = { 0 };
	const struct nlattr *orig_attr = NULL, *a;
	uint32_t status = 0;
	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg)) {
		switch (mnl_attr_get_type(a)) {
		case CTA_TUPLE_ORIG:
			orig_attr = a;
			read_tuple(a, &orig);
			break;
		case CTA_TUPLE_REPLY:
			read_tuple(a, &reply);
			break;
		case CTA_STATUS:
			status = ntohl(mnl_attr_get_u32(a));
			break;
		}
	}
	if (!orig_attr || orig.proto != IPPROTO_UDP || s->n_found == FLOWS_MAX ||
	    !is_meant(s, &orig, &reply, status))
		return MNL_CB_OK;
	struct flow *f = pool_new_struct(s->pool, struct flow);
	f->orig = pool_memdup(s->pool, orig_attr, orig_attr->nla_len);
	list_append(&s->found, &f->link);
	s->n_found++;
	return MNL_CB_OK;
}

static struct nlmsghdr *request_begin(char *buf, unsigned type, unsigned flags, unsigned seq)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = seq;
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = AF_INET;
	return nlh;
}

static int request_run(struct mnl_socket *nl, const struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	_Alignas(struct nlmsghdr) char answer[ANSWER_SIZE];
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	for (int ret = MNL_CB_OK; ret != MNL_CB_STOP;) {
		ssize_t n = mnl_socket_recvfrom(nl, answer, sizeof(answer));
		if (n < 0)
			return -errno;
		ret = mnl_cb_run(answer, (size_t)n, nlh->nlmsg_seq, mnl_socket_get_portid(nl), cb, data);
		if (ret < 0)
			return -errno;
	}
	return 0;
}

static int forget(struct mnl_socket *nl, struct search *s)
{
	_Alignas(struct nlmsghdr) char buf[4096];
	unsigned seq = (unsigned)time(NULL);
	int ret = request_run(nl, request_begin(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, seq), handle_flow, s);
	struct flow *f;
	list_for_each(f, &s->found, link) {
		struct nlmsghdr *nlh = request_begin(buf, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, ++seq);
		mnl_attr_put(nlh, mnl_attr_get_type(f->orig) | NLA_F_NESTED, mnl_attr_get_payload_len(f->orig),
			     mnl_attr_get_payload(f->orig));
		int one = ret == 0 ? request_run(nl, nlh, NULL, NULL) : 0;
		if (one < 0 && one != -ENOENT)
			ret = one;
	}
	return ret;
}

int flows_forget(struct pool *p, const struct port *ports, size_t n, enum flows_which which,
		 struct err *e)
{
	size_t udp = 0;
	for (size_t i = 0; i < n; i++)
		udp += is_udp(&ports[i]);
	if (!udp)
		return 0;
	struct search s = { .pool = p, .ports = ports, .n_ports = n, .which = which };
	list_init(&s.found);
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int ret = nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0 ? forget(nl, &s) : -errno;
	if (nl)
		mnl_socket_close(nl);
	if (ret == 0 || ret == -EINVAL || ret == -EOPNOTSUPP)	/* not built in, no module */
		return 0;
	return err_set(e, -ret, "forget the flows of UDP host ports: %s", strerror(-ret));
}
