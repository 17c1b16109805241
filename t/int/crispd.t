#!/bin/sh
# crispd's arguments: what is good, what is refused, and with which exit code.
cd "$(dirname "$0")/../.." || exit 1
crispd=$PWD/${BUILD:-build}/crispd
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0

# run NAME CODE PATTERN ARGS...: exit code and a line of the output.
run() {
	name=$1 code=$2 pattern=$3
	shift 3
	n=$((n + 1))
	"$crispd" "$@" > "$tmp/out" 2>&1 < /dev/null
	got=$?
	if [ $got -eq "$code" ] && grep -q -- "$pattern" "$tmp/out"; then
		echo "ok $n - $name"
	else
		echo "not ok $n - $name"
		echo "# exit code $got, wanted $code and \"$pattern\"; output:"
		sed 's/^/# /' "$tmp/out"
	fi
}

echo 'log: {level: debug}' > "$tmp/good.yaml"
printf 'log:\n  levle: debug\n' > "$tmp/bad.yaml"
run "version" 0 '^crispd [0-9]' --version
run "help" 0 'usage: crispd' --help
run "check without a file" 0 good --check
run "check a file" 0 good --check --config "$tmp/good.yaml"
run "an unknown key: file, line and a better one" 2 'bad.yaml:2.*level' --check --config "$tmp/bad.yaml"
run "it is not started either" 2 'bad.yaml:2' --config "$tmp/bad.yaml"
run "a missing file is named" 2 nothing.yaml --check --config "$tmp/nothing.yaml"
run "--set" 0 good --check --set log.level=warn
run "a bad --set" 2 loud --check --set log.level=loud
run "an unknown option" 2 usage --frobnicate
run "an argument too many" 2 '"more"' --check more
run "a bad --ready-fd" 2 ready-fd=x --ready-fd=x
run "a --ready-fd that is not open" 2 ready-fd=77 --ready-fd=77 --set "state=$tmp/state"
run "no keeper" 1 "$tmp/none/crisp-keeper" --set "libexec_dir=$tmp/none"

# The unit: what it starts lies elsewhere here.
n=$((n + 1))
if command -v systemd-analyze >/dev/null; then
	sed "s,/usr/local/bin/crispd,$crispd," tools/crisp.service >"$tmp/crisp.service"
	systemd-analyze verify "$tmp/crisp.service" >"$tmp/out" 2>&1 && [ ! -s "$tmp/out" ] || printf 'not '
	echo "ok $n - tools/crisp.service is a unit that systemd takes"
	sed 's/^/# /' "$tmp/out"
else
	echo "ok $n - tools/crisp.service # SKIP there is no systemd-analyze"
fi
echo "1..$n"
