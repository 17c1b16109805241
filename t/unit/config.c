/* Configuration: defaults, layers, and the words of every refusal. */
#include "core/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/near.h"
#include "core/base/pool.h"
#include "t/tap.h"

static char dir[] = "/tmp/crisp-config.XXXXXX";
static struct pool *pool;
static struct err err;

static const char *put(const char *name, const char *text)
{
	const char *path = pool_printf(pool, "%s/%s", dir, name);
	struct err e = { 0 };
	if (file_replace(AT_FDCWD, path, text, strlen(text), 0644, &e) < 0)
		printf("# %s\n", e.msg);
	return path;
}

static struct config *load(const char *file, const char *const *sets)
{
	struct config *c = NULL;
	size_t n = 0;
	while (sets && sets[n])
		n++;
	err_clear(&err);
	return config_load(pool, file, sets, n, "/x/build", &c, &err) == 0 ? c : NULL;
}

static struct config *load_text(const char *text)
{
	return load(put("config.yaml", text), NULL);
}

static void test_defaults(void)
{
	struct config *c = load_text("");
	ok(c, "an empty file is a configuration: %s", err_text(&err));
	if (!c)
		return;
	ok(!strcmp(c->socket, "/run/crisp/crisp.sock") && !strcmp(c->state, "/run/crisp") &&
		   !strcmp(c->root, "/var/lib/crisp"), "paths");
	ok(!strcmp(c->engine_dir, "/x/build/engines") &&
		   !strcmp(c->libexec_dir, "/x/build/libexec") &&
		   !strcmp(c->netplug_dir, "/x/build/netplug"),
	   "own folders lie beside the binary");
	ok(!strcmp(c->netns_dir, "/run/netns") && !strcmp(c->netns_prefix, "crisp-"), "netns");
	bool systemd = !strcmp(c->cgroup_driver, "systemd");
	ok(c->log_level == LOG_LEVEL_INFO && (systemd || !strcmp(c->cgroup_driver, "cgroupfs")) &&
		   !strcmp(c->cgroup_parent, systemd ? "crisp.slice" : "/crisp"),
	   "log and cgroup: %s", c->cgroup_driver);
	ok(c->n_handlers == 2 && !strcmp(config_handler(c, "runc")->engine, "runc") &&
		   !strcmp(config_handler(c, "")->engine, "crun"),
	   "crun and runc are there, crun is \"\"");
	ok(!config_handler(c, "nope"), "an unknown handler is none");
	ok(!strcmp(c->network_plugin, "bridge") &&
		   !strcmp(c->network_options_json, "{\"bridge\":\"crisp0\",\"subnets\":[\"10.88.0."
						    "0/16\"],\"nft_table\":\"crisp\"}"),
	   "bridge with its options: %s", c->network_options_json);
	ok(!strcmp(c->registries_dir, "/etc/crisp/registries.d") && !c->auth_file, "registries");
	ok(!strcmp(c->stream_address, "127.0.0.1") && c->stream_port == 0 &&
		   !strcmp(c->images_store, "auto") && c->n_pinned == 0, "stream and images");
}

