#!/bin/sh
# gVisor, by a runsc of 2025 (systrap) and Debian's of 2022 (ptrace): pods of two containers in one
# sandbox; the core, a gofer and the sentry die.
cd "$(dirname "$0")" || exit 1
. ./lib.sh
. ./components.sh
gvisor_runsc || { echo "Bail out! runsc could not be built"; exit 1; }
old=$(command -v runsc) || { echo "Bail out! Debian's runsc is missing"; exit 1; }

# The pod NAME of two containers: "one" counts until it finds /tmp/end, "two" serves its name on port 8080.
pod() {	# HANDLER NAME
	cat >"$work/$2.yaml" <<X
metadata: {name: $2}
spec:
  runtimeClassName: $1
  containers:
  - name: one
    image: busybox
    command: [sh, -c, "i=0; while [ ! -e /tmp/end ]; do i=\$((i+1)); echo line \$i; sleep 0.05; done; exit 42"]
  - name: two
    image: busybox
    command: [sh, -c, "hostname; while :; do echo from \$NAME | nc -l -p 8080; done"]
    env: [{name: NAME, value: "$2"}]
X
	crispctl run "$work/$2.yaml" >/dev/null
}
state_of() { crispctl -o json inspect "$1" | sed -n 's/.*"state": *"\([A-Z_]*\)".*/\1/p' | head -n 1; }
field_of() { crispctl -o json inspect "$1" | sed -n "s/.*\"$2\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -n 1; }
exited() { [ "$(state_of "$1")" = CONTAINER_EXITED ]; }
ended_with() { exited "$1" && is "$(field_of "$1" exitCode)" "$2"; }
not_ready() { [ "$(state_of "$1")" = SANDBOX_NOTREADY ]; }
inside() { ctr=$1; shift; crispctl exec "$ctr" -- "$@"; }
code_of() { "$@" >/dev/null 2>&1; echo $?; }
address() { field_of "$1" ip; }
last_line() { crispctl logs "$1" | sed -n 's/^line //p' | tail -n 1; }
more_lines() { [ "$(last_line "$1")" -gt "$2" ]; }
whole() {	# no line is missing; one may be there twice
	crispctl logs "$1" | sed -n 's/^line //p' | sort -nu | awk '$1 != NR { exit 1 } END { exit NR == 0 }'
}
id_of() { crispctl -o json inspect "$1" | sed -n 's/.*"id": *"\([0-9a-f]\{64\}\)".*/\1/p' | head -n 1; }
# processes_of KIND ID: pids of gofers or sentries with ID on their command line, or in the bundle
processes_of() {
	for dir in /proc/[0-9]*; do
		tr '\0' ' ' 2>/dev/null <"$dir/cmdline" | grep -q "^runsc-$1 .*$2" && echo "${dir#/proc/}"
	done
}
limit_memory() {	# POD BYTES
	if [ -d "/sys/fs/cgroup/memory/crisp-$name/$1" ]; then
		echo "$2" >"/sys/fs/cgroup/memory/crisp-$name/$1/memory.limit_in_bytes"
	else
		echo "$2" >"/sys/fs/cgroup/crisp-$name/$1/memory.max"
	fi
}
new_core() { [ "$(core_pid)" != "$core" ] && crispctl pods; }
from_host() { is "$(busybox nc -w 2 "$1" 8080 </dev/null)" "$2"; }
from_container() { is "$(inside "$1" nc -w 2 "$2" "$port")" "from the host"; }
no_process() { ! inside "$1" ps | grep -q "$2"; }
has_stats() { crispctl stats | grep "$1" | grep -q '[1-9].*[KM]'; }
kill_core() {
	core=$(core_pid)
	kill -9 "$core"
	until_true 10 new_core
}

port=$((20000 + $$ % 10000))
make_busybox
leak_snapshot
ok "crispd starts" crisp_start --set "engines={default: new, handlers: {
	new: {engine: gvisor, options: {path: $runsc}},
	cli: {engine: gvisor, options: {path: $runsc, urpc: 'off'}},
	old: {engine: gvisor, options: {path: $old}}}}"
ok "an image is loaded" crispctl load "$work/busybox.tar"

