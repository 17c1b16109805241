#!/bin/sh
# 100 pods of two containers, 8 calls in flight, up and down on crun: nothing is left, the core does
# on its own thread nothing that may block, and its loop is never held up for long.
cd "$(dirname "$0")" || exit 1
. ./lib.sh

pods=${PODS:-100}
in_flight=8
load() {	# up|down
	"$build/t/bench/bench" "$1" --pods "$pods" --jobs "$in_flight" --containers 2 --image busybox \
		--handler crun --log-dir "$work/logs" --cgroup-parent "/crisp-$name/pods" "crisp=$sock" >"$work/samples.$1"
}
percentile() {	# FILE METRIC PART-OF-100
	awk -v m="$2" '$2 == m { print $3 / 1000000 }' "$1" | sort -n |
		awk -v p="$3" '{ v[NR] = $1 } END { i = int(NR * p / 100); printf "%.0f", v[i < NR ? i + 1 : NR] }'
}
say() {	# WHAT FILE METRIC...
	printf '# %s:' "$1"
	file=$2
	shift 2
	for m in "$@"; do printf ' %s p50 %s p99 %s ms;' "$m" "$(percentile "$file" "$m" 50)" "$(percentile "$file" "$m" 99)"; done
	echo
}
running() { crispctl -o json ps | grep -c '"CONTAINER_RUNNING"'; }
lag() { crispctl -o json status | grep -o 'loopLagP99Us[^0-9]*[0-9]*' | grep -o '[0-9]*$' | head -n 1; }
run_delay() { awk '{ printf "%d", $2 / 1000000 }' "/proc/$(core_pid)/schedstat"; }
leaks() {
	"$top/t/leak/leakcheck" compare "$work/leak" --wait 20 --pid "core=$(core_pid)" --pid "keeper=$crisp_pid"
}
up_and_down() {	# NAME
	ok "$1: $pods pods are up, $in_flight in flight" load up
	ok "$1: every container runs" is "$(running)" $((pods * 2))
	ok "$1: and down" load down
	say "$1" "$work/samples.up" up up.run up.create up.start
	say "$1" "$work/samples.down" down down.stop down.remove
}

state_in_memory
make_busybox
ok "crispd starts" crisp_start
ok "an image is loaded" crispctl load "$work/busybox.tar"
# What is made once and stays is no leak: bridge, table, the engine's sealed program.
warm=$pods pods=1
load up && load down
pods=$warm
rm -rf "$work/logs"
leak_snapshot --pid "core=$(core_pid)" --pid "keeper=$crisp_pid"
ok "one pod more, and nothing of it" leaks

was=$(run_delay)
up_and_down "alone"
echo "# loop lag: p99 $(lag) us (wanted: under 10000); in all the core waited $(($(run_delay) - was)) ms for a CPU"
ok "nothing is left of them, nor an fd of core or keeper" leaks

# The same under strace.  The core has one thread; its children are not traced.
strace -qq -yy -e signal=none -p "$(core_pid)" -o "$work/trace" -e trace=fsync,fdatasync,sync,syncfs,sync_file_range,msync,\
umount2,mount,move_mount,fsmount,open_tree,mount_setattr,pivot_root,setns,unshare,\
connect,sendto,bind,open,openat,openat2,creat,name_to_handle_at &
tracer=$!
helpers="$helpers $tracer"
until_true 10 grep -q "TracerPid:	$tracer" "/proc/$(core_pid)/status"
up_and_down "under strace"
kill "$tracer"
wait "$tracer" 2>/dev/null
ok "nothing is left of them either" leaks
ok "nothing that may block, nothing opened that is not its own" \
	python3 load_trace.py "$state" "$work/root" "$work/logs" "/run/netns/$name-" <"$work/trace"
ok "crispd stops" crisp_stop
finish
