#!/bin/sh
# The engines that need nothing but Debian's packages keep to what engine-check asks of a plugin.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")/../.." || exit 1
. t/int/kit.sh
make_rootfs "$dir/rootfs"

# keeps ENGINE OPTIONS KNOWN ARGS...: and says so, of containers too; KNOWN: what may fail
keeps() {
	engine=$1 options=$2 known=$3
	shift 3
	build/engine-check "$@" --home "$dir/home" --rootfs "$dir/rootfs" --options "$options" "build/engines/$engine.so" >"$dir/out" 2>&1
	grep '^not ok' "$dir/out" | grep -v "${known:-^$}" && { grep -A 6 '^not ok' "$dir/out"; tail -n 3 "$dir/out"; return 1; }
	grep -q '^ok .*its exit code is told: 42' "$dir/out" && tail -n 1 "$dir/out" | grep '^# [0-9]* passed, [0-9]* failed$'
}
ok "crun" keeps crun '{}' ''
ok "runc" keeps runc '{}' ''
# The shim loses one of 50 execs at once, and hangs over one that is cancelled; a sandbox whose shim dies as it
# starts leaves its first process.  Of a create that is cut off runc's record may stay.
for section in file instances nonsense life processes streams terminals many closed sandbox newer death recovery; do
	sections="$sections --only $section"
done
# shellcheck disable=SC2086 # a list
ok "shimv2" keeps shimv2 '{}' 'no file of a container is left in the state directory: .*/root/crisp/' --many 20 $sections
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
nothing_left() { ! pgrep -f "$dir" && ! grep "$dir" /proc/self/mountinfo; }
ok "nothing is left" nothing_left
finish
