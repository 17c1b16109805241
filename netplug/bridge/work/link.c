/* rtnetlink by libmnl, see the header. */
#include "netplug/bridge/work/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>

#include "core/base/pool.h"

enum { REQUEST_SIZE = 4096, ANSWER_SIZE = 32768, DOOMED_GROUP = 0x63720bed, DUMP_TRIES = 50 };

struct link_sock {
	struct pool_res res;
	struct mnl_socket *nl;
	unsigned seq;
};

int link_addr_parse(const char *cidr, struct link_addr *out, struct err *e)
{
	char ip[INET_ADDRSTRLEN];
	char *end;
	const char *slash = strchr(cidr ? cidr : "", '/');
	if (!slash || slash - cidr >= (ptrdiff_t)sizeof(ip) || slash[1] < '0' || slash[1] > '9')
		return err_set(e, EINVAL, "\"%.40s\" is no IPv4 address with prefix", cidr ? cidr : "");
	snprintf(ip, sizeof(ip), "%.*s", (int)(slash - cidr), cidr);
	unsigned long prefix = strtoul(slash + 1, &end, 10);
	if (inet_pton(AF_INET, ip, &out->ip) != 1 || *end || prefix > 32)
		return err_set(e, EINVAL, "\"%.40s\" is no IPv4 address with prefix", cidr);
	out->prefix = (unsigned)prefix;
	return 0;
}

static void release_sock(struct pool_res *r)
{
	struct link_sock *s = container_of(r, struct link_sock, res);
	if (s->nl)
		mnl_socket_close(s->nl);
}

static int sock_open(struct link_sock *s)
{
	if (s->nl)
		mnl_socket_close(s->nl);
	s->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	return s->nl && mnl_socket_bind(s->nl, 0, MNL_SOCKET_AUTOPID) == 0 ? 0 : -errno;
}

struct link_sock *link_sock_new(struct pool *p, struct err *e)
{
	struct link_sock *s = pool_new_struct(p, struct link_sock);
	s->seq = (unsigned)time(NULL);
	pool_res_add(p, &s->res, release_sock);
	if (sock_open(s) == 0)
		return s;
	err_sys(e, "open a netlink socket");
	return NULL;
}

/* -- one request, one answer -- */

/* A request under construction. */
struct request {
	_Alignas(struct nlmsghdr) char buf[REQUEST_SIZE];
	struct nlmsghdr *nlh;
};

static void *request_begin(struct request *q, uint16_t type, uint16_t flags, size_t head)
{
	q->nlh = mnl_nlmsg_put_header(q->buf);
	q->nlh->nlmsg_type = type;
	q->nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return mnl_nlmsg_put_extra_header(q->nlh, head);
}

