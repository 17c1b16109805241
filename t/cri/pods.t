#!/bin/sh
# The requests of a kubelet for five pods (t/data), taken whole, with crun and with runc.
cd "$(dirname "$0")" || exit 1
. ./lib.sh

# encode TYPE < text > bytes; rpc METHOD TYPE-OF-REQUEST TYPE-OF-REPLY < text > text
encode() { protoc -I"$top/proto" -I/usr/include --encode="runtime.v1.$1" "$top/proto/cri.proto"; }
decode() { protoc -I"$top/proto" -I/usr/include --decode="runtime.v1.$1" "$top/proto/cri.proto"; }
rpc() { encode "$2" | "$build/t/cri/rpc" "$sock" "$1" 2>"$work/rpc.err" | decode "$3"; }
field() { sed -n "s/^ *$1: \"\{0,1\}\([^\"]*\)\"\{0,1\}$/\1/p" | head -n 1; }

# fill FILE: a request of t/data with its words filled in
fill() {
	sed -e "s,@UID@,$uid,g" -e "s,@LOGS@,$work/logs,g" -e "s,@VOLUMES@,$work/volumes,g" \
		-e "s,@CGROUP@,/crisp-$name,g" -e "s,@IMAGE@,$image,g" "$top/t/data/$1"
}

run_pod() {	# POD HANDLER -> $pod
	pod=$({ echo "config {"; fill "$1.sandbox"; echo "} runtime_handler: \"$2\""; } |
		rpc RunPodSandbox RunPodSandboxRequest RunPodSandboxResponse | field pod_sandbox_id)
	ok "$2: the pod $1 runs" test -n "$pod" || cat "$work/rpc.err"
}
run_container() {	# FILE -> $ctr
	ctr=$({ echo "pod_sandbox_id: \"$pod\" config {"; fill "$1.container"; echo "}"; } |
		rpc CreateContainer CreateContainerRequest CreateContainerResponse | field container_id)
	ok "$handler: the container $1 is created" test -n "$ctr" || cat "$work/rpc.err"
	echo "container_id: \"$ctr\"" | rpc StartContainer StartContainerRequest StartContainerResponse
	ok "$handler: and started" is "$(cat "$work/rpc.err")" ""
}
status() { echo "container_id: \"$ctr\"" | rpc ContainerStatus ContainerStatusRequest ContainerStatusResponse; }
in_state() { has "$(status)" "state: CONTAINER_$1"; }
stop() { echo "container_id: \"$ctr\" timeout: ${1:-0}" | rpc StopContainer StopContainerRequest StopContainerResponse; }
# exec_in COMMAND...: its stdout
exec_in() {
	{
		echo "container_id: \"$ctr\" timeout: 10"
		for word in "$@"; do printf 'cmd: "%s"\n' "$(printf %s "$word" | sed 's/\\/\\\\/g; s/"/\\"/g')"; done
	} | rpc ExecSync ExecSyncRequest ExecSyncResponse | field stdout | sed 's/\\n$//'
}
probe() { [ "$(exec_in sh -c 'cat /tmp/ready && echo good')" = good ]; }
log_of() { cat "$work/logs/"*"_$1_$uid/$2/0.log" | cut -d' ' -f4-; }
remove_pod() {
	echo "pod_sandbox_id: \"$pod\"" | rpc StopPodSandbox StopPodSandboxRequest StopPodSandboxResponse
	ok "$handler: the pod is stopped" is "$(cat "$work/rpc.err")" ""
	echo "pod_sandbox_id: \"$pod\"" | rpc RemovePodSandbox RemovePodSandboxRequest RemovePodSandboxResponse
	ok "$handler: and removed" is "$(cat "$work/rpc.err")" ""
}
cgroup_value() {	# CONTROLLER FILE
	for dir in "/sys/fs/cgroup/$1" /sys/fs/cgroup; do
		found=$(find "$dir/crisp-$name" -maxdepth 4 -type d -name "$ctr" 2>/dev/null | head -n 1)
		[ -z "$found" ] || { cat "$found/$2"; return; }
	done
}

make_busybox
mkdir -p "$work/volumes/token" "$work/volumes/empty-dir" "$work/volumes/lib-modules/6.1"
chmod 777 "$work/volumes/empty-dir"
echo secret >"$work/volumes/token/real-token"
ln -s real-token "$work/volumes/token/token"
echo "127.0.0.1 localhost" >"$work/volumes/etc-hosts"
: >"$work/volumes/xtables.lock"
leak_snapshot
ok "crispd starts" crisp_start
ok "an image is loaded" crispctl load "$work/busybox.tar"
image=$(crispctl -o json images | sed -n 's/.*"\(sha256:[0-9a-f]*\)".*/\1/p' | head -n 1)
ok "and has an id" test -n "$image"

