/* The core's side of network plugins, on the fake one: build/netplug/fake.so beside this test. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/pool.h"
#include "core/loop/loop.h"
#include "core/plug/net.h"
#include "core/spawn/spawn.h"
#include "t/tap.h"

static struct loop *loop;
static struct pool *root;
static struct spawner *spawner;
static char build[PATH_MAX], dir[] = "/tmp/crisp-net-XXXXXX";

static char id_a[] = "a000000000000000000000000000000000000000000000000000000000000000";
static char id_b[] = "b000000000000000000000000000000000000000000000000000000000000000";

struct answer {
	int calls, ret;
	char ip[64], state[64], msg[500];
};

static void handle_answer(void *data, int ret, const struct net_result *r, const struct err *e)
{
	struct answer *a = data;
	a->calls++;
	a->ret = ret;
	snprintf(a->ip, sizeof(a->ip), "%s", r && r->n_ips ? r->ips[0] : "");
	snprintf(a->state, sizeof(a->state), "%s", r && r->state ? r->state : "");
	snprintf(a->msg, sizeof(a->msg), "%s", ret ? err_text(e) : "");
	loop_stop(loop);
}

static void handle_late(struct loop_timer *t)
{
	loop_stop(loop);
}

static void run_ms(uint64_t ms)
{
	struct loop_timer t = { 0 };
	loop_timer_start(&t, loop, root, ms, 0, handle_late, NULL);
	loop_run(loop);
	loop_timer_stop(&t);
	pool_res_drop(&t.res);
}

static struct net_plug *open_net(struct pool *p, const char *plugin, const char *options)
{
	return net_plug_new(loop, p, spawner, pool_printf(p, "%s/netplug", build),
			    pool_printf(p, "%s/libexec", build), dir, plugin, options);
}

static struct net_call *attach(struct net_plug *n, const char *id, const char *name, uint64_t ms,
			       struct answer *a)
{
	memset(a, 0, sizeof(*a));
	struct net_attach at = { .pod_id = id, .name = name, .ns = "default", .uid = "u", .netns_path = "/proc/self/ns/net" };
	return net_plug_attach(n, &at, ms, handle_answer, a);
}

static bool attached(const char *id)
{
	char path[PATH_MAX];
	snprintf(path, sizeof(path), "%s/attached/%s", dir, id);
	return access(path, F_OK) == 0;
}

static void handle_settled(void *data)
{
	++*(int *)data;
	loop_stop(loop);
}

static void test_settled(void)
{
	struct pool *p = pool_new(root, "test");
	int settled = 0;
	const char *reason;
	struct net_plug *n = open_net(p, "fake", NULL);
	net_plug_when_settled(n, handle_settled, &settled);
	run_ms(5000);
	ok(settled == 1 && net_plug_ready(n, &reason), "told when it is loaded");
	net_plug_when_settled(n, handle_settled, &settled);
	ok(settled == 1, "not from inside");
	run_ms(5000);
	ok(settled == 2, "told again, it is loaded already");
	n = open_net(p, "absent", NULL);
	net_plug_when_settled(n, handle_settled, &settled);
	run_ms(5000);
	ok(settled == 3 && !net_plug_ready(n, &reason), "told when it can't be loaded");
	n = open_net(p, "fake", NULL);
	net_plug_when_settled(n, handle_settled, &settled);
	pool_destroy(p);
	run_ms(20);
	ok(settled == 3, "not told once the pool is gone");
}

static void test_life(void)
{
	struct pool *p = pool_new(root, "test");
	struct net_plug *n = open_net(p, "fake", NULL);
	const char *reason = "";
	ok(!net_plug_ready(n, &reason) && strstr(reason, "being loaded"), "not ready while loading");
	struct answer a, b;
	attach(n, id_a, "web", 0, &a);
	ok(a.calls == 0, "never calls back from inside");
	run_ms(5000);
	ok(a.calls == 1 && a.ret == 0, "an attach made while loading ends: %s", a.msg);
	ok(strcmp(a.ip, "10.99.0.2") == 0, "address %s comes without its prefix", a.ip);
	ok(net_plug_ready(n, &reason) && !reason, "ready");
	ok(attached(id_a), "attached");
	attach(n, id_b, "web", 0, &b);
	ok(b.calls == 0, "a plugin that is done at once doesn't call back from inside either");
	run_ms(5000);
	ok(b.ret == 0 && strcmp(a.ip, b.ip) != 0, "another address, %s", b.ip);

	net_plug_gc(n, (const char *const[]){ id_b }, 1);
	run_ms(20);
	ok(!attached(id_a) && attached(id_b), "gc removes what isn't live");
	memset(&a, 0, sizeof(a));
	net_plug_detach(n, id_b, NULL, b.state, 0, handle_answer, &a);
	run_ms(5000);
	ok(a.calls == 1 && a.ret == 0 && !attached(id_b), "detach");
	net_plug_detach(n, id_b, "/nowhere", NULL, 0, handle_answer, &a);
	run_ms(5000);
	ok(a.calls == 2 && a.ret == 0, "a second detach, without a namespace, is fine");
	pool_destroy(p);

	p = pool_new(root, "test");
	n = open_net(p, "fake", "{}");
	net_plug_adopt(n, id_b, b.state);
	attach(n, id_a, "web", 0, &a);
	run_ms(5000);
	ok(a.ret == 0 && strcmp(a.ip, b.ip) > 0, "an adopted address (%s) isn't given again: %s", b.ip, a.ip);
	pool_destroy(p);
	ok(attached(id_a), "closing leaves the pods their network");
}

static void test_failure(void)
{
	struct pool *p = pool_new(root, "test");
	struct net_plug *n = open_net(p, "fake",
		"{\"rules\":[{\"op\":\"attach\",\"pod\":\"bad\",\"times\":1,\"errno\":28,\"msg\":\"no\\nroom\"},"
		"{\"op\":\"attach\",\"pod\":\"deaf\",\"hang\":true}]}");
	struct answer a;
	attach(n, id_a, "bad", 0, &a);
	run_ms(5000);
	ok(a.ret == -ENOSPC && strcmp(a.msg, "network fake: attach: no room") == 0, "failure: %s", a.msg);
	attach(n, id_a, "bad", 0, &a);
	run_ms(5000);
	ok(a.ret == 0, "a worn-out rule lets it pass");
	attach(n, id_b, "deaf", 30, &a);
	run_ms(5000);
	ok(a.calls == 1 && a.ret == -ETIMEDOUT, "deadline: %s", a.msg);
	struct net_call *c = attach(n, id_b, "deaf", 0, &a);
	net_call_cancel(c);
	net_call_cancel(c);
	ok(a.calls == 0, "cancel doesn't call back from inside");
	run_ms(5000);
	ok(a.calls == 1 && a.ret == -ECANCELED, "cancelled: %s", a.msg);
	memset(&a, 0, sizeof(a));
	struct net_attach at = { .pod_id = id_a, .name = "x", .netns_path = "/nowhere" };
	net_plug_attach(n, &at, 0, handle_answer, &a);
	run_ms(5000);
	ok(a.ret == -ENOENT && strstr(a.msg, "/nowhere"), "no namespace: %s", a.msg);
	attach(n, id_b, "deaf", 0, &a);
	run_ms(20);
	pool_destroy(p);
	run_ms(20);
	ok(a.calls == 0, "no callback once the pool is gone");
}

static void expect_unready(const char *plugin, const char *options, const char *words)
{
	struct pool *p = pool_new(root, "test");
	struct net_plug *n = open_net(p, plugin, options);
	struct answer a;
	attach(n, id_a, "web", 0, &a);
	run_ms(5000);
	const char *reason = "";
	bool ready = net_plug_ready(n, &reason);
	ok(!ready && reason && strstr(reason, words), "%s %s is unready: %s", plugin, options, reason);
	ok(a.calls == 1 && a.ret < 0 && strstr(a.msg, words), "and attach says so: %s", a.msg);
	memset(&a, 0, sizeof(a));
	net_plug_detach(n, id_a, NULL, NULL, 0, handle_answer, &a);
	run_ms(5000);
	ok(a.calls == 1 && a.ret == 0, "and a detach of nothing is fine: %s", a.msg);
	pool_destroy(p);
}

int main(int argc, char **argv)
{
	if (!realpath("/proc/self/exe", build) || !mkdtemp(dir))
		return 1;
	*strstr(build, "/t/unit/") = 0;
	root = pool_new(NULL, "root");
	loop = loop_new(root);
	spawner = spawner_new(loop, root, 4, NULL, 0);
	test_settled();
	test_life();
	test_failure();
	expect_unready("absent", "{}", "absent.so");
	expect_unready("../fake", "{}", "no name of a plugin");
	expect_unready("fake", "{\"dealy_ms\":1}", "unknown option \"dealy_ms\"");
	expect_unready("none", "{\"x\":1}", "options");
	pool_destroy(root);
	struct err e = { 0 };
	file_remove_tree(-100, dir, &e);
	return done();
}
