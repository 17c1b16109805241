/* The options of the bridge plugin: see bridge.c for what there are. */
#include "netplug/bridge/bridge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <yajl/yajl_tree.h>

static int option_name(yajl_val v, const char *name, char *out, size_t max, char *msg, uint32_t cap)
{
	const char *s = YAJL_GET_STRING(v);
	size_t n = s ? strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") : 0;
	if (!n || s[n] || n > max || s[0] == '-') {
		snprintf(msg, cap, "option %s: not a name of at most %zu letters, digits, _ and -", name, max);
		return -EINVAL;
	}
	strcpy(out, s);
	return 0;
}

static int option_subnets(struct crisp_net *n, yajl_val v, char *msg, uint32_t cap)
{
	size_t len = YAJL_IS_ARRAY(v) ? v->u.array.len : 0;
	for (size_t i = 0; i < len; i++) {
		const char *text = YAJL_GET_STRING(v->u.array.values[i]), *why;
		int ret = ipam_add(&n->pods.ipam, text ? text : "", &why);
		if (ret < 0) {
			snprintf(msg, cap, "option subnets: \"%.60s\" %s", text ? text : "", why);
			return ret;
		}
	}
	if (!len)
		snprintf(msg, cap, "option subnets: not a list of networks");
	return len ? 0 : -EINVAL;
}

static int read_option(struct crisp_net *n, const char *key, yajl_val v, char *msg, uint32_t cap)
{
	if (strcmp(key, "bridge") == 0)
		return option_name(v, key, n->bridge, NAME_MAX_LINK, msg, cap);
	if (strcmp(key, "nft_table") == 0)
		return option_name(v, key, n->table, NAME_MAX_TABLE, msg, cap);
	if (strcmp(key, "subnets") == 0)
		return option_subnets(n, v, msg, cap);
	snprintf(msg, cap, "unknown option \"%.60s\"; there are bridge, subnets, nft_table", key);
	return -EINVAL;
}

int options_read(struct crisp_net *n, const char *json, char *msg, uint32_t cap)
{
	const char *why;
	strcpy(n->bridge, "crisp0");
	strcpy(n->table, "crisp");
	snprintf(msg, cap, "the options are no JSON object");
	yajl_val o = yajl_tree_parse(json, NULL, 0);
	int ret = YAJL_IS_OBJECT(o) ? 0 : -EINVAL;
	for (size_t i = 0; ret == 0 && i < o->u.object.len; i++)
		ret = read_option(n, o->u.object.keys[i], o->u.object.values[i], msg, cap);
	yajl_tree_free(o);
	if (ret == 0 && !n->pods.ipam.n)
		ret = ipam_add(&n->pods.ipam, "10.88.0.0/16", &why);
	return ret;
}
