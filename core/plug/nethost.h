#pragma once
/*
 * The host services of one instance of a network plugin: programs, timers, the log.  Freeing the
 * pool kills what the plugin still has under way, without a callback.
 */
#include "netplug/netplug.h"

struct loop;
struct nethost;
struct pool;
struct spawner;

/* Programs without a slash are taken from libexec_dir.  done is the caller's answer to
 * crisp_net_host.done.  The strings are copied. */
struct nethost *nethost_new(struct loop *l, struct pool *p, struct spawner *s, const char *plugin,
			    const char *libexec_dir, const char *state_dir,
			    void (*done)(struct crisp_net_req *r, const struct crisp_net_result *res));
const struct crisp_net_host *nethost_abi(const struct nethost *h);
