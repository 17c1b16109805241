#!/bin/sh
# The tests of t/vm/guest, and what of the others is about cgroups, in a machine with systemd, cgroup v2,
# AppArmor and a kernel of 2022 (t/vm/image.sh).  ONLY=WORD: those whose name has it.
cd "$(dirname "$0")" || exit 1
top=$(cd ../.. && pwd)
# shellcheck source=t/cri/components.sh
here=$top/t/cri . "$top/t/cri/components.sh"
work=$(mktemp -d /tmp/crisp-vm.XXXX)
trap 'rm -rf "$work"' EXIT
fail() { echo "not ok 1 - $1"; echo "1..1"; exit 1; }

./image.sh >"$work/image" || fail "the machine's disk could not be made"
critools || fail "critest could not be built"
source_busybox || fail "busybox could not be built"

# The tree as it was built, without what only the build needs; what the tests take from the host.
mkdir -p "$work/job/crisp" "$work/job/include"
tar -C "$top" -cf - --exclude='*.o' --exclude='*.a' --exclude=build/t/fuzz --exclude=build/t/bench --exclude=build/proto \
	build t tools proto docs engines/engine.h netplug/netplug.h | tar -C "$work/job/crisp" -xf -
cp -R /usr/include/protobuf-c /usr/include/google "$work/job/include/"
cp "$critools/critest" "$busybox" "$work/job/"
cp guest/run "$work/job/run"
echo "${ONLY:-}" >"$work/job/only"
./boot.sh "$work/job"