static void test_values(void)
{
	struct config *c =
		load_text("# a comment\n"
			  "state: /run/other/\n"
			  "log: {level: debug}\n"
			  "cgroup:\n  parent: my.slice\n  driver:\n"
			  "engines:\n"
			  "  default: fast\n"
			  "  handlers:\n"
			  "    fast: {engine: crun, options: {path: /opt/crun, deep: [1, 2.5, "
			  "true, null, \"7\"]}}\n"
			  "    gvisor:\n"
			  "network: {plugin: none}\n"
			  "registries:\n"
			  "  plain_http: ['127.0.0.1:5000', '[::1]:5000']\n"
			  "  mirrors: {docker.io: [https://m.example/v2, 'http://10.0.0.1:80']}\n"
			  "stream: {address: '::1', port: 10250}\n"
			  "images: {pinned: [a:1, b], store: dir}\n");
	ok(c, "a full file: %s", err_text(&err));
	if (!c)
		return;
	ok(!strcmp(c->socket, "/run/other/crisp.sock"), "the socket follows state: %s", c->socket);
	ok(c->log_level == LOG_LEVEL_DEBUG, "level");
	ok(!strcmp(c->cgroup_parent, "my.slice") && !strcmp(c->cgroup_driver, "systemd"),
	   "a key with nothing keeps its default, auto, for which the parent's form decides");
	const struct config_handler *h = config_handler(c, NULL);
	ok(h && !strcmp(h->name, "fast") && !strcmp(h->engine, "crun"), "the default handler");
	ok(h && !strcmp(h->options_json,
			"{\"path\":\"/opt/crun\",\"deep\":[1,2.5,true,null,\"7\"]}"),
	   "options keep their types: %s", h ? h->options_json : "");
	h = config_handler(c, "gvisor");
	ok(h && !strcmp(h->engine, "gvisor") && !strcmp(h->options_json, "{}"),
	   "a handler without an engine is named after it");
	ok(c->n_handlers == 2, "configured handlers replace the built-in ones");
	ok(!strcmp(c->network_options_json, "{}"), "another plugin has no bridge options");
	ok(c->n_plain_http == 2 && !strcmp(c->plain_http[1], "[::1]:5000"), "plain_http");
	ok(c->n_mirrors == 1 && c->mirrors[0].n_urls == 2 &&
		   !strcmp(c->mirrors[0].host, "docker.io") &&
		   !strcmp(c->mirrors[0].urls[1], "http://10.0.0.1:80"),
	   "mirrors");
	ok(c->stream_port == 10250 && !strcmp(c->stream_address, "::1"), "stream");
	ok(c->n_pinned == 2 && !strcmp(c->pinned[0], "a:1") && !strcmp(c->images_store, "dir"),
	   "images");
}

static void test_layers(void)
{
	mkdir(pool_printf(pool, "%s/conf.d", dir), 0755);
	put("conf.d/20-b.yaml", "log: {level: error}\nnetwork: {options: {bridge: br2}}\n");
	put("conf.d/10-a.yaml", "log: {level: warn}\nimages: {pinned: [c]}\n");
	put("conf.d/30-off.yml", "nonsense: 1\n");
	const char *file = put("config.yaml", "images: {pinned: [a, b], store: dir}\n");
	struct config *c = load(file, NULL);
	ok(c && c->log_level == LOG_LEVEL_ERROR, "drop-ins in order, the last wins: %s",
	   err_text(&err));
	ok(c && c->n_pinned == 1 && !strcmp(c->pinned[0], "c"), "a list replaces");
	ok(c && !strcmp(c->images_store, "dir"), "a sibling key stays");
	ok(c && strstr(c->network_options_json, "\"br2\"") &&
		   strstr(c->network_options_json, "10.88"),
	   "options merge with the bridge's defaults: %s", c ? c->network_options_json : "");
	const char *sets[] = { "log.level=debug",
			       "images.pinned=[x, y, z]",
			       "stream.port=7",
			       "registries.mirrors.quay.io:443=[http://m]",
			       "engines.handlers.f.engine=fake",
			       "engines.handlers.f.options.delay_ms=5",
			       "engines.default=f",
			       "network.options.subnets=[10.9.0.0/24]",
			       NULL };
	c = load(file, sets);
	ok(c && c->log_level == LOG_LEVEL_DEBUG && c->n_pinned == 3 && c->stream_port == 7,
	   "--set wins: %s", err_text(&err));
	ok(c && c->n_mirrors == 1 && !strcmp(c->mirrors[0].host, "quay.io:443"),
	   "a host with dots");
	ok(c && !strcmp(config_handler(c, "")->options_json, "{\"delay_ms\":5}"),
	   "nested --set merge");
	ok(c && strstr(c->network_options_json, "[\"10.9.0.0/24\"]"), "a list by --set");
	const char *fake[] = { "engines.default=fake", pool_printf(pool, "engine_dir=%s", dir), NULL };
	const char *plugin = put("fake.so", "");
	c = load(file, fake);
	unlink(plugin);
	ok(c && c->n_handlers == 3 && !strcmp(config_handler(c, "")->engine, "fake"),
	   "an engine as default needs no handler entry");
	put("conf.d/10-a.yaml", "log: {level: 5}\n");
	ok(!load(file, NULL) && strstr(err.msg, "10-a.yaml:1: log.level"),
	   "a mistake that a later layer covers is found: %s", err.msg);
	unlink(pool_printf(pool, "%s/conf.d/10-a.yaml", dir));
	unlink(pool_printf(pool, "%s/conf.d/20-b.yaml", dir));
	unlink(pool_printf(pool, "%s/conf.d/30-off.yml", dir));
	rmdir(pool_printf(pool, "%s/conf.d", dir));
	ok(!load(pool_printf(pool, "%s/none.yaml", dir), NULL) && err.code == ENOENT,
	   "a named file must exist: %s", err.msg);
}

