#!/bin/sh
# record.sh: run vm.t, print its TAP and its count, and keep both with the commit in docs/vm.md, below
# its line "## The last result".
cd "$(dirname "$0")/../.." || exit 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
began=$(date +%s)
t/vm/vm.t | tee "$log"
passed=$(grep -c '^ok ' "$log") failed=$(grep -c '^not ok ' "$log")
planned=$(sed -n 's/^1\.\.//p' "$log")
[ "$planned" = $((passed + failed)) ] || failed=$((failed + 1))
doc=docs/vm.md
{
	sed '/^## The last result$/q' $doc
	echo
	echo "Commit $(git log -1 --format=%h)$([ -z "$(git status --porcelain -uno)" ] || echo " and changes to it"), $(date -u +%F), $((($(date +%s) - began) / 60)) minutes: **$passed passed, $failed failed**${ONLY:+, of those named $ONLY}."
	echo
	echo '```'
	sed -n '1s/^# //p; s/^# \([a-z/]*\): \([0-9]* s\)$/\1 \2/p; /^not ok /p' "$log"
	echo '```'
} >"$log.doc"
mv "$log.doc" $doc
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
