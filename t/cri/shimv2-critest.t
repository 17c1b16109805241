#!/bin/sh
# critest over containerd's runc shim of today: all pass.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ./critest.sh
(cd "$top" && tmp=/nonexistent && . t/bench/containerd.sh && containerd_build >&2 && echo "$containerd_bin") >"$work/shim" ||
	{ echo "not ok - the shim could not be built"; exit 1; }
critest_begin "{default: shim, handlers: {shim: {engine: shimv2, options: {path: $(cat "$work/shim")/containerd-shim-runc-v2}}}}"
critest_over shim 101
critest_end