/* text of the file; words that the message must hold. */
static const struct {
	const char *text, *words;
} refused[] = {
	{ "log:\n  level: info\nsokcet: /x\n",
	  "config.yaml:3: unknown key \"sokcet\", did you mean \"socket\"?" },
	{ "log: {lvl: info}", ":1: unknown key \"log.lvl\", did you mean \"log.level\"?" },
	{ "zzzzzzzz: 1", ":1: unknown key \"zzzzzzzz\"" },
	{ "engines: {handlers: {x: {enigne: crun}}}",
	  "\"engines.handlers.x.enigne\", did you mean" },
	{ "state: /a\nroot: /b\nstate: /c", ":3: key \"state\" is there twice, first on line 1" },
	{ "log: {level: loud}",
	  ":1: log.level: \"loud\" is wrong, expected one of debug, info, warn, error" },
	{ "log: loud", ":1: log: \"loud\" is wrong, expected a mapping" },
	{ "log: [a]", ":1: log: expected a mapping, not a list" },
	{ "- a\n- b", "the file: expected a mapping, not a list" },
	{ "socket: run/x", ":1: socket: \"run/x\" is wrong, expected an absolute path" },
	{ "socket: 5", ":1: socket: \"5\" is a number, expected an absolute path" },
	{ "socket: {a: b}", "socket: expected an absolute path, not a mapping" },
	{ "\n\nstream: {port: 65536}", ":3: stream.port: \"65536\" is a number, expected a port" },
	{ "stream: {port: -1}", "stream.port" },
	{ "stream: {port: \"80\"}", "stream.port: \"80\" is wrong" },
	{ "stream: {port: 99999999999999999999}", "stream.port" },
	{ "stream: {address: localhost}",
	  "stream.address: \"localhost\" is wrong, expected an IP" },
	{ "engines: {default: crum}",
	  ":1: engines.default: \"crum\" is neither a handler nor an engine, "
	  "did you mean \"crun\"?" },
	{ "engines: {default: ../x}", "engines.default: \"../x\" is neither" },
	{ "engines: {handlers: {a: {engine: ../evil}}}", "engines.handlers.a.engine: \"../evil\"" },
	{ "engines: {handlers: {A_b: {engine: crun}}}", "\"A_b\" is no name for a handler" },
	{ "engines: {handlers: {a: {options: 5}}}", "engines.handlers.a.options: \"5\"" },
	{ "engines: {handlers: {a: {alowed_annotations: []}}}",
	  ":1: unknown key \"engines.handlers.a.alowed_annotations\", did you mean "
	  "\"engines.handlers.a.allowed_annotations\"?" },
	{ "engines: {handlers: {a: {fallbak: b}}}", "did you mean \"engines.handlers.a.fallback\"?" },
	{ "engines: {handlers: {a: {allowed_annotations: ['x[']}}}", "a.allowed_annotations: \"x[\" is wrong" },
	{ "engines: {handlers: {a: {allowed_annotations: ['x\\']}}}", "allowed_annotations: \"x\\\" is wrong" },
	{ "engines: {handlers: {a: {allowed_annotations: [\"[!a]\"]}}}", "allowed_annotations: \"[!a]\"" },
	{ "engines: {handlers: {a: {privileged_without_host_devices: 'yes'}}}", "expected true or false" },
	{ "engines: {handlers: {a: {create_timeout: 0}}}", "create_timeout: \"0\"" },
	{ "engines: {handlers: {a: {create_timeout: 201}}}", "expected a time of 1s to 200s" },
	{ "engines: {handlers: {a: {create_timeout: 2h}}}", "create_timeout: \"2h\"" },
	{ "engines: {handlers: {a: {create_timeout: 99999999999999999999m}}}", "create_timeout" },
	{ "engines: {handlers: {a: {max_parallel: 0}}}", "max_parallel: \"0\" is a number, expected" },
	{ "engines: {handlers: {a: {pod_overhead: {memory: 1Xi}}}}", "pod_overhead.memory: \"1Xi\"" },
	{ "engines: {handlers: {a: {pod_overhead: {memory: -1}}}}", "pod_overhead.memory" },
	{ "engines: {handlers: {a: {pod_overhead: {memory: 9999999999Gi}}}}", "pod_overhead.memory" },
	{ "engines: {handlers: {a: {pod_overhead: {cpu: nan}}}}", "pod_overhead.cpu" },
	{ "engines: {handlers: {a: {pod_overhead: {cpu: 1c}}}}", "pod_overhead.cpu: \"1c\"" },
	{ "engines: {handlers: {a: {pod_overhead: {mem: 1}}}}", "\"engines.handlers.a.pod_overhead.mem\"" },
	{ "engines: {handlers: {a: {spec: {process: {args: [x]}}}}}",
	  "unknown key \"engines.handlers.a.spec.process.args\"" },
	{ "engines: {handlers: {a: {spec: {linux: {secomp: {}}}}}}", "unknown key" },
	{ "engines: {handlers: {a: {spec: {proces: {}}}}}", "did you mean \"engines.handlers.a.spec.process\"?" },
	{ "engines: {handlers: {a: {spec: {mounts: [{source: /x}]}}}}", "spec.mounts: expected mappings" },
	{ "engines: {handlers: {a: {spec: {process: {env: [FOO]}}}}}", "expected NAME=VALUE" },
	{ "engines: {handlers: {a: {spec: {annotations: {x: 5}}}}}", "spec.annotations.x: \"5\"" },
	{ "engines: {handlers: {a: {spec: {hooks: {prestart: [{path: x}]}}}}}", "spec.hooks.prestart" },
	{ "engines:\n  default: aa\n  handlers:\n    aa:\n      fallback: bbx\n    bbb:\n",
	  ":5: engines.handlers.aa.fallback: \"bbx\" is no handler, did you mean \"bbb\"?" },
	{ "engines: {default: a, handlers: {a: {fallback: ''}}}", "a.fallback: \"\" is no handler" },
	{ "engines: {default: a, handlers: {a: {fallback: a}}}",
	  ":1: engines.handlers.a.fallback: \"a\" leads in a circle: a > a" },
	{ "engines: {default: a, handlers: {a: {}, b: {fallback: c}, c: {fallback: d}, d: {fallback: b}}}",
	  "b.fallback: \"c\" leads in a circle: b > c > d > b" },
	{ "engines: {default: a, handlers: {a: {fallback: b}, b: {fallback: c}, c: {fallback: b}}}",
	  "leads in a circle" },
	{ "network: {plugin: a/b}", "network.plugin" },
	{ "cgroup: {parent: crisp}", "cgroup.parent" },
	{ "cgroup: {parent: /a/../b}", "cgroup.parent" },
	{ "cgroup: {driver: systemd, parent: /crisp}",
	  ":1: cgroup.parent: \"/crisp\" is not for the driver systemd, expected NAME.slice" },
	{ "cgroup: {driver: cgroupfs, parent: crisp.slice}",
	  "cgroup.parent: \"crisp.slice\" is not for the driver cgroupfs, expected a path like /crisp" },
	{ "cgroup: {parent: /crisp.slice}", "expected a path like /crisp; a slice is given as NAME.slice" },
	{ "cgroup: {driver: v2}", "expected one of auto, cgroupfs, systemd" },
	{ "images: {pinned: a}", "images.pinned: \"a\" is wrong, expected a list" },
	{ "images: {pinned: [a, 5]}", "images.pinned: \"5\" is a number" },
	{ "registries: {plain_http: ['a b']}",
	  "registries.plain_http: \"a b\" is wrong, expected HOST" },
	{ "registries: {mirrors: {docker.io: [ftp://x]}}",
	  "registries.mirrors.docker.io: \"ftp://x\"" },
	{ "netns_prefix: a/b", "netns_prefix" },
	{ "a: &x 1\nb: *x", "aliases are not supported" },
	{ "log: !!map {}\nstate: !foo /x", "tags are not supported" },
	{ "log: {level: info", ":2: bad YAML while parsing a flow mapping (line 1)" },
	{ "log:\n\t- x", ":2: bad YAML" },
	{ "state: /a\n---\nstate: /b", ":3: a second document" },
	{ "state: \"/a\\0b\"", ":1: a control character" },
	{ "state: \"/a\\x7f\"", ":1: a control character" },
	{ "state: \"/a\\u0090\"", ":1: a control character" },
	{ "\xff\xfe\xff", "config.yaml" },
};

