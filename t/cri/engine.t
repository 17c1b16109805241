#!/bin/sh
# crun and runc as engines, alone: t/cri/engine.c.
cd "$(dirname "$0")/../.."
parent=/crisp-engine-test-$$
"${BUILD:-build}/t/cri/engine" "$(command -v busybox)" $parent
code=$?
# crun leaves the cgroups above the container's own.
find /sys/fs/cgroup -maxdepth 3 -type d -path "*$parent*" 2>/dev/null | sort -r | xargs -r rmdir 2>/dev/null
exit $code
