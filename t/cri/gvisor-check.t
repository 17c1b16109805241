#!/bin/sh
# gVisor's engine keeps to what engine-check asks of a plugin; so does shimv2 with the shim of today.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")" || exit 1
here=$PWD
. ./components.sh
gvisor_runsc || { echo "Bail out! runsc could not be built"; exit 1; }
cd ../.. || exit 1
shim=$(tmp=/nonexistent && . t/bench/containerd.sh && containerd_build >&2 && echo "$containerd_bin") ||
	{ echo "Bail out! the shim could not be built"; exit 1; }
. t/int/kit.sh
make_rootfs "$dir/rootfs"

# The same, and one of those that are KNOWN to fail does.
fails_still() { keeps "$@" && grep '^not ok' "$dir/out" | grep "$3"; }
# All of a check's containers have one folder as their root, which runsc's own overlay would refuse.
# Ctrl-C on a container's own tty is lost in runsc, see docs/gvisor.md; on an exec's it is not.
ok "gvisor" fails_still gvisor "{\"path\":\"$runsc\",\"flags\":[\"--overlay2=none\"]}" \
	"a container is interrupted by Ctrl-C on its tty" --many 20
# The shim of today takes a bundle that is not given for its own folder, and doesn't tell the end of an exec whose
# output nobody has read.
today="create with bundle  fails\\|and that of an exec in it\\|$shim_known"
# shellcheck disable=SC2086 # a list
ok "shimv2" fails_still shimv2 "{\"path\":\"$shim/containerd-shim-runc-v2\"}" "$today" --many 20 $shim_sections
nothing_left() { ! pgrep -f "$dir" && ! grep "$dir" /proc/self/mountinfo && no_cgroup_left; }
ok "nothing is left" nothing_left
finish