static void test_refusals(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
		struct config *c = load_text(refused[i].text);
		ok(!c && strstr(err.msg, refused[i].words), "refused: %s",
		   c ? refused[i].text : err.msg);
	}
	const char *bad[][2] = {
		{ "log.level", "expected key.path=value" },
		{ "=x", "expected key.path" },
		{ "log..level=x", "expected key.path" },
		{ ".=x", "expected key.path" },
		{ "a.b.c.d.e.f.g.h.i.j=1", "expected key.path" },
		{ "network.options.a\x7f=1", "a control character" },
		{ "network.options.a\xff=1", "a control character" },
		{ "log.levl=info", "unknown key \"log.levl\", did you mean \"log.level\"" },
		{ "stream.port=http", "--set stream.port=http: stream.port: \"http\"" }
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *sets[] = { bad[i][0], NULL };
		ok(!load(put("config.yaml", ""), sets) && strstr(err.msg, bad[i][1]),
		   "--set refused: %s", err.msg);
	}
	char deep[300];
	memset(deep, '[', 200);
	memset(deep + 200, 0, 100);
	ok(!load_text(deep), "an unclosed nest is refused: %s", err.msg);
	memset(deep + 100, ']', 100);
	ok(!load_text(deep) && strstr(err.msg, "deeper"), "a deep nest is refused: %s", err.msg);
	char *big = pool_alloc(pool, (1 << 20) + 16);
	memset(big, '#', (1 << 20) + 1);
	ok(!load_text(big), "a file over 1 MiB is refused: %s", err.msg);
	char longdir[120];
	snprintf(longdir, sizeof(longdir), "state: /%099d", 1);
	ok(!load_text(longdir) && strstr(err.msg, "107"), "a socket that does not fit: %s",
	   err.msg);
}

