/*
 * Virtual machines: what a host needs for them, and images that the guest pulls.  Without the former a
 * shim fails in the middle of a pod, with words that name neither the cause nor the cure; so it is
 * looked at before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engines/share/base64.h"
#include "engines/shimv2/shimv2.h"

enum { CONFIG_MAX = 256 << 10 };

/* Where the runtime looks for its configuration, in its order. */
static const char *find_config(const struct shim_options *o)
{
	static const char *const places[] = {
		"/etc/kata-containers/configuration.toml",
		"/usr/share/defaults/kata-containers/configuration.toml",
		"/opt/kata/share/defaults/kata-containers/configuration.toml",
	};
	if (o->config_path[0])
		return access(o->config_path, R_OK) == 0 ? o->config_path : NULL;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], R_OK) == 0)
			return places[i];
	return NULL;
}

/* These speak with their guests over a unix socket: no vsock of the host's is in it. */
static bool has_hybrid_vsock(const char *path)
{
	static char text[CONFIG_MAX];
	static const char *const names[] = {
		"\n[hypervisor.clh]", "\n[hypervisor.cloud-hypervisor]", "\n[hypervisor.firecracker]",
		"\n[hypervisor.dragonball]",
	};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strstr(text, names[i]))
			return true;
	return false;
}

int guest_check(const struct shim_options *o, char msg[SHIM_MSG_MAX])
{
	const char *config = find_config(o), *missing[4];
	size_t n = 0;
	if (!config)
		missing[n++] = o->config_path[0] ? "the file of option config_path" :
						   "configuration.toml in /etc/kata-containers";
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		missing[n++] = "/dev/kvm (virtualisation)";
	if ((!config || !has_hybrid_vsock(config)) && access("/dev/vhost-vsock", F_OK) < 0)
		missing[n++] = "/dev/vhost-vsock (modprobe vhost_vsock)";
	if (access("/dev/log", W_OK) < 0)
		missing[n++] = "/dev/log (a syslog socket)";
	if (!n)
		return 0;
	int len = snprintf(msg, SHIM_MSG_MAX, "this host lacks ");
	for (size_t i = 0; i < n; i++)
		len += snprintf(msg + len, SHIM_MSG_MAX - (size_t)len, "%s%s", i ? ", " : "", missing[i]);
	return -ENODEV;
}

/* -- guest pull -- */

char *guest_pull_option(const char *image_ref)
{
	const unsigned char *text;
	size_t len;
	char *option = NULL;
	yajl_gen g = yajl_gen_alloc(NULL);
	yajl_gen_map_open(g);
	json_put_text(g, "volume_type");
	json_put_text(g, "image_guest_pull");
	json_put_text(g, "source");
	json_put_text(g, image_ref);
	json_put_text(g, "fs_type");
	json_put_text(g, "overlay");
	json_put_text(g, "image_pull");
	yajl_gen_map_open(g);
	json_put_text(g, "metadata");
	yajl_gen_map_open(g);
	yajl_gen_map_close(g);
	yajl_gen_map_close(g);
	yajl_gen_map_close(g);
	yajl_gen_get_buf(g, &text, &len);
	char *value = base64(text, len);
	if (asprintf(&option, "io.katacontainers.volume=%s", value) < 0)
		abort();
	free(value);
	yajl_gen_free(g);
	return option;
}
