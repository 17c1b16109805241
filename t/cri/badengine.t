#!/bin/sh
# An engine that is missing, dies, talks rubbish, lies or hangs, at each operation: the caller is
# answered, nothing is left, and the daemon goes on serving.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")" || exit 1
. ./lib.sh

# crun, but for the operation that $work/bad names: "OPERATION KIND".
cat >"$work/crun" <<X
#!/bin/sh
read -r operation kind <"$work/bad"
case " \$* " in *" \$operation "*) ;; *) exec $(command -v crun) "\$@" ;; esac
case \$kind in
die)	kill -9 \$\$ ;;
rubbish) head -c 100000 /dev/zero | tr '\0' '\377' | tee /proc/self/fd/3; exit 3 ;;
lie)	echo rubbish ;;
hang)	sleep 987654 & wait ;;
esac
X
chmod +x "$work/crun"
good() { echo none none >"$work/bad"; }
bad() { echo "$*" >"$work/bad"; }
# What the wrapper leaves when it is not killed as a whole.
hanging() { pgrep -f '^sleep 987654$' | while read -r pid; do
	tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -q "$name" || echo "$pid"; done; }

bad delete die
make_busybox
leak_snapshot
ok "the daemon starts" crisp_start --set "engines.default=bad" --set \
	"engines.handlers={bad: {engine: crun, options: {path: $work/crun}}, none: {engine: crun, options: {path: $work/no-such}}, crun: {engine: crun}}"
# The test of user namespaces at the start, whose engine does not delete: what it has begun ends all the same.
tested() { [ -e "$state/engines/bad/userns-works" ] && ! find /sys/fs/cgroup -path "*/crisp-$name/userns-test-bad" | grep .; }
ok "nothing is left of a test whose delete fails" until_true 20 tested
good
ok "an image" crispctl load "$work/busybox.tar"

run() { crispctl --timeout 20s run -r "$1" -i busybox -n "$2" -- sleep 1000; }
# fails WORDS COMMAND...: it must fail and say so
fails() {
	words=$1
	shift
	out=$("$@" 2>&1) && { echo "it did not fail: $out"; return 1; }
	has "$out" "$words"
}
pods() { crispctl -o json pods | grep -c '"id"'; }

ok "a program that is missing" fails "No such file" run none missing
for kind in die rubbish lie; do
	case $kind in
	die) says="killed by signal 9" ;;
	rubbish) says="exit code 3" ;;
	lie) says="bad: create: crun ended without an error, but wrote no pid" ;;
	esac
	bad create $kind
	ok "create, $kind" fails "$says" run bad "create-$kind"
	[ $kind = lie ] || {
		bad start $kind
		ok "start, $kind" fails "bad: start:" run bad "start-$kind"
	}
	good
	ok "a pod" run bad "pod-$kind"
	bad exec $kind
	ok "exec, $kind" fails "bad: exec:" crispctl --timeout 20s exec "pod-$kind" true
	bad delete $kind
	# Its processes are gone: what the engine still believes must not keep the pod.
	ok "delete, $kind: it goes all the same" crispctl --timeout 20s rm -f "pod-$kind"
	[ $kind = lie ] ||
		ok "and the log says why" grep -q "could not delete.*bad: delete: crun.*$says" "$work/log"
done
good
ok "no pod is left" is "$(pods)" 0

# One that hangs: the callers' deadlines first, all at once; then ours.
hang() {
	bad "$1" hang
	shift
	began=$(date +%s)
	fails "" "$@" || return 1
	[ $(($(date +%s) - began)) -lt 10 ]
}
ok "a pod to exec in" run bad hang-exec
ok "a pod to remove" run bad hang-delete
ok "create hangs: the caller is answered in time" hang create crispctl --timeout 3s run -r bad -i busybox -n hang-create -- sleep 1000
ok "start hangs" hang start crispctl --timeout 3s run -r bad -i busybox -n hang-start -- sleep 1000
ok "exec hangs" hang exec crispctl --timeout 3s exec hang-exec true
ok "delete hangs" hang delete crispctl --timeout 3s rm -f hang-delete
ok "others are served meanwhile" run crun other
ok "and removed" crispctl --timeout 20s rm -f other
good
none_hangs() { [ -z "$(hanging)" ]; }
ok "no program is left after a minute" until_true 75 none_hangs
removed() { crispctl --timeout 60s rm -fa && is "$(pods)" 0; }
ok "all pods can be removed" until_true 30 removed
crispctl rmi busybox >/dev/null
ok "the daemon leaves" crisp_stop
ok "and leaves nothing" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10
finish