for h in new cli old; do
	ok "$h: a pod of two containers runs" pod $h "a$h"
	ok "$h: both in one sandbox" is "$(processes_of sandbox "$(id_of "a$h")" | wc -l)" 1
	ok "$h: its kernel is gVisor's" has "$(inside "a$h/one" dmesg)" gVisor
	ok "$h: what the container says is in its log" until_true 10 more_lines "a$h/one" 3
	ok "$h: exec gives stdout" is "$(inside "a$h/two" echo hello)" hello
	ok "$h: and stderr" is "$(inside "a$h/two" sh -c 'echo oops >&2' 2>&1 >/dev/null)" oops
	ok "$h: and the exit code" is "$(code_of inside "a$h/two" sh -c 'exit 7')" 7
	ok "$h: of one that is killed, too" is "$(code_of inside "a$h/two" sh -c 'kill -9 $$')" 137
	ok "$h: a missing program is an error in words" has "$(inside "a$h/two" /no/such 2>&1)" /no/such
	ok "$h: an exec that takes too long is killed" is "$(code_of crispctl --timeout 1s exec "a$h/two" -- sleep 987)" 1
	ok "$h: inside as well" until_true 10 no_process "a$h/two" "sleep [9]87"
	ok "$h: statistics" until_true 10 has_stats "a$h"
	ip=$(address "a$h")
	ok "$h: the host reaches the container" until_true 10 from_host "$ip" "from a$h"
	ok "$h: and pings it" ping -c 1 -W 2 "$ip"
	gateway=$(ip -4 -o addr show "${name}b" | sed 's,.*inet \([0-9.]*\)/.*,\1,')
	busybox nc -l -p "$port" -e echo from the host & helpers="$helpers $!"
	ok "$h: the container reaches the host" until_true 10 from_container "a$h/one" "$gateway"
	ok "$h: containers of the pod share its network" is "$(inside "a$h/one" nc -w 2 127.0.0.1 8080)" "from a$h"

	# -- the core dies --
	seen=$(last_line "a$h/one")
	kill_core
	ok "$h: the core dies, the container goes on" until_true 10 more_lines "a$h/one" "$seen"
	ok "$h: exec works" is "$(inside "a$h/two" echo again)" again
	inside "a$h/one" touch /tmp/end
	ok "$h: the exit code is right" until_true 10 ended_with "a$h/one" 42
	ok "$h: and no line is lost" whole "a$h/one"
	ok "$h: the other is stopped" crispctl stop -t 0 "a$h/two"
	ok "$h: by SIGKILL" ended_with "a$h/two" 137
	ok "$h: the pod is removed" crispctl rm -f "a$h"

	# -- an exit while no core looks --
	pod $h "b$h"
	crispctl run -r $h -n "c$h" -i busybox -- sh -c 'sleep 1; exit 9' >/dev/null
	kill -STOP "$(core_pid)"
	sleep 2		# nobody outside can see a process in there end
	kill_core
	ok "$h: an exit while no core lives has its code" until_true 10 ended_with "c$h/c$h" 9
	# -- a gofer dies: its container is killed --
	one=$(id_of "b$h/one")
	ok "$h: a container has a gofer" test -n "$(processes_of gofer "$one")"
	kill -9 $(processes_of gofer "$one")
	ok "$h: the gofer dies: so does its container, within a second" until_true 1 exited "b$h/one"
	ok "$h: the other goes on" is "$(inside "b$h/two" echo fine)" fine

	# -- the sentry dies --
	kill -9 $(processes_of sandbox "$(id_of "b$h")")
	ok "$h: the sentry dies: so has the pod, within a second" until_true 1 not_ready "b$h"
	ok "$h: and what ran in it, killed" ended_with "b$h/two" 137
	ok "$h: it is removed" crispctl rm -f "b$h" "c$h"

	# -- every capability: also those that runsc doesn't know --
	printf 'metadata: {name: e%s}\nspec: {runtimeClassName: %s, containers: [{name: c, image: busybox, %s}]}\n' $h $h \
		'securityContext: {privileged: true}, command: [sh, -c, "exec sleep 1000"]' >"$work/e.yaml"
	ok "$h: a privileged container runs" crispctl run "$work/e.yaml"
	ok "$h: with capabilities" has "$(inside "e$h/c" grep CapEff /proc/1/status)" dfff
	ok "$h: so has what is executed in it" has "$(inside "e$h/c" grep CapEff /proc/self/status)" dfff
	ok "$h: it is removed, too" crispctl rm -f "e$h"

	# -- out of memory: the pod's cgroup has the limit, as a kubelet sets it --
	crispctl run -r $h -n "d$h" -i busybox -- sh -c 'while [ ! -e /tmp/go ]; do sleep 0.1; done; tail /dev/zero' >/dev/null
	ok "$h: a limit for the pod" limit_memory "$(id_of "d$h")" 150000000
	inside "d$h" touch /tmp/go 2>/dev/null	# it may end before it could answer
	ok "$h: out of memory it ends" until_true 30 ended_with "d$h/d$h" 137
	ok "$h: and that is told" is "$(field_of "d$h/d$h" reason)" OOMKilled
	ok "$h: it is removed, too" crispctl rm -f "d$h"
done
ok "what is left out of a spec is said once" is "$(grep "this runsc doesn't know" "$work/log" | grep -c handler=old)" 1
ok "crispd stops" crisp_stop
ok "nothing is left" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10
finish