/* 0 or -errno; words are the caller's. */
static int request_run(struct link_sock *s, struct request *q, mnl_cb_t cb, void *data)
{
	_Alignas(struct nlmsghdr) char answer[ANSWER_SIZE];
	unsigned portid = mnl_socket_get_portid(s->nl);
	q->nlh->nlmsg_seq = ++s->seq;
	if (mnl_socket_sendto(s->nl, q->nlh, q->nlh->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(s->nl, answer, sizeof(answer));
		if (n < 0)
			return -errno;
		int ret = mnl_cb_run(answer, (size_t)n, q->nlh->nlmsg_seq, portid, cb, data);
		if (ret < 0)
			return -errno;
		if (ret == MNL_CB_STOP)
			return 0;
	}
}

static struct ifinfomsg *link_begin(struct request *q, uint16_t type, uint16_t flags, unsigned index)
{
	struct ifinfomsg *ifi = request_begin(q, type, flags, sizeof(*ifi));
	ifi->ifi_index = (int)index;
	return ifi;
}

static int link_up(struct link_sock *s, unsigned index)
{
	struct request q;
	struct ifinfomsg *ifi = link_begin(&q, RTM_NEWLINK, 0, index);
	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	return request_run(s, &q, NULL, NULL);
}

/*
 * No link-local address of IPv6, where we give none: a thousand pods would each announce theirs to a
 * thousand others.  The loopback keeps its ::1.
 */
static int link_quieten(struct link_sock *s, unsigned index)
{
	struct request q;
	link_begin(&q, RTM_SETLINK, 0, index);
	struct nlattr *families = mnl_attr_nest_start(q.nlh, IFLA_AF_SPEC);
	struct nlattr *inet6 = mnl_attr_nest_start(q.nlh, AF_INET6);
	mnl_attr_put_u8(q.nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(q.nlh, inet6);
	mnl_attr_nest_end(q.nlh, families);
	int ret = request_run(s, &q, NULL, NULL);
	return ret == -EAFNOSUPPORT ? 0 : ret;		/* a kernel without IPv6 */
}

/* By name and not by if_nametoindex(): that one asks the namespace that we are in. */
static int handle_index(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	*(unsigned *)data = (unsigned)ifi->ifi_index;
	return MNL_CB_OK;
}

static int link_index(struct link_sock *s, const char *name, unsigned *index)
{
	struct request q;
	link_begin(&q, RTM_GETLINK, 0, 0);
	mnl_attr_put_strz(q.nlh, IFLA_IFNAME, name);
	return request_run(s, &q, handle_index, index);
}

static int addr_add(struct link_sock *s, unsigned index, const struct link_addr *a)
{
	struct request q;
	struct ifaddrmsg *ifa = request_begin(&q, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*ifa));
	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = (uint8_t)a->prefix;
	ifa->ifa_index = index;
	uint32_t broadcast = a->ip.s_addr | (a->prefix < 32 ? htonl(UINT32_MAX >> a->prefix) : 0);
	mnl_attr_put(q.nlh, IFA_LOCAL, sizeof(a->ip), &a->ip);
	mnl_attr_put(q.nlh, IFA_ADDRESS, sizeof(a->ip), &a->ip);
	if (a->prefix < 31)
		mnl_attr_put(q.nlh, IFA_BROADCAST, sizeof(broadcast), &broadcast);
	return request_run(s, &q, NULL, NULL);
}

/* 0a:58 and the address: locally administered, and the same again with the same address. */
static void put_mac(struct nlmsghdr *nlh, struct in_addr ip)
{
	unsigned char mac[6] = { 0x0a, 0x58 };
	memcpy(mac + 2, &ip, sizeof(ip));
	mnl_attr_put(nlh, IFLA_ADDRESS, sizeof(mac), mac);
}

/* -- the bridge -- */

static int bridge_add(struct link_sock *s, const char *name, struct in_addr ip)
{
	struct request q;
	link_begin(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
	mnl_attr_put_strz(q.nlh, IFLA_IFNAME, name);
	put_mac(q.nlh, ip);
	struct nlattr *info = mnl_attr_nest_start(q.nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(q.nlh, IFLA_INFO_KIND, "bridge");
	mnl_attr_nest_end(q.nlh, info);
	int ret = request_run(s, &q, NULL, NULL);
	return ret == -EEXIST ? 0 : ret;	/* another worker was first, or it is an old one */
}

int link_ensure_bridge(struct link_sock *s, const char *name, const struct link_addr *gateways,
		       size_t n, struct err *e)
{
	unsigned index = 0;
	int ret = bridge_add(s, name, gateways[0].ip);
	if (ret == 0)
		ret = link_index(s, name, &index);
	for (size_t i = 0; i < n && ret == 0; i++)
		ret = addr_add(s, index, &gateways[i]);
	if (ret == 0)
		ret = link_up(s, index);
	return ret < 0 ? err_set(e, -ret, "make bridge %s: %s", name, strerror(-ret)) : 0;
}

/* -- a pod's veth -- */

static int veth_add(struct link_sock *s, const char *host, unsigned bridge, int netns_fd, struct in_addr ip)
{
	struct request q;
	link_begin(&q, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
	mnl_attr_put_strz(q.nlh, IFLA_IFNAME, host);
	mnl_attr_put_u32(q.nlh, IFLA_MASTER, bridge);
	struct nlattr *info = mnl_attr_nest_start(q.nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(q.nlh, IFLA_INFO_KIND, "veth");
	struct nlattr *data = mnl_attr_nest_start(q.nlh, IFLA_INFO_DATA);
	struct nlattr *peer = mnl_attr_nest_start(q.nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(q.nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(q.nlh, IFLA_IFNAME, "eth0");
	mnl_attr_put_u32(q.nlh, IFLA_NET_NS_FD, (uint32_t)netns_fd);
	put_mac(q.nlh, ip);
	mnl_attr_nest_end(q.nlh, peer);
	mnl_attr_nest_end(q.nlh, data);
	mnl_attr_nest_end(q.nlh, info);
	return request_run(s, &q, NULL, NULL);
}

/*
 * With br_netfilter a pod's packet to a host port of its own is translated while it is bridged and
 * has to leave by the port that it came in by.
 */
static int port_set_hairpin(struct link_sock *s, unsigned index)
{
	struct request q;
	struct ifinfomsg *ifi = link_begin(&q, RTM_SETLINK, 0, index);
	ifi->ifi_family = AF_BRIDGE;
	struct nlattr *port = mnl_attr_nest_start(q.nlh, IFLA_PROTINFO);
	mnl_attr_put_u8(q.nlh, IFLA_BRPORT_MODE, 1);
	mnl_attr_nest_end(q.nlh, port);
	return request_run(s, &q, NULL, NULL);
}

int link_add_pod(struct link_sock *s, const char *host, const char *bridge, int netns_fd,
		 struct in_addr ip, struct err *e)
{
	unsigned index = 0;
	int ret = link_index(s, bridge, &index);
	if (ret < 0)
		return err_set(e, -ret, "find bridge %s: %s", bridge, strerror(-ret));
	ret = veth_add(s, host, index, netns_fd, ip);
	if (ret < 0)
		return err_set(e, -ret, "make %s on bridge %s: %s", host, bridge, strerror(-ret));
	ret = link_index(s, host, &index);
	if (ret == 0)
		ret = link_quieten(s, index);
	if (ret == 0)
		ret = port_set_hairpin(s, index);
	if (ret == 0)
		ret = link_up(s, index);
	return ret < 0 ? err_set(e, -ret, "set up %s: %s", host, strerror(-ret)) : 0;
}

/* Whatever is in this group is on its way out, whoever has put it there. */
static int link_doom(struct link_sock *s, const char *name)
{
	struct request q;
	link_begin(&q, RTM_SETLINK, 0, 0);
	mnl_attr_put_strz(q.nlh, IFLA_IFNAME, name);
	mnl_attr_put_u32(q.nlh, IFLA_GROUP, DOOMED_GROUP);
	return request_run(s, &q, NULL, NULL);
}

int link_remove(struct link_sock *s, const char *const *names, size_t n, struct err *e)
{
	bool any = false;
	for (size_t i = 0; i < n; i++) {
		int ret = link_doom(s, names[i]);
		if (ret < 0 && ret != -ENODEV)
			return err_set(e, -ret, "remove link %s: %s", names[i], strerror(-ret));
		any |= ret == 0;
	}
	if (!any)
		return 0;
	struct request q;
	link_begin(&q, RTM_DELLINK, 0, 0);
	mnl_attr_put_u32(q.nlh, IFLA_GROUP, DOOMED_GROUP);
	int ret = request_run(s, &q, NULL, NULL);
	if (ret == 0 || ret == -ENODEV)		/* another worker's may have been quicker */
		return 0;
	return err_set(e, -ret, "remove %zu links: %s", n, strerror(-ret));
}

/* -- the ports of the bridge -- */

struct walk {
	unsigned bridge;
	void (*cb)(void *data, const char *name);
	void *data;
};

static int handle_link(const struct nlmsghdr *nlh, void *data)
{
	struct walk *w = data;
	const char *name = NULL;
	unsigned master = 0;
	const struct nlattr *a;
	mnl_attr_for_each(a, nlh, sizeof(struct ifinfomsg)) {
		if (mnl_attr_get_type(a) == IFLA_IFNAME)
			name = mnl_attr_get_str(a);
		else if (mnl_attr_get_type(a) == IFLA_MASTER)
			master = mnl_attr_get_u32(a);
	}
	if (name && master == w->bridge)
		w->cb(w->data, name);
	return MNL_CB_OK;
}

static int dump_ports(struct link_sock *s, struct walk *w)
{
	struct request q;
	link_begin(&q, RTM_GETLINK, NLM_F_DUMP, 0);
	mnl_attr_put_u32(q.nlh, IFLA_MASTER, w->bridge);
	return request_run(s, &q, handle_link, w);
}

int link_each_port(struct link_sock *s, const char *bridge, void (*cb)(void *data, const char *name),
		   void *data, struct err *e)
{
	struct walk w = { .cb = cb, .data = data };
	int ret = link_index(s, bridge, &w.bridge);
	if (ret == -ENODEV)
		return 0;
	if (ret == 0)
		ret = dump_ports(s, &w);
	/* The node's links have changed meanwhile: some may be missing, and the rest of this dump is
	 * still in the socket. */
	for (int i = 0; ret == -EINTR && i < DUMP_TRIES; i++) {
		ret = sock_open(s);
		if (ret == 0)
			ret = dump_ports(s, &w);
	}
	return ret < 0 ? err_set(e, -ret, "list the ports of %s: %s", bridge, strerror(-ret)) : 0;
}

/* -- inside the pod -- */

static int route_default(struct link_sock *s, unsigned index, struct in_addr gateway)
{
	struct request q;
	struct rtmsg *rt = request_begin(&q, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, sizeof(*rt));
	rt->rtm_family = AF_INET;
	rt->rtm_table = RT_TABLE_MAIN;
	rt->rtm_protocol = RTPROT_STATIC;
	rt->rtm_scope = RT_SCOPE_UNIVERSE;
	rt->rtm_type = RTN_UNICAST;
	mnl_attr_put(q.nlh, RTA_GATEWAY, sizeof(gateway), &gateway);
	mnl_attr_put_u32(q.nlh, RTA_OIF, index);
	return request_run(s, &q, NULL, NULL);
}

int link_set_up_pod(struct link_sock *s, const struct link_addr *addrs, size_t n,
		    struct in_addr gateway, struct err *e)
{
	unsigned lo = 0, eth0 = 0;
	int ret = link_index(s, "lo", &lo);
	if (ret == 0)
		ret = link_up(s, lo);
	if (ret < 0)
		return err_set(e, -ret, "set lo up in the pod: %s", strerror(-ret));
	ret = link_index(s, "eth0", &eth0);
	if (ret == 0)
		ret = link_quieten(s, eth0);
	if (ret == 0)
		ret = link_up(s, eth0);
	for (size_t i = 0; i < n && ret == 0; i++)
		ret = addr_add(s, eth0, &addrs[i]);
	if (ret < 0)
		return err_set(e, -ret, "set up eth0 in the pod: %s", strerror(-ret));
	ret = route_default(s, eth0, gateway);
	return ret < 0 ? err_set(e, -ret, "set the pod's default route: %s", strerror(-ret)) : 0;
}
