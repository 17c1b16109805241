# crisp under a folder of its own.
# shellcheck shell=sh

crisp_sock=$tmp/run/crisp.sock
crisp_pid=

# crisp_start NAME NETWORK [--set ...]: NAME keeps states apart, NETWORK is bridge or fake.
crisp_start() {
	crisp_dir=$tmp/run/$1
	crisp_log=$tmp/$1.log
	network="{plugin: $2}"
	[ "$2" != bridge ] ||
		network="{plugin: bridge, options: {bridge: $bridge, subnets: [10.211.0.0/16], nft_table: $bridge}}"
	shift 2
	mkdir -p "$crisp_dir"
	cat >"$crisp_dir/config.yaml" <<-E
	socket: $crisp_sock
	state: $crisp_dir/state
	root: $tmp/crisp-root
	netns_dir: $crisp_dir/netns
	netns_prefix: bench-
	cgroup: {parent: $cgroup/crisp}
	engines:
	  default: $engine
	  handlers:
	    $engine: {engine: $engine, options: {path: $engine_path, root: $crisp_dir/engine}}
	    fake: {engine: fake}
	network: $network
	E
	mkfifo "$crisp_dir/ready"
	build/crispd --config "$crisp_dir/config.yaml" --ready-fd=9 "$@" \
		9>"$crisp_dir/ready" >"$crisp_log" 2>&1 &
	crisp_pid=$!
	[ "$(timeout 30 head -n 1 "$crisp_dir/ready")" = ready ] ||
		{ tail -n 5 "$crisp_log" >&2; die "crispd did not come up"; }
}

crisp_load() {
	build/crispctl --socket "$crisp_sock" load --name "$image" "$tmp/image" >/dev/null
}

# The keeper, the core and what helper runs just now; not the containers, of which those of the
# fake engine are a program of ours as well.
crisp_pids() {
	crisp_tree "$crisp_pid"
}
crisp_tree() {
	case $(readlink "/proc/$1/exe" 2>/dev/null) in
	"$PWD"/build/libexec/crisp-fake*) return 0 ;;
	"$PWD"/build/*) echo "$1" ;;
	*) return 0 ;;
	esac
	for child in $(cat "/proc/$1/task/"*"/children" 2>/dev/null); do crisp_tree "$child"; done
}

# Of the core's loop so far, in microseconds.
crisp_lag() {
	build/crispctl --socket "$crisp_sock" -o json status 2>/dev/null |
		grep -o 'loopLagP99Us[^0-9]*[0-9]*' | grep -o '[0-9]*$' | head -n 1
}

crisp_stop() {
	[ -n "$crisp_pid" ] || return 0
	kill "$crisp_pid" 2>/dev/null || true
	wait "$crisp_pid" 2>/dev/null || true
	crisp_pid=
}