static const char policies[] =
	"engines:\n"
	"  default: host\n"
	"  handlers:\n"
	"    host: {engine: fake}\n"
	"    vm: {engine: fake, fallback: host, max_parallel: 2, create_timeout: 2m,\n"
	"         privileged_without_host_devices: true, pod_overhead: {memory: 160Mi, cpu: 0.25},\n"
	"         allowed_annotations: [example.com/*, 'one.*', 'io.kubernetes.*', 'a?[b-d]'],\n"
	"         spec: {process: {env: [A=1], rlimits: [{type: RLIMIT_CORE, hard: 0, soft: 0}]},\n"
	"                mounts: [{destination: /x, type: tmpfs, source: tmpfs}]}}\n";

static void test_policy(void)
{
	struct config *c = load_text(policies);
	ok(c, "the options of a handler: %s", err_text(&err));
	if (!c)
		return;
	const struct config_handler *h = config_handler(c, "vm"), *host = config_handler(c, "");
	const struct config_policy *p = &h->policy;
	ok(!strcmp(h->fallback, "host") && h->max_parallel == 2 && p->create_timeout_ms == 120000 &&
	   p->no_host_devices && p->overhead_memory == 160 << 20 && p->overhead_cpu == 250,
	   "each has its value: %llu %lld %lld", (unsigned long long)p->create_timeout_ms,
	   (long long)p->overhead_memory, (long long)p->overhead_cpu);
	ok(strstr(p->spec_json, "\"hard\":0") && !host->fallback && !host->policy.spec_json, "parts of the spec");
	ok(config_policy_allows(p, "example.com/x") && config_policy_allows(p, "one.two") &&
	   config_policy_allows(p, "axc"), "what patterns match");
	ok(!config_policy_allows(p, "example.com/x/y") && !config_policy_allows(p, "one.two/x") &&
	   !config_policy_allows(p, "axe") && !config_policy_allows(p, "xexample.com/x") &&
	   !config_policy_allows(&host->policy, "one.two"), "what they don't: nothing passes a slash");
	ok(config_policy_allows(p, "io.kubernetes.x") && !config_policy_allows(p, "io.kubernetes.cri.sandbox-id"),
	   "nor what tells an engine who a pod is");
	struct config_policy back;
	const char *text = config_policy_json(pool, p);
	ok(config_policy_parse(pool, text, &back, &err) == 0 && !strcmp(config_policy_json(pool, &back), text),
	   "a policy is text and back: %s", text);
	ok(config_policy_parse(pool, "{}", &back, &err) == 0 && !back.spec_json && !back.n_annotations, "none is {}");
	ok(config_policy_parse(pool, "{\"x\":1}", &back, &err) == -EINVAL, "and what is no policy is an error");
}

