#!/bin/sh
# exec, attach and port-forward where pods have a kernel and a network stack of their own: by runsc of
# 2025, with its control socket and without, and Debian's of 2022.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ./stream.sh
old=$(command -v runsc) && gvisor_runsc || { echo "Bail out! gVisor could not be built"; exit 1; }
no_loopback="cli old"	# without the control socket there is no way
stream_over "{default: gvisor, handlers: {
	gvisor: {engine: gvisor, options: {path: $runsc}},
	cli: {engine: gvisor, options: {path: $runsc, urpc: 'off'}},
	old: {engine: gvisor, options: {path: $old}}}}" gvisor cli old
