#!/bin/sh
# The first command of the README: it shows a pod, and leaves nothing behind.
cd "$(dirname "$0")/../.." || exit 1
n=0 failed=0
ok() {	# NAME COMMAND...: passes as the command does
	name=$1
	shift
	n=$((n + 1))
	if "$@" >/dev/null 2>&1; then echo "ok $n - $name"; return; fi
	failed=1
	echo "not ok $n - $name"
	sed 's/^/# /' "$out"
}
exists() { [ -e /run/crisp ] || [ -e /var/lib/crisp ]; }

if exists; then
	echo "1..0 # SKIP a crisp lives on this host"
	exit 0
fi
out=$(mktemp)
trap 'rm -f "$out"' EXIT

mkdir /run/crisp
ok "refuses to run beside a crisp" sh -c '! tools/quickstart' </dev/null
ok "and leaves it alone" [ -d /run/crisp ]
rmdir /run/crisp

tools/quickstart </dev/null >"$out" 2>&1
code=$?
ok "quickstart succeeds" [ $code = 0 ]
ok "the web container's log" grep -qx "serving on 8080" "$out"
ok "the client's log, and the page from the host" [ "$(grep -cx "hello from a pod" "$out")" = 2 ]
ok "an exec's output" grep -qE "^I am 0 on hello, pid [0-9]+$" "$out"
ok "the pod's address" grep -qE "^[0-9a-f]{12} +default +hello +Ready .* 10\.88\." "$out"
ok "nothing is left" grep -q "^nothing is left" "$out"
ok "no folder is" sh -c '! [ -e /run/crisp ] && ! [ -e /var/lib/crisp ]'
echo "1..$n"
exit $failed
