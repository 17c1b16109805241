#!/bin/sh
# docs/engines.md, followed literally in an empty folder: from nothing to an engine that passes
# engine-check, and a pod on it.
[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
cd "$(dirname "$0")" || exit 1
. ./lib.sh

prefix=$work/usr
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" PATH="$prefix/bin:$PATH"
env PREFIX="$prefix" BUILD=build "$top/tools/install" || { echo "Bail out! crisp can't be installed"; exit 1; }
mkdir "$work/empty"
cd "$work/empty" || exit 1
# block LANGUAGE N: the Nth block of code in that language, of the part for authors
block() { sed '1,/^### From nothing/d' "$top/docs/engines.md" | awk -v l="$1" -v n="$2" '
	$0 == "```" l { in_it = ++seen == n; next } /^```/ { in_it = 0 } in_it'; }
began=$(date +%s)
block c 1 >mini.c
block mini-run 1 >mini-run
{ echo 'set -eu'; block sh 1; } >build.sh
{ echo 'set -u; engines=$(pkg-config --variable=enginedir crisp-engine)'; block sh 2; } >check.sh
block yaml 1 >"$work/config.yaml"
ok "the plugin and its script are built and installed" sh build.sh
ok "without a warning" is "$(sh build.sh 2>&1)" ""
ok "engine-check passes it" sh check.sh
sh check.sh >"$work/checked" 2>&1
ok "with containers" grep -q "^ok .*its exit code is told: 42" "$work/checked"
ok "and nothing failed" grep -q '^# [0-9]* passed, 0 failed$' "$work/checked"
echo "# $(tail -n 1 "$work/checked" | tr -d '#'), $(($(date +%s) - began)) s from nothing"

cd "$here" || exit 1
build=$work/installed
mkdir "$build"
ln -s "$prefix/bin/crispd" "$prefix/bin/crispctl" "$prefix/lib/crisp/libexec" "$build"
make_busybox
leak_snapshot
ok "crispd starts with its handler" crisp_start --config "$work/config.yaml"
ok "an image" crispctl load "$work/busybox.tar"
ok "a pod runs on it" crispctl --timeout 20s run -i busybox -n one -- sh -c 'echo hello; sleep 1; exit 42'
ended() { crispctl -o json inspect one/one | grep -q '"exitCode": *42'; }
ok "its exit code is told: 42" until_true 10 ended
ok "its output is in the log" is "$(crispctl logs one)" hello
ok "the pod is removed" crispctl --timeout 20s rm -fa
crispctl rmi busybox >/dev/null
ok "crispd leaves" crisp_stop
ok "and leaves nothing" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10
finish
