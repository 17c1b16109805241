#!/bin/sh
# crictl drives the full life of a pod, with -r runc and -r crun.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ./components.sh

critools || { echo "not ok - crictl could not be built"; exit 1; }
crictl() { "$critools/crictl" -c "$work/crictl.yaml" -r "unix://$sock" "$@" 2>"$work/crictl.err"; }
: >"$work/crictl.yaml"
layer_holds() {	# BYTES or more
	[ "$(crictl stats -o json "$ctr" | jq -r '.stats[0].writableLayer.usedBytes.value // 0')" -ge "$1" ]
}
make_busybox
leak_snapshot
ok "crispd starts" crisp_start
ok "an image is loaded" crispctl load "$work/busybox.tar"
cat >"$work/pod.json" <<X
{"metadata": {"name": "web", "namespace": "default", "uid": "uid-1", "attempt": 0}, "hostname": "web",
 "log_directory": "$work/logs", "linux": {"cgroup_parent": "/crisp-$name/web"},
 "port_mappings": [{"protocol": 0, "container_port": 80, "host_port": 0}]}
X
cat >"$work/ctr.json" <<'X'
{"metadata": {"name": "main", "attempt": 0}, "image": {"image": "busybox"}, "log_path": "main.log",
 "command": ["sh", "-c", "echo up as $(hostname); trap 'echo bye; exit 3' TERM; while :; do sleep 0.1; done"],
 "linux": {}}
X
for handler in runc crun; do
	pod=$(crictl runp -r "$handler" "$work/pod.json")
	ok "$handler: runp" test -n "$pod"
	ctr=$(crictl create "$pod" "$work/ctr.json" "$work/pod.json")
	ok "$handler: create" test -n "$ctr"
	ok "$handler: it is created" has "$(crictl ps -a)" Created
	ok "$handler: start" crictl start "$ctr"
	ok "$handler: it is running" has "$(crictl ps)" Running
	ok "$handler: logs" until_true 10 sh -c "'$critools/crictl' -c '$work/crictl.yaml' -r 'unix://$sock' logs $ctr 2>&1 | grep -qx 'up as web'"
	ok "$handler: exec -s" is "$(crictl exec -s "$ctr" sh -c 'echo $((6 * 7))' | head -n 1)" 42
	crictl exec -s "$ctr" sh -c 'exit 5' >/dev/null
	ok "$handler: exec -s tells the exit code" has "$(cat "$work/crictl.err")" "5"
	ok "$handler: stats" has "$(crictl stats -o json "$ctr")" usageCoreNanoSeconds
	crictl exec -s "$ctr" dd if=/dev/zero of=/tmp/fill bs=1M count=3 >/dev/null
	ok "$handler: stats tell what its writable layer holds" until_true 30 layer_holds 3145728
	ok "$handler: statsp" has "$(crictl statsp -o json "$pod")" usageCoreNanoSeconds
	ok "$handler: statsp has a network" has "$(crictl statsp -o json "$pod")" '"name": "eth0"'
	ok "$handler: metricsp" has "$(crictl metricsp)" container_network_receive_bytes_total
	ok "$handler: metricdescs" is "$(crictl metricdescs | jq '.descriptors | length')" 56
	ok "$handler: inspectp has an address" has "$(crictl inspectp "$pod")" '"ip": "10.'
	ok "$handler: stop" crictl stop -t 10 "$ctr"
	state_of=$(crictl inspect "$ctr")
	ok "$handler: the exit code is the program's own" has "$state_of" '"exitCode": 3'
	ok "$handler: and so is the reason" has "$state_of" '"reason": "Error"'
	ok "$handler: its last words are in the log" has "$(crictl logs "$ctr")" bye
	ok "$handler: rm" crictl rm "$ctr"
	ok "$handler: stopp" crictl stopp "$pod"
	ok "$handler: rmp" crictl rmp "$pod"
	ok "$handler: no pod is left" is "$(crictl pods -q)" ""
	rm -rf "$work/logs"
done
ok "crispd stops" crisp_stop
ok "nothing is left" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10
finish
