#!/bin/sh
# record.sh [SUITE...]: run vm.t, print its TAP and its count, and keep each suite's result, as soon as it has one,
# with the commit in the table at the end of docs/vm.md: a run that is cut short keeps what it has got.
cd "$(dirname "$0")/../.." || exit 1
doc=docs/vm.md
log=$(mktemp)
trap 'rm -f "$log"' EXIT
commit=$(git log -1 --format=%h)
[ -z "$(git status --porcelain -uno)" ] || commit="$commit and changes"

# record SUITE SECONDS: its row is the last one from now on
record() {
	passed=$(grep -c "^ok [0-9]* - $1: " "$log")
	failed=$(grep -c "^not ok [0-9]* - $1: " "$log")
	sed -i "/^| \`$1\` | [0-9]/d" $doc
	echo "| \`$1\` | $passed | $failed | $commit | $(date -u +%F) | $2 |" >>$doc
}

t/vm/vm.t "$@" | while IFS= read -r line; do
	printf '%s\n' "$line" | tee -a "$log"
	suite=$(printf '%s\n' "$line" | sed -n 's/^# \([a-z-]*\): \([0-9]*\) s$/\1 \2/p')
	# shellcheck disable=SC2086 # two words
	[ -z "$suite" ] || record $suite
done
passed=$(grep -c '^ok ' "$log") failed=$(grep -c '^not ok ' "$log")
[ "$(sed -n 's/^1\.\.//p' "$log")" = $((passed + failed)) ] || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
