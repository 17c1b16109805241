# Sourced by the tests of the author's kit: TAP, a folder of the test's own, a small root file system.
dir=$(mktemp -d /tmp/crisp-kit.XXXX)
trap 'rm -rf "$dir"' EXIT
tap_n=0 tap_failed=0
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
