# Sourced by the tests of this folder: TAP, a crispd of the test's own, the leak check around it.
# The daemon's names all begin with $name, so that several live on one host.
here=$PWD	# the test has gone to its own folder
top=$(cd ../.. && pwd)
build=$top/${BUILD:-build}
name=ct$$
work=$(mktemp -d "/tmp/crisp-$name.XXXX")
state=/run/crisp-$name
sock=$state/crisp.sock
exec </dev/null

tap_n=0 tap_failed=0
# ok NAME COMMAND...: passes as the command does; its output is shown when it fails
ok() {
	tap_name=$1
	shift
	tap_n=$((tap_n + 1))
	if "$@" >"$work/tap.out" 2>&1; then
		echo "ok $tap_n - $tap_name"
		return 0
	fi
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_n - $tap_name"
	head -n 20 "$work/tap.out" | sed 's/^/# /'
	return 1
}
is() { [ "$1" = "$2" ] || { printf 'got "%s", expected "%s"\n' "$1" "$2"; return 1; }; }
has() { case $1 in *"$2"*) ;; *) printf '"%s" has no "%s"\n' "$1" "$2"; return 1 ;; esac; }
finish() {
	echo "1..$tap_n"
	[ "$tap_failed" = 0 ]
	exit
}

# until_true SECONDS COMMAND...: wait for it; SLOW: on a machine so many times slower
until_true() {
	end=$(($(date +%s) + $1 * ${SLOW:-1}))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$end" ] || { echo "waited in vain for: $*"; return 1; }
		sleep 0.05
	done
}

# leak_snapshot [MORE OF LEAKCHECK'S OPTIONS...]
leak_snapshot() {
	"$top/t/leak/leakcheck" snapshot "$work/leak" --mark "$name" --dir "$state" --dir "$work/root" --netns "$name-" \
		--link "$name" --cgroup "/crisp-$name" --nft "$name" "$@"
}

# crisp_start [ARG...]: the daemon is ready when this returns; its log is $work/log
crisp_start() {
	mkfifo "$work/ready"
	"$build/crispd" --set "state=$state" --set "root=$work/root" --set "netns_prefix=$name-" \
		--set "cgroup.parent=/crisp-$name" \
		--set "network.options={bridge: ${name}b, subnets: [10.$((100 + $$ % 100)).0.0/16], nft_table: $name}" \
		"$@" --ready-fd=7 7>"$work/ready" 2>>"$work/log" &
	crisp_pid=$!
	IFS= read -r line <"$work/ready" || line=
	rm "$work/ready"
	[ "$line" = ready ] || { tail -n 5 "$work/log"; return 1; }
}
# Leave; what the daemon keeps while it lives (bridge, nft table) is taken down by its own program.
crisp_stop() {
	[ -n "$crisp_pid" ] || return 0
	kill "$crisp_pid"
	wait "$crisp_pid"
	crisp_pid=
	"$build/libexec/crisp-bridge" cleanup "${name}b" "$name" >/dev/null 2>&1 || true
	rm -rf "$state" "$work/root"
}
core_pid() { cat "/proc/$crisp_pid/task/$crisp_pid/children" | tr ' ' '\n' | while read -r pid; do
	tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q -- '--core' && echo "$pid"; done; }
# Where /run is no tmpfs (it is on nodes), writing records takes longer: for tests that measure.
state_in_memory() {
	mkdir "$work/memory"
	mount -t tmpfs -o mode=755 "$name" "$work/memory"
	state=$work/memory/state
	sock=$state/crisp.sock
}
leave() {
	crisp_stop
	for pid in $helpers; do kill "$pid" 2>/dev/null; done
	[ ! -d "$work/memory" ] || umount -l "$work/memory"
	rm -rf "$work"
}
crisp_pid='' helpers=''
trap leave EXIT

crispctl() { "$build/crispctl" --socket "$sock" "$@"; }

# The image "busybox" of Debian's static one, as a docker archive in $work/busybox.tar.
make_busybox() {
	mkdir -p "$work/box/bin" "$work/box/etc" "$work/box/tmp" "$work/img"
	chmod 1777 "$work/box/tmp"
	cp "$(command -v busybox)" "$work/box/bin/busybox"
	for applet in $(busybox --list); do
		[ "$applet" = busybox ] || ln "$work/box/bin/busybox" "$work/box/bin/$applet"
	done
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$work/box/etc/passwd"
	printf 'root:x:0:\nnobody:x:65534:\n' >"$work/box/etc/group"
	tar -C "$work/box" --numeric-owner --owner=0 --group=0 -cf "$work/img/layer.tar" .
	printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
		"$(sha256sum "$work/img/layer.tar" | cut -d' ' -f1)" >"$work/img/config.json"
	echo '[{"Config":"config.json","RepoTags":["busybox:latest"],"Layers":["layer.tar"]}]' >"$work/img/manifest.json"
	tar -C "$work/img" -cf "$work/busybox.tar" .
	rm -rf "$work/box" "$work/img"
}

# registry [USER PASSWORD-FILE-LINE]: a docker-registry on a free port of 127.0.0.1, in $registry
registry_start() {
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	registry=127.0.0.1:$port
	cat >"$work/registry.yml" <<X
version: 0.1
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: $registry}
log: {level: error}
X
	docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
	helpers="$helpers $!"
	until_true 20 python3 -c "import urllib.request; urllib.request.urlopen('http://$registry/v2/')"
}
