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

keeps() {	# ENGINE OPTIONS KNOWN ARGS...: but for what KNOWN names, and that has to fail
	engine=$1 options=$2 known=$3
	shift 3
	build/engine-check "$@" --home "$dir/home" --rootfs "$dir/rootfs" --options "$options" "build/engines/$engine.so" >"$dir/out" 2>&1
	grep -q '^ok .*its exit code is told: 42' "$dir/out" && tail -n 1 "$dir/out" | grep '^# [0-9]* passed, [0-9]* failed$' || return 1
	grep '^not ok' "$dir/out" | grep -v "${known:-^$}" && { grep -A 6 '^not ok' "$dir/out"; return 1; }
	[ -z "$known" ] || grep "^not ok.*$known" "$dir/out"
}
# All of a check's containers have one folder as their root, which runsc's own overlay would refuse.
# Ctrl-C on a container's own tty is lost in runsc, see docs/gvisor.md; on an exec's it is not.
ok "gvisor" keeps gvisor "{\"path\":\"$runsc\",\"flags\":[\"--overlay2=none\"]}" \
	"a container is interrupted by Ctrl-C on its tty" --many 20
# Without cancels and faults, and with a record that may stay: see engine-check.t.  The shim of today takes a bundle
# that is not given for its own folder, and doesn't tell the end of an exec whose output nobody has read.
today='create with bundle  fails\|and that of an exec in it\|no file of a container is left in the state directory: .*/root/crisp/'
for section in file instances nonsense life processes streams terminals many closed sandbox newer death recovery; do
	sections="$sections --only $section"
done
# shellcheck disable=SC2086 # a list
ok "shimv2" keeps shimv2 "{\"path\":\"$shim/containerd-shim-runc-v2\"}" "$today" --many 20 $sections
nothing_left() { ! pgrep -f "$dir" && ! grep "$dir" /proc/self/mountinfo; }
ok "nothing is left" nothing_left
finish
