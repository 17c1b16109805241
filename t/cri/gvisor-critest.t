#!/bin/sh
# critest over gVisor: all specs but those named here pass, each of which docs/gvisor.md explains.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ./critest.sh
gvisor_runsc || { echo "not ok - runsc could not be built"; exit 1; }
critest_begin "{default: gvisor, handlers: {gvisor: {engine: gvisor, options: {path: $runsc}}}}"
set --
# what gVisor has no notion of
set -- "$@" "propagation mount with 'rshared'"
set -- "$@" 'should support non-recursive readonly mounts'
set -- "$@" 'HostIpc is true'
set -- "$@" 'HostNetwork is true'
set -- "$@" 'support (un)?safe sysctls'
set -- "$@" 'Privileged is true' # the next too: they want a bridge, by /sys/class/net
set -- "$@" 'should support adding capability'
set -- "$@" 'should support MaskedPaths'
set -- "$@" 'should support ReadonlyPaths'
set -- "$@" 'seccomp localhost profile on the container'
set -- "$@" 'seccomp default on the container'
set -- "$@" 'seccomp profile that blocks setting hostname with SYS_ADMIN'
set -- "$@" 'should allow privilege escalation when false' # set-user-id programs
# a limit is the pod's; critest sets it on a container alone
set -- "$@" 'should terminate with exitCode 137 and reason OOMKilled'
critest_over gvisor 82 "$@"
critest_end
