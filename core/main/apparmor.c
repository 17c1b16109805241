/*
 * The profile keeps a container that has got hold of more than it should (a bug in an engine, a mount
 * too many) from the node's own settings.  What a pod may do is up to its request: capabilities,
 * devices and files are not narrowed here.
 */
#include "core/main/apparmor.h"

#include <string.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/pool.h"
#include "core/oci/oci.h"
#include "core/spawn/spawn.h"

#define PROFILE "crisp-default"
enum { LOAD_MS = 60000, OUTPUT_MAX = 2000 };

/* Masked and read-only paths say the same of /proc and /sys, but can be asked away.  Mounting is not
 * allowed since there is no rule for it. */
static const char profile[] =
	"profile " PROFILE " flags=(attach_disconnected,mediate_deleted) {\n"
	"  network,\n"
	"  capability,\n"
	"  file,\n"
	"  umount,\n"
	/* the node's processes and its engines, which may have profiles of their own; other containers */
	"  signal (receive),\n"
	"  signal (send) peer=" PROFILE ",\n"
	"  ptrace (trace, read, tracedby, readby) peer=" PROFILE ",\n"
	"  deny /proc/{sysrq-trigger,kcore,kmem,mem} rwklx,\n"
	"  deny /proc/{acpi,bus,fs,irq,scsi,tty}/** wklx,\n"
	"  deny /proc/sys/{abi,crypto,debug,dev,user,vm}/** wklx,\n"
	"  deny /proc/sys/fs/{[^m]*,m[^q]*}{,/**} wklx,\n"
	"  deny /proc/sys/kernel/{c,k,o,p,r,t,u,y}*{,/**} wklx,\n"
	"  deny /proc/sys/kernel/{modprobe,modules_disabled,sysrq,sched*,softlockup*,soft_*,stack*,hung_*,hotplug} wklx,\n"
	"  deny /sys/{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}/** wklx,\n"
	"  deny /sys/fs/{[^c]*,c[^g]*}/** wklx,\n"
	"}\n";

struct load {
	struct oci_host *host;
	void (*cb)(void *data);
	void *data;
};

static const char *parser(void)
{
	static const char *const paths[] = { "/usr/sbin/apparmor_parser", "/sbin/apparmor_parser" };
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		if (access(paths[i], X_OK) == 0)
			return paths[i];
	return NULL;
}

static void handle_loaded(void *data, struct spawn_result *r)
{
	struct load *l = data;
	struct err e = { 0 };
	if (spawn_check(r, "apparmor_parser", &e) == 0)
		l->host->apparmor_default = PROFILE;
	else
		log_error("no AppArmor profile for containers that name none", "error", err_text(&e));
	l->cb(l->data);
}

void apparmor_load(struct spawner *s, struct pool *p, struct oci_host *h, bool afresh, void (*cb)(void *data),
		   void *data)
{
	if (!h->apparmor) {
		cb(data);
		return;
	}
	if (!afresh && oci_apparmor_loaded(h, PROFILE)) {
		h->apparmor_default = PROFILE;
		cb(data);
		return;
	}
	if (!parser()) {
		log_warn("AppArmor is enabled, but there is no apparmor_parser: containers that name no profile run without");
		cb(data);
		return;
	}
	struct load *l = pool_new_struct(p, struct load);
	*l = (struct load){ h, cb, data };
	const char *argv[] = { "apparmor_parser", "--replace", "--skip-cache", "--quiet", NULL };
	struct spawn_plan plan = SPAWN_PLAN_INIT;
	plan.path = parser();
	plan.argv = argv;
	plan.input = profile;
	plan.input_len = strlen(profile);
	plan.err_max = OUTPUT_MAX;
	plan.timeout_ms = LOAD_MS;
	spawn_start(s, p, &plan, handle_loaded, l);
}
