#!/bin/sh
# Plugins that break one rule each (t/int/broken): engine-check names the rule.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")/../.." || exit 1
. t/int/kit.sh
build=$PWD/build
make_rootfs "$dir/rootfs"
outside=$(mktemp -d "$build/outside.XXXX")	# of what a plugin may write to
trap 'rm -rf "$dir" "$outside"' EXIT
helper="{\"helper\":\"$build/t/int/jail-run\"}"

# each KIND: NAME PLUGIN SECTION WORDS [NOTE], for all of them.  What isn't ok of it has these words, or the line after
# it has; and a line is NOTE.
each() {
	"$1" "two completions" twice life \
		"each accepted operation is completed exactly once" "^# start was completed 2 times"
	"$1" "both refused and completed" refuses life "start was completed and refused"
	"$1" "a blocking call" blocks life \
		"no call blocks for more than 10 ms" "^# start blocked for"
	"$1" "a leaked file descriptor" leaks instances \
		"no file descriptor is leaked" "^# .*/dev/null is open after close"
	"$1" "a thread" threads instances "no thread is made"
	"$1" "a process" forks instances "no process is made but by host->spawn"
	"$1" "words on stdout" prints instances "nothing is written to stdout or stderr"
	"$1" "a umask" masks instances "umask"
	"$1" "a callback after close" late instances \
		"nothing is called after close" "^# exited() was called by an instance that is closed"
	"$1" "an answer without a size" short life "results have a size"
	"$1" "arguments read past their size" reads_on life "crashed the host, signal 11"
	"$1" "input that doesn't arrive" deaf streams "1 MiB goes through its stdin and back, byte by byte (0 came)"
	"$1" "streams that are mixed up" mixes streams "what it says on stderr comes there, and nothing else"
	"$1" "a resize that is lost" '{"archetype":"tty","rules":[{"op":"resize","lose":true}]}' terminals \
		"after a resize its tty is of 41 123 rows and columns"
	"$1" "the end of input, lost" '{"archetype":"tty","rules":[{"op":"close_stdin","lose":true}]}' streams \
		"the end of its stdin is seen"
	"$1" "a file descriptor leaked by a create that fails" leaks_later nonsense "no file descriptor is leaked"
	"$1" "creates that hang in a crowd" crowded many \
		"each accepted operation is completed exactly once" "^# create was accepted and never completed"
	"$1" "a program that has failed, believed" believes faults "exec, its program .*: it fails, and no end is told"
	"$1" "a pause that is none" '{"rules":[{"op":"pause","lose":true}]}' processes "what is paused does nothing"
	"$1" "an exec that fails in a storm" '{"rules":[{"op":"exec","skip":5,"errno":11}]}' many \
		"12 execs at once all work (5 did"
	"$1" "a sandbox that doesn't stop" '{"archetype":"sandbox","rules":[{"op":"sandbox_stop","lose":true}]}' sandbox \
		"it ends all that runs in it, and tells of each"
	"$1" "a cancel that isn't answered" '{"archetype":"sandbox","rules":[{"op":"start","hang":true,"delay_ms":1}]}' cancels \
		"each accepted operation is completed exactly once\|a start that is cancelled"
	"$1" "a network of its own" wanders life "with NETNS_BY_PATH it is in the network of its pod"
	"$1" "statistics that run backwards" falls processes "its CPU time is told, and never less than before"
	"$1" "a wrong size" size file "describes itself in 40 bytes"
	"$1" "a wrong major" major file "is of version 2.0, wanted is 1"
	"$1" "no completion" never life \
		"each accepted operation is completed exactly once" "^# start was accepted and never completed"
	"$1" "what such a plugin imports" threads file "imports nothing that a plugin must not call: .*pthread_create"
	"$1" "a folder beside its own" strays instances "Read-only file system"
}
# They mostly wait: all at once.
run() {
	number=$((number + 1)) options=$helper plugin=$build/t/int/broken/$2.so
	case $2 in {*) options=$2 plugin=$build/engines/fake.so ;; esac	# a script for the fake engine
	( cd "$outside" && "$build/engine-check" --many 12 --home "$dir/$number" --rootfs "$dir/rootfs" --options "$options" --only "$3" "$plugin" >"$dir/$number.out" 2>&1
	echo $? >"$dir/$number.code" ) &
}
judge() {
	number=$((number + 1))
	out=$dir/$number.out
	ok "$1" names "$4"
	[ -z "${5-}" ] || ok "$1: with the cause" grep -q "$5" "$out"
}
names() {
	[ "$(cat "$dir/$number.code")" = 1 ] || { echo "its exit code is not 1"; tail -n 3 "$out"; return 1; }
	grep -A 1 '^not ok' "$out" | grep -q "$1" || { grep -A 2 '^not ok' "$out"; return 1; }
}
number=0
each run
wait
number=0
each judge
ok "which it can't make" [ ! -e "$outside/strayed" ]
wrong_use() { "$build/engine-check" "$@" >"$dir/out" 2>&1; [ $? = 2 ]; }
ok "no plugin is a wrong use" wrong_use
ok "and so is one that is none" wrong_use /etc/passwd
nothing_left() { ! pgrep -f "$dir" && ! grep "$dir" /proc/self/mountinfo && no_cgroup_left; }
ok "nothing is left" nothing_left
finish
