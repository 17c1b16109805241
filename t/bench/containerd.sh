# The peer: containerd and its shim, built from their Go modules, under a folder of their own.
# shellcheck shell=sh

# As go.mod has it.
containerd_version=$(sed -n 's,.*github.com/containerd/containerd/v2 v\([0-9.]*\).*,\1,p' t/bench/go.mod)
containerd_bin=${XDG_CACHE_HOME:-$HOME/.cache}/crisp-test/containerd-$containerd_version
containerd_sock=$tmp/run/containerd.sock
containerd_pid=
. t/go.sh

containerd_build() {
	[ ! -x "$containerd_bin/ctr" ] || return 0
	go_find
	echo "building containerd $containerd_version (once, some minutes)"
	rm -rf "$containerd_bin.new" && mkdir -p "$containerd_bin.new"
	module=github.com/containerd/containerd/v2/cmd
	(
		cd t/bench && export GOFLAGS=-trimpath &&
			nice -n 10 go build -o "$containerd_bin.new/" $module/containerd &&
			nice -n 10 go build -o "$containerd_bin.new/" -tags no_grpc $module/containerd-shim-runc-v2 &&
			nice -n 10 go build -o "$containerd_bin.new/" $module/ctr
	) || return 1
	rm -rf "$containerd_bin" && mv "$containerd_bin.new" "$containerd_bin"
}

containerd_config() {
	cat <<-E
	version = 4
	root = '$tmp/containerd/root'
	state = '$tmp/run/containerd'
	imports = []
	[plugins.'io.containerd.cri.v1.images']
	  snapshotter = 'overlayfs'
	[plugins.'io.containerd.cri.v1.images'.pinned_images]
	  sandbox = '$pause_image'
	[plugins.'io.containerd.cri.v1.runtime']
	  restrict_oom_score_adj = true
	  netns_mounts_under_state_dir = true
	[plugins.'io.containerd.cri.v1.runtime'.containerd]
	  default_runtime_name = '$engine'
	[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.$engine]
	  runtime_type = 'io.containerd.runc.v2'
	[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.$engine.options]
	  BinaryName = '$PWD/build/t/bench/ociver'
	  Root = '$tmp/run/containerd-engine'
	[plugins.'io.containerd.cri.v1.runtime'.cni]
	  bin_dirs = ['$cni_bin']
	  conf_dir = '$tmp/containerd/cni'
	[plugins.'io.containerd.nri.v1.nri']
	  disable = true
	[plugins.'io.containerd.internal.v1.opt']
	  path = '$tmp/containerd/opt'
	[plugins.'io.containerd.shim.v1.manager']
	  socket_dir = '$tmp/run/s'
	[plugins.'io.containerd.server.v1.grpc']
	  address = '$containerd_sock'
	[plugins.'io.containerd.server.v1.ttrpc']
	  address = '$containerd_sock.ttrpc'
	E
}

# The least that gives a pod an address: what crisp's bridge does as well, but no masquerade.
containerd_cni() {
	cat <<-E
	{"cniVersion": "1.0.0", "name": "bench-$$", "plugins": [
	  {"type": "bridge", "bridge": "$bridge_peer", "isGateway": true, "ipam": {"type": "host-local",
	   "dataDir": "$tmp/containerd/ipam", "ranges": [[{"subnet": "10.212.0.0/16"}]],
	   "routes": [{"dst": "0.0.0.0/0"}]}}]}
	E
}

containerd_start() {
	mkdir -p "$tmp/containerd/cni"
	containerd_config >"$tmp/containerd/config.toml"
	containerd_cni >"$tmp/containerd/cni/10-bench.conflist"
	PATH=$containerd_bin:$PATH OCIVER_ENGINE=$engine_path "$containerd_bin/containerd" --config "$tmp/containerd/config.toml" \
		>"$tmp/containerd.log" 2>&1 &
	containerd_pid=$!
	tries=0
	until build/crispctl --socket "$containerd_sock" --timeout 2s status >/dev/null 2>&1; do
		tries=$((tries + 1))
		kill -0 $containerd_pid 2>/dev/null && [ $tries -lt 100 ] ||
			{ tail -n 5 "$tmp/containerd.log" >&2; die "containerd did not come up"; }
		sleep 0.2
	done
	for layout in image pause; do
		tar -C "$tmp/$layout" -cf "$tmp/$layout.tar" .
		"$containerd_bin/ctr" --address "$containerd_sock" -n k8s.io images import --no-unpack=false \
			"$tmp/$layout.tar" >>"$tmp/ctr.log" 2>&1
	done
}

# The daemon, its shims and the pause processes.
containerd_pids() {
	for dir in /proc/[0-9]*; do
		case $(readlink "$dir/exe" 2>/dev/null) in
		"$containerd_bin/containerd")
			[ "${dir#/proc/}" != "$containerd_pid" ] || echo "${dir#/proc/}" ;;
		"$containerd_bin/containerd-shim-runc-v2")
			! tr '\0' ' ' <"$dir/cmdline" 2>/dev/null | grep -q "$tmp/" || echo "${dir#/proc/}" ;;
		/pause)
			! grep -q "$cgroup/" "$dir/cgroup" 2>/dev/null || echo "${dir#/proc/}" ;;
		esac
	done
}

containerd_stop() {
	[ -n "$containerd_pid" ] || return 0
	kill "$containerd_pid" 2>/dev/null || true
	wait "$containerd_pid" 2>/dev/null || true
	# Only a run that was cut short leaves any.
	containerd_pids | xargs -r kill -KILL 2>/dev/null || true
	containerd_pid=
}
