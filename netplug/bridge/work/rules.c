/*
 * nftables by libnftables, see the header: text in, one transaction each.  The library gives back
 * errors as text only, which is where the kernel's reason is read from.  It is loaded when it is
 * needed: with all that hangs on it, it would double the time that a pod takes.
 */
#include "netplug/bridge/work/rules.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>

#include "core/base/buf.h"
#include "core/base/pool.h"
#include "netplug/bridge/work/ports.h"

struct rules {
	struct pool_res res;
	struct nft_ctx *nft;
	__typeof__(nft_ctx_new) *ctx_new;
	__typeof__(nft_ctx_free) *ctx_free;
	__typeof__(nft_ctx_buffer_error) *buffer_error;
	__typeof__(nft_ctx_get_error_buffer) *get_error;
	__typeof__(nft_ctx_buffer_output) *buffer_output;
	__typeof__(nft_ctx_get_output_buffer) *get_output;
	__typeof__(nft_ctx_output_set_flags) *set_flags;
	__typeof__(nft_run_cmd_from_buffer) *run_cmd;
};

static int load(struct rules *r, struct err *e)
{
	const struct { const char *name; void *to; } symbols[] = {
		{ "nft_ctx_new", &r->ctx_new },
		{ "nft_ctx_free", &r->ctx_free },
		{ "nft_ctx_buffer_error", &r->buffer_error },
		{ "nft_ctx_get_error_buffer", &r->get_error },
		{ "nft_ctx_buffer_output", &r->buffer_output },
		{ "nft_ctx_get_output_buffer", &r->get_output },
		{ "nft_ctx_output_set_flags", &r->set_flags },
		{ "nft_run_cmd_from_buffer", &r->run_cmd },
	};
	void *lib = dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL);
	for (size_t i = 0; lib && i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *symbol = dlsym(lib, symbols[i].name);
		if (!symbol)
			lib = NULL;
		else
			memcpy(symbols[i].to, &symbol, sizeof(symbol));
	}
	return lib ? 0 : err_set(e, ENOENT, "load nftables: %s", dlerror());
}

static void release_rules(struct pool_res *res)
{
	struct rules *r = container_of(res, struct rules, res);
	r->ctx_free(r->nft);
}

struct rules *rules_new(struct pool *p, struct err *e)
{
	struct rules *r = pool_new_struct(p, struct rules);
	if (load(r, e) < 0)
		return NULL;
	r->nft = r->ctx_new(NFT_CTX_DEFAULT);
	if (!r->nft || r->buffer_error(r->nft) != 0 || r->buffer_output(r->nft) != 0) {
		err_set(e, ENOMEM, "open nftables");
		return NULL;
	}
	pool_res_add(p, &r->res, release_rules);
	return r;
}

/* "internal:0:0-0: Error: Could not process rule: File exists\nadd element...^^^" */
static int run_error(const char *text, struct err *e)
{
	static const struct { const char *words; int code; } codes[] = {
		{ "File exists", EEXIST }, { "No such file", ENOENT }, { "not permitted", EPERM },
		{ "does not exist", ENOENT }, { "Device or resource busy", EBUSY },
	};
	const char *at = strstr(text, "Error: ");
	at = at ? at + strlen("Error: ") : text;
	int code = EIO;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strstr(at, codes[i].words))
			code = codes[i].code;
	return err_set(e, code, "nftables: %.*s", (int)strcspn(at, "\n"), at);
}

static int run(struct rules *r, struct buf *text, struct err *e)
{
	int ret = text->len ? r->run_cmd(r->nft, text->data) : 0;
	buf_free(text);
	return ret ? run_error(r->get_error(r->nft), e) : 0;
}

/* -- text -- */

static void put_element(struct buf *b, const char *table, const struct port *p)
{
	buf_printf(b, "add element inet %s %s { ", table, p->host_ip ? "ports_ip" : "ports");
	if (p->host_ip)
		buf_printf(b, "%s . ", p->host_ip);
	buf_printf(b, "%s . %u : %s . %u }\n", p->proto, p->host_port, p->to_ip, p->to_port);
}

static void put_subnets(struct buf *b, const struct rules_net *n)
{
	for (size_t i = 0; i < n->n_subnets; i++)
		buf_printf(b, "%s%s", i ? ", " : "", n->subnets[i]);
}

/*
 * 127.0.0.1:port leads to a pod too: the kernel routes such packets to the bridge because of
 * route_localnet, and they need another source.  The price of route_localnet is paid by "guard":
 * without it, pods could reach what listens on the node's loopback (CVE-2020-8558).
 */
