#!/bin/sh
# The example engine, built away from this tree with what tools/install has put into a folder; it
# keeps to what engine-check asks, and an installed crispd runs pods on it.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")" || exit 1
. ./lib.sh

prefix=$work/usr
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
ok "crisp can be installed" env PREFIX="$prefix" BUILD=build "$top/tools/install"
ok "pkg-config knows the version of the ABI" is "$(pkg-config --modversion crisp-engine)" \
	"$(sed -n 's/^#define CRISP_ENGINE_MAJOR //p' "$top/engines/engine.h").$(sed -n 's/^#define CRISP_ENGINE_MINOR //p' "$top/engines/engine.h")"
cp -r "$prefix/share/crisp/example" "$work/jail"
ok "the example is built from there, without a warning" sh -c "cd $work/jail && make CFLAGS='-O2 -Wall -Wextra -Werror' install"
symbols() { nm -D --defined-only "$1" | sed 's/.* //'; }
ok "and exports one symbol" is "$(symbols "$prefix/lib/crisp/engines/jail.so")" crisp_engine_v1
ok "the header is fit for C++" sh -c "printf '#include <crisp/engine.h>\nint main() { return 0; }\n' >$work/x.cc && c++ \$(pkg-config --cflags crisp-engine) -c -o $work/x.o $work/x.cc"

make_busybox
mkdir -p "$work/rootfs/bin" "$work/rootfs/proc" "$work/rootfs/dev" "$work/rootfs/tmp"
for applet in sh sleep true cat stty; do cp "$(command -v busybox)" "$work/rootfs/bin/$applet"; done
checked() {
	"$prefix/bin/engine-check" --home "$work/check" --rootfs "$work/rootfs" "$prefix/lib/crisp/engines/jail.so" >"$work/out" 2>&1 ||
		{ grep -A 2 '^not ok' "$work/out"; return 1; }
	tail -n 1 "$work/out" | grep '^# [0-9]* passed, 0 failed$'
}
ok "the installed engine-check passes it" checked

build=$work/installed
mkdir "$build"
ln -s "$prefix/bin/crispd" "$prefix/bin/crispctl" "$prefix/lib/crisp/libexec" "$build"
leak_snapshot
ok "an installed crispd starts with it" crisp_start --set "engines={default: jail, handlers: {jail: {engine: jail}}}"
ok "an image" crispctl load "$work/busybox.tar"
ok "a pod" crispctl --timeout 20s run -i busybox -n one -- sh -c 'echo hello; while [ ! -e /tmp/end ]; do sleep 0.05; done; exit 42'
said() { has "$(crispctl logs one)" hello; }
ok "its output is in the log" until_true 10 said
ok "exec" is "$(crispctl exec one -- sh -c 'echo inside; hostname >/dev/null')" inside
ok "it sees its own processes alone" is "$(crispctl exec one -- sh -c 'ps | grep -c [c]rispd')" 0
ok "exec gives exit codes" is "$(crispctl exec one -- sh -c 'exit 9' >/dev/null 2>&1; echo $?)" 9
core=$(core_pid)
kill -9 "$core"
back() { [ -n "$(core_pid)" ] && [ "$(core_pid)" != "$core" ] && crispctl pods; }
ok "the core is killed and comes back" until_true 20 back
ok "the container is told to end" crispctl exec one -- touch /tmp/end
ended() { crispctl -o json inspect one/one | grep -q '"exitCode": *42'; }
ok "its exit code is known: 42" until_true 10 ended
ok "the pod is removed" crispctl --timeout 20s rm -fa
crispctl rmi busybox >/dev/null
ok "crispd leaves" crisp_stop
ok "and leaves nothing" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10
finish
