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

keeps() {	# ENGINE OPTIONS
	build/engine-check --rootfs "$dir/rootfs" --options "$2" "build/engines/$1.so" >"$dir/out" 2>&1 ||
		{ grep -A 6 '^not ok' "$dir/out"; tail -n 3 "$dir/out"; return 1; }
	grep -q '^ok .*its exit code is told: 42' "$dir/out" && tail -n 1 "$dir/out" | grep '^# [0-9]* passed, 0 failed$'
}
# All of a check's containers have one folder as their root, which runsc's own overlay would refuse.
ok "gvisor" keeps gvisor "{\"path\":\"$runsc\",\"flags\":[\"--overlay2=none\"]}"
ok "shimv2" keeps shimv2 "{\"path\":\"$shim/containerd-shim-runc-v2\"}"
nothing_left() { ! pgrep -f "$dir" && ! grep "engine-check\.\|$dir" /proc/self/mountinfo; }
ok "nothing is left" nothing_left
finish
