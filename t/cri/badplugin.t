#!/bin/sh
# A daemon that has loaded plugins which break the rules (t/int/broken), or that can't be loaded at
# all: their handlers fail, with a reason; it stays up and serves the others.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")" || exit 1
. ./lib.sh

engines=$work/engines
mkdir "$engines"
install -m 0644 "$build"/engines/crun.so "$build"/t/int/broken/*.so "$build"/t/unit/plug_crash.so "$engines"
install -m 0666 "$build/engines/crun.so" "$engines/writable.so"
# Without a sanitizer always: one that looks for leaks at exit needs a child, which a program that
# has left its pid namespace can't have.
helper="{helper: $top/build/t/int/jail-run}"
kinds="twice never blocks leaks prints masks late short refuses size major"
list="crun: {engine: crun}, missing: {engine: missing}, writable: {engine: writable}, crash: {engine: plug_crash}"
for kind in $kinds; do list="$list, $kind: {engine: $kind, options: $helper}"; done

make_busybox
leak_snapshot
ok "the daemon starts" crisp_start --set "engine_dir=$engines" --set "engines={default: crun, handlers: {$list}}"
core=$(core_pid)
ok "an image" crispctl load "$work/busybox.tar"
run() { crispctl --timeout "${3:-20s}" run -r "$1" -i busybox -n "$2" -- sleep 1000; }
fails() {	# WORDS COMMAND...
	words=$1
	shift
	out=$("$@" 2>&1) && { echo "it did not fail: $out"; return 1; }
	has "$out" "$words"
}
up() { is "$(core_pid)" "$core" && crispctl pods >/dev/null; }

ok "a plugin that isn't there" fails "missing.so" run missing a
by_path() { fails "../crun" "$build/crispd" --check --set "engines={default: x, handlers: {x: {engine: ../crun}}}"; }
ok "one by a path" by_path
ok "one that all may write to" fails "may be written by group or world" run writable c
ok "one whose constructor crashes" fails "signal 11" run crash d
ok "one of another major" fails "is of version 2.0, wanted is 1" run major e
ok "one of a wrong size" fails "describes itself in 40 bytes" run size f
ok "the daemon is up" up

for kind in twice blocks leaks prints masks late; do
	ok "$kind: its pod runs all the same" run $kind "pod-$kind"
done
ok "refuses: who both refuses and completes has completed" run refuses pod-refuses
ok "short: an answer without a size is an error" fails "says that it has 0 bytes" run short pod-short
ok "never: the caller's deadline holds" fails "" run never pod-never 3s
ok "the daemon is up" up
ok "and serves others" run crun pod-crun
kill -9 "$core"
back() { [ -n "$(core_pid)" ] && [ "$(core_pid)" != "$core" ] && crispctl pods; }
ok "a core that is killed comes back with all of them" until_true 20 back
gone() { crispctl --timeout 60s rm -fa && is "$(crispctl -o json pods | grep -c '"id"')" 0; }
ok "all pods can be removed" until_true 60 gone
crispctl rmi busybox >/dev/null
ok "the daemon leaves" crisp_stop
ok "and leaves nothing" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10

# A process and a thread of a plugin's own stay in the core's cgroup, which then can't go: apart.
ok "it starts again" crisp_start --set "engine_dir=$engines" \
	--set "engines={default: threads, handlers: {threads: {engine: threads, options: $helper}, forks: {engine: forks, options: $helper}}}"
core=$(core_pid)
ok "an image" crispctl load "$work/busybox.tar"
for kind in threads forks; do
	ok "$kind: its pod runs all the same" run $kind "pod-$kind"
	ok "and goes" crispctl --timeout 20s rm -f "pod-$kind"
done
ok "the daemon is up" up
ok "the daemon leaves" crisp_stop
# What the plugin forked sits in the core's cgroup.
find /sys/fs/cgroup -path "*/crisp-$name/*" -name cgroup.procs -exec cat {} + | xargs -r kill -9
gone_cgroups() { find /sys/fs/cgroup -depth -type d -path "*/crisp-$name*" -exec rmdir {} +; }
ok "its cgroup can be removed" until_true 5 gone_cgroups
finish
