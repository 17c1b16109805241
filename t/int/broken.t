#!/bin/sh
# Plugins that break one rule each (t/int/broken): engine-check names the rule.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")/../.." || exit 1
. t/int/kit.sh
build=$PWD/build
make_rootfs "$dir/rootfs"
outside=$(mktemp -d "$PWD/build/outside.XXXX")	# of what a plugin may write to
trap 'rm -rf "$dir" "$outside"' EXIT
helper="{\"helper\":\"$build/t/int/jail-run\"}"

# names PLUGIN SECTION WORDS: what isn't ok has these words, or the line after it
names() {
	options=$helper plugin=$build/t/int/broken/$1.so
	case $1 in {*) options=$1 plugin=$build/engines/fake.so ;; esac	# a script for the fake engine
	( cd "$outside" && exec "$build/engine-check" --many 12 --home "$dir/home" --rootfs "$dir/rootfs" --options "$options" --only "$2" "$plugin" ) >"$dir/out" 2>&1
	[ $? = 1 ] || { echo "its exit code is not 1"; tail -n 3 "$dir/out"; return 1; }
	grep -A 1 '^not ok' "$dir/out" | grep -q "$3" || { grep -A 2 '^not ok' "$dir/out"; return 1; }
}
ok "two completions" names twice life "each accepted operation is completed exactly once"
ok "with the operation" grep -q "^# start was completed 2 times" "$dir/out"
ok "both refused and completed" names refuses life "start was completed and refused"
ok "a blocking call" names blocks life "no call blocks for more than 10 ms"
ok "with the operation" grep -q "^# start blocked for" "$dir/out"
ok "a leaked file descriptor" names leaks instances "no file descriptor is leaked"
ok "with what it is" grep -q "^# .*/dev/null is open after close" "$dir/out"
ok "a thread" names threads instances "no thread is made"
ok "a process" names forks instances "no process is made but by host->spawn"
ok "words on stdout" names prints instances "nothing is written to stdout or stderr"
ok "a umask" names masks instances "umask"
ok "a callback after close" names late instances "nothing is called after close"
ok "with the callback" grep -q "^# exited() was called by an instance that is closed" "$dir/out"
ok "an answer without a size" names short life "results have a size"
ok "arguments read past their size" names reads_on life "crashed the host, signal 11"
ok "input that doesn't arrive" names deaf streams "1 MiB goes through its stdin and back, byte by byte (0 came)"
ok "streams that are mixed up" names mixes streams "what it says on stderr comes there, and nothing else"
ok "a resize that is lost" names '{"archetype":"tty","rules":[{"op":"resize","lose":true}]}' terminals \
	"after a resize its tty is of 41 123 rows and columns"
ok "the end of input, lost" names '{"archetype":"tty","rules":[{"op":"close_stdin","lose":true}]}' streams \
	"the end of its stdin is seen"
ok "a file descriptor leaked by a create that fails" names leaks_later nonsense "no file descriptor is leaked"
ok "creates that hang in a crowd" names crowded many "each accepted operation is completed exactly once"
ok "with the operation" grep -q "^# create was accepted and never completed" "$dir/out"
ok "a program that has failed, believed" names believes faults "exec, its program .*: it fails, and no end is told"
ok "a pause that is none" names '{"rules":[{"op":"pause","lose":true}]}' processes "what is paused does nothing"
ok "an exec that fails in a storm" names '{"rules":[{"op":"exec","skip":5,"errno":11}]}' many "12 execs at once all work (5 did"
ok "a sandbox that doesn't stop" names '{"archetype":"sandbox","rules":[{"op":"sandbox_stop","lose":true}]}' sandbox \
	"it ends all that runs in it, and tells of each"
ok "a cancel that isn't answered" names '{"archetype":"sandbox","rules":[{"op":"start","hang":true,"delay_ms":1}]}' cancels \
	"each accepted operation is completed exactly once\|a start that is cancelled"
ok "a wrong size" names size file "describes itself in 40 bytes"
ok "a wrong major" names major file "is of version 2.0, wanted is 1"
ok "no completion" names never life "each accepted operation is completed exactly once"
ok "with the operation" grep -q "^# start was accepted and never completed" "$dir/out"
ok "what such a plugin imports" names threads file "imports nothing that a plugin must not call: .*pthread_create"
ok "a folder beside its own" names strays instances "Read-only file system"
ok "which it can't make" [ ! -e "$outside/strayed" ]
wrong_use() { "$build/engine-check" "$@" >"$dir/out" 2>&1; [ $? = 2 ]; }
ok "no plugin is a wrong use" wrong_use
ok "and so is one that is none" wrong_use /etc/passwd
nothing_left() { ! pgrep -f "$dir" && ! grep "$dir" /proc/self/mountinfo; }
ok "nothing is left" nothing_left
finish
