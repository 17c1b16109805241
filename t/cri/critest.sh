# Sourced after lib.sh: critest, the CRI's own validation suite, over handlers of one daemon.
#	critest_begin ENGINES		the value of `engines` in the daemon's configuration
#	critest_over HANDLER PASSES [SPEC...]
#			all specs but those that match a SPEC pass, and PASSES of them: fewer would be a
#			feature that hides itself, since specs of what is not announced are skipped
#	critest_end
. ./components.sh

critest_begin() {
	critools || { echo "not ok - critest could not be built"; exit 1; }
	source_busybox || { echo "not ok - busybox could not be built"; exit 1; }
	registry_start
	leak_snapshot
	ok "the images that critest names are made" ./critest-images.sh "$registry" "$busybox"
	mirrors=
	for host in registry.k8s.io k8s.gcr.io gcr.io; do mirrors="$mirrors${mirrors:+, }$host: [\"http://$registry\"]"; done
	ok "crispd starts" crisp_start --set "registries={plain_http: [\"$registry\"], mirrors: {$mirrors}}" \
		--set "engines=$1"
	cd "$work" || exit 1
}

# Of critest's report: "bad STATE: SPEC: WHY" for each that ran and didn't pass, "passed N".
critest_report() {
	perl -MJSON::PP -e '
		local $/;
		my $report = decode_json(<STDIN>);
		my ($passed, @bad) = (0);
		for my $spec (map { @{$_->{SpecReports} // []} } @$report) {
			next if $spec->{LeafNodeType} ne "It";
			my $name = join " ", @{$spec->{ContainerHierarchyTexts} // []}, $spec->{LeafNodeText};
			$passed++ if $spec->{State} eq "passed";
			push @bad, "$spec->{State}: $name: " . ($spec->{Failure}{Message} // "")
				if $spec->{State} !~ /^(passed|skipped|pending)$/;
		}
		s/\s+/ /g, print "bad ", substr($_, 0, 400), "\n" for @bad;
		print "passed $passed\n";
	'
}

critest_over() {
	critest_handler=$1 critest_passes=$2
	shift 2
	critest_n=$#
	for spec; do set -- "$@" -ginkgo.skip "$spec"; done
	shift "$critest_n"
	"$critools/critest" -runtime-endpoint "unix://$sock" -runtime-handler "$critest_handler" -ginkgo.no-color \
		-ginkgo.json-report report.json -ginkgo.skip 'image with digest' "$@" \
		>"critest.$critest_handler" 2>&1
	critest_report <report.json >result 2>&1
	ok "$critest_handler: no spec of critest fails" sh -c '! grep "^bad" result'
	ok "$critest_handler: $critest_passes specs pass" is "$(sed -n 's/^passed //p' result)" "$critest_passes"
}

critest_end() {
	ok "crispd stops" crisp_stop
	ok "nothing is left" "$top/t/leak/leakcheck" compare "$work/leak" --wait 10
	finish
}