static void test_changes(void)
{
	struct config *was = load_text(policies);
	struct config *now = load_text("state: /run/y\nlog: {level: error}\ncgroup: {parent: /z}\n"
				       "registries: {mirrors: {h: [http://a]}}");
	ok(was && now && !strcmp(config_fixed_changes(pool, was, now),
				 "socket, state, cgroup.parent, registries.mirrors"),
	   "what a reload can't change is named: %s", config_fixed_changes(pool, was, now));
	ok(was && !*config_fixed_changes(pool, was, load_text("log: {level: debug}")), "what it can is not");
}

static void test_near(void)
{
	static const char *const names[] = { "socket", "state", "stream", "root" };
	const char *got = near_name("sokcet", names, 4);
	ok(got && !strcmp(got, "socket"), "a swap is near");
	got = near_name("sate", names, 4);
	ok(got && !strcmp(got, "state"), "the nearest of several");
	ok(!near_name("network", names, 4) && !near_name("", names, 4), "nothing is near enough");
}

static void test_show(void)
{
	const char *full = pool_printf(pool, "%sregistries: {mirrors: {h: [http://a]}}", policies);
	struct config *c = load_text(full);
	struct json_out *o = json_out(pool);
	config_json(c, o);
	size_t len;
	const char *text = json_text(o, &len);
	const struct json *j;
	ok(json_parse(pool, text, len, &j, NULL) == 0, "what is shown is JSON");
	struct config *again = load_text(text);
	ok(again && again->n_handlers == 2 && again->n_mirrors == 1, "and is a configuration: %s",
	   err_text(&err));
	struct json_out *o2 = json_out(pool);
	if (again)
		config_json(again, o2);
	ok(again && !strcmp(json_text(o2, NULL), text), "with the same values");
}

int main(void)
{
	pool = pool_new(NULL, "test");
	if (!mkdtemp(dir))
		return 1;
	test_defaults();
	test_values();
	test_layers();
	test_refusals();
	test_policy();
	test_changes();
	test_near();
	test_show();
	struct err e = { 0 };
	ok(file_remove_tree(AT_FDCWD, dir, &e) == 0, "cleaned up %s", e.msg);
	pool_destroy(pool);
	return done();
}
