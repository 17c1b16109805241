/* Bitmaps of addresses, see the header. */
#include "netplug/bridge/ipam.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX_MIN = 12, PREFIX_MAX = 30 };

static void write_ip(char out[IPAM_TEXT], uint32_t ip)
{
	struct in_addr a = { htonl(ip) };
	inet_ntop(AF_INET, &a, out, IPAM_TEXT);
}

static bool is_taken(const struct ipam_subnet *s, uint32_t at)
{
	return s->taken[at / 64] >> at % 64 & 1;
}

static void set_taken(struct ipam_subnet *s, uint32_t at, bool on)
{
	uint64_t bit = 1ull << at % 64;
	s->taken[at / 64] = on ? s->taken[at / 64] | bit : s->taken[at / 64] & ~bit;
}

static int parse(const char *cidr, struct ipam_subnet *s)
{
	char ip[IPAM_TEXT], *end;
	struct in_addr a;
	const char *slash = strchr(cidr, '/');
	if (!slash || slash - cidr >= (ptrdiff_t)sizeof(ip) || slash[1] < '0' || slash[1] > '9')
		return -EINVAL;
	snprintf(ip, sizeof(ip), "%.*s", (int)(slash - cidr), cidr);
	unsigned long prefix = strtoul(slash + 1, &end, 10);
	if (inet_pton(AF_INET, ip, &a) != 1 || *end || prefix < PREFIX_MIN || prefix > PREFIX_MAX)
		return -EINVAL;
	s->prefix = (unsigned)prefix;
	s->size = 1u << (32 - s->prefix);
	s->base = ntohl(a.s_addr);
	return s->base % s->size ? -EINVAL : 0;
}

int ipam_add(struct ipam *m, const char *cidr, const char **why)
{
	struct ipam_subnet s = { .next = 2 };
	*why = "is no IPv4 network of /12 to /30, such as 10.88.0.0/16";
	if (parse(cidr, &s) < 0)
		return -EINVAL;
	*why = "overlaps another one";
	for (size_t i = 0; i < m->n; i++)
		if (s.base < m->subnets[i].base + m->subnets[i].size && m->subnets[i].base < s.base + s.size)
			return -EINVAL;
	*why = "is one too many";
	if (m->n == IPAM_SUBNETS_MAX)
		return -EINVAL;
	s.taken = calloc((s.size + 63) / 64, sizeof(*s.taken));
	if (!s.taken)
		return -ENOMEM;
	write_ip(s.gateway, s.base + 1);
	snprintf(s.text, sizeof(s.text), "%s", cidr);
	set_taken(&s, 0, true);			/* the network, the gateway, the broadcast address */
	set_taken(&s, 1, true);
	set_taken(&s, s.size - 1, true);
	m->subnets[m->n++] = s;
	return 0;
}

static uint32_t take_from(struct ipam_subnet *s)
{
	for (uint32_t i = 0; i < s->size; i++) {
		uint32_t at = (s->next + i) % s->size;
		if (is_taken(s, at))
			continue;
		set_taken(s, at, true);
		s->next = (at + 1) % s->size;
		return s->base + at;
	}
	return 0;
}

uint32_t ipam_take(struct ipam *m)
{
	uint32_t ip = 0;
	for (size_t i = 0; i < m->n && !ip; i++)
		ip = take_from(&m->subnets[i]);
	return ip;
}

struct ipam_subnet *ipam_find(struct ipam *m, uint32_t ip)
{
	for (size_t i = 0; i < m->n; i++)
		if (ip - m->subnets[i].base < m->subnets[i].size)
			return &m->subnets[i];
	return NULL;
}

bool ipam_claim(struct ipam *m, uint32_t ip)
{
	struct ipam_subnet *s = ipam_find(m, ip);
	if (!s || is_taken(s, ip - s->base))
		return false;
	set_taken(s, ip - s->base, true);
	return true;
}

void ipam_release(struct ipam *m, uint32_t ip)
{
	struct ipam_subnet *s = ipam_find(m, ip);
	if (s)
		set_taken(s, ip - s->base, false);
}

void ipam_skip_to(struct ipam *m, uint32_t ip)
{
	struct ipam_subnet *s = ipam_find(m, ip);
	if (s)
		s->next = (ip - s->base + 1) % s->size;
}

void ipam_free(struct ipam *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->subnets[i].taken);
}
