# Sourced by the tests of the author's kit: TAP, a folder of the test's own, a small root file system.
dir=$(mktemp -d /tmp/crisp-kit.XXXX)
trap 'rm -rf "$dir"' EXIT
tap_n=0 tap_failed=0
# Cgroups of an engine-check that has ended, and was none when we began.
check_cgroups() {
	for path in /sys/fs/cgroup/engine-check-* /sys/fs/cgroup/*/engine-check-*; do
		[ ! -d "$path" ] || [ -d "/proc/${path##*-}" ] || echo "$path"
	done
}
check_cgroups >"$dir/cgroups"
no_cgroup_left() { ! check_cgroups | grep -vxFf "$dir/cgroups"; }
# ok NAME COMMAND...: passes as the command does; its output is shown when it fails
ok() {
	tap_name=$1
	shift
	tap_n=$((tap_n + 1))
	if "$@" >"$dir/tap.out" 2>&1; then
		echo "ok $tap_n - $tap_name"
	else
		tap_failed=$((tap_failed + 1))
		echo "not ok $tap_n - $tap_name"
		head -n 30 "$dir/tap.out" | sed 's/^/# /'
	fi
}
finish() {
	echo "1..$tap_n"
	[ "$tap_failed" = 0 ]
	exit
}
# make_rootfs DIR: of Debian's static busybox
make_rootfs() {
	mkdir -p "$1/bin" "$1/proc" "$1/dev" "$1/sys" "$1/etc" "$1/tmp"
	cp "$(command -v busybox)" "$1/bin/busybox"
	for applet in sh sleep true echo cat stty; do ln "$1/bin/busybox" "$1/bin/$applet"; done
}
# keeps ENGINE OPTIONS KNOWN ARGS...: to what engine-check asks, of containers too; KNOWN: what may fail
keeps() {
	engine=$1 options=$2 known=$3
	shift 3
	build/engine-check "$@" --home "$dir/home" --rootfs "$dir/rootfs" --options "$options" "build/engines/$engine.so" >"$dir/out" 2>&1
	grep '^not ok' "$dir/out" | grep -v "${known:-^$}" && { grep -A 6 '^not ok' "$dir/out"; tail -n 3 "$dir/out"; return 1; }
	grep -q '^ok .*its exit code is told: 42' "$dir/out" && tail -n 1 "$dir/out" | grep '^# [0-9]* passed, [0-9]* failed$'
}
# What is asked of a shim: it loses one of 50 execs at once, and hangs over one that is cancelled; a sandbox whose shim
# dies as it starts leaves its first process.  Of a create that is cut off runc's record may stay.
shim_sections=
for section in file instances nonsense life processes streams terminals many closed sandbox newer death recovery; do
	shim_sections="$shim_sections --only $section"
done
shim_known='no file of a container is left in the state directory: .*/root/crisp/'
