/*
 * Elements over nfnetlink, see the header.  A transaction of nftables is a batch: its messages
 * between a begin and an end; each that asks for it is answered, and one error undoes all.
 */
#include "netplug/bridge/work/ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "core/base/pool.h"

enum { ELEMENT_SIZE = 256, ANSWER_SIZE = 16384 };

struct batch {
	struct mnl_socket *nl;
	char *buf;
	size_t len;
	unsigned seq;
};

static struct nlmsghdr *batch_put(struct batch *b, unsigned type, unsigned flags, unsigned family, unsigned res)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(b->buf + b->len);
	nlh->nlmsg_type = (uint16_t)type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = b->seq++;
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = (uint8_t)family;
	nfg->res_id = htons((uint16_t)res);
	return nlh;
}

static void batch_begin(struct batch *b)
{
	b->len = 0;
	b->len += batch_put(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
}

/* A concatenation: each part in network order, filled up to four bytes. */
static void put_data(struct nlmsghdr *nlh, uint16_t type, const uint32_t *parts, size_t n)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, type);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, n * sizeof(*parts), parts);
	mnl_attr_nest_end(nlh, nest);
}

static uint32_t port_part(unsigned port)
{
	uint16_t raw[2] = { htons((uint16_t)port), 0 };
	uint32_t part;
	memcpy(&part, raw, sizeof(part));
	return part;
}

static uint32_t proto_part(const char *proto)
{
	uint8_t raw[4] = { strcmp(proto, "udp") == 0 ? IPPROTO_UDP : strcmp(proto, "tcp") == 0 ? IPPROTO_TCP : IPPROTO_SCTP };
	uint32_t part;
	memcpy(&part, raw, sizeof(part));
	return part;
}

static uint32_t ip_part(const char *ip)
{
	struct in_addr a = { 0 };
	inet_pton(AF_INET, ip, &a);
	return a.s_addr;
}

static void put_element(struct nlmsghdr *nlh, const struct port *p)
{
	uint32_t key[3];
	size_t n = 0;
	if (p->host_ip)
		key[n++] = ip_part(p->host_ip);
	key[n++] = proto_part(p->proto);
	key[n++] = port_part(p->host_port);
	put_data(nlh, NFTA_SET_ELEM_KEY, key, n);
	put_data(nlh, NFTA_SET_ELEM_DATA, (uint32_t[]){ ip_part(p->to_ip), port_part(p->to_port) }, 2);
}

static void batch_element(struct batch *b, unsigned type, const char *table, const struct port *p)
{
	unsigned create = type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0;
	struct nlmsghdr *nlh = batch_put(b, NFNL_SUBSYS_NFTABLES << 8 | type, NLM_F_ACK | create, NFPROTO_INET, 0);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, p->host_ip ? "ports_ip" : "ports");
	struct nlattr *list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	struct nlattr *item = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	put_element(nlh, p);
	mnl_attr_nest_end(nlh, item);
	mnl_attr_nest_end(nlh, list);
	b->len += nlh->nlmsg_len;
}

/* The first error among what has been answered; all of it is here once the send is over. */
static int batch_answer(struct batch *b)
{
	_Alignas(struct nlmsghdr) char answer[ANSWER_SIZE];
	int first = 0;
	ssize_t got;
	while ((got = recv(mnl_socket_get_fd(b->nl), answer, sizeof(answer), MSG_DONTWAIT)) > 0) {
		int len = (int)got;
		for (const struct nlmsghdr *nlh = (const void *)answer; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len)) {
			const struct nlmsgerr *err = mnl_nlmsg_get_payload(nlh);
			if (nlh->nlmsg_type == NLMSG_ERROR && err->error && !first)
				first = err->error;
		}
	}
	return got < 0 && errno != EAGAIN && !first ? -errno : first;
}

static int batch_commit(struct batch *b)
{
	b->len += batch_put(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)->nlmsg_len;
	if (mnl_socket_sendto(b->nl, b->buf, b->len) < 0)
		return -errno;
	return batch_answer(b);
}

static int batch_open(struct batch *b, struct pool *p, size_t elements, struct err *e)
{
	*b = (struct batch){ .seq = 1, .buf = pool_alloc(p, (elements + 2) * ELEMENT_SIZE) };
	b->nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (b->nl && mnl_socket_bind(b->nl, 0, MNL_SOCKET_AUTOPID) == 0)
		return 0;
	int ret = err_sys(e, "open an nfnetlink socket");
	if (b->nl)
		mnl_socket_close(b->nl);
	return ret;
}

int ports_add(struct pool *p, const char *table, const struct port *ports, size_t n, struct err *e)
{
	struct batch b;
	if (batch_open(&b, p, n, e) < 0)
		return -e->code;
	batch_begin(&b);
	for (size_t i = 0; i < n; i++)
		batch_element(&b, NFT_MSG_NEWSETELEM, table, &ports[i]);
	int ret = batch_commit(&b);
	mnl_socket_close(b.nl);
	if (ret == -EBUSY)		/* what kernels say of an element with other data differs */
		ret = -EEXIST;
	return ret < 0 ? err_set(e, -ret, "add host ports to table %s: %s", table, strerror(-ret)) : 0;
}

/* An element is removed by its key alone.  To add it first makes that right: it fails when the port
 * leads elsewhere, and there is something to remove in any case. */
static int remove_one(struct batch *b, const char *table, const struct port *p)
{
	batch_begin(b);
	batch_element(b, NFT_MSG_NEWSETELEM, table, p);
	batch_element(b, NFT_MSG_DELSETELEM, table, p);
	int ret = batch_commit(b);
	return ret == -EEXIST || ret == -EBUSY || ret == -ENOENT ? 0 : ret;
}

int ports_remove(struct pool *p, const char *table, const struct port *ports, size_t n, struct err *e)
{
	struct batch b;
	int ret = batch_open(&b, p, 2, e);
	if (ret < 0)
		return ret;
	for (size_t i = 0; i < n && ret == 0; i++) {
		ret = remove_one(&b, table, &ports[i]);
		if (ret < 0)
			err_set(e, -ret, "remove host port %u from table %s: %s", ports[i].host_port, table,
				strerror(-ret));
	}
	mnl_socket_close(b.nl);
	return ret;
}
