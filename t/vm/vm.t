#!/bin/sh
# vm.t [SUITE...]: the tests of t/vm/guest, and what of the others is about cgroups, in a machine with systemd,
# cgroup v2, AppArmor and a kernel of 2022 (t/vm/image.sh); prints one stream of TAP.  With SUITEs only those, by
# their names or the beginnings of them (`t/vm/vm.t unit systemd-`); guest/run has the list.
cd "$(dirname "$0")" || exit 1
top=$(cd ../.. && pwd)
# shellcheck source=t/cri/components.sh
here=$top/t/cri . "$top/t/cri/components.sh"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/crisp-test
kubelet=kubelet-1.37.2
work=$(mktemp -d /tmp/crisp-vm.XXXX)
trap 'rm -rf "$work"' EXIT
fail() { echo "not ok 1 - $1"; echo "1..1"; exit 1; }

./image.sh >"$work/image" || fail "the machine's disk could not be made"
critools || fail "critest could not be built"
source_busybox || fail "busybox could not be built"
"$top/t/kubelet/components.sh" health "$kubelet" || fail "the kubelet could not be built"

# The tree as it was built, without what only the build needs; what the tests take from the host.
mkdir -p "$work/job/crisp" "$work/job/include"
tar -C "$top" -cf - --exclude='*.o' --exclude='*.a' --exclude=build/t/fuzz --exclude=build/t/bench --exclude=build/proto \
	build t tools proto docs engines/engine.h netplug/netplug.h | tar -C "$work/job/crisp" -xf -
cp -R /usr/include/protobuf-c /usr/include/google "$work/job/include/"
cp "$critools/critest" "$busybox" "$cache/$kubelet/kubelet" "$cache/health/health" "$work/job/"
cp guest/run "$work/job/run"
echo "$*" >"$work/job/suites"
VM_IMAGE=$(cat "$work/image") ./boot.sh "$work/job" &
trap 'kill $!; wait $!; exit 1' INT TERM
wait $!