static void put_table(struct buf *b, const struct rules_net *n)
{
	const char *t = n->table, *br = n->bridge;
	buf_printf(b, "create table inet %s\n", t);
	buf_printf(b, "add set inet %s subnets { type ipv4_addr; flags interval; elements = { ", t);
	put_subnets(b, n);
	buf_adds(b, " } }\n");
	buf_printf(b, "add map inet %s ports { type inet_proto . inet_service : ipv4_addr . inet_service; }\n", t);
	buf_printf(b, "add map inet %s ports_ip { type ipv4_addr . inet_proto . inet_service : "
		      "ipv4_addr . inet_service; }\n", t);

	buf_printf(b, "add chain inet %s guard { type filter hook prerouting priority raw; }\n", t);
	buf_printf(b, "add rule inet %s guard iifname \"%s\" ip daddr 127.0.0.0/8 drop\n", t, br);

	buf_printf(b, "add chain inet %s hostports\n", t);
	buf_printf(b, "add rule inet %s hostports dnat ip to ip daddr . meta l4proto . th dport map @ports_ip\n", t);
	buf_printf(b, "add rule inet %s hostports dnat ip to meta l4proto . th dport map @ports\n", t);
	buf_printf(b, "add chain inet %s prerouting { type nat hook prerouting priority dstnat; }\n", t);
	buf_printf(b, "add rule inet %s prerouting fib daddr type local jump hostports\n", t);
	buf_printf(b, "add chain inet %s output { type nat hook output priority -100; }\n", t);
	buf_printf(b, "add rule inet %s output fib daddr type local jump hostports\n", t);

	/* Out to the world; a pod to a host port that leads back to the bridge; the loopback. */
	buf_printf(b, "add chain inet %s postrouting { type nat hook postrouting priority srcnat; }\n", t);
	buf_printf(b, "add rule inet %s postrouting ip saddr @subnets ip daddr != @subnets "
		      "ip daddr != 224.0.0.0/4 oifname != \"%s\" masquerade\n", t, br);
	buf_printf(b, "add rule inet %s postrouting oifname \"%s\" ct status dnat "
		      "ip saddr @subnets masquerade\n", t, br);
	buf_printf(b, "add rule inet %s postrouting oifname \"%s\" ip saddr 127.0.0.0/8 masquerade\n", t, br);
}

/* -- */

int rules_ensure(struct rules *r, const struct rules_net *n, bool *made, struct err *e)
{
	struct err own = { 0 };
	struct buf b = { 0 };
	put_table(&b, n);
	int ret = run(r, &b, &own);
	*made = ret == 0;
	if (ret == 0 || ret == -EEXIST)		/* "create" fails, and all with it, on a table that exists */
		return 0;
	return err_set(e, -ret, "make table %s: %s", n->table, own.msg);
}

int rules_rebuild(struct rules *r, const struct rules_net *n, const struct port *ports,
		  size_t n_ports, struct err *e)
{
	struct buf b = { 0 };
	buf_printf(&b, "add table inet %s\ndelete table inet %s\n", n->table, n->table);
	put_table(&b, n);
	for (size_t i = 0; i < n_ports; i++)
		put_element(&b, n->table, &ports[i]);
	return err_wrap(e, run(r, &b, e), "make table %s anew", n->table);
}

/* -- the node's own firewall -- */

#define FORWARD "ip filter FORWARD"

/* The chain as text with handles, or NULL: there is none. */
static const char *list_forward(struct rules *r)
{
	struct err ignored = { 0 };
	struct buf b = { 0 };
	r->set_flags(r->nft, NFT_CTX_OUTPUT_HANDLE);
	buf_adds(&b, "list chain " FORWARD "\n");
	return run(r, &b, &ignored) == 0 ? r->get_output(r->nft) : NULL;
}

static void write_mark(char *out, size_t size, const char *bridge)
{
	snprintf(out, size, "comment \"crisp bridge %s\"", bridge);
}

int rules_pass_firewall(struct rules *r, const char *bridge, struct err *e)
{
	char mark[64];
	write_mark(mark, sizeof(mark), bridge);
	const char *chain = list_forward(r);
	if (!chain || !strstr(chain, "policy drop") || strstr(chain, mark))
		return 0;
	struct buf b = { 0 };
	buf_printf(&b, "insert rule " FORWARD " oifname \"%s\" counter accept %s\n", bridge, mark);
	buf_printf(&b, "insert rule " FORWARD " iifname \"%s\" counter accept %s\n", bridge, mark);
	return err_wrap(e, run(r, &b, e), "let %s through the chain " FORWARD, bridge);
}

/* Each line of the chain that bears our mark ends with "# handle N". */
static void put_firewall_rules(struct buf *b, const char *chain, const char *bridge)
{
	char mark[64];
	unsigned handle;
	write_mark(mark, sizeof(mark), bridge);
	for (const char *at = chain; at && (at = strstr(at, mark)); at++) {
		const char *tag = strstr(at, "# handle ");
		if (tag && tag < at + strcspn(at, "\n") && sscanf(tag, "# handle %u", &handle) == 1)
			buf_printf(b, "delete rule " FORWARD " handle %u\n", handle);
	}
}

int rules_drop(struct rules *r, const char *table, const char *bridge, struct err *e)
{
	struct buf b = { 0 };
	put_firewall_rules(&b, list_forward(r), bridge);
	buf_printf(&b, "add table inet %s\ndelete table inet %s\n", table, table);
	return err_wrap(e, run(r, &b, e), "delete table %s", table);
}

int rules_present(struct pool *p, const char *table, bool *present, struct err *e)
{
	_Alignas(struct nlmsghdr) char buf[1024];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = NFPROTO_INET;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, table);
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int ret = -1;
	if (nl && mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0 &&
	    mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) >= 0) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		ret = n < 0 ? -1 : mnl_cb_run(buf, (size_t)n, 0, mnl_socket_get_portid(nl), NULL, NULL);
	}
	int code = ret < 0 ? errno : 0;
	if (nl)
		mnl_socket_close(nl);
	*present = ret >= 0;
	return ret >= 0 || code == ENOENT ? 0 : err_set(e, code, "look for table %s: %s", table, strerror(code));
}