for handler in crun runc; do
	uid=$handler-0000-1111
	mkdir -p "$work/logs"
	for c in main init sidecar; do : >"$work/volumes/termination-$c"; chmod 666 "$work/volumes/termination-$c"; done

	run_pod plain "$handler"
	run_container plain.main
	ok "$handler: its log" until_true 10 sh -c "grep -q 'plain is here' '$work/logs/default_plain_$uid/main/0.log'"
	ok "$handler: the token is there, by its symlink" is "$(exec_in cat /var/run/secrets/kubernetes.io/serviceaccount/token)" secret
	ok "$handler: and read-only" is "$(exec_in sh -c 'touch /var/run/secrets/kubernetes.io/serviceaccount/x 2>/dev/null || echo ro')" ro
	ok "$handler: the kubelet's /etc/hosts wins" is "$(exec_in cat /etc/hosts)" "127.0.0.1 localhost"
	ok "$handler: resolv.conf" has "$(exec_in cat /etc/resolv.conf)" "nameserver 10.96.0.10"
	ok "$handler: hostname" is "$(exec_in hostname)" plain
	ok "$handler: the environment" is "$(exec_in sh -c 'echo $KUBERNETES_SERVICE_HOST')" 10.96.0.1
	ok "$handler: seccomp filters" is "$(exec_in sh -c 'grep ^Seccomp: /proc/1/status | tr -d "[:space:]"')" Seccomp:2
	ok "$handler: /proc/interrupts is masked" is "$(exec_in sh -c 'wc -c < /proc/interrupts')" 0
	ok "$handler: the mounts are echoed" has "$(status)" "container_path: \"/dev/termination-log\""
	ok "$handler: the log's path is absolute" has "$(status)" "log_path: \"$work/logs/default_plain_$uid/main/0.log\""
	exec_in sh -c 'echo the end > /dev/termination-log' >/dev/null
	ok "$handler: the termination log is a file of the host" is "$(cat "$work/volumes/termination-main")" "the end"
	remove_pod

	run_pod inits "$handler"
	run_container inits.1-init
	ok "$handler: the init container completes" until_true 10 in_state EXITED
	ok "$handler: with Completed" has "$(status)" 'reason: "Completed"'
	run_container inits.2-sidecar
	run_container inits.3-main
	ok "$handler: what the init container made is there" until_true 10 sh -c "grep -q 'made by init' '$work/logs/default_inits_$uid/main/0.log'"
	ok "$handler: user and groups" is "$(exec_in id -u)-$(exec_in id -G)" "1000-0 2000"
	ok "$handler: one capability is left" is "$(exec_in sh -c 'grep ^CapBnd /proc/1/status | cut -f2')" 0000000000000400
	ok "$handler: no new privileges" is "$(exec_in sh -c 'grep ^NoNewPrivs /proc/1/status | cut -f2')" 1
	remove_pod

	run_pod proxy "$handler"
	run_container proxy.main
	ok "$handler: the host's name and network" until_true 10 sh -c "grep -q ' $(hostname)\$' '$work/logs/kube-system_proxy_$uid/main/0.log'"
	ok "$handler: it sees the host's links" has "$(exec_in ip -o link)" "lo:"
	ok "$handler: privileged: no seccomp" is "$(exec_in sh -c 'grep ^Seccomp: /proc/1/status | tr -d "[:space:]"')" Seccomp:0
	ok "$handler: privileged: all of our own capabilities" is \
		"$(exec_in sh -c 'grep ^CapEff /proc/1/status | cut -f2')" "$(awk '/^CapBnd/ {print $2}' /proc/self/status)"
	mkdir "$work/volumes/lib-modules/mnt" && mount -t tmpfs late "$work/volumes/lib-modules/mnt" && : >"$work/volumes/lib-modules/mnt/late"
	ok "$handler: a volume that is mounted later arrives" is "$(exec_in ls /lib-modules/mnt)" late
	umount "$work/volumes/lib-modules/mnt"
	rmdir "$work/volumes/lib-modules/mnt"
	remove_pod

	run_pod probes "$handler"
	run_container probes.main
	ok "$handler: an exec probe" until_true 10 probe
	address=$(echo "pod_sandbox_id: \"$pod\"" | rpc PodSandboxStatus PodSandboxStatusRequest PodSandboxStatusResponse | field ip)
	ok "$handler: an http probe from the node" until_true 10 sh -c "busybox wget -qO- http://$address:8080/index.html | grep -qx alive"
	exec_in sh -c 'echo preStop > /proc/1/fd/1' >/dev/null
	stop 10
	ok "$handler: it ends gently" has "$(status)" 'reason: "Completed"'
	ok "$handler: its hook and its last word are in the log" is "$(log_of probes main | tr '\n' ' ')" "preStop stopped gently "
	remove_pod

	run_pod guaranteed "$handler"
	run_container guaranteed.main
	ok "$handler: the sysctl of the pod" until_true 10 sh -c "grep -q 20000.30000 '$work/logs/default_guaranteed_$uid/main/0.log'"
	ok "$handler: its memory limit" is "$(cgroup_value memory memory.limit_in_bytes || cgroup_value memory memory.max)" 50331648
	ok "$handler: its cpu quota" has "$(cgroup_value cpu cpu.cfs_quota_us || cgroup_value cpu cpu.max)" 25000
	ok "$handler: its cpus" is "$(cgroup_value cpuset cpuset.cpus)" 0
	ok "$handler: its root is read-only" is "$(exec_in sh -c 'touch /x 2>/dev/null || echo ro')" ro
	ok "$handler: nobody runs it" is "$(exec_in id -u)" 65534
	ok "$handler: its stop signal is told" has "$(status)" "stop_signal: SIGNAL_SIGUSR1"
	stop 10
	ok "$handler: and sent" has "$(status)" "exit_code: 42"
	remove_pod
	rm -rf "$work/logs"
done
ok "crispd stops" crisp_stop
ok "nothing is left" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10
finish
