#!/bin/sh
# record.sh: run vm.t, print its TAP and its count, and keep each suite's result with the commit in the
# table at the end of docs/vm.md.
cd "$(dirname "$0")/../.." || exit 1
doc=docs/vm.md
log=$(mktemp)
trap 'rm -f "$log"' EXIT
commit=$(git log -1 --format=%h)
[ -z "$(git status --porcelain -uno)" ] || commit="$commit and changes"
t/vm/vm.t | tee "$log"
# A suite counts when it has come to its end.
for suite in $(sed -n 's/^# \([a-z]*\): [0-9]* s$/\1/p' "$log"); do
	passed=$(grep -c "^ok [0-9]* - $suite: " "$log")
	failed=$(grep -c "^not ok [0-9]* - $suite: " "$log")
	seconds=$(sed -n "s/^# $suite: \([0-9]*\) s$/\1/p" "$log")
	sed -i "/^| \`$suite\` | [0-9]/d" $doc
	echo "| \`$suite\` | $passed | $failed | $commit | $(date -u +%F) | $seconds |" >>$doc
done
passed=$(grep -c '^ok ' "$log") failed=$(grep -c '^not ok ' "$log")
[ "$(sed -n 's/^1\.\.//p' "$log")" = $((passed + failed)) ] || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
