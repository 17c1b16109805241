#!/bin/sh
# exec, attach and port-forward on shims: containerd's of Debian, and gVisor's.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ./stream.sh
gvisor_shim || { echo "Bail out! gVisor's shim could not be built"; exit 1; }
printf 'binary_name = "%s/runsc"\nroot = "%s/runsc"\n[runsc_config]\nplatform = "systrap"\n' "$gvisor_shim" "$work" >"$work/runsc.toml"
no_loopback=guest	# a shim has no way to it
stream_over "{default: shim, handlers: {
	shim: {engine: shimv2},
	guest: {engine: shimv2, options: {path: $gvisor_shim/containerd-shim-runsc-v1, config_path: $work/runsc.toml}}}}" shim guest
