#!/bin/sh
# The engines that need nothing but Debian's packages keep to what engine-check asks of a plugin.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")/../.." || exit 1
. t/int/kit.sh
make_rootfs "$dir/rootfs"

ok "crun" keeps crun '{}' ''
ok "runc" keeps runc '{}' ''
# shellcheck disable=SC2086 # a list
ok "shimv2" keeps shimv2 '{}' "$shim_known" --many 20 $shim_sections
for archetype in cli serial sandbox tty; do
	ok "fake, archetype $archetype" keeps fake "{\"archetype\":\"$archetype\"}" ""
done
# The binary of the day when version 1.0 was frozen: never built anew.  It leaves a pid file when the host
# dies over a create, which is looked at since; the sections where it would are left out.
frozen() {
	for section in file instances nonsense life processes streams terminals many cancels faults newer; do
		set -- "$@" --only $section
	done
	build/engine-check "$@" --home "$dir/home" --rootfs "$dir/rootfs" --options "{\"helper\":\"$PWD/build/t/int/jail-run\"}" \
		t/data/engine-1.0/jail.so >"$dir/out" 2>&1 || { grep -A 6 '^not ok' "$dir/out"; return 1; }
	grep -q '^ok .*its exit code is told: 42' "$dir/out"
}
ok "a plugin that was built against 1.0" frozen
nothing_left() { ! pgrep -f "$dir" && ! grep "$dir" /proc/self/mountinfo && no_cgroup_left; }
ok "nothing is left" nothing_left
finish
